"""The fastest first, by how long targets have lately taken to answer; and a look at the others.

Who is asked first is drawn, and the slower a target is, the less often it is: were the fastest
always asked, then where load makes slow it would be overrun until the next one is the fastest, and
so on in turn. The others follow as fallbacks, the fastest first.

An expectation is the time of an answer of as many tokens as those targets' answers had on average,
so that long answers make nobody slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dragoman.config.schema import Reward
from dragoman.policies.route.learned import Judgement, share_known
from dragoman.stores.latencies import Sums

_COST_OF_FAILURE = 10
"""A failed attempt counts as so many answers."""
_LEAST_ANSWERS = 1e-6
"""Of fewer nothing can be reckoned: all were long ago, and what came since were failures."""
_LEAST_TOKENS = 1e-6
"""Likewise: over less, a time is beyond any number."""
_MOST_SAID_MS = 1e8
EXPECTED = "expected_ms"
"""The note of what is expected of each target."""
_UNKNOWN, _FAILING = "unknown", "failing"
_SAID = {_UNKNOWN: None, _FAILING: math.inf}
_STEEPNESS = 4
"""Who takes twice as long is asked 2 to this power times less often. At 2 too many requests go to
whoever is slow; at 6, targets that load makes slow are overrun in turn."""


def judge_speeds(
    weights: Sequence[int], every: Sequence[Sums], *, streamed: bool, reward: Reward | None = None
) -> Judgement:
    """The slower, the later and the less often first."""
    del reward
    expected = expect_ms(every, streamed=streamed)
    told = [_say(ms) for ms in expected]
    return Judgement(EXPECTED, expected, share_out(weights, expected), told)


def expect_ms(every: Sequence[Sums], *, streamed: bool) -> list[float | None]:
    """How long each would take for an answer as long as all their answers were on average.

    None where nothing is known, infinite where nothing but failures is.
    """
    answers = sum(sums.answers for sums in every)
    tokens = sum(sums.tokens for sums in every) / answers if answers else 0.0
    return [_expect(sums, tokens, streamed=streamed) if sums.weight else None for sums in every]


def _expect(sums: Sums, tokens: float, *, streamed: bool) -> float:
    """The time until an answer comes, those that failed before it included."""
    answers = sums.answers
    if answers < _LEAST_ANSWERS:
        return math.inf
    mean_tokens = sums.tokens / answers
    ms = sums.ms / answers + _ms_a_token(sums, streamed=streamed) * (tokens - mean_tokens)
    if not sums.failures:
        return ms
    failed_ms = max(_COST_OF_FAILURE * ms, sums.failed_ms / sums.failures)
    return ms + failed_ms * sums.failures / answers


def _ms_a_token(sums: Sums, *, streamed: bool) -> float:
    """Of a stream, what follows its first byte over its tokens; of other answers, the slope of time
    over tokens, which says the same less exactly."""
    if sums.tokens < _LEAST_TOKENS:
        return 0.0
    if streamed:
        return (sums.ms - sums.first_ms) / sums.tokens
    answers = sums.answers
    spread = sums.squared_tokens / answers - (sums.tokens / answers) ** 2
    together = sums.ms_tokens / answers - sums.ms * sums.tokens / answers**2
    steepest = sums.ms / sums.tokens
    return min(max(together / spread, 0.0), steepest) if spread > 1.0 else 0.0


def share_out(weights: Sequence[int], expected: Sequence[float | None]) -> list[float]:
    """How likely each is to be asked first: by weight and by speed.

    What is not known keeps the share of its weight, and what only fails gets none while an answer
    of any other is known.
    """
    least = min((ms for ms in expected if ms is not None), default=math.inf)
    pulls = [
        None if ms is None else weight * _pull(least, ms)
        for weight, ms in zip(weights, expected, strict=True)
    ]
    return share_known(weights, pulls)


def _pull(least: float, ms: float) -> float:
    """1 for the fastest, and for all where nothing but failures is known."""
    return (least / ms) ** _STEEPNESS if ms > least else 1.0


def _say(ms: float | None) -> str:
    """Two digits: what changes less changes no decision, and no header."""
    if ms is None:
        return _UNKNOWN
    if ms > _MOST_SAID_MS:
        return _FAILING
    return f"{float(f'{ms:.2g}'):.0f}" if ms >= 1 else "1"


def read_expected(note: str) -> dict[str, float | None]:
    """What a decision's note said is expected of each target, by its name. Broken ones are left
    out."""
    found: dict[str, float | None] = {}
    for pair in note.partition("=")[2].split(","):
        name, _, told = pair.removesuffix(")").rpartition("(")
        if told in _SAID:
            found[name] = _SAID[told]
        elif told.isdecimal() and told.isascii():
            found[name] = float(told)
    return found
