"""What was told of, and what is to be, on one Redis or Valkey, or on a cluster of them."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from dragoman.stores.notices import Notice
from dragoman.stores.redis import ask, connect
from dragoman.stores.rows import UNREADABLE, Tell

KEY_CHANGES = "dragoman:{keys}:changes"
"""A list of notices, the newest last: whoever changes keys adds to it, whoever tells takes them."""
_MOST_TAKEN = 100
_TOLD = "dragoman:told:"
_REMEMBERED_SECONDS = 40 * 86_400
_CLAIM = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return 1 end
return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0
"""


class NoticeStore:
    """A `stores.notices.Source`; nothing is sent before the first call."""

    def __init__(self, url: str, worker: str, tell: Tell, *, cluster: bool = False) -> None:
        """`worker` is a name no other process has: a claim that was not answered is its own when
        it is made again. `tell` is told of what cannot be read."""
        self._client = connect(url, cluster=cluster)
        self._script = self._client.register_script(_CLAIM)
        self._worker = worker
        self._tell = tell
        self._decode = msgspec.json.Decoder(Notice).decode

    async def claim(self, name: str) -> bool:
        """Whether nobody else told what has this name; then nobody else will."""
        arguments: list[Any] = [self._worker, _REMEMBERED_SECONDS]
        return await ask(self._script(keys=[_TOLD + name], args=arguments)) == 1

    async def take_changes(self) -> list[Notice]:
        """What operators did to keys, each told to one caller alone."""
        answer = await ask(self._client.lpop(KEY_CHANGES, _MOST_TAKEN))
        found: list[Notice] = []
        for raw in cast("list[bytes] | None", answer) or ():
            try:
                found.append(self._decode(raw))
            except UNREADABLE:
                self._tell(KEY_CHANGES)
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
