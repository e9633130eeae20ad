"""Keys in a real store, and a worker's copy of them."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from dragoman.errors import NotFound, StoreUnavailable
from dragoman.stores.key_store import KeyStore
from dragoman.stores.keys import IssuedKey, KeyWatch
from tests.stores.conftest import Store


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def test_a_key_is_told_once_and_kept_as_a_digest(store: Store) -> None:
    async def run() -> tuple[str, IssuedKey, dict[str, IssuedKey]]:
        keys = KeyStore(store.url)
        key, row = await keys.issue("demo", 100, label="ci", expires_at=200)
        found = await keys.all()
        assert await keys.find(row.id) == row
        with pytest.raises(NotFound):
            await keys.find("nothing")
        with pytest.raises(NotFound):
            await keys.find("")
        await keys.close()
        return key, row, found

    key, row, found = asyncio.run(run())
    assert found == {digest(key): row}
    assert key not in str(found)
    assert row.is_valid(199.0)
    assert not row.is_valid(200.0)


def test_a_worker_takes_in_what_changes_and_nothing_else(store: Store) -> None:
    async def run() -> None:
        keys = KeyStore(store.url)
        watch = KeyWatch(KeyStore(store.url), lambda: 150.0)
        with pytest.raises(StoreUnavailable):
            watch.find("x")
        key, row = await keys.issue("demo", 100)
        short, _ = await keys.issue("demo", 100, expires_at=120)
        await watch.refresh()
        assert [watch.find(digest(k)) for k in (key, short, "other")] == [row, None, None]
        for change, is_found in (
            ({"disabled": True}, False),
            ({"disabled": False}, True),
            ({"revoked": True}, False),
        ):
            await keys.change(row, "key.change", **change)
            await watch.refresh()
            assert (watch.find(row.digest) is not None) is is_found
        await keys.close()
        await watch.close()

    asyncio.run(run())


def test_without_the_store_a_worker_goes_on_with_what_it_knew(own_store: Store) -> None:
    async def run() -> None:
        keys, watch = KeyStore(own_store.url), KeyWatch(KeyStore(own_store.url), lambda: 0.0)
        key, row = await keys.issue("demo", 0, user="alice", addresses=("10.0.0.0/8",))
        await watch.refresh()
        own_store.kill()
        await watch.refresh()
        assert watch.find(digest(key)) == row
        with pytest.raises(StoreUnavailable):
            await keys.all()
        await keys.close()
        await watch.close()

    asyncio.run(run())
