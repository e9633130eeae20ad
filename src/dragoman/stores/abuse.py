"""How callers behave, in the store, for all replicas: `abuse.lua` on Redis or Valkey."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from dragoman.config.governance import SIGNALS, Abuse
from dragoman.errors import NotFound
from dragoman.stores.redis import ask, connect, read_number
from dragoman.stores.rows import Rows, Tell, say
from dragoman.stores.standings import Standing, Tally

_HISTORY = "dragoman:{abuse}:history:"
_ADDRESSES = "dragoman:{abuse}:addresses:"
_STANDINGS = "dragoman:{abuse}:standings"
_VERSION = "dragoman:{abuse}:version"
_KEPT_HALF_LIVES = 8


class AbuseStore:
    """What is known of callers. Each call raises `StoreUnavailable`."""

    def __init__(self, url: str, *, cluster: bool = False, tell: Tell = say) -> None:
        self._client = connect(url, cluster=cluster)
        text = Path(__file__).with_name("abuse.lua").read_text("utf-8")
        self._script = self._client.register_script(text)
        self._rows = Rows(_STANDINGS, Standing, tell)

    async def observe(self, rule: Abuse, caller: str, tally: Tally, now: float) -> Standing | None:
        """Take in what `caller` did. Its standing, where it is worse than it was: whoever is
        answered so is the only one."""
        window = int(now // rule.window_seconds)
        keys = [f"{_HISTORY}{caller}", f"{_ADDRESSES}{caller}:{window}", _STANDINGS, _VERSION]
        arguments: list[Any] = [caller, now, rule.window_seconds, rule.decay]
        arguments += [int(_KEPT_HALF_LIVES * rule.half_life_seconds), rule.lasts_seconds]
        arguments += [score or 0 for score in (rule.alert, rule.throttle, rule.suspend)]
        arguments.append(len(SIGNALS))
        for name in SIGNALS:
            signal = getattr(rule.signals, name)
            told = 0 if name == "addresses" else getattr(tally, name)
            arguments += [name, signal.times, signal.at_least, told]
        arguments += [_short_digest(address) for address in sorted(tally.addresses)]
        rose, raw = cast("list[Any]", await ask(self._script(keys=keys, args=arguments)))
        return self._rows.read_one(raw) if rose else None

    async def version(self) -> int:
        """Grows with each change of a standing."""
        return await read_number(self._client, _VERSION)

    async def standings(self) -> dict[str, Standing]:
        """All that were found, by caller, also those that have ended."""
        found = cast("Mapping[bytes, bytes]", await ask(self._client.hgetall(_STANDINGS)))
        return self._rows.read(found)

    async def lift(self, caller: str, until: float) -> Standing:
        """End the caller's standing; until `until` (Unix seconds) no more than alerts follow.

        Raises `NotFound` where there is none.
        """
        former = (await self.standings()).get(caller)
        if former is None:
            raise NotFound(f"Nothing was found against {caller}.")
        await ask(self._client.hset(f"{_HISTORY}{caller}", "pardoned_until", str(until)))
        await ask(self._client.hdel(_STANDINGS, caller))
        await ask(self._client.incr(_VERSION))
        return former

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _short_digest(address: str) -> bytes:
    """Enough to count addresses by; the store holds none."""
    return hashlib.sha256(address.encode()).digest()[:8]
