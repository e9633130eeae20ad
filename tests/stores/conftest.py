"""A real store for each test that asks for one."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dragoman.stores import embedded
from tests.envoy.gateway import wait_until


class Store:
    """A store process that a test may kill and start again on the same data."""

    def __init__(self, folder: str) -> None:
        self._command, _ = embedded.command(folder, folder)
        self.url = embedded.url(folder)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        wait_until(self._answers, what="store")

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.url) as client:
            return bool(client.ping())
        return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def clear(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


@pytest.fixture(scope="session")
def shared_store() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:  # short: a socket's path has 107 bytes
        store = Store(folder)
        store.start()
        yield store
        store.kill()


@pytest.fixture
def store(shared_store: Store) -> Store:
    """An empty one that answers."""
    shared_store.clear()
    return shared_store


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Store]:
    """One of the test's own, to be killed."""
    with tempfile.TemporaryDirectory() as folder:
        found = Store(folder)
        found.start()
        yield found
        found.kill()
