"""Service tiers: what a word of one dialect is called in another, stated once."""

from __future__ import annotations

from dragoman.ir import Request
from dragoman.ir.losses import Losses

UNSAID = ""
"""What the provider does unasked: nothing is written, and nothing is lost."""
_OPENAI = {
    "auto": "auto",
    "unspecified": "auto",
    "default": "default",
    "standard": "default",
    "standard_only": "default",
    "flex": "flex",
    "priority": "priority",
    "scale": "scale",
}
TIERS: dict[str, dict[str, str]] = {
    "openai_chat": _OPENAI,
    "openai_responses": _OPENAI,
    "anthropic_messages": {
        "auto": "auto",
        "unspecified": UNSAID,
        "default": "standard_only",
        "standard": "standard_only",
        "standard_only": "standard_only",
    },
    "bedrock_converse": {
        "auto": UNSAID,
        "unspecified": UNSAID,
        "default": "default",
        "standard": "default",
        "standard_only": "default",
        "flex": "flex",
        "priority": "priority",
        "reserved": "reserved",
    },
    "gemini_generate": {
        "auto": UNSAID,
        "unspecified": UNSAID,
        "default": "standard",
        "standard": "standard",
        "standard_only": "standard",
        "flex": "flex",
        "priority": "priority",
    },
}
"""By the dialect written, then by the word read. A word that is missing has no like there.

OpenAI's `auto` is what the project is set to, Anthropic's takes what priority capacity there is.
Source: the dialects' references, botocore's model of `bedrock-runtime`, and for Google's
https://ai.google.dev/gemini-api/docs/priority-inference and the types of `google.genai`, which
write the field for Vertex AI as well, November 2026.
"""


def tier_of(request: Request, losses: Losses) -> str | None:
    """The tier asked for in the words of the dialect written, None where none is to be written.
    One that it does not have is reported. A dialect's own words come back as they stood."""
    word = request.service_tier
    if word is None or (request.residue is not None and request.residue.dialect == losses.dialect):
        return word
    found = TIERS.get(losses.dialect, {}).get(word)
    if found is None:
        losses.omit("service_tier", request.path("service_tier"))
    return found or None
