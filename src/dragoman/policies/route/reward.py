"""What an answer is worth, from 0 to 1: all that a bandit is to make the most of.

An answer gets a mean, by the operator's weights, of three parts, each from 0 to 1: exp(-time /
scale) of the time to its end, exp(-cost / scale) of its cost, and 1 for being no error. An attempt
that failed gets 0, whatever it took. An answer of no known cost gets 0 for that part.
"""

from __future__ import annotations

import math

from dragoman.catalog.costs import NANODOLLARS
from dragoman.config.schema import Reward

_SIGN = "reward="


def encode_reward(reward: Reward) -> str:
    """One word, which `find_reward` reads."""
    scales = reward.latency_scale_ms or 0.0, reward.cost_scale_usd or 0.0
    return _SIGN + ",".join(map(str, (reward.latency, reward.cost, reward.error, *scales)))


def find_reward(key: str) -> Reward | None:
    """The reward that is learned under a key (`learned.latency_key`); None: speeds are."""
    word = key.partition(" ")[2].partition(" ")[0]
    if not word.startswith(_SIGN):
        return None
    latency, cost, error, ms, usd = map(float, word.removeprefix(_SIGN).split(","))
    return Reward(latency=latency, cost=cost, error=error, latency_scale_ms=ms, cost_scale_usd=usd)


def reward_answer(reward: Reward, ms: float, cost_nanodollars: int | None) -> float:
    """Of one that is no error."""
    worth = reward.error
    if reward.latency:
        worth += reward.latency * _fall(ms, reward.latency_scale_ms)
    if reward.cost and cost_nanodollars is not None:
        worth += reward.cost * _fall(cost_nanodollars / NANODOLLARS, reward.cost_scale_usd)
    return worth / (reward.latency + reward.cost + reward.error)


def _fall(amount: float, scale: float | None) -> float:
    """1 for nothing, 0.37 at `scale`, and 0 in the end."""
    return math.exp(-amount / scale) if scale else 0.0
