"""A worker of its own process that spends one quota, one byte on its standard output a request."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from dragoman.stores.keeper import QuotaKeeper
from dragoman.stores.leases import Counter, Demand, Exceeded
from dragoman.stores.quotas import RedisQuotas

COUNTER = Counter("{q}", "{q}", "q", "requests", 1000, 0, 0, 0.0, 600, False)

LONGER_THAN_ANY_RUN = 3600.0
"""A lease that is given up in a slow run would be given out again: what its dead worker had just
answered, and not yet settled, would then be on top."""


async def hammer(url: str, name: str) -> None:
    quota = QuotaKeeper(RedisQuotas(url, lease_seconds=LONGER_THAN_ANY_RUN), name, time.time)
    quota.start()
    while True:
        found = await quota.acquire((Demand(COUNTER, 1),))
        if isinstance(found, Exceeded):
            break
        os.write(1, b".")
        quota.settle(found, {"requests": 1})
    await quota.close()


if __name__ == "__main__":
    asyncio.run(hammer(*sys.argv[1:]))
