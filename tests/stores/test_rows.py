"""Rows of the store that cannot be read are told of once, and stop nothing."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from dragoman.errors import StoreUnavailable
from dragoman.stores import abuse, canary_store, healing, key_store, latency_store
from dragoman.stores.canaries import CanaryWatch, Progress
from dragoman.stores.incidents import Incident, TargetWatch
from dragoman.stores.keys import IssuedKey, KeyWatch
from dragoman.stores.rows import Rows
from dragoman.stores.standings import AbuseWatch, Standing
from tests.stores.conftest import Store

BAD = [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"{}", b'{"digest": 1}', b"[]"]


@pytest.mark.parametrize("raw", BAD, ids=range(len(BAD)))
def test_a_bad_row_is_told_once_and_the_others_are_read(raw: bytes) -> None:
    told: list[str] = []
    rows = Rows("all", IssuedKey, told.append)
    good = IssuedKey(digest="a", caller="demo", created_at=0)
    found = {b"a": msgspec.json.encode(good), b"b": raw, b"\xff" * 200: msgspec.json.encode(good)}
    for _ in range(2):
        assert rows.read(found) == {"a": good}
    assert told == ["all b", "all " + "\ufffd" * 100]

    rows.read({b"a": msgspec.json.encode(good)})
    rows.read(found)
    assert len(told) == 4

    with pytest.raises(StoreUnavailable):
        rows.read_one(raw)


def test_a_key_whose_row_is_spoilt_is_refused_and_others_go_on(store: Store) -> None:
    async def run() -> None:
        told: list[str] = []
        keys = key_store.KeyStore(store.url)
        watch = KeyWatch(key_store.KeyStore(store.url, tell=told.append), lambda: 0.0)
        (key, row), (_, other) = await keys.issue("demo", 0), await keys.issue("other", 0)
        await watch.refresh()
        assert watch.find(row.digest) == row
        with redis.Redis.from_url(store.url) as client:
            client.hset("dragoman:{keys}:all", row.digest, b"spoilt")
            client.incr("dragoman:{keys}:version")
        for _ in range(2):
            await watch.refresh()
        assert hashlib.sha256(key.encode()).hexdigest() == row.digest
        assert watch.find(row.digest) is None
        assert watch.find(other.digest) == other
        assert told == [f"dragoman:{{keys}}:all {row.digest}"]
        _, third = await keys.issue("third", 0)
        await watch.refresh()
        assert watch.find(third.digest) == third
        await keys.close()
        await watch.close()

    asyncio.run(run())


WATCHES: list[tuple[str, str, msgspec.Struct, Callable[..., Any]]] = [
    (
        "dragoman:{abuse}:standings",
        "abuse",
        Standing(
            caller="good", action="alert", level=1, score=1.0, reasons=[], since=0.0, until=9.0
        ),
        lambda url, tell: AbuseWatch(
            abuse.AbuseStore(url, tell=tell), lambda: None, lambda: 0.0, lambda _: None
        ),
    ),
    (
        "dragoman:{canaries}:all",
        "canaries",
        Progress(model="good", digest="d", state="running", step=0, percent=5.0, since=0.0),
        lambda url, tell: CanaryWatch(
            canary_store.CanaryStore(url, tell=tell), dict, lambda: 0.0, lambda *_: None
        ),
    ),
    (
        "dragoman:{healing}:incidents",
        "healing",
        Incident(target="good", signals=[], reasons=[], since=0.0),
        lambda url, tell: TargetWatch(
            healing.HealingStore(url, tell=tell), lambda: None, lambda: 0.0, lambda _: None
        ),
    ),
]


@pytest.mark.parametrize(("key", "name", "good", "make"), WATCHES, ids=[w[1] for w in WATCHES])
def test_a_watcher_goes_on_past_a_bad_row_and_a_version_that_is_none(
    store: Store, key: str, name: str, good: msgspec.Struct, make: Callable[..., Any]
) -> None:
    def known(watch: Any) -> dict[str, Any]:
        held = {"abuse": "_standings", "canaries": "_progress", "healing": "incidents"}
        return dict(getattr(watch, held[name]))

    async def run() -> None:
        told: list[str] = []
        version = key.rpartition(":")[0] + ":version"
        watch = make(store.url, told.append)
        with redis.Redis.from_url(store.url) as client:
            client.hset(key, "bad", b"{")
            client.hset(key, "good", msgspec.json.encode(good))
            client.set(version, b"spoilt")
            await watch.refresh()
            assert known(watch) == {}
            client.set(version, 7)
        await watch.refresh()
        assert known(watch) == {"good": good}
        assert told == [f"{key} bad"]
        await watch.close()

    asyncio.run(run())


def test_commands_say_it_on_standard_error(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run() -> None:
        with redis.Redis.from_url(store.url) as client:
            client.hset("dragoman:{keys}:all", "bad", b"{")
        keys = key_store.KeyStore(store.url)
        assert await keys.all() == {}
        await keys.close()

    asyncio.run(run())
    assert capsys.readouterr().err == (
        "dragoman: a row of the store cannot be read: dragoman:{keys}:all bad\n"
    )


def test_latencies_that_cannot_be_read_are_as_an_absent_store(store: Store) -> None:
    async def run() -> None:
        with redis.Redis.from_url(store.url) as client:
            client.hset("dragoman:{latencies}:11", "bad", b"short")
        latencies = latency_store.RedisLatencies(store.url)
        with pytest.raises(StoreUnavailable):
            await latencies.share({})
        await latencies.close()

    asyncio.run(run())
