"""A connection to the shared store."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.exceptions import RedisError

from dragoman.errors import StoreUnavailable

_TIMEOUT_SECONDS = 3.0
_MOST_CONNECTIONS = 32
"""Of one client; they stay open. Who finds all of them busy waits as long as for the store."""


def connect(url: str, *, cluster: bool = False) -> Redis | RedisCluster:
    """A client for `redis://`, `rediss://` or `unix://PATH`; nothing is sent yet.

    Of a cluster, any node's url will do.
    """
    limits = {"socket_timeout": _TIMEOUT_SECONDS, "socket_connect_timeout": _TIMEOUT_SECONDS}
    try:
        if cluster:
            return RedisCluster.from_url(  # pyright: ignore[reportUnknownMemberType] - left open
                url, **limits
            )
        most = {"max_connections": _MOST_CONNECTIONS, "timeout": _TIMEOUT_SECONDS}
        pool = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType] - as above
            url, **most, **limits
        )
        return Redis.from_pool(pool)
    except ValueError as error:
        raise StoreUnavailable(f"The store's url cannot be used: {error}") from error


async def ping(url: str) -> None:
    """Return once the store at `url` has answered. Raises `StoreUnavailable`."""
    client = connect(url)
    try:
        await client.ping()  # pyright: ignore[reportUnknownMemberType] - as above
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"The store does not answer: {type(error).__name__}") from error
    finally:
        await client.aclose()


async def ask(answer: object) -> object:
    """What the store answers to a command or script that was called.

    Raises `StoreUnavailable`; then it may or may not have been carried out.
    """
    try:
        return await cast("Awaitable[object]", answer)
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"The store does not answer: {type(error).__name__}") from error


async def read_number(client: Redis | RedisCluster, key: str) -> int:
    """The whole number at `key`, 0 where there is none. Raises `StoreUnavailable`."""
    found = cast("bytes | None", await ask(client.get(key)))
    try:
        return int(found or 0)
    except ValueError as error:
        raise StoreUnavailable(f"The store holds no number at {key}.") from error
