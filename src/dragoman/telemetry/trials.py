"""What came of experiments, variant by variant, out of the ledger's lines.

Of each figure its mean with the interval that holds the true one 19 times of 20: Wilson's for
shares, the normal one for means, which needs some dozens of requests. Time is linear in the lines,
memory in the variants, in the requests that were in experiments and in the scores: these may come
in any order.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from dragoman.telemetry import names
from dragoman.telemetry.estimates import Estimate, Mean, bounded, share
from dragoman.telemetry.ledger import FEEDBACK, REQUEST
from dragoman.telemetry.ledger_lines import Broken, read_lines

_MOST_VARIANTS = 10_000
_ASSIGNED = re.compile(r"(?:^|; )experiment=([^(;]+)\(([^);]+)\)")
_FAULT, _LIMITED = 500, 429
_Key = tuple[str, str]
"""An experiment and one of its variants."""


class _Line(
    msgspec.Struct,
    frozen=True,
    rename={
        "decision": names.DECISION,
        "status": names.RESPONSE_STATUS_CODE,
        "duration_ms": names.DURATION_MS,
        "first_byte_ms": names.TIME_TO_FIRST_BYTE_MS,
        "output_tokens": names.OUTPUT_TOKENS,
        "cost_usd": names.COST_USD,
        "request_id": names.REQUEST_ID,
        "caller": names.CALLER,
        "feedback_of": names.FEEDBACK_OF,
        "feedback_score": names.FEEDBACK_SCORE,
    },
):
    """A line of the ledger, as far as it matters here."""

    event: str
    decision: str = ""
    status: int = 0
    duration_ms: float | None = None
    first_byte_ms: float | None = None
    output_tokens: int = 0
    cost_usd: float | None = None
    request_id: str = ""
    caller: str = ""
    feedback_of: str = ""
    feedback_score: float | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One variant's; what is None was not told, or of fewer than two requests."""

    experiment: str
    variant: str
    requests: int
    failed: Estimate
    """Share of requests answered with 429, 5xx or not at all."""
    duration_ms: Estimate | None
    first_byte_ms: Estimate | None
    output_tokens: Estimate | None
    cost_usd: Estimate | None
    scores: int
    """Requests that were scored by their own caller; of several scores the last counts."""
    score: Estimate | None
    """Its mean, from 0 to 1."""


class _Variant:
    """One side while it grows. Times, tokens and cost are of the requests that did not fail."""

    def __init__(self) -> None:
        self._requests = self._failed = 0
        self._means = {
            name: Mean() for name in ("duration_ms", "first_byte_ms", "output_tokens", "cost_usd")
        }

    def add(self, line: _Line) -> None:
        self._requests += 1
        if line.status == _LIMITED or line.status >= _FAULT or not line.status:
            self._failed += 1
            return
        for name, mean in self._means.items():
            mean.add(getattr(line, name))

    def outcome(self, experiment: str, variant: str, scores: list[float]) -> Outcome:
        score = Mean()
        for given in scores:
            score.add(given)
        means = {name: mean.estimate() for name, mean in self._means.items()}
        failed = share(self._failed, self._requests)
        return Outcome(
            experiment=experiment,
            variant=variant,
            requests=self._requests,
            failed=failed,
            scores=len(scores),
            score=bounded(score.estimate()),
            **means,
        )


class Trials:
    """Sums up lines, experiment by experiment and variant by variant."""

    def __init__(self) -> None:
        self._variants: dict[tuple[str, str], _Variant] = {}
        self._decode = msgspec.json.Decoder(_Line).decode
        self.broken = Broken()
        self.others = 0
        """Lines of no request that was in an experiment."""
        self._assigned: dict[tuple[str, str], _Key] = {}
        """Variants by the request's id and its caller."""
        self._scores: dict[tuple[str, str], float] = {}
        """The last ones, by the same."""

    def read(self, lines: BinaryIO, name: str) -> None:
        """Add the lines of a file that is called `name`."""
        broken = functools.partial(self.broken.add, name)
        for _, line in read_lines(lines, self._decode, broken):
            if line.event == FEEDBACK and line.feedback_score is not None:
                self._scores[line.feedback_of, line.caller] = line.feedback_score
                continue
            assigned = _ASSIGNED.search(line.decision) if line.event == REQUEST else None
            key = (assigned[1], assigned[2]) if assigned else None
            if key is None or (key not in self._variants and self._is_full):
                self.others += 1
            else:
                self._variants.setdefault(key, _Variant()).add(line)
                if line.request_id:
                    self._assigned[line.request_id, line.caller] = key

    @property
    def _is_full(self) -> bool:
        return len(self._variants) >= _MOST_VARIANTS

    def outcomes(self) -> Iterator[Outcome]:
        """By name of the experiment and of the variant."""
        scores: dict[_Key, list[float]] = {}
        for request, score in self._scores.items():
            if key := self._assigned.get(request):
                scores.setdefault(key, []).append(score)
        for key, found in sorted(self._variants.items()):
            yield found.outcome(*key, scores.get(key, []))

    @property
    def unmatched(self) -> int:
        """Scores of requests that were in no experiment, are in no file or another caller's."""
        return len(self._scores.keys() - self._assigned.keys())
