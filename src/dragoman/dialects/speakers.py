"""Whose words a text of a request is: the operator's, the user's, the model's, or a third party's.

One rule for every dialect. It is the client that says whose they are, by roles, types and members;
what nothing is said of is the user's. What stands in a tool's result stays a tool's, whatever it
says of itself.
"""

from __future__ import annotations

import re
from typing import Any, Literal, cast

from dragoman.ir import Json

Speaker = Literal["system", "user", "assistant", "tool", "document", "declaration"]
"""`tool`: what a tool answered; `declaration`: descriptions of tools and schemas."""
_ROLES: dict[str, Speaker] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_OUTERMOST: dict[str, Speaker] = {
    "system": "system",
    "systemInstruction": "system",
    "system_instruction": "system",
    "instructions": "system",
    "tools": "declaration",
    "functions": "declaration",
    "toolConfig": "declaration",
    "response_format": "declaration",
    "generationConfig": "declaration",
    "outputConfig": "declaration",
}
"""Members of the body itself."""
_MEMBERS: dict[str, Speaker] = {
    "toolResult": "tool",
    "functionResponse": "tool",
    "function_response": "tool",
    "codeExecutionResult": "tool",
    "document": "document",
    "documents": "document",
}
_TYPES: dict[str, Speaker] = {
    "document": "document",
    "function_call": "assistant",
    "tool_use": "assistant",
    "reasoning": "assistant",
    "thinking": "assistant",
}
_RESULTS = ("_result", "_output")
"""Ends of types such as `tool_result` and `function_call_output`."""
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def speaker_of(body: Json, path: str) -> Speaker:
    """Whose the text at `path` (as `wire.json_texts.Place.path` says it) of a request is."""
    node: Json | list[Any] | None = body
    speaker: Speaker = "user"
    for depth, step in enumerate(_STEP.finditer(path)):
        member, index = step[1] or "", int(step[2] or 0)
        below: Any = None
        if isinstance(node, dict):
            speaker = _by_member(node, member, depth, speaker)
            below = node.get(member)
        elif node is not None and index < len(node):
            below = node[index]
        node = cast("Json | list[Any]", below) if isinstance(below, dict | list) else None
        if speaker in {"tool", "document"}:
            return speaker
    return speaker


def _by_member(fields: Json, member: str, depth: int, speaker: Speaker) -> Speaker:
    if depth == 0:
        return _OUTERMOST.get(member) or _MEMBERS.get(member, speaker)
    role, kind = fields.get("role"), fields.get("type")
    if isinstance(role, str):
        speaker = _ROLES.get(role.lower(), speaker)
    if isinstance(kind, str):
        if kind.endswith(_RESULTS) or (kind.endswith("_call") and member == "output"):
            return "tool"
        speaker = _TYPES.get(kind, speaker)
    return _MEMBERS.get(member, speaker)
