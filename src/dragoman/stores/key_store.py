"""The keys: digests in one hash of the store, beside a number that grows with each change."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from dragoman.errors import NotFound
from dragoman.stores.audit import AuditStore, KeyChange
from dragoman.stores.chain import Event
from dragoman.stores.keys import IssuedKey
from dragoman.stores.notice_store import KEY_CHANGES
from dragoman.stores.notices import Notice
from dragoman.stores.redis import ask, connect, read_number
from dragoman.stores.rows import Rows, Tell, say
from dragoman.stores.trail import time_of

_KEYS = "dragoman:{keys}:all"
_VERSION = "dragoman:{keys}:version"
_PREFIX = "dk-"
_HAPPENED = {
    "key.issue": "key.issued",
    "key.rotate": "key.rotated",
    "key.disable": "key.disabled",
    "key.enable": "key.enabled",
    "key.revoke": "key.revoked",
}
"""What events call what the audit trail calls otherwise."""
_WRITE = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] ~= '' then
  redis.call('RPUSH', KEYS[3], ARGV[3])
  redis.call('LTRIM', KEYS[3], -1000, -1)
end
return redis.call('INCR', KEYS[2])
"""


class KeyStore:
    """The keys. Each call raises `StoreUnavailable` where the store does not answer."""

    def __init__(
        self,
        url: str,
        *,
        cluster: bool = False,
        audit: AuditStore | None = None,
        who: str = "",
        notifies: bool = False,
        tell: Tell = say,
    ) -> None:
        """`audit` is where each change is entered, as made by `who`; it is closed with this.
        `notifies`: workers are to send events of them."""
        self._client = connect(url, cluster=cluster)
        self._write = self._client.register_script(_WRITE)
        self._rows = Rows(_KEYS, IssuedKey, tell)
        self._audit = audit
        self._who = who
        self._notifies = notifies

    async def version(self) -> int:
        """Grows with each change."""
        return await read_number(self._client, _VERSION)

    async def all(self) -> dict[str, IssuedKey]:
        """Every key that was not forgotten and can be read, by digest."""
        found = cast("Mapping[bytes, bytes]", await ask(self._client.hgetall(_KEYS)))
        return self._rows.read(found)

    async def issue(
        self, caller: str, now: int, *, why: str = "", **facts: Any
    ) -> tuple[str, IssuedKey]:
        """A new key, which is told this once, and what is kept of it: `facts` are further fields
        of `IssuedKey`."""
        key = _PREFIX + secrets.token_urlsafe(32)
        digest = hashlib.sha256(key.encode()).hexdigest()
        row = IssuedKey(digest=digest, caller=caller, created_at=now, **facts)
        await self._put(row, "key.issue", None, why)
        return key, row

    async def find(self, key_id: str) -> IssuedKey:
        """The key whose id begins so. Raises `NotFound` unless there is exactly one."""
        found = [row for row in (await self.all()).values() if row.digest.startswith(key_id)]
        if len(found) != 1 or not key_id:
            raise NotFound(f"{len(found)} keys have an id that begins with {key_id!r}.")
        return found[0]

    async def change(self, row: IssuedKey, event: str, why: str = "", **changes: Any) -> None:
        """Write `row` with `changes` over what was known of it; `event` is what the audit trail
        calls it, such as `key.revoke`."""
        await self._put(msgspec.structs.replace(row, **changes), event, row, why)

    async def _put(self, row: IssuedKey, event: str, before: IssuedKey | None, why: str) -> None:
        raw, at = msgspec.json.encode(row), time_of(time.time())
        told = self._told(row, event, why, at) if self._notifies else b""
        if self._audit is None:
            keys = [_KEYS, _VERSION, KEY_CHANGES]
            await ask(self._write(keys=keys, args=[row.digest, raw, told]))
            return
        entry = Event(
            event=event,
            time=at,
            who=self._who,
            what={"key": row.id, "caller": row.caller},
            why=why,
            before=None if before is None else _facts(before),
            after=_facts(row),
        )
        change = KeyChange(_KEYS, _VERSION, KEY_CHANGES, row.digest, raw, told)
        await self._audit.append([entry], change)

    def _told(self, row: IssuedKey, event: str, why: str, at: str) -> bytes:
        until = None if row.expires_at is None else time_of(row.expires_at)
        facts = {"key": row.id, "caller": row.caller, "until": until, "by": self._who, "why": why}
        data = {name: fact for name, fact in facts.items() if fact}
        return msgspec.json.encode(Notice(event=_HAPPENED.get(event, event), data=data, at=at))

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        if self._audit is not None:
            await self._audit.close()


def _facts(row: IssuedKey) -> dict[str, str | int | bool | None]:
    """What the audit trail has of a key: all but the digest, which names it elsewhere."""
    fields = msgspec.structs.asdict(row)
    del fields["digest"]
    return fields | {"addresses": ", ".join(row.addresses)}
