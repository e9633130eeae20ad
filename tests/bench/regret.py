"""`make regret`: what the strategies that learn lose against the best fixed choice, over time.

The chooser, what it learns from and the access log's reading of it are the gateway's own; Envoy's
clock and its targets are made up here. Two workloads: a synthetic one, whose targets swap speeds
midway; and a recorded one. That is a ledger (`--ledger FILE`), of which each target answers as it
answered about that time; or else the lengths of recorded answers (the folder of `make
test-recordings`), given by targets with speeds of ours; without either it is said to be skipped.

A request's loss is the time until its answer, fallbacks included; or, where rewards are learned,
what its first target's reward lacks of 1. Regret is the loss of all requests until then, less that
of the one target with the least loss of all, which is asked first each time. All see the same
requests, and the same luck.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from dragoman.catalog.costs import NANODOLLARS
from dragoman.config.load import parse
from dragoman.config.policy import Policy
from dragoman.config.schema import Reward
from dragoman.dialects import CHAT
from dragoman.errors import DragomanError
from dragoman.ir import Response
from dragoman.metadata import encode_order
from dragoman.policies.route.choose import Choice, Chooser
from dragoman.policies.route.content import Asking, Content
from dragoman.policies.route.observe import observe
from dragoman.policies.route.reward import reward_answer
from dragoman.stores.latencies import Latencies
from dragoman.stores.loads import LOOK_SECONDS, Counted, Loads
from dragoman.telemetry.ledger import AccessRecord, UpstreamTimes, make_entry
from dragoman.telemetry.ledger_lines import read_lines
from dragoman.telemetry.recorded import decode as decode_entry
from dragoman.wire.json import decode
from tests.bench.regret_plot import draw
from tests.recordings import exchanges

RESULTS = Path(__file__).parent / "results"
EXPLORE = 0.05
REQUESTS = 3000
SEEDS = 5
POINTS = 100
FAILED_MS = 200.0
REWARD = Reward(latency=1, cost=1, error=2, latency_scale_ms=2000.0, cost_scale_usd=0.05)
_MOST_TARGETS = 8
_LEAST_RECORDED = 20
_MOST_MS = 3.6e6
_MOST_WEIGHT = 1000


class Attempt(NamedTuple):
    """What became of one."""

    ms: float
    usd: float
    failed: bool


class Workload(NamedTuple):
    """Requests, and what each target makes of them."""

    name: str
    weights: Mapping[str, int]
    """Its targets', by name."""
    every_seconds: float
    """Between two requests, on average."""
    attempt: Callable[[str, int, int, random.Random], Attempt]
    """Of a target at a request, counted from 0, with so many others in flight there; the luck is the
    request's own."""


class Speed(NamedTuple):
    """A target of ours."""

    first_ms: float
    ms_a_token: float
    usd_a_token: float
    failing: float
    at_ease: int
    """With more in flight it takes longer, in proportion."""

    def answer(self, tokens: int, in_flight: int, chance: random.Random) -> Attempt:
        failed = chance.random() < self.failing
        crowd = max(1.0, (in_flight + 1) / self.at_ease)
        ms = (self.first_ms + self.ms_a_token * tokens) * chance.lognormvariate(0, 0.3) * crowd
        return Attempt(
            FAILED_MS if failed else ms, 0.0 if failed else self.usd_a_token * tokens, failed
        )


SPEEDS = {
    "a": Speed(300, 4, 4e-5, 0.01, 6),
    "b": Speed(600, 9, 1e-5, 0.02, 6),
    "c": Speed(400, 6, 2e-5, 0.10, 6),
}
WEIGHTS = {"a": 1, "b": 3, "c": 2}


def synthetic(requests: int) -> Workload:
    """Lengths as luck has them; midway `a` and `b` swap all they are."""
    swapped = {"a": SPEEDS["b"], "b": SPEEDS["a"], "c": SPEEDS["c"]}

    def attempt(target: str, number: int, in_flight: int, chance: random.Random) -> Attempt:
        tokens = int(chance.expovariate(1 / 200))
        speeds = SPEEDS if number < requests / 2 else swapped
        return speeds[target].answer(tokens, in_flight, chance)

    return Workload("synthetic, speeds swap midway", WEIGHTS, 0.5, attempt)


def recorded_lengths(lengths: Sequence[int]) -> Workload:
    """Answers as long as recorded ones, one after the other."""

    def attempt(target: str, number: int, in_flight: int, chance: random.Random) -> Attempt:
        tokens = lengths[number * 7919 % len(lengths)]  # a prime: files are of one provider each
        return SPEEDS[target].answer(tokens, in_flight, chance)

    return Workload("recorded lengths of answers", WEIGHTS, 0.5, attempt)


def read_lengths() -> list[int]:
    """Output tokens of the recorded chat answers in one piece; none where there are no recordings."""
    if not exchanges.FOLDER.is_dir():
        return []
    found: list[int] = []
    for exchange in exchanges.load():
        if isinstance(exchange, exchanges.Aside) or exchange.is_error or exchange.is_stream:
            continue
        if exchange.call.operation == CHAT:
            try:
                answer = exchange.dialect.decode_response(decode(exchange.wire.body))
            except DragomanError:
                continue
            if isinstance(answer, Response) and answer.usage and answer.usage.output_tokens:
                found.append(answer.usage.output_tokens)
    return found


def recorded_ledger(path: Path, requests: int) -> Workload:
    """Each target answers as it did about that time, of requests that it was asked first, and weighs
    as many as they were. Raises `SystemExit` where the ledger has too little to tell two apart."""
    seen: defaultdict[str, list[Attempt]] = defaultdict(list)
    with path.open("rb") as lines:
        for _, entry in read_lines(lines, decode_entry, lambda _: None):
            if entry is None:
                continue
            failed = entry.status >= 500 or entry.status == 429
            known = entry.duration_ms is not None and 0 < entry.duration_ms < _MOST_MS
            if entry.attempts == 1 and entry.provider and known and (failed or entry.status < 400):
                name = f"{entry.provider}/{entry.upstream_model}"
                seen[name].append(Attempt(entry.duration_ms, entry.cost_usd or 0.0, failed))
    most = sorted(seen, key=lambda name: -len(seen[name]))[:_MOST_TARGETS]
    targets = [name for name in most if len(seen[name]) >= _LEAST_RECORDED]
    if len(targets) < 2:
        raise SystemExit(f"{path}: fewer than two targets with {_LEAST_RECORDED} answers each")

    def attempt(target: str, number: int, in_flight: int, chance: random.Random) -> Attempt:
        row = seen[target]
        near = number / requests * len(row) + chance.gauss(0, len(row) / 50)
        return row[min(max(int(near), 0), len(row) - 1)]

    weights = {name: min(len(seen[name]), _MOST_WEIGHT) for name in targets}
    return Workload(f"ledger {path.name}", weights, 0.5, attempt)


def _policy(weights: Mapping[str, int]) -> Policy:
    """A model for each strategy, and one for each target that is always asked first."""
    targets = _providers(weights)
    shared = [
        {"provider": provider, "model": "m", "priority": 0, "weight": weights[name]}
        for provider, name in targets.items()
    ]
    learning = {"learning": {"explore": EXPLORE}}
    reward = {f: getattr(REWARD, f) for f in ("latency", "cost", "error")}
    reward |= {"latency_scale_ms": REWARD.latency_scale_ms, "cost_scale_usd": REWARD.cost_scale_usd}
    settings: dict[str, dict[str, Any]] = {
        "weights": {},
        "fastest": {"strategy": "fastest", **learning},
        "bandit": {"strategy": "bandit", "reward": reward, **learning},
        "least_loaded": {"strategy": "least_loaded"},
    }
    models: dict[str, Any] = {name: {"targets": shared, **more} for name, more in settings.items()}
    for first, name in targets.items():
        order = [first, *(other for other in targets if other != first)]
        models[f"only {name}"] = {"targets": [{"provider": n, "model": "m"} for n in order]}
    key = {"env": "K"}
    document = {
        "callers": {"demo": {"keys": ["0" * 64]}},
        "providers": {
            name: {"kind": "openai", "url": "http://127.0.0.1:1", "key": key} for name in targets
        },
        "models": models,
    }
    return parse(json.dumps(document), "regret.yaml", {"K": "x"})


def _providers(names: Iterable[str]) -> dict[str, str]:
    """Names of targets by what a policy may call their providers."""
    return {f"t{i}": name for i, name in enumerate(names)}


class Losses(NamedTuple):
    """Of each request."""

    ms: list[float]
    reward: list[float]


class World:
    """A worker and its Envoy, whose time is ours, and a model that is asked for."""

    def __init__(self, workload: Workload, policy: Policy, model: str, seed: int) -> None:
        self.now = 1_000_000.0
        self._workload = workload
        self._names = _providers(workload.weights)
        self._model = policy.models[model]
        self._seed = seed
        self._latencies = Latencies(self._clock)
        self._loads = Loads(self._clock)
        chance = random.Random(f"{seed} {model}")
        self._chooser = Chooser(
            policy, chance.random, self._clock, self._latencies, loads=self._loads
        )
        caller, content = policy.callers.by_name["demo"], Content({}, {}, 100, None)
        self._asking = Asking(caller, "openai_chat", CHAT, False, self.now, content)
        self._in_flight = Counter[str]()

    def _clock(self) -> float:
        return self.now

    def run(self, requests: int) -> Losses:
        """So many, at the times and with the luck that the seed gives them."""
        arrivals = random.Random(self._seed)
        ends: list[tuple[float, int, str, Callable[[], None]]] = []
        look, due, number = self.now, self.now, 0
        losses = Losses([], [])
        while number < requests:
            self.now = min(due, look, ends[0][0] if ends else due)
            if ends and ends[0][0] <= self.now:
                _, _, target, tell = heapq.heappop(ends)
                self._in_flight[target] -= 1
                tell()
            elif look <= self.now:
                self._loads.begin_look()
                self._loads.end_look({n: Counted(c) for n, c in self._in_flight.items()})
                look += LOOK_SECONDS
            else:
                ms, target, tell = self._ask(number, losses)
                heapq.heappush(ends, (self.now + ms / 1000, number, target, tell))
                due += arrivals.expovariate(1 / self._workload.every_seconds)
                number += 1
        return losses

    def _ask(self, number: int, losses: Losses) -> tuple[float, str, Callable[[], None]]:
        """How long it takes, who ends it, and what the log tells of it then."""
        model = self._model
        choice = self._chooser.choose(model, model.name, (), lambda: self._asking)
        waited, attempts = 0.0, 0
        attempt, target = Attempt(0.0, 0.0, failed=True), ""
        for target in (target.provider for target in choice.order):
            luck = random.Random(f"{self._seed} {number}")
            busy = self._in_flight[target]
            attempt = self._workload.attempt(self._names[target], number, busy, luck)
            attempts += 1
            if attempts == 1:
                got = reward_answer(REWARD, attempt.ms, int(attempt.usd * NANODOLLARS))
                losses.reward.append(1.0 if attempt.failed else 1 - got)
            if not attempt.failed or attempts == len(choice.order):
                break
            waited += attempt.ms
        losses.ms.append(waited + attempt.ms)
        self._in_flight[target] += 1
        ended = target

        def tell() -> None:
            self._end(choice, ended, attempts, waited, attempt)

        return waited + attempt.ms, ended, tell

    def _end(
        self, choice: Choice, target: str, attempts: int, waited: float, attempt: Attempt
    ) -> None:
        if choice.latency_key is None:
            return
        order = encode_order([(target.provider, target.model) for target in choice.order])
        ended = waited + attempt.ms
        record = AccessRecord(
            metadata={"dragoman": {"targets": order, "latency_key": choice.latency_key}},
            cluster=target,
            upstream_reached=True,
            attempts=attempts,
            status=503 if attempt.failed else 200,
            duration_ms=ended,
            upstream=UpstreamTimes(waited, waited + attempt.ms / 2, ended),
        )
        entry = make_entry(record, lambda *_: None, lambda *_: None, lambda _: {})
        cost = int(attempt.usd * NANODOLLARS)
        observe(record, msgspec.structs.replace(entry, cost_nanodollars=cost), self._latencies)


SEEN_BY = {
    "weights": ("ms", "reward"),
    "fastest": ("ms",),
    "least_loaded": ("ms",),
    "bandit": ("reward",),
}
"""The losses that a strategy is to make small."""
BOUNDS: dict[str, Callable[[float, int], float]] = {
    "fastest": lambda by_weight, requests: by_weight * (1 + EXPLORE),
    "least_loaded": lambda by_weight, requests: by_weight * 1.1,
    "bandit": lambda by_weight, requests: by_weight + EXPLORE * requests,
}
"""The most that all requests may lose, by what they lose where weights choose."""


def measure(workload: Workload, requests: int, seeds: int) -> dict[str, Any]:
    """Regrets, as means over `seeds`, and whether the bounds hold."""
    policy = _policy(workload.weights)
    runs: dict[str, list[Losses]] = {
        model: [World(workload, policy, model, seed).run(requests) for seed in range(seeds)]
        for model in policy.models
    }
    every = max(1, requests // POINTS)
    found: dict[str, Any] = {"workload": workload.name, "requests": requests, "every": every}
    for loss in ("ms", "reward"):
        totals = {m: _cumulate([getattr(run, loss) for run in row]) for m, row in runs.items()}
        fixed = {model: total for model, total in totals.items() if model.startswith("only ")}
        best = min(fixed, key=lambda model: fixed[model][-1])
        curves = {
            name: [
                round(mine - its, 3) for mine, its in zip(totals[name], fixed[best], strict=True)
            ]
            for name, losses in SEEN_BY.items()
            if loss in losses
        }
        found[loss] = {
            "best": best.removeprefix("only "),
            "lost": {name: round(totals[name][-1], 1) for name in [*curves, best]},
            "bound": {
                name: round(BOUNDS[name](totals["weights"][-1], requests), 1)
                for name in curves
                if name in BOUNDS
            },
            "regret": {name: curve[every - 1 :: every] for name, curve in curves.items()},
        }
    return found


def _cumulate(runs: list[list[float]]) -> list[float]:
    """The sum until each request, as a mean over the runs."""
    total, found = 0.0, list[float]()
    for losses in zip(*runs, strict=True):
        total += sum(losses) / len(losses)
        found.append(total)
    return found


def find_broken(found: dict[str, Any]) -> Iterator[str]:
    """The bounds that do not hold, in words."""
    for loss in ("ms", "reward"):
        for name, bound in found[loss]["bound"].items():
            if (lost := found[loss]["lost"][name]) > bound:
                yield f"{found['workload']}: {name} lost {lost} ({loss}), more than {bound}"


def main() -> int:
    """The exit status: 1 where a bound is broken."""
    parser = argparse.ArgumentParser(prog="make regret", description=__doc__)
    parser.add_argument("--ledger", type=Path, help="the recorded workload")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    workloads = [synthetic(given.requests)]
    if given.ledger is not None:
        workloads.append(recorded_ledger(given.ledger, given.requests))
    elif lengths := read_lengths():
        workloads.append(recorded_lengths(lengths))
    else:
        print(f"skipped: the recorded workload, for there is nothing in {exchanges.FOLDER}")
    found = [measure(workload, given.requests, given.seeds) for workload in workloads]
    (given.output / "regret.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.output / "regret.svg").write_text(draw(found))
    for each in found:
        for loss in ("ms", "reward"):
            figures = {k: each[loss][k] for k in ("best", "lost", "bound")}
            print(json.dumps({"workload": each["workload"], "loss": loss, **figures}))
    broken = [line for each in found for line in find_broken(each)]
    print(*broken, sep="\n", file=sys.stderr, end="\n" if broken else "")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
