"""Questions about the turns of a conversation that several dialects ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby, takewhile

import msgspec

from dragoman.ir import Message, Reasoning, Request, ToolCall, ToolCallResponse
from dragoman.ir.losses import Losses


def without_tools(request: Request, losses: Losses) -> Request:
    """`request` without its tools, reported, where none is to be called and no turn speaks of one:
    the same to the model, for a dialect that cannot say that none is to be called."""
    choice = request.tool_choice
    if choice is None or choice.mode != "none":
        return request
    for message in request.messages:
        if any(isinstance(part, ToolCall | ToolCallResponse) for part in message.parts):
            return request
    losses.residue(choice.residue, choice.at)
    losses.paths.append(choice.at or request.path("tool_choice"))
    losses.paths += [tool.at or request.path("tools") for tool in request.tools]
    return msgspec.structs.replace(request, tools=(), tool_choice=None)


def refuse_continued(messages: Iterable[Message], losses: Losses) -> None:
    """For a dialect whose answers never go on with the last turn."""
    for message in messages:
        if message.continued_at:
            losses.omit("messages", message.continued_at, "its answer is a turn of its own")


def join_turns(messages: Iterable[Message], losses: Losses) -> list[Message]:
    """`messages` with each run of the assistant's in one, as they are where a dialect does not
    write each piece of a turn as an item of its own; what the pieces had besides is reported."""
    joined: list[Message] = []
    for role, run in groupby(messages, key=lambda message: message.role):
        turn = list(run)
        joined += [_join(turn, losses)] if role == "assistant" and turn[1:] else turn
    return joined


def _join(turn: list[Message], losses: Losses) -> Message:
    for message in turn:
        losses.residue(message.residue, message.at)
        if message.name is not None:
            losses.omit("name", f"{message.at}.name")
    parts = tuple(part for message in turn for part in message.parts)
    return Message(role="assistant", parts=parts, at=turn[0].at)


def lacks_thought(request: Request, is_kept: Callable[[Reasoning], bool]) -> bool:
    """Whether the conversation forbids Claude a budget for thinking: it ends with results of calls
    that no thought came before, or with the beginning of the answer. `is_kept` tells of a thought
    whether it is sent.

    Source: https://docs.claude.com/en/docs/build-with-claude/extended-thinking, November 2026.
    """
    turns = [message for message in request.messages if message.role not in _SYSTEM]
    asked = list(takewhile(lambda message: message.role != "assistant", reversed(turns)))
    answers = [message for message in asked if _holds_result(message)]
    before = reversed(turns[: len(turns) - len(asked)])
    called = [*takewhile(lambda message: message.role == "assistant", before)][::-1]
    if asked and not (answers and called):
        return False
    first = next((part for message in called for part in message.parts), None)
    return not asked or not isinstance(first, Reasoning) or not is_kept(first)


_SYSTEM = ("system", "developer")


def _holds_result(message: Message) -> bool:
    return any(isinstance(part, ToolCallResponse) for part in message.parts)
