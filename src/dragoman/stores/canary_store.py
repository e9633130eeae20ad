"""Canaries in the store, for all replicas: `canaries.lua` on Redis or Valkey."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from dragoman.config.policy import Canary
from dragoman.errors import NotFound
from dragoman.stores.canaries import Progress, Sums, Tally
from dragoman.stores.redis import ask, connect, read_number
from dragoman.stores.rows import Rows, Tell, say

_SUMS = "dragoman:{canaries}:sums:"
_ALL = "dragoman:{canaries}:all"
_VERSION = "dragoman:{canaries}:version"


class CanaryStore:
    """How far canaries are. Each call raises `StoreUnavailable`."""

    def __init__(self, url: str, *, cluster: bool = False, tell: Tell = say) -> None:
        self._client = connect(url, cluster=cluster)
        text = Path(__file__).with_name("canaries.lua").read_text("utf-8")
        self._script = self._client.register_script(text)
        self._rows = Rows(_ALL, Progress, tell)

    async def observe(
        self, model: str, canary: Canary, tally: Tally, now: float
    ) -> tuple[str, Progress] | None:
        """Take in answers; what came of it, told to one caller alone."""
        limits = canary.rollback_on
        arguments: list[Any] = [model, canary.digest, now, canary.step_seconds, canary.at_least]
        bounds = (limits.errors, limits.time, limits.cost)
        arguments += [-1 if bound is None else bound for bound in bounds]
        arguments += [len(canary.steps), *canary.steps, *_flat(tally.candidate)]
        arguments += _flat(tally.stable)
        keys = [f"{_SUMS}{model}", _ALL, _VERSION]
        event, raw = cast("list[bytes]", await ask(self._script(keys=keys, args=arguments)))
        return (event.decode(), self._rows.read_one(raw)) if event else None

    async def version(self) -> int:
        """Grows with each change."""
        return await read_number(self._client, _VERSION)

    async def progress(self) -> dict[str, Progress]:
        """How far each is, by model."""
        found = cast("Mapping[bytes, bytes]", await ask(self._client.hgetall(_ALL)))
        return self._rows.read(found)

    async def change(self, model: str, state: str, canary: Canary, now: float) -> Progress:
        """By hand: `promoted`, `rolled_back`, or `running` from the first step on. What it was;
        raises `NotFound` where it never ran."""
        former = (await self.progress()).get(model)
        if former is None:
            raise NotFound(f"No canary of {model} has run.")
        percent = {"promoted": 100.0, "rolled_back": 0.0}.get(state, canary.steps[0])
        step = 0 if state == "running" else former.step
        changed = Progress(
            model=model,
            digest=canary.digest,
            state=state,
            step=step,
            percent=percent,
            since=now,
            why="by hand",
        )
        await ask(self._client.delete(f"{_SUMS}{model}"))
        await ask(self._client.hset(_ALL, model, msgspec.json.encode(changed)))
        await ask(self._client.incr(_VERSION))
        return former

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _flat(sums: Sums) -> list[float]:
    return [sums.answers, sums.errors, sums.ms, sums.ms2, sums.usd, sums.usd2]
