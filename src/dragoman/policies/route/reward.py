"""What an answer is worth, from 0 to 1: all that a bandit is to make the most of.

An answer gets a mean, by the operator's weights, of four parts, each from 0 to 1: exp(-time /
scale) of the time to its end, exp(-cost / scale) of its cost, 1 for being no error, and the score
that the client gave it. An attempt that failed gets 0, whatever it took. An answer of no known cost
gets 0 for that part.

Scores come late, and of most answers never. So what is expected of them is reckoned apart: a mean
of the target's scores, in which a few count for little beside those of all targets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from dragoman.catalog.costs import NANODOLLARS
from dragoman.config.schema import Reward
from dragoman.stores.latencies import Sums

_SIGN = "reward="
_FEW = 4.0
"""So many scores are worth as much as what is known of other targets. With 1 instead, of targets
that are liked the same, chance kept the slower one for long where one answer of twenty is scored;
with 10, whoever is liked better was found later."""
_MIDDLING = 0.5
"""What is expected while nobody scored anything."""


def encode_reward(reward: Reward) -> str:
    """One word, which `find_reward` reads."""
    weights = reward.latency, reward.cost, reward.error, reward.feedback
    scales = reward.latency_scale_ms or 0.0, reward.cost_scale_usd or 0.0
    return _SIGN + ",".join(map(str, (*weights, *scales)))


def find_reward(key: str) -> Reward | None:
    """The reward that is learned under a key (`learned.latency_key`); None: speeds are."""
    word = key.partition(" ")[2].partition(" ")[0]
    if not word.startswith(_SIGN):
        return None
    numbers = map(float, word.removeprefix(_SIGN).split(","))
    return Reward(**dict(zip(Reward.__struct_fields__, numbers, strict=True)))


def takes_feedback(key: str) -> bool:
    """Whether scores are a part of what is learned under a key."""
    reward = find_reward(key)
    return reward is not None and reward.feedback > 0


def reward_answer(reward: Reward, ms: float, cost_nanodollars: int | None) -> float:
    """Of one that is no error, without what its score is worth."""
    worth = reward.error
    if reward.latency:
        worth += reward.latency * _fall(ms, reward.latency_scale_ms)
    if reward.cost and cost_nanodollars is not None:
        worth += reward.cost * _fall(cost_nanodollars / NANODOLLARS, reward.cost_scale_usd)
    return worth / _whole(reward)


def expect_rewards(reward: Reward | None, every: Sequence[Sums]) -> list[float | None]:
    """What each of some targets is expected to get, by its sums; None where nothing is known."""
    share = reward.feedback / _whole(reward) if reward else 0.0
    scored = sum(sums.scored for sums in every)
    usual = _bound(sum(sums.scores for sums in every) / scored) if scored > 0 else _MIDDLING
    return [
        (sums.rewards + share * _expect_score(sums, usual) * sums.answers) / sums.weight
        if sums.weight
        else None
        for sums in every
    ]


def _expect_score(sums: Sums, usual: float) -> float:
    """Of an answer."""
    return _bound((sums.scores + _FEW * usual) / (max(0.0, sums.scored) + _FEW))


def _bound(score: float) -> float:
    """Of sums that fade by several clocks, a mean may be a little outside."""
    return min(1.0, max(0.0, score))


def _whole(reward: Reward) -> float:
    return reward.latency + reward.cost + reward.error + reward.feedback


def _fall(amount: float, scale: float | None) -> float:
    """1 for nothing, 0.37 at `scale`, and 0 in the end."""
    return math.exp(-amount / scale) if scale else 0.0
