"""Whoever gets the best rewards first: a contextual bandit, weighted by inverse gaps.

The share of a target is its weight over 1 + sharpness times gap, where the gap is how much less
reward than the best one it is expected to get, and the sharpness grows with the square root of what
was seen. So little knowledge decides little, whoever is as good has the share of its weight, and
nobody's share is ever 0. Whatever the rewards, these shares get as much as weights do or more, if
what is expected is what comes.

Source: Foster and Rakhlin, Beyond UCB (SquareCB), 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dragoman.config.schema import Reward
from dragoman.policies.route.learned import Judgement, share_known
from dragoman.policies.route.reward import expect_rewards
from dragoman.stores.latencies import Sums

_SHARPNESS = 8
"""Times the square root of the observations: after 100, a target that is 0.25 worse is asked 21
times less often, weights aside. Of 2, 4, 8, 16 and 32 this lost least where rewards swap midway:
with less, too many requests go to whoever is worse; with more, it is slow to turn around."""


def judge_rewards(
    weights: Sequence[int], every: Sequence[Sums], *, streamed: bool, reward: Reward | None
) -> Judgement:
    """The less reward, the later and the less often first."""
    del streamed
    expected = expect_rewards(reward, every)
    shares = share_by_gap(weights, expected, sum(sums.weight for sums in every))
    ranks = [None if reward is None else -reward for reward in expected]
    told = ["unknown" if reward is None else f"{reward:.2f}" for reward in expected]
    return Judgement("expected_reward", ranks, shares, told)


def share_by_gap(
    weights: Sequence[int], expected: Sequence[float | None], observations: float
) -> list[float]:
    """How likely each is to be asked first. What is not known keeps the share of its weight."""
    most = max((reward for reward in expected if reward is not None), default=0.0)
    sharpness = _SHARPNESS * math.sqrt(observations)
    pulls = [
        None if reward is None else weight / (1 + sharpness * (most - reward))
        for weight, reward in zip(weights, expected, strict=True)
    ]
    return share_known(weights, pulls)
