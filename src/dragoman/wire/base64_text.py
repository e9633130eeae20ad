"""Base64 in either alphabet: protobuf's JSON takes both, with padding or without, and Google's SDKs
write the one for URLs. Others know the usual one alone.

Source: https://protobuf.dev/programming-guides/json/, November 2026.
"""

from __future__ import annotations

from collections.abc import Collection

_URL_SAFE, _UNPADDED = "url_safe", "unpadded"


def to_standard(text: str) -> tuple[str, tuple[str, ...]]:
    """`text` in the usual alphabet and padded, and the form it came in."""
    form: list[str] = []
    if "-" in text or "_" in text:
        text = text.replace("-", "+").replace("_", "/")
        form.append(_URL_SAFE)
    missing = 0 if text.endswith("=") else -len(text) % 4
    if missing:
        text += "=" * missing
        form.append(_UNPADDED)
    return text, tuple(form)


def from_standard(text: str, form: Collection[str]) -> str:
    """What `to_standard` read, where `form` holds its."""
    if _UNPADDED in form:
        text = text.rstrip("=")
    if _URL_SAFE in form:
        text = text.replace("+", "-").replace("/", "_")
    return text
