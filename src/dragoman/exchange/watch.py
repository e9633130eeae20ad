"""Answers that the next target is asked for instead, by what they say (`fallback_on`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Metadata, Mutate
from dragoman.dialects import AnyDialect, read_answer
from dragoman.errors import DragomanError
from dragoman.exchange.answers import replace_answer
from dragoman.exchange.heads import AttemptHead
from dragoman.ir import Json, Request, Response, Tool
from dragoman.policies.route.fallback import (
    AnswerRefused,
    Criteria,
    Reason,
    judge_answer,
    judge_error,
)
from dragoman.wire.content_encoding import ContentDecoder

_ERROR_STATUS = 400
_OF_THE_REQUEST = frozenset({"invalid", "schema", "truncated"})
"""What is judged by what the request said."""


def _unlimited() -> None:
    """No limit is set."""


class Watch(NamedTuple):
    """What an attempt's answer is judged by; nothing, where no target is left to ask instead."""

    criteria: Criteria = Criteria()
    target: str = ""
    """`PROVIDER/MODEL`."""
    limit: Callable[[], str | None] = _unlimited
    """Which limit forbids to ask another now; None: none does."""
    least_score: float = 0
    """What an answer has to be worth; 0: nobody scores it."""

    @property
    def wanted(self) -> frozenset[str]:
        return self.criteria.wanted

    def judge_error(self, error: DragomanError) -> str | None:
        """Why it is kept, and by which limit, where another's answer was wanted; None where not.

        Raises `AnswerRefused`.
        """
        return self._judge(lambda: judge_error(error, self.wanted)) if self.wanted else None

    def judge(self, response: object) -> str | None:
        """As `judge_error`."""
        if not self.wanted or not isinstance(response, Response):
            return None
        return self._judge(lambda: judge_answer(response, self.criteria))

    def refuse(self, reason: Reason) -> str:
        """As `judge_error`, of what has this reason."""
        limit = self.limit()
        if limit is None:
            raise AnswerRefused(reason)
        return f"{reason}({limit})"

    def _judge(self, judge: Callable[[], None]) -> str | None:
        try:
            judge()
        except AnswerRefused as refused:
            return self.refuse(refused.reason)
        return None

    def tell(self, error: DragomanError) -> Metadata:
        """What the ledger is told of an answer that was refused."""
        if not isinstance(error, AnswerRefused):
            return {}
        return {names.FALLBACK_NAMESPACE: {self.target: error.reason}}


def tell_kept(kept: str | None) -> tuple[dict[str, str], Metadata]:
    """Of an answer that is the client's for a limit alone: its header, and what the ledger is
    told."""
    if kept is None:
        return {}, {}
    return {names.KEPT_HEADER: kept}, {names.FALLBACK_NAMESPACE: {names.KEPT: kept}}


def watch_for(
    head: AttemptHead, model: str, read: Callable[[], object], clock: Callable[[], float]
) -> Watch:
    """What the decide stage wants of the attempt; the last one's answer is taken as it is. `read`
    gives the request, where it has to be known; `clock` tells Unix seconds."""
    reasons = head.metadata.get(names.FALLBACK_ON)
    if not reasons or head.attempt >= names.count_targets(head.metadata.get(names.TARGETS, "")):
        return Watch()
    pairs = [reason.partition(":") for reason in reasons.split(",")]
    numbers = {word: float(number or 0) for word, _, number in pairs}
    until, attempts = numbers.pop(names.UNTIL, None), numbers.pop(names.ATTEMPTS, None)
    wanted, at_least = frozenset(numbers), int(numbers.get(names.SHORTER_THAN, 0))
    criteria = Criteria(wanted, at_least)
    request = read() if wanted & _OF_THE_REQUEST else None
    if isinstance(request, Request):
        is_limited = request.max_tokens is not None
        shape, tools = request.response_format, strict_tools(request)
        criteria = Criteria(wanted, at_least, shape, is_limited, tools)

    def limit() -> str | None:
        if attempts is not None and head.attempt >= attempts:
            return "cost"
        return "time" if until is not None and clock() * 1000 >= until else None

    least = numbers.get(names.SCORED_BELOW, 0)
    return Watch(criteria, f"{head.cluster}/{model}", limit, least)


def strict_tools(request: Request) -> dict[str, Json]:
    """The schemas that tools hold the model to, by the tool's name."""
    tools = (tool for tool in request.tools if isinstance(tool, Tool))
    return {tool.name: tool.parameters for tool in tools if tool.strict and tool.parameters}


class WatchEditor:
    """An answer in the client's own dialect: held until it is judged, then passed on as it came.

    A stream is passed on from its first byte, its headers with that byte: what breaks before it
    can be asked for elsewhere. So is what grows above `max_bytes`.
    """

    def __init__(
        self,
        dialect: AnyDialect,
        watch: Watch,
        decoder: ContentDecoder,
        max_bytes: int,
        told: Mapping[str, str],
        *,
        streams: bool,
    ) -> None:
        """`told`: headers that any answer gets; `streams`: it is the stream that was asked for."""
        self._dialect = dialect
        self._watch = watch
        self._decoder = decoder
        self._told = dict(told)
        self._most_held = 0 if streams else max_bytes
        self._passes = False
        self._status = 0
        self._held = bytearray()

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        self._status = int(headers.get(":status", "0"))
        return self._finish(ends_stream=True) if end_of_stream else []

    def on_body(self, data: bytes, *, end_of_stream: bool) -> list[Action]:
        if self._passes:
            return [Chunk(body=data, end_of_stream=end_of_stream)]
        self._held += data
        self._passes = len(self._held) > self._most_held
        if not self._passes:
            return self._finish(ends_stream=True) if end_of_stream else []
        held = bytes(self._held)
        self._held.clear()
        return [Mutate(set_headers=self._told), Chunk(body=held, end_of_stream=end_of_stream)]

    def on_trailers(self) -> list[Action]:
        return [] if self._passes else self._finish(ends_stream=False)

    def _finish(self, *, ends_stream: bool) -> list[Action]:
        raw = bytes(self._held)
        try:
            headers, told = tell_kept(self._judge(raw))
        except AnswerRefused as error:
            told = self._watch.tell(error)
            return replace_answer(error, self._dialect, told, ends_stream=ends_stream)
        chunk = Chunk(body=raw, end_of_stream=ends_stream, metadata=told)
        return [Mutate(set_headers={**self._told, **headers}), chunk]

    def _judge(self, raw: bytes) -> str | None:
        """As `Watch.judge`."""
        try:
            body = self._decoder.feed(raw) + self._decoder.close()
            if self._status >= _ERROR_STATUS:
                return self._watch.judge_error(self._dialect.decode_error(self._status, body))
            response = self._dialect.decode_response(read_answer(self._dialect, body))
            return self._watch.judge(response)
        except AnswerRefused:
            raise
        except DragomanError:
            return self._watch.refuse("invalid") if "invalid" in self._watch.wanted else None
