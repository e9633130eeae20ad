"""What is left of a conversation for a model that goes on with a text.

Such a dialect has no turns, no tools and no media. A request that is nothing but one text of the
user's is a prompt; whatever else it says is refused where it stands, a system prompt too: put
before the text, it would be text.
"""

from __future__ import annotations

from dragoman.dialects.documents import document_as_text
from dragoman.ir import Blob, Message, Opaque, Part, Request, Text
from dragoman.ir.losses import Losses

_ONE_TURN = "it takes one prompt of the user's and no other turn"


def only_prompt(request: Request, losses: Losses) -> str:
    """The one text. Raises `Unrepresentable` at what makes it more than that."""
    for tool in request.tools:
        losses.omit("tools", tool.at or request.path("tools"), "it knows no tools")
    choice = request.tool_choice
    if choice is not None:
        losses.omit("tool_choice", choice.at or request.path("tool_choice"), "it knows no tools")
    for message in (*(m for m in request.messages if m.role != "user"), *request.messages[1:]):
        losses.omit("messages", message.at or request.path("messages"), _ONE_TURN)
    texts = [text for message in request.messages for text in _texts(message, losses)]
    return "\n\n".join(texts)


def omit_hints(request: Request, losses: Losses, names: tuple[str, ...]) -> None:
    """Leaves out the fields `names`, where they say something."""
    for name in names:
        value = getattr(request, name)
        if value is not None and value is not False:
            losses.omit(name, request.path(name), "it has no such parameter")
    if request.reasoning is not None:
        path = request.reasoning.at or request.path("reasoning")
        losses.omit("reasoning_config", path)
        if request.reasoning.effort is not None and "effort" in request.paths:
            losses.omit("reasoning_config", request.path("effort"))
        losses.residue(request.reasoning.residue, path)


def _texts(message: Message, losses: Losses) -> list[str]:
    losses.residue(message.residue, message.at)
    if message.name is not None:
        losses.omit("name", f"{message.at}.name")
    return [text for part in message.parts if (text := _text(part, losses)) is not None]


def _text(part: Part, losses: Losses) -> str | None:
    if isinstance(part, Blob) and (words := document_as_text(part)) is not None:
        _unmark(part, losses)
        return words
    if not isinstance(part, Text):
        kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
        losses.omit("parts", part.at or "$.messages", f"a prompt is text, and holds no {kind}")
        return None
    _unmark(part, losses)
    return part.content


def _unmark(part: Text | Blob, losses: Losses) -> None:
    losses.residue(part.residue, part.at)
    if part.cache_control is not None:
        losses.omit("cache_control", part.mark_path)
