"""The audit trail in the store: one chain for all replicas, whoever writes to it.

A writer reads where the chain ends, makes its entries follow that, and has the store take them if
it still does; else it tries again. So no two entries ever follow the same one, whoever writes, and
a key and the entry about it change together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import random
from typing import Any, NamedTuple, cast

from dragoman.config.policy import Policy
from dragoman.errors import ServiceUnavailable, StoreUnavailable
from dragoman.stores.chain import START, Event, Head, chain
from dragoman.stores.embedded import store_url
from dragoman.stores.redis import ask, connect

_ENTRIES = "dragoman:{keys}:audit"
_HEAD = "dragoman:{keys}:audit:head"
_MAX_TRIES = 200
_PAUSE_SECONDS = 0.02
_PAGE = 500


class KeyChange(NamedTuple):
    """What of the keys changes together with an entry."""

    keys: str
    version: str
    changes: str
    digest: str
    row: bytes
    told: bytes
    """What is added to the changes; nothing where nobody is told."""


class _Attempt(NamedTuple):
    events: Sequence[Event]
    keys: list[str]
    arguments: list[Any]


class AuditStore:
    """The chain. Each call raises `StoreUnavailable`."""

    def __init__(
        self, url: str, *, cluster: bool = False, key: bytes | None = None, keep: int
    ) -> None:
        """`keep` is how many entries stay in the store; `key` seals them."""
        self._client = connect(url, cluster=cluster)
        text = Path(__file__).with_name("audit.lua").read_text("utf-8")
        self._script = self._client.register_script(text)
        self._key = key
        self._keep = keep
        self._unsure: _Attempt | None = None
        """Sent, and not answered: it may have been carried out."""

    async def append(self, events: Sequence[Event], change: KeyChange | None = None) -> None:
        """Enter `events`, once: after `StoreUnavailable`, the same again are not entered twice."""
        attempt = self._unsure
        if attempt is None or attempt.events is not events:
            attempt = await self._attempt(events, change)
        for _ in range(_MAX_TRIES):
            self._unsure = attempt
            done = await ask(self._script(keys=attempt.keys, args=attempt.arguments))
            self._unsure = None
            if done == 1:
                return
            await asyncio.sleep(random() * _PAUSE_SECONDS)  # noqa: S311 - no secret
            attempt = await self._attempt(events, change)
        raise StoreUnavailable("The audit trail is written by too many others now.")

    async def _attempt(self, events: Sequence[Event], change: KeyChange | None) -> _Attempt:
        known = cast("bytes | None", await ask(self._client.get(_HEAD)))
        head = _read_head(known)
        after, entries = chain(head, events, self._key)
        arguments: list[Any] = [known or "", _write_head(after), head.sequence + 1, self._keep]
        arguments += [len(entries), *entries]
        keys = [_ENTRIES, _HEAD]
        if change is not None:
            keys += [change.keys, change.version, change.changes]
            arguments += [change.digest, change.row, change.told]
        return _Attempt(events, keys, arguments)

    async def head(self) -> Head:
        """Where the chain ends."""
        return _read_head(cast("bytes | None", await ask(self._client.get(_HEAD))))

    async def entries(self, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        """Those behind number `after` that the store still has, in their order, each with the
        number it is kept under."""
        while True:
            answer = self._client.xrange(_ENTRIES, min=f"({after}-0", count=_PAGE)
            page = cast("list[tuple[bytes, dict[bytes, bytes]]]", await ask(answer))
            for entry_id, fields in page:
                after = int(entry_id.partition(b"-")[0])
                yield after, fields.get(b"entry", b"")
            if len(page) < _PAGE:
                return

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _read_head(known: bytes | None) -> Head:
    if not known:
        return START
    sequence, _, digest = known.partition(b" ")
    if not sequence.isdigit():
        raise StoreUnavailable("Where the audit trail ends cannot be read: it was changed.")
    return Head(int(sequence), digest.decode())


def open_audit(policy: Policy) -> AuditStore:
    """The policy's. Raises `ServiceUnavailable` where it has none."""
    if policy.audit is None:
        raise ServiceUnavailable("The policy has no audit.")
    audit, store = policy.audit, policy.store
    url = store_url(policy)
    return AuditStore(url, cluster=store.cluster, key=audit.key, keep=audit.keep)


def _write_head(head: Head) -> str:
    return f"{head.sequence} {head.hash}"
