"""Minutes of chaos, and whether it all adds up; prints JSON lines, and ends with 1 where not.

Through the real Envoy and the simulator: providers fail and recover, workers are killed, the store
is killed, stopped and restarted, the policy changes and is broken, all at random and under load, with
quotas and a budget on. `--seed` repeats a run: its troubles and what clients ask, not their timing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dragoman.simulator import Simulator
from dragoman.simulator.server import Options
from dragoman.stores.leases import HOLD_SECONDS, LEASE_SECONDS
from tests.chaos import leaks, verdict
from tests.chaos.clients import Asked, Clients
from tests.chaos.ledgers import Served, read_counts, read_ledger
from tests.chaos.setting import WORKERS, sections
from tests.chaos.troubles import Troublemaker, schedule
from tests.envoy.gateway import KINDS, Gateway, run_gateway, wait_until

_WARM_SECONDS = 4.0
_READ_SECONDS = 2.0
_BACK_SECONDS = 20.0
_LEASES_SECONDS = LEASE_SECONDS + HOLD_SECONDS + 5.0
"""By then the store has given up what nobody will settle."""
_MOST_TOLD = 100


class Run:
    """One run on a gateway."""

    def __init__(self, gateway: Gateway, seed: int, seconds: float) -> None:
        self._gateway = gateway
        self._seconds = seconds
        self._clients = Clients(gateway.url, seed)
        self._served = Served(gateway)
        document = yaml.safe_load((gateway.folder / "dragoman.yaml").read_text())
        self._maker = Troublemaker(gateway, document, schedule(seed, seconds))
        self.problems: list[str] = []

    def carry_out(self) -> dict[str, Any]:
        """The figures; what does not add up is in `problems`."""
        asyncio.run(self._clients.ask_for(_WARM_SECONDS))
        warm = leaks.look(self._gateway)
        with self._maker:
            asyncio.run(self._under_load())
        if self._maker.error:
            raise self._maker.error
        self._recover()
        self._await_rest()
        return self._judge(warm)

    async def _under_load(self) -> None:
        reading = asyncio.create_task(self._keep_reading())
        await self._clients.ask_for(self._seconds)
        reading.cancel()

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(_READ_SECONDS)
            await asyncio.to_thread(self._served.read)

    def _recover(self) -> None:
        """Everything is whole again soon after the last trouble, in each dialect and for each kind
        of model."""
        wait_until(lambda: len(self._gateway.workers()) == WORKERS, _BACK_SECONDS, "workers")
        wait_until(self._is_back, _BACK_SECONDS, "an answer to everybody")
        before = len(self._clients.all)
        asyncio.run(self._clients.ask_once())
        for asked in self._clients.all[before:]:
            if asked.outcome != "whole":
                self.problems.append(f"not whole when all is well: {asked}")

    def _is_back(self) -> bool:
        """Whether one of each is: the policy, the store and the workers are in force again."""
        before = len(self._clients.all)
        asyncio.run(self._clients.ask_once())
        return all(asked.outcome == "whole" for asked in self._clients.all[before:])

    def _await_rest(self) -> None:
        def at_rest() -> bool:
            return not leaks.active(self._gateway)

        def returned() -> bool:
            return not any(count.out for count in read_counts(self._gateway).values())

        for probe, seconds in ((at_rest, _BACK_SECONDS), (returned, _LEASES_SECONDS)):
            with contextlib.suppress(TimeoutError):  # what is not well by then is told below
                wait_until(probe, seconds)

    def _judge(self, warm: leaks.State) -> dict[str, Any]:
        self._served.read()
        asked, served = self._clients.all, self._served.by_id()
        entries, counts = read_ledger(self._gateway), read_counts(self._gateway)
        kills = verdict.Times(self._maker.kills)
        unsure = verdict.Spans(self._maker.kills, self._maker.outages)
        matched = verdict.Matched(asked, entries)
        now = leaks.look(self._gateway)
        if active := leaks.active(self._gateway):
            self.problems.append(f"still active: {active}")
        self.problems += [
            *verdict.answers(asked, served, kills),
            *verdict.received(served, asked),
            *verdict.ledger(matched, entries, kills),
            *verdict.costs(matched),
            *verdict.quotas(counts, matched, unsure),
            *verdict.leases(counts),
            *leaks.leaks(warm, now),
        ]
        logged = self._logged()
        self.problems += [f"logged: {line}" for line in logged if line["event"] == "stream_failed"]
        return self._figures(asked, matched, warm, now) | {
            "events": Counter(line["event"] for line in logged)
        }

    def _logged(self) -> list[dict[str, Any]]:
        lines = (self._gateway.folder / "stderr.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def _figures(
        self, asked: list[Asked], matched: verdict.Matched, warm: leaks.State, now: leaks.State
    ) -> dict[str, Any]:
        return {
            "requests": len(asked),
            "outcomes": Counter(one.outcome for one in asked),
            "statuses": Counter(one.status for one in asked),
            "troubles": self._maker.done,
            "workers_killed": len(self._maker.kills),
            "store_outages": len(self._maker.outages),
            "ledger": len(matched.pairs),
            "ledger_lost": len(matched.missing),
            "warm": warm.processes,
            "now": now.processes,
        }


def run(seed: int, seconds: float) -> Iterator[dict[str, Any]]:
    """The lines to print: seed, figures, problems."""
    yield {"seed": seed, "seconds": seconds}
    options = Options(max_logged_requests=20_000)
    with tempfile.TemporaryDirectory() as keys, Simulator(list(KINDS), options) as simulator:
        policy = sections(simulator, Path(keys))
        with run_gateway(simulator, workers=WORKERS, **policy) as gateway:
            one = Run(gateway, seed, seconds)
            yield one.carry_out()
            yield from ({"problem": problem} for problem in one.problems[:_MOST_TOLD])
            yield {"problems": len(one.problems)}


def main() -> int:
    """Run, print, and judge."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, help="of an earlier run; a new one without it")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    last: dict[str, Any] = {}
    for last in run(seed, options.seconds):
        print(json.dumps(last), flush=True)
    return int(bool(last["problems"]))


if __name__ == "__main__":
    sys.exit(main())
