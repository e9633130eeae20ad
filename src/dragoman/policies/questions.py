"""What services beside the providers are asked about texts, and how it is written for gRPC.

Sans-IO: who carries it is not known here. The messages are those of `proto/callouts.proto`, by hand
as in `wire.protobuf`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from dragoman.config.callouts import Service
from dragoman.dialects.speakers import Speaker
from dragoman.wire.protobuf import field

Fault = Literal["timeout", "unreachable", "status", "rejected", "too_long", "bad_answer"]
"""Why there is no answer. `rejected`: to ask the same again would change nothing."""
MAX_TEXTS = 10_000
"""Of a request with more nobody is asked: what is sent may be many times what came."""


class Text(NamedTuple):
    """One text of a request."""

    path: str
    speaker: Speaker
    text: str


class About(NamedTuple):
    """Whose request it is."""

    caller: str
    model: str
    request_id: str


class Question(NamedTuple):
    """What one service is asked."""

    callout: Service
    route: str
    """The path that leads to whoever is asked."""
    paths: tuple[str, ...]
    """Of the texts in it, in their order."""
    body: bytes | None
    """None: there is too much to ask about."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent along."""
    same: bytes = b""
    """Equal for questions that have the same answer; empty: none has, or it is asked anyway."""
    keeps_seconds: int = 0
    """How long the answer holds for those."""


def encode_texts(texts: Iterable[Text], about: About) -> bytes:
    """A `JudgeRequest`, and a `RecogniseRequest`: they are the same."""
    context = b"".join(field(i, said.encode()) for i, said in enumerate(about, 1) if said)
    return b"".join([*(field(1, encode_text(text)) for text in texts), field(2, context)])


def encode_text(text: Text) -> bytes:
    """A `Text` of theirs."""
    return b"".join([field(i, said.encode()) for i, said in enumerate(text, 1)])
