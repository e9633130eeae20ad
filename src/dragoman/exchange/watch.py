"""Answers that the next target is asked for instead, by what they say (`fallback_on`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Metadata, Mutate
from dragoman.dialects import AnyDialect, read_answer
from dragoman.errors import DragomanError
from dragoman.exchange.answers import refuse
from dragoman.exchange.heads import AttemptHead
from dragoman.ir import Request, Response
from dragoman.policies.route.fallback import AnswerRefused, Criteria, judge_answer, judge_error
from dragoman.wire.content_encoding import ContentDecoder

_ERROR_STATUS = 400
_OF_THE_REQUEST = frozenset({"invalid", "truncated"})
"""What is judged by what the request said."""


class Watch(NamedTuple):
    """What an attempt's answer is judged by; nothing, where no target is left to ask instead."""

    criteria: Criteria = Criteria()
    target: str = ""
    """`PROVIDER/MODEL`."""

    @property
    def wanted(self) -> frozenset[str]:
        return self.criteria.wanted

    def judge_error(self, error: DragomanError) -> None:
        """Raises `AnswerRefused`."""
        if self.wanted:
            judge_error(error, self.wanted)

    def judge(self, response: object) -> None:
        """Raises `AnswerRefused`."""
        if self.wanted and isinstance(response, Response):
            judge_answer(response, self.criteria)

    def tell(self, error: DragomanError) -> Metadata:
        """What the ledger is told of an answer that was refused."""
        if not isinstance(error, AnswerRefused):
            return {}
        return {names.FALLBACK_NAMESPACE: {self.target: error.reason}}


def watch_for(head: AttemptHead, model: str, read: Callable[[], object]) -> Watch:
    """What the decide stage wants of the attempt; the last one's answer is taken as it is. `read`
    gives the request, where it has to be known."""
    reasons = head.metadata.get(names.FALLBACK_ON)
    if not reasons or head.attempt >= names.count_targets(head.metadata.get(names.TARGETS, "")):
        return Watch()
    pairs = [reason.partition(":") for reason in reasons.split(",")]
    wanted = frozenset(word for word, _, _ in pairs)
    at_least = max(int(number or 0) for _, _, number in pairs)
    criteria = Criteria(wanted, at_least)
    request = read() if wanted & _OF_THE_REQUEST else None
    if isinstance(request, Request):
        is_limited = request.max_tokens is not None
        criteria = Criteria(wanted, at_least, request.response_format, is_limited)
    return Watch(criteria, f"{head.cluster}/{model}")


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
        *,
        streams: bool,
    ) -> None:
        """`streams`: it is the stream that was asked for."""
        self._dialect = dialect
        self._watch = watch
        self._decoder = decoder
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
        return [Mutate(), Chunk(body=held, end_of_stream=end_of_stream)]

    def on_trailers(self) -> list[Action]:
        return [] if self._passes else self._finish(ends_stream=False)

    def _finish(self, *, ends_stream: bool) -> list[Action]:
        raw = bytes(self._held)
        try:
            self._judge(raw)
        except AnswerRefused as error:
            answer = refuse(error, self._dialect)
            headers = {**answer.headers, ":status": str(answer.status)}
            headers["content-length"] = str(len(answer.body))
            told = self._watch.tell(error)
            return [
                Mutate(set_headers=headers, remove_headers=("content-encoding",)),
                Chunk(body=answer.body, end_of_stream=ends_stream, metadata=told),
            ]
        return [Mutate(), Chunk(body=raw, end_of_stream=ends_stream)]

    def _judge(self, raw: bytes) -> None:
        try:
            body = self._decoder.feed(raw) + self._decoder.close()
            if self._status >= _ERROR_STATUS:
                self._watch.judge_error(self._dialect.decode_error(self._status, body))
            else:
                self._watch.judge(self._dialect.decode_response(read_answer(self._dialect, body)))
        except AnswerRefused:
            raise
        except DragomanError as error:
            if "invalid" in self._watch.wanted:
                raise AnswerRefused("invalid") from error
