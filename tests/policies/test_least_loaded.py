"""`strategy: least_loaded`, from Envoy's gauges to the decision, under a clock of ours."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from dragoman.config.load import parse
from dragoman.errors import ConfigError, StatisticsUnavailable
from dragoman.extproc.statistics import read_gauges
from dragoman.policies.authorize import Wish
from dragoman.policies.explain import explain
from dragoman.policies.route.choose import Chooser
from dragoman.policies.route.content import Asking, Content
from dragoman.stores.latencies import Latencies
from dragoman.stores.loads import LOOK_SECONDS, Counted, Loads, LoadWatch

TEXT = """
callers:
  demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}
providers:
  a: {kind: openai%s}
  b: {kind: anthropic%s}
models:
  busy:
    strategy: least_loaded
    targets:
      - {provider: a, model: m, priority: 0, weight: %d}
      - {provider: b, model: m, priority: 0, weight: %d}
"""
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "3"}
LIMITED = ", circuit_breaker: {max_requests: %d}"
MsOf = Callable[[str, int], float]
"""How long an answer takes a provider that has so many in flight."""


class Worker:
    """What one worker knows and chooses by."""

    def __init__(self, world: World, seed: int, workers: int) -> None:
        self.loads = Loads(lambda: world.now, workers)
        policy = world.policy
        chance = random.Random(seed).random
        latencies = Latencies(lambda: world.now)
        self.chooser = Chooser(policy, chance, lambda: world.now, latencies, loads=self.loads)
        caller = policy.callers.by_name["demo"]
        content = Content({}, {}, 100, None)
        chat = ("openai_chat", "chat")
        self.asking = Asking(caller, *chat, stream=False, now=world.now, content=content)
        self.model = policy.models["busy"]

    def look(self, counted: Mapping[str, Counted]) -> None:
        self.loads.begin_look()
        self.loads.end_look(counted)

    def choose(self) -> tuple[list[str], dict[str, str]]:
        choice = self.chooser.choose(self.model, "busy", (), lambda: self.asking)
        notes = dict(note.split("=", 1) for note in choice.notes)
        return [target.provider for target in choice.order], notes


class World:
    """An Envoy, its workers and two providers, whose time is ours."""

    def __init__(
        self,
        *,
        workers: int = 1,
        limits: tuple[str, str] = ("", ""),
        weights: tuple[int, int] = (1, 1),
    ) -> None:
        self.now = 1000.0
        self.policy = parse(TEXT % (*limits, *weights), "test.yaml", KEYS)
        self.workers = [Worker(self, seed, workers) for seed in range(workers)]
        self.in_flight = Counter[str]()
        self.most = Counter[str]()
        self.asked = Counter[str]()

    def count(self) -> dict[str, Counted]:
        return {name: Counted(number) for name, number in self.in_flight.items()}

    def run(self, seconds: float, every: float, ms_of: MsOf, chance: random.Random) -> float:
        """Requests come at random, one in `every` seconds on average; the mean time that those
        which ended took."""
        ends: list[tuple[float, float, str]] = []
        looks = [(self.now + chance.random() * LOOK_SECONDS, i) for i in range(len(self.workers))]
        heapq.heapify(looks)
        until, arrival, took = self.now + seconds, self.now, list[float]()
        while arrival < until:
            self.now = min(arrival, looks[0][0], ends[0][0] if ends else arrival)
            if ends and ends[0][0] <= self.now:
                _, began, name = heapq.heappop(ends)
                self.in_flight[name] -= 1
                took.append(self.now - began)
            elif looks[0][0] <= self.now:
                at, i = heapq.heappop(looks)
                self.workers[i].look(self.count())
                heapq.heappush(looks, (at + LOOK_SECONDS, i))
            else:
                name = chance.choice(self.workers).choose()[0][0]
                self.in_flight[name] += 1
                self.asked[name] += 1
                self.most[name] = max(self.most[name], self.in_flight[name])
                ms = ms_of(name, self.in_flight[name]) * chance.lognormvariate(0, 0.3)
                heapq.heappush(ends, (self.now + ms / 1000, self.now, name))
                arrival += chance.expovariate(1 / every)
        return sum(took) / len(took)


def by_speed(**ms: float) -> MsOf:
    return lambda name, in_flight: ms[name]


def crowded(**ms: float) -> MsOf:
    """The more are in flight, the longer each takes."""
    return lambda name, in_flight: ms[name] * (1 + in_flight / 4)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_target_three_times_as_slow_is_asked_a_third_as_often(workers: int) -> None:
    world = World(workers=workers)
    world.run(300, 0.1, by_speed(a=2000, b=6000), random.Random(workers))
    share = world.asked["a"] / world.asked.total()
    assert 0.70 < share < 0.80
    assert world.most["b"] < 2 * world.most["a"]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("ms", [(2000, 2000), (2000, 8000), (500, 6000)])
@pytest.mark.parametrize("every", [0.15, 0.4])
def test_nobody_waits_longer_than_by_weight(
    workers: int, ms: tuple[int, int], every: float
) -> None:
    """At most a tenth, also where the two are alike and where answers end between two looks."""
    ms_of = crowded(a=ms[0] / 4, b=ms[1] / 4)
    loaded = World(workers=workers).run(120, every, ms_of, random.Random(1))
    drawn = World(workers=workers)
    for worker in drawn.workers:
        worker.look = lambda counted: None  # type: ignore[method-assign]  # knows of no load
    assert loaded <= 1.1 * drawn.run(120, every, ms_of, random.Random(1))


def test_a_target_that_stalls_gets_no_more_than_its_limit() -> None:
    world = World(limits=(LIMITED % 8, LIMITED % 100))
    world.run(60, 0.05, by_speed(a=10_000_000, b=500), random.Random(3))
    assert world.in_flight["a"] == world.most["a"] <= 8
    assert world.asked["b"] > 1000


def test_limits_say_how_much_each_can_bear_and_weights_where_one_has_none() -> None:
    world = World(limits=(LIMITED % 10, LIMITED % 40))
    (worker,) = world.workers
    worker.look({"a": Counted(4), "b": Counted(12)})
    assert worker.choose() == (["b", "a"], {"in_flight": "a/m(4/10),b/m(12/40)"})
    world = World(limits=("", LIMITED % 40), weights=(3, 1))
    (worker,) = world.workers
    worker.look({"a": Counted(9), "b": Counted(4)})
    assert worker.choose()[0] == ["a", "b"]


def test_who_is_full_comes_last_and_it_is_said() -> None:
    world = World(limits=(LIMITED % 2, LIMITED % 100))
    (worker,) = world.workers
    worker.look({"a": Counted(2), "b": Counted(99)})
    order, notes = worker.choose()
    assert (order, notes["full"]) == (["b", "a"], "a/m(in_flight)")


def test_who_fails_at_once_is_not_idle() -> None:
    """Failures count as load that fades, also where nothing is in flight; those before the first
    look are nobody's."""
    world = World()
    (worker,) = world.workers
    worker.look({"a": Counted(failed=70), "b": Counted()})
    assert "failed" not in worker.choose()[1]
    worker.look({"a": Counted(failed=73), "b": Counted(2)})
    order, notes = worker.choose()
    assert (order, notes["failed"]) == (["b", "a"], "a/m(3)")
    world.now += 20
    worker.look({"a": Counted(failed=73), "b": Counted(2)})
    order, notes = worker.choose()
    assert (order, notes["failed"]) == (["a", "b"], "a/m(0.8)")
    world.now += 40
    worker.look({"a": Counted(failed=2), "b": Counted(1)})  # another Envoy
    order, notes = worker.choose()
    assert (order, notes["failed"]) == (["b", "a"], "a/m(2)")
    world.now += 60
    worker.look({"a": Counted(failed=2), "b": Counted(1)})
    assert worker.choose() == (["a", "b"], {"in_flight": "a/m(0),b/m(1)"})


def test_a_target_that_only_fails_is_tried_seldom() -> None:
    """It ends each request at once; the other takes two seconds, of ten a second."""
    world = World()
    (worker,) = world.workers
    chance, running, failed, asked = random.Random(4), list[float](), 0, Counter[str]()
    looked = 0.0
    for _ in range(3000):
        world.now += chance.expovariate(10)
        running = [end for end in running if end > world.now]
        if world.now >= looked + LOOK_SECONDS:
            looked = world.now
            worker.look({"a": Counted(failed=failed), "b": Counted(len(running))})
        first = worker.choose()[0][0]
        asked[first] += 1
        failed += first == "a"
        running.append(world.now + 2)
    assert asked["a"] < 0.25 * asked["b"]


def test_little_that_is_left_of_rate_limits_weighs_as_much_load() -> None:
    world = World()
    (worker,) = world.workers
    worker.look({"a": Counted(2, 0.25, world.now + 60), "b": Counted(6)})
    order, notes = worker.choose()
    assert (order, notes["rate_limit_left"]) == (["b", "a"], "a/m(0.2)")
    world.now += 1
    worker.look({"a": Counted(2, 0.0, world.now + 60), "b": Counted(500)})
    order, notes = worker.choose()
    assert (order, notes["full"]) == (["b", "a"], "a/m(rate_limit)")


def test_rate_limits_come_back_little_by_little_and_a_pause_ends_at_once() -> None:
    now = 1000.0
    loads = Loads(lambda: now)

    def left(at: float, counted: Counted) -> float:
        nonlocal now
        now = at
        loads.begin_look()
        loads.end_look({"a": counted})
        load = loads.find("a")
        assert load is not None
        return load.left

    half = Counted(0, 0.5, 1100.0)
    assert [left(at, half) for at in (1000, 1050, 1100, 5000)] == [0.5, 0.75, 1.0, 1.0]
    none = Counted(0, 0.0, 6000.0)
    assert [left(at, none) for at in (5001, 5999, 6000)] == [0.0, 0.0, 1.0]
    pause = Counted(0, 1.0, 0.0, 7000.0)
    assert [left(at, pause) for at in (6001, 6999, 7000)] == [0.0, 0.0, 1.0]


def test_without_envoys_count_it_is_drawn_by_weight() -> None:
    world = World(weights=(3, 1))
    (worker,) = world.workers
    orders = [worker.choose() for _ in range(400)]
    assert {notes["in_flight"] for _, notes in orders} == {"unknown"}
    assert 250 < sum(order[0] == "a" for order, _ in orders) < 350
    worker.look({"a": Counted(9)})
    assert worker.choose()[0] == ["b", "a"]
    world.now += 2  # too long ago
    assert worker.choose()[1] == {"in_flight": "unknown"}


def test_with_nothing_in_flight_weights_hold() -> None:
    (worker,) = World(weights=(3, 1)).workers
    firsts = Counter[str]()
    for _ in range(400):
        worker.look({})
        firsts[worker.choose()[0][0]] += 1
    assert 250 < firsts["a"] < 350


def test_what_is_sent_while_envoy_is_asked_counts_until_the_next_look() -> None:
    loads = Loads(lambda: 1000.0, workers=2)
    loads.pick("a")
    loads.begin_look()
    loads.pick("a")
    loads.end_look({"a": Counted(7)})
    load = loads.find("a")
    assert load is not None
    assert (load.counted, load.in_flight) == (7, 9)


def test_gauges_are_read_by_their_names() -> None:
    text = "cluster.x.y.upstream_rq_active: 3\ncluster.x.y.upstream_rq_pending_active: 2\n"
    text += "dragoman.rate_limit_left.provider.x.y: 250\nserver.live: 1\n"
    text += "dragoman.rate_limit_resets_at.provider.x.y: 1795609956\n"
    text += "dragoman.rate_limit_paused_until.provider.x.y: 1795609900\n"
    text += "dragoman.attempts_failed.provider.x.y: 7\n"
    assert read_gauges(text) == {"x.y": Counted(5, 0.25, 1795609956.0, 1795609900.0, 7)}


class _Statistics:
    def __init__(self, *answers: dict[str, Counted] | None) -> None:
        self._answers = iter(answers)
        self.closed = False

    async def read(self) -> Mapping[str, Counted]:
        answer = next(self._answers)
        if answer is None:
            raise StatisticsUnavailable("gone")
        return answer

    async def close(self) -> None:
        self.closed = True


def test_where_envoy_does_not_answer_it_is_asked_again() -> None:
    loads = Loads(lambda: 1000.0)
    source = _Statistics({"a": Counted(1)}, None, None, {"a": Counted(2)})
    watch = LoadWatch(loads, source)

    async def look() -> None:
        for _ in range(3):
            await watch.refresh()
        await watch.close()

    asyncio.run(look())
    load = loads.find("a")
    assert load is not None
    assert (load.counted, source.closed) == (2, True)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"sticky": "user"}, "cannot be kept with strategy: least_loaded"),
        ({"learning": {}}, "has no effect without strategy: fastest or bandit"),
    ],
)
def test_what_cannot_go_with_it_is_refused(settings: dict[str, Any], problem: str) -> None:
    text = TEXT % ("", "", 1, 1)
    for name, value in settings.items():
        text = text.replace("least_loaded\n", f"least_loaded\n    {name}: {value}\n")
    with pytest.raises(ConfigError, match=problem):
        parse(text, "test.yaml", KEYS)


def test_the_plan_names_it() -> None:
    policy = World().policy
    told = explain(policy, policy.callers.by_name["demo"], Wish("chat", "openai_chat", "busy"))
    assert "strategy least_loaded" in told.lines
