"""How targets behave, in the store, for all replicas: `healing.lua` on Redis or Valkey."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from dragoman.config.healing import Healing
from dragoman.errors import NotFound
from dragoman.stores.incidents import Incident, Seen, Turn
from dragoman.stores.redis import ask, connect, read_number
from dragoman.stores.rows import Rows, Tell, say

_KNOWN = "dragoman:{healing}:targets"
_SEEN = "dragoman:{healing}:seen"
_INCIDENTS = "dragoman:{healing}:incidents"
_VERSION = "dragoman:{healing}:version"
_MOST_TARGETS = 1024
"""Of more, those that were not asked for longest are forgotten: a name may be a client's."""
_KINDS: Mapping[str, Literal["share", "both"]] = {"errors": "share", "output_tokens": "both"}
_KIND = "above"
"""Of the others; `healing.lua` says what each is."""


class HealingStore:
    """What is known of targets. Each call raises `StoreUnavailable`."""

    def __init__(self, url: str, *, cluster: bool = False, tell: Tell = say) -> None:
        self._client = connect(url, cluster=cluster)
        text = Path(__file__).with_name("healing.lua").read_text("utf-8")
        self._script = self._client.register_script(text)
        self._rows = Rows(_INCIDENTS, Incident, tell)

    async def observe(self, rule: Healing, target: str, seen: Seen, now: float) -> Turn | None:
        """Take in what was seen of `target`. What became of it, where that is news: whoever is
        answered so is the only one."""
        arguments: list[Any] = [target, now, rule.window_seconds, rule.half_life_seconds]
        arguments += [rule.requests, rule.recovers_after, _MOST_TARGETS]
        named = {name: getattr(rule.signals, name) for name in rule.signals.__struct_fields__}
        held = {name: usual for name, usual in named.items() if usual is not None}
        arguments.append(len(held))
        for name, usual in held.items():
            sum_, count = seen.sums.get(name, (0.0, 0))
            arguments += [name, usual.times, usual.at_least, _KINDS.get(name, _KIND), sum_, count]
        keys = [_KNOWN, _SEEN, _INCIDENTS, _VERSION]
        answer = await ask(self._script(keys=keys, args=arguments))
        event, raw = cast("list[bytes]", answer)
        if not event:
            return None
        return Turn(event == b"recovered", self._rows.read_one(raw))

    async def version(self) -> int:
        """Grows with each incident that begins or ends."""
        return await read_number(self._client, _VERSION)

    async def incidents(self) -> dict[str, Incident]:
        """Those that last, by target."""
        found = cast("Mapping[bytes, bytes]", await ask(self._client.hgetall(_INCIDENTS)))
        return self._rows.read(found)

    async def lift(self, target: str) -> Incident:
        """End the target's incident, and learn anew what is usual for it.

        Raises `NotFound` where there is none.
        """
        former = (await self.incidents()).get(target)
        if former is None:
            raise NotFound(f"There is no incident of {target}.")
        await ask(self._client.hdel(_KNOWN, target))
        await ask(self._client.hdel(_INCIDENTS, target))
        await ask(self._client.incr(_VERSION))
        return former

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
