"""Quotas in the store: `quotas.lua` on one Redis or Valkey, or on a cluster of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from dragoman.stores.keeper import Batch, Settled
from dragoman.stores.leases import LEASE_SECONDS, Counter, Taken, Want
from dragoman.stores.redis import ask, connect


class RedisQuotas:
    """A `QuotaStore` over the Redis protocol; nothing is sent before the first call."""

    def __init__(
        self, url: str, *, cluster: bool = False, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._lease_ms = _ms(lease_seconds)
        self._client = connect(url, cluster=cluster)
        text = Path(__file__).with_name("quotas.lua").read_text("utf-8")
        self._script = self._client.register_script(text)

    async def take(self, wants: Sequence[Want]) -> list[Taken]:
        """What is granted of each, in order."""
        answers = await asyncio.gather(*(self._take(want) for want in wants))
        return [Taken(*map(int, answer)) for answer in answers]

    async def _take(self, want: Want) -> list[int]:
        counter = want.counter
        arguments = [counter.limit, want.needed, want.wanted, want.lease]
        arguments += [self._lease_ms, _ms(counter.life_seconds), counter.oldest]
        carries = counter.before != counter.key
        answer = await self._call("take", _keys(counter), [*arguments, int(carries)])
        return cast("list[int]", answer)

    async def settle(self, writer: str, batch: Batch) -> Settled:
        """Count `batch`, unless it was counted before."""
        flat = [value for settlement in batch.settlements for value in settlement]
        levels = batch.levels
        arguments = [writer, batch.number, _ms(batch.life_seconds), levels.limit, levels.oldest]
        arguments += [" ".join(map(str, levels.parts)), *flat]
        answer = cast("list[Any]", await self._call("settle", [batch.key], arguments))
        if len(answer) == 1:
            return Settled(is_short=answer[0] == 1)
        is_short, used, limit, *parts = answer
        reached = tuple(map(float, parts))
        return Settled(is_short=is_short == 1, used=used, limit=limit, reached=reached)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _call(self, name: str, keys: list[str], arguments: list[Any]) -> object:
        return await ask(self._script(keys=keys, args=[name, *arguments]))


def _keys(counter: Counter) -> list[str]:
    return [counter.key, counter.before]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
