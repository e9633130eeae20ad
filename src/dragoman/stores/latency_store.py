"""Latencies in the store: `latencies.lua` on one Redis or Valkey, or on a cluster of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from dragoman.errors import StoreUnavailable
from dragoman.stores.latencies import LEAST_WEIGHT, MOST_KEYS, Sums
from dragoman.stores.redis import ask, connect

_SUMS = struct.Struct("<11d")
_ROW = struct.Struct("<8x11d")
"""When it was written comes first, which is now."""
_KEY = "dragoman:{latencies}:11"
"""Named by the sums of a row: who knows fewer of them could not read it."""


class RedisLatencies:
    """A `LatencyStore` over the Redis protocol; nothing is sent before the first call."""

    def __init__(self, url: str, *, cluster: bool = False) -> None:
        self._client = connect(url, cluster=cluster)
        text = Path(__file__).with_name("latencies.lua").read_text("utf-8")
        self._script = self._client.register_script(text)

    async def share(self, seen: Mapping[str, Sums]) -> Mapping[str, Sums]:
        """Add `seen`, and return all there is."""
        arguments: list[Any] = [MOST_KEYS, LEAST_WEIGHT]
        for key, sums in seen.items():
            arguments += [key.encode("utf-8", "replace"), _SUMS.pack(*sums)]
        answer = await ask(self._script(keys=[_KEY], args=arguments))
        flat = iter(cast("list[bytes]", answer))
        try:
            return {k.decode(): Sums(*_ROW.unpack(row)) for k, row in zip(flat, flat, strict=True)}
        except (struct.error, UnicodeDecodeError) as error:
            raise StoreUnavailable("The store holds what cannot be read.") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
