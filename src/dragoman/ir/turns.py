"""Turns of a conversation whose dialect writes each piece of a turn as an item of its own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from dragoman.ir import Message
from dragoman.ir.losses import Losses


def join_turns(messages: Iterable[Message], losses: Losses) -> list[Message]:
    """`messages` with each run of the assistant's in one, what the pieces had besides reported."""
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
