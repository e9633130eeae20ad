"""The audit trail in a real store: one chain, whoever writes, and each event in it once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from click.testing import CliRunner

from dragoman.cli import main
from dragoman.stores import trail as trails
from dragoman.stores.audit import AuditStore
from dragoman.stores.chain import Event, Verifier
from dragoman.stores.key_store import KeyStore
from dragoman.stores.trail import AuditTrail
from tests.stores.conftest import Store

POLICY = """
callers: {{demo: {{}}}}
issued_keys: true
store: {{url: "{url}"}}
audit: {audit}
providers: {{openai: {{optional: true}}}}
models: {{}}
"""


def event(what: str, **fields: Any) -> Event:
    return Event(event="key.issue", time="2026-11-25T00:00:00Z", who=what, **fields)


def opened(store: Store, **options: Any) -> AuditStore:
    return AuditStore(store.url, **{"keep": 100_000} | options)


async def read(store: AuditStore) -> list[dict[str, Any]]:
    """All entries, proved."""
    verifier, found = Verifier(), list[dict[str, Any]]()
    async for sequence, line in store.entries():
        assert verifier.feed(line) is None
        found.append(json.loads(line))
        assert found[-1]["sequence"] == sequence
    assert verifier.close(await store.head()) is None
    return found


def entered(store: Store) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        own = opened(store)
        try:
            return await read(own)
        finally:
            await own.close()

    return asyncio.run(run())


def test_many_writers_make_one_chain(store: Store) -> None:
    async def write(who: str) -> None:
        own = opened(store)
        for i in range(20):
            await own.append([event(f"{who}-{i}-{k}") for k in range(1 + i % 3)])
        await own.close()

    async def run() -> None:
        await asyncio.gather(*(write(f"w{i}") for i in range(8)))

    asyncio.run(run())
    names = [entry["who"] for entry in entered(store)]
    wanted = {f"w{w}-{i}-{k}" for w in range(8) for i in range(20) for k in range(1 + i % 3)}
    assert len(names) == len(wanted)
    assert set(names) == wanted


@asynccontextmanager
async def forgetful(store: Store, folder: Path, forgets: int) -> AsyncIterator[str]:
    """The store behind a connection that breaks after each of the first scripts was carried out,
    before its answer comes."""
    left = [forgets]

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_unix_connection(store.url.removeprefix("unix://"))
        try:
            while asked := await reader.read(1 << 20):
                down.write(asked)
                answer = await up.read(1 << 20)
                if b"EVAL" in asked and not answer.startswith(b"-") and left[0] > 0:
                    left[0] -= 1
                    return
                writer.write(answer)
        finally:
            writer.close()
            down.close()

    path = str(folder / "relay.sock")
    server = await asyncio.start_unix_server(relay, path)
    yield f"unix://{path}"
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("forgets", [1, 6])
def test_what_was_entered_without_an_answer_is_not_entered_again(
    store: Store, tmp_path: Path, forgets: int
) -> None:
    async def run() -> None:
        await_first = opened(store)
        await await_first.append([event("first")])
        await await_first.close()
        async with forgetful(store, tmp_path, forgets) as url:
            trail = AuditTrail(AuditStore(url, keep=100), "w", lambda: 0.0)
            for name in ("a", "b"):
                trail.note("request.denied", name, {})
            for _ in range(forgets):
                await trail.refresh()
            await trail.close()

    asyncio.run(run())
    assert [entry["who"] for entry in entered(store)] == ["first", "a", "b"]


def test_without_the_store_events_wait_and_what_is_too_many_is_counted(
    own_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trails, "_MOST_WAITING", 5)

    async def run() -> None:
        trail = AuditTrail(opened(own_store), "w0", lambda: 0.0)
        own_store.kill()
        for i in range(8):
            trail.note("request.denied", f"c{i}", {"status": 403}, "why")
            await trail.refresh()
        own_store.start()
        await trail.close()

    asyncio.run(run())
    found = entered(own_store)
    assert [entry["who"] for entry in found][-1] == "w0"
    assert found[-1]["event"] == "audit.lost"
    assert len(found) - 1 + found[-1]["what"]["count"] == 8


def test_a_key_changes_with_the_entry_about_it_or_not_at_all(store: Store) -> None:
    async def run() -> str:
        keys = KeyStore(store.url, audit=opened(store), who="root@host")
        key, row = await keys.issue("demo", 100, label="ci", why="new service")
        await keys.change(row, "key.revoke", "leaked", revoked=True)
        await keys.close()
        return key

    key = asyncio.run(run())
    first, second = entered(store)
    assert (first["event"], first["who"], first["why"]) == ("key.issue", "root@host", "new service")
    assert (first["before"], first["after"]["caller"]) == (None, "demo")
    assert (second["event"], second["why"]) == ("key.revoke", "leaked")
    assert (second["before"]["revoked"], second["after"]["revoked"]) == (False, True)
    assert second["what"] == {"key": first["what"]["key"], "caller": "demo"}
    assert key not in json.dumps([first, second])
    with redis.Redis.from_url(store.url) as client:
        client.set("dragoman:{keys}:audit:head", "0 0")
    with pytest.raises(Exception, match="ResponseError"):
        asyncio.run(again(store))
    with redis.Redis.from_url(store.url) as client:
        assert client.hlen("dragoman:{keys}:all") == 1


async def again(store: Store) -> None:
    keys = KeyStore(store.url, audit=opened(store), who="x")
    try:
        await keys.issue("demo", 100)
    finally:
        await keys.close()


def test_the_store_keeps_the_last_entries(store: Store) -> None:
    async def run() -> int:
        own = opened(store, keep=100)
        for _ in range(10):
            await own.append([event("x")] * 100)
        count = len(await read(own))
        await own.close()
        return count

    assert 100 <= asyncio.run(run()) < 300


def cli(store: Store, tmp_path: Path, *arguments: str, audit: str = "{}") -> Any:
    path = tmp_path / "p.yaml"
    path.write_text(POLICY.format(url=store.url, audit=audit))
    return CliRunner().invoke(main, [*arguments, "-c", str(path)])


def test_an_operator_reads_and_proves_it(store: Store, tmp_path: Path) -> None:
    for _ in range(3):
        assert cli(store, tmp_path, "keys", "issue", "demo", "--reason", "test").exit_code == 0
    listed = cli(store, tmp_path, "audit", "list").stdout
    assert [json.loads(line)["sequence"] for line in listed.splitlines()] == [1, 2, 3]
    assert cli(store, tmp_path, "audit", "tail", "-n", "1").stdout == listed.splitlines()[-1] + "\n"
    assert len(cli(store, tmp_path, "audit", "list", "--after", "2").stdout.splitlines()) == 1
    proved = cli(store, tmp_path, "audit", "verify")
    assert (proved.exit_code, "3 entries, 1 to 3, hold together" in proved.stdout) == (0, True)
    export = tmp_path / "export.jsonl"
    export.write_text(listed)
    assert cli(store, tmp_path, "audit", "verify", str(export)).exit_code == 0
    export.write_text("".join(listed.splitlines(keepends=True)[::2]))
    broken = cli(store, tmp_path, "audit", "verify", str(export))
    assert (broken.exit_code, broken.stdout) == (1, "entry 3: entry 2 is missing before it\n")
    with redis.Redis.from_url(store.url) as client:
        client.xdel("dragoman:{keys}:audit", "3-0")
    cut = cli(store, tmp_path, "audit", "verify")
    assert (cut.exit_code, cut.stdout) == (1, "the chain ends at entry 2, and not at 3\n")


def test_a_key_seals_it(store: Store, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    sealed = f"{{key: {{file: {tmp_path / 'key'}}}}}"
    assert cli(store, tmp_path, "keys", "issue", "demo", audit=sealed).exit_code == 0
    assert cli(store, tmp_path, "audit", "verify", audit=sealed).exit_code == 0
    other = cli(store, tmp_path, "audit", "verify")
    assert (other.exit_code, "entry 1: changed, or sealed" in other.stdout) == (1, True)


def test_an_event_holds_only_what_can_be_canonical() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"event":"x","time":"y","who":null,"what":{"a":1.5}}', type=Event)
