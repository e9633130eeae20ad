"""Requests beside their copies: how a model and its shadow compare, out of the ledger's lines.

Shares and means as in `estimates`; a difference is that of the shadow from the request, pair by
pair. Time is linear in the lines, memory in the requests that have a copy: two numbers each, and
the whole line of those whose other half is not there yet. The two may come in any order.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from dragoman.telemetry import names
from dragoman.telemetry.answers import Answer, likeness
from dragoman.telemetry.estimates import Estimate, Mean, bounded, share
from dragoman.telemetry.ledger import CUT_FLAGS, REQUEST, SHADOW
from dragoman.telemetry.ledger_lines import Broken, read_lines

_MOST_MODELS = 10_000
_ERROR_STATUS = 400
_TIMES = ("duration_ms", "first_byte_ms")
_AMOUNTS = ("input_tokens", "output_tokens", "characters", "cost_usd")


class _Line(
    msgspec.Struct,
    frozen=True,
    rename={
        "request_id": names.REQUEST_ID,
        "model": names.REQUEST_MODEL,
        "shadow": names.SHADOW,
        "shadow_of": names.SHADOW_OF,
        "status": names.RESPONSE_STATUS_CODE,
        "flags": names.RESPONSE_FLAGS,
        "denied": names.DENIED,
        "duration_ms": names.DURATION_MS,
        "first_byte_ms": names.TIME_TO_FIRST_BYTE_MS,
        "input_tokens": names.INPUT_TOKENS,
        "output_tokens": names.OUTPUT_TOKENS,
        "cost_usd": names.COST_USD,
        "answer": names.ANSWER,
    },
):
    """A line of the ledger, as far as it matters here."""

    event: str
    request_id: str = ""
    model: str = ""
    shadow: str = ""
    shadow_of: str = ""
    status: int = 0
    flags: str = ""
    denied: str = ""
    duration_ms: float | None = None
    first_byte_ms: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    answer: Answer | None = None

    @property
    def characters(self) -> int | None:
        """Of the answer's text."""
        return self.answer.characters if self.answer else None

    @property
    def is_answered(self) -> bool:
        """With something else than an error."""
        return 0 < self.status < _ERROR_STATUS

    @property
    def is_whole(self) -> bool:
        """It has an answer, which came to its own end."""
        return self.is_answered and CUT_FLAGS.isdisjoint(self.flags.split(","))


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Of times, in milliseconds."""

    p50: float
    p95: float


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The request's, or the shadow's; figures of answers are of the pairs that both have whole."""

    model: str
    failed: Estimate
    """Share of pairs in which it answered with an error, or not at all."""
    duration_ms: Quantiles | None
    first_byte_ms: Quantiles | None
    input_tokens: Estimate | None
    output_tokens: Estimate | None
    characters: Estimate | None
    cost_usd: Estimate | None
    valid: Estimate | None
    """Share of answers that are the JSON that was asked for, where any was."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A model and its shadow. What is None was not told, or of too few pairs."""

    pairs: int
    answered: int
    """Of them those that both answered, to the end."""
    missing: int
    """Requests whose copy is in no line: it was not sent, or is still on its way."""
    refused: int
    """Copies that the policy did not let through, by a quota or a region; in no pair."""
    request: Side
    shadow: Side
    difference: dict[str, Estimate]
    """By figure."""
    same_finish: Estimate | None
    """Share of pairs that ended for the same reason."""
    same_tools: Estimate | None
    """Share of pairs that called the same tools, of those in which any was called."""
    likeness: Estimate | None
    """The part of their words, two by two, that texts share (`answers.likeness`), on average."""


class _Side:
    """One side while it grows."""

    def __init__(self) -> None:
        self.failed = self.valid = self.shaped = 0
        self.times = {name: array("d") for name in _TIMES}
        self.amounts = {name: Mean() for name in _AMOUNTS}

    def add(self, line: _Line) -> None:
        for name, times in self.times.items():
            time: float | None = getattr(line, name)
            times.extend([] if time is None else [time])
        for name, mean in self.amounts.items():
            mean.add(getattr(line, name))
        if line.answer is not None and line.answer.valid is not None:
            self.shaped += 1
            self.valid += line.answer.valid

    def found(self, model: str, pairs: int) -> Side:
        return Side(
            model=model,
            failed=share(self.failed, pairs),
            duration_ms=_quantiles(self.times["duration_ms"]),
            first_byte_ms=_quantiles(self.times["first_byte_ms"]),
            input_tokens=self.amounts["input_tokens"].estimate(),
            output_tokens=self.amounts["output_tokens"].estimate(),
            characters=self.amounts["characters"].estimate(),
            cost_usd=self.amounts["cost_usd"].estimate(),
            valid=share(self.valid, self.shaped) if self.shaped else None,
        )


class _Compared:
    """A model and its shadow while pairs come."""

    def __init__(self) -> None:
        self.pairs = self.answered = self.missing = self.refused = 0
        self.sides = _Side(), _Side()
        self._differences = {name: Mean() for name in (*_TIMES, *_AMOUNTS)}
        self._finish, self._tools = [0, 0], [0, 0]
        self._likeness = Mean()

    def add(self, request: _Line, copy: _Line) -> None:
        if copy.denied:
            self.refused += 1
            return
        self.pairs += 1
        for side, line in zip(self.sides, (request, copy), strict=True):
            side.failed += not line.is_answered
        if request.is_whole and copy.is_whole:
            self._compare(request, copy)

    def _compare(self, request: _Line, copy: _Line) -> None:
        self.answered += 1
        for side, line in zip(self.sides, (request, copy), strict=True):
            side.add(line)
        for name, mean in self._differences.items():
            one, other = getattr(request, name), getattr(copy, name)
            mean.add(None if one is None or other is None else other - one)
        if request.answer is not None and copy.answer is not None:
            self._agree(request.answer, copy.answer)

    def _agree(self, one: Answer, other: Answer) -> None:
        self._finish[0] += one.finish == other.finish
        self._finish[1] += 1
        if one.called or other.called:
            self._tools[0] += one.called == other.called
            self._tools[1] += 1
        self._likeness.add(likeness(one.sketch, other.sketch))

    def found(self, request: str, shadow: str) -> Comparison:
        told = {name: mean.estimate() for name, mean in self._differences.items()}
        models = zip(self.sides, (request, shadow), strict=True)
        one, other = (side.found(model, max(self.pairs, 1)) for side, model in models)
        return Comparison(
            pairs=self.pairs,
            answered=self.answered,
            missing=self.missing,
            refused=self.refused,
            request=one,
            shadow=other,
            difference={name: mean for name, mean in told.items() if mean is not None},
            same_finish=share(*self._finish) if self._finish[1] else None,
            same_tools=share(*self._tools) if self._tools[1] else None,
            likeness=bounded(self._likeness.estimate()),
        )


class Pairs:
    """Puts requests and copies together, model by model."""

    def __init__(self) -> None:
        self._compared: dict[tuple[str, str], _Compared] = {}
        self._halves: dict[str, _Line] = {}
        """By the request's id, those that wait for their other half."""
        self._decode = msgspec.json.Decoder(_Line).decode
        self.broken = Broken()
        self.others = 0
        """Lines of no request that has a copy, and of no copy."""

    def read(self, lines: BinaryIO, name: str) -> None:
        """Add the lines of a file that is called `name`."""
        broken = functools.partial(self.broken.add, name)
        for _, line in read_lines(lines, self._decode, broken):
            if line.event == REQUEST and line.shadow:
                self._add(line.request_id, line)
            elif line.event == SHADOW and line.shadow_of:
                self._add(line.shadow_of, line)
            else:
                self.others += 1

    def _add(self, request_id: str, line: _Line) -> None:
        half = self._halves.pop(request_id, line)
        if half.event == line.event:
            self._halves[request_id] = line
            return
        request, copy = (line, half) if line.event == REQUEST else (half, line)
        if (found := self._find(request.model, request.shadow)) is not None:
            found.add(request, copy)

    def _find(self, model: str, shadow: str) -> _Compared | None:
        """None where there are too many."""
        if len(self._compared) >= _MOST_MODELS and (model, shadow) not in self._compared:
            return None
        return self._compared.setdefault((model, shadow), _Compared())

    def comparisons(self) -> Iterator[Comparison]:
        """By the names of the model and of its shadow. To be called once, when all is read."""
        for half in self._halves.values():
            if half.event == REQUEST and (found := self._find(half.model, half.shadow)):
                found.missing += 1
        for models, compared in sorted(self._compared.items()):
            yield compared.found(*models)

    @property
    def alone(self) -> int:
        """Copies whose request is in no line."""
        return sum(half.event == SHADOW for half in self._halves.values())


def _quantiles(times: array[float]) -> Quantiles | None:
    if not times:
        return None
    ordered = sorted(times)
    last = len(ordered) - 1
    return Quantiles(p50=ordered[round(0.5 * last)], p95=ordered[round(0.95 * last)])
