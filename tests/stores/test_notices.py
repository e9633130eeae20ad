"""Notices in a real store: each is told by one worker alone."""

from __future__ import annotations

import asyncio

import pytest
import redis

from dragoman.errors import StoreUnavailable
from dragoman.stores.audit import AuditStore
from dragoman.stores.key_store import KeyStore
from dragoman.stores.notice_store import KEY_CHANGES, NoticeStore
from dragoman.stores.notices import Notice, NoticeWatch
from tests.stores.conftest import Store


class Worker:
    """One that finds `ending` every time it looks."""

    def __init__(self, store: Store, name: str, *ending: str) -> None:
        self.now = 1000.0
        self.ending = list(ending)
        self.told: list[str] = []
        self.unreadable: list[str] = []
        self.store = NoticeStore(store.url, name, self.unreadable.append)
        self.watch = NoticeWatch(self.store, self.find, lambda: self.now, self.tell)

    def find(self) -> list[Notice]:
        return [Notice(event="model.ending", data={}, name=name) for name in self.ending]

    def tell(self, notice: Notice) -> None:
        self.told.append(notice.name or notice.event)

    def hear(self, name: str) -> None:
        self.watch.note(Notice(event="model.deprecated", data={}, name=name))


def test_each_is_told_once_over_all_workers(store: Store) -> None:
    async def run() -> None:
        workers = [Worker(store, name, "a", "b") for name in ("w0", "w1")]
        for worker in workers:
            await worker.watch.refresh()
            for name in ("c", "c"):
                worker.hear(name)
        for worker in reversed(workers):
            await worker.watch.refresh()
        assert [worker.told for worker in workers] == [["a", "b"], ["c"]]
        workers[0].ending.append("d")
        await workers[0].watch.refresh()
        assert "d" not in workers[0].told, "it looks once an hour"
        workers[0].now += 3600
        await workers[0].watch.refresh()
        assert workers[0].told == ["a", "b", "d"]
        for worker in workers:
            await worker.watch.close()

    asyncio.run(run())


def test_a_claim_whose_answer_was_lost_is_made_again(store: Store) -> None:
    async def run() -> None:
        one, other = Worker(store, "w0").store, Worker(store, "w1").store
        claims = [await asked.claim("x") for asked in (one, other, one)]
        assert claims == [True, False, True]
        for asked in (one, other):
            await asked.close()

    asyncio.run(run())


def test_what_is_found_while_the_store_is_down_waits(own_store: Store) -> None:
    async def run() -> None:
        worker = Worker(own_store, "w0", "a")
        own_store.kill()
        worker.hear("b")
        await worker.watch.refresh()
        with pytest.raises(StoreUnavailable):
            await worker.store.claim("c")
        assert not worker.told
        own_store.start()
        await worker.watch.refresh()
        assert sorted(worker.told) == ["a", "b"]
        await worker.watch.close()

    asyncio.run(run())


@pytest.mark.parametrize("is_audited", [False, True])
def test_what_operators_do_to_keys_is_told_by_one_worker(store: Store, *, is_audited: bool) -> None:
    async def run() -> None:
        audit = AuditStore(store.url, keep=100) if is_audited else None
        keys = KeyStore(store.url, audit=audit, who="ada@host", notifies=True)
        key, row = await keys.issue("demo", 100, expires_at=4102444800, why="ticket 7")
        for event in ("key.rotate", "key.disable", "key.enable", "key.revoke"):
            await keys.change(row, event)
        quiet = KeyStore(store.url)
        await quiet.change(row, "key.disable")
        workers = [Worker(store, name) for name in ("w0", "w1")]
        found = await workers[0].store.take_changes()
        done = ["issued", "rotated", "disabled", "enabled", "revoked"]
        assert [one.event for one in found] == [f"key.{what}" for what in done]
        assert found[0].data == {
            "key": row.id,
            "caller": "demo",
            "until": "2100-01-01T00:00:00.000000Z",
            "by": "ada@host",
            "why": "ticket 7",
        }
        assert found[0].at
        assert key not in str(found)
        with redis.Redis.from_url(store.url) as client:
            client.rpush(KEY_CHANGES, b"spoilt")
        await keys.change(row, "key.disable")
        await workers[1].watch.refresh()
        await workers[0].watch.refresh()
        assert [worker.told for worker in workers] == [[], ["key.disabled"]]
        assert workers[1].unreadable == [KEY_CHANGES]
        for opened in (keys, quiet, *(worker.watch for worker in workers)):
            await opened.close()

    asyncio.run(run())


def test_no_more_changes_wait_than_so_many(store: Store) -> None:
    async def run() -> None:
        with redis.Redis.from_url(store.url) as client:
            client.rpush(KEY_CHANGES, *[b"older"] * 1000)
            keys = KeyStore(store.url, notifies=True)
            await keys.issue("demo", 100)
            assert client.llen(KEY_CHANGES) == 1000
            assert client.lindex(KEY_CHANGES, -1) != b"older"
            await keys.close()

    asyncio.run(run())
