"""A connection to the shared store."""

from __future__ import annotations

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from dragoman.errors import StoreUnavailable

_TIMEOUT_SECONDS = 3.0


def connect(url: str, *, cluster: bool = False) -> Redis | RedisCluster:
    """A client for `redis://`, `rediss://` or `unix://PATH`; nothing is sent yet.

    Of a cluster, any node's url will do.
    """
    kind = RedisCluster if cluster else Redis
    try:
        return kind.from_url(  # pyright: ignore[reportUnknownMemberType] - redis leaves it open
            url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
        )
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
