"""Try what `faults.py` states, and say what came: `python -m tests.envoy.trials`."""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from dragoman.policies.route.decision import read_decision
from dragoman.simulator import Simulator
from tests.envoy.faults import (
    AS_IS,
    CUT,
    EMPTY,
    EVENT,
    FAULTS,
    FIRST,
    NEXT,
    NO_ERROR,
    OWN_ERROR,
    PATHS,
    README,
    STRATEGIES,
    Cell,
    Expected,
    all_cells,
    at_provider,
    replace,
)
from tests.envoy.gateway import (
    KEY,
    KINDS,
    Gateway,
    digest,
    free_port,
    key_file,
    provider_entry,
    run_gateway,
    wait_until,
)

AT_ONCE = 64
"""Cells tried at a time: most of a cell that waits for a time-out is waiting."""
TIMEOUTS = {"connect_seconds": 1.5, "first_byte_seconds": 1.5, "idle_seconds": 1.5}
MOST_TRIES = 60
"""Requests until a target is the first that is as likely as the other to be."""
LEARNED_SECONDS = 0.6
"""From what workers have seen to when they go by it."""
LATER = 3
"""Requests of each cell whose strategy learns, once it has."""


class Seen(NamedTuple):
    """What came of one request."""

    first: str
    """The provider that was to be asked first."""
    outcome: str
    """A key of `MEANINGS`, or what else came."""
    asked: list[str]
    """The listeners that got it, in order."""
    attempts: int
    broken: bool
    """By the ledger."""
    foreign: list[str]
    """Those of `asked` that got it in another dialect than their own."""
    milliseconds: float

    @property
    def came(self) -> Expected:
        return Expected(self.outcome, self.asked, self.attempts, self.broken)


class Told(NamedTuple):
    """What the client was told."""

    number: int
    outcome: str
    request_id: str
    first: str
    milliseconds: float


Trial = tuple[Cell, list[Seen]]
"""A cell and its requests; the first target was the first to be asked in the last alone."""


def _models() -> dict[str, Any]:
    models: dict[str, Any] = {}
    for cell in all_cells():
        strategy = cell.strategy
        targets: list[dict[str, Any]] = [{"provider": name} for name in cell.targets]
        if strategy.shared or strategy.learns:
            targets = [target | {"priority": 0} for target in targets]
        if strategy.shared:
            targets[0]["weight"] = 1_000_000
        if strategy.region:
            near = {"region": strategy.region}
            targets = [{"provider": "openai-b"}, *(target | near for target in targets)]
        targets = [target | {"model": "sim/echo"} for target in targets]
        models[cell.pattern] = {**strategy.settings, "targets": targets}
    return models


def _providers(simulator: Simulator, folder: Path) -> dict[str, Any]:
    """Four that answer, the same four where nobody does, and those of which strategies learn."""
    found: dict[str, Any] = {}
    nobody, plain = free_port(), simulator.url("openai").rpartition(":")[2]
    urls = {
        "refused": f"http://127.0.0.1:{nobody}",
        "unresolved": "http://nowhere.invalid:80",
        "plain": f"https://localhost:{plain}",
    }
    for name in ("openai", "anthropic", "openai-b", "anthropic-b"):
        found[name] = provider_entry(name, simulator, folder)
        for at, url in urls.items():
            key = {"file": str(key_file(name, folder))}
            found[at_provider(at, name)] = {"kind": KINDS[name], "url": url, "key": key}
    for cell in all_cells():
        for name, reached in zip(cell.targets, cell.reached, strict=True):
            found.setdefault(name, found[reached])
    return found


@contextlib.contextmanager
def failing_gateway(simulator: Simulator) -> Iterator[Gateway]:
    """A gateway that loses patience soon, with a model for each order of targets."""
    with tempfile.TemporaryDirectory() as folder:
        providers = _providers(simulator, Path(folder))
        prices = [
            {
                "provider": name,
                "model": "*",
                "prices": {"input": price, "output": price},
            }
            for name in providers
            for price in [9 if name.startswith("anthropic") else 1]
        ]
        with run_gateway(
            simulator,
            timeouts=TIMEOUTS,
            providers=providers,
            models=_models(),
            profiles=prices,
            callers={"demo": {"keys": [digest(KEY)]}},
        ) as gateway:
            yield gateway


def try_all(gateway: Gateway) -> list[Trial]:
    """Each cell until its first target was the first, some cells at a time."""
    failing = [cell for cell in all_cells() if cell.then]
    for cell in {cell.mark: cell for cell in failing}.values():
        first = {} if cell.fault.everywhere else {"listener": cell.strategy.first}
        gateway.simulator.control.script(cell.then, {**first, "body_contains": cell.mark})
    return _try(gateway, all_cells(), _ask_until_first)


def try_later(gateway: Gateway) -> list[Trial]:
    """Those whose strategy learns, after `try_all`: whoever is the first now."""
    learned_at = time.monotonic() + LEARNED_SECONDS
    wait_until(lambda: time.monotonic() > learned_at)
    cells = [cell for cell in all_cells() if cell.strategy.learns]
    numbers = range(MOST_TRIES, MOST_TRIES + LATER)
    return _try(gateway, cells, lambda client, cell: [_ask(client, cell, n) for n in numbers])


Try = Callable[[httpx.Client, Cell], list[Told]]


def _try(gateway: Gateway, cells: list[Cell], ask: Try) -> list[Trial]:
    before = len(gateway.simulator.control.requests())
    context, own = ssl.create_default_context(), threading.local()
    options: dict[str, Any] = {"base_url": gateway.url, "headers": {"x-api-key": KEY}}

    def begin() -> None:
        """A client a thread: one that all share may reuse a connection that another closes."""
        own.client = clients.enter_context(httpx.Client(**options, timeout=30, verify=context))

    with contextlib.ExitStack() as clients, ThreadPoolExecutor(AT_ONCE, initializer=begin) as pool:
        told = list(pool.map(lambda cell: ask(own.client, cell), cells))
    requests = gateway.simulator.control.requests()[before:]
    asked = [(request, request.body_text or "") for request in requests]
    ids = {each.request_id for tries in told for each in tries}

    def read_ledger() -> dict[str, dict[str, Any]] | None:
        found = {entry["dragoman.request_id"]: entry for entry in gateway.ledger()}
        return found if ids <= set(found) else None

    entries = wait_until(read_ledger, what="ledger") or {}

    def see(cell: Cell, each: Told) -> Seen:
        mine = [request for request, text in asked if cell.text(each.number) in text]
        listeners = [request.listener for request in mine]
        foreign = [r.listener for r in mine if not _speaks(r.listener, r.target, r.json())]
        outcome = each.outcome
        if outcome == NEXT and listeners[-1:] != [cell.strategy.second]:
            outcome = FIRST
        entry = entries[each.request_id]
        attempts, broken = entry["dragoman.attempts"], "dragoman.broken" in entry
        told = (each.first, outcome, listeners, attempts, broken)
        return Seen(*told, foreign, each.milliseconds)

    return [
        (cell, [see(cell, each) for each in tries]) for cell, tries in zip(cells, told, strict=True)
    ]


def _speaks(listener: str, target: str, body: Any) -> bool:
    """Whether a provider was asked in its own dialect, and in no part of the other."""
    dialect = KINDS[listener]
    own = {"openai": {"stop"}, "anthropic": {"stop_sequences", "system"}}
    other = own["anthropic" if dialect == "openai" else "openai"]
    return target == PATHS[dialect] and own[dialect] <= set(body) and not other & set(body)


def _ask_until_first(client: httpx.Client, cell: Cell) -> list[Told]:
    found: list[Told] = []
    for number in range(MOST_TRIES if cell.strategy.learns else 1):
        found.append(_ask(client, cell, number))
        if found[-1].first == cell.targets[0]:
            break
    return found


def _ask(client: httpx.Client, cell: Cell, number: int) -> Told:
    started, text, is_cut = time.monotonic(), "", False
    region = {"dragoman-residency": cell.strategy.region} if cell.strategy.region else {}
    body, path = cell.body(number), PATHS[cell.client]
    with client.stream("POST", path, json=body, headers=region) as answer:
        try:
            for piece in answer.iter_text():
                text += piece
        except httpx.RemoteProtocolError:
            is_cut = True
    outcome = CUT if is_cut else _name(cell, number, answer.status_code, text)
    decision = read_decision(answer.headers["x-dragoman-decision"])
    first = decision.order[0].partition("/")[0] if decision else ""
    milliseconds = (time.monotonic() - started) * 1000
    return Told(number, outcome, answer.headers["x-dragoman-request-id"], first, milliseconds)


def _name(cell: Cell, number: int, status: int, text: str) -> str:
    """The outcome's name; what has none is told as it came."""
    if status >= 400:
        return _name_error(cell, status, text)
    whole = f"You said: {cell.text(number)}"
    if cell.then and text == _sent(cell):
        return AS_IS
    if cell.stream and _tells_error(cell.client, text):
        return EVENT
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        return {whole: NEXT, "": EMPTY}.get(_said(cell, text), text)
    return f"{status}: {text}"


def _sent(cell: Cell) -> str | None:
    then = cell.then
    if "body" in then:
        return json.dumps(then["body"], separators=(",", ":"))
    return then.get("raw_body", then.get("sse_raw"))


def _name_error(cell: Cell, status: int, text: str) -> str:
    error, then = json.loads(text), cell.then
    is_own = ("type" in error) == (cell.client == "anthropic") and "message" in error["error"]
    if not is_own:
        return f"{status}: {text}"
    if not then:
        return NO_ERROR if status == 503 else f"{status}: {text}"
    message = then.get("message") or then.get("body", {}).get("error", {}).get("message")
    told = (status, error["error"]["message"])
    return OWN_ERROR if told == (then.get("status"), message) else f"{status}: {text}"


def _tells_error(client: str, text: str) -> bool:
    last = text.strip().split("\n\n")[-1]
    if client == "anthropic":
        return last.startswith("event: error\n") and '"type":"error"' in last.replace(" ", "")
    lines = [line for line in text.splitlines() if line.startswith("data: {")]
    return bool(lines) and set(json.loads(lines[-1][6:])) == {"error"}


def _said(cell: Cell, text: str) -> str:
    """The text of a whole answer; raises for one that is not whole."""
    if not cell.stream:
        found = json.loads(text)
        if cell.client == "openai":
            return str(found["choices"][0]["message"]["content"] or "")
        return "".join(block["text"] for block in found["content"])
    ends = "data: [DONE]" if cell.client == "openai" else "event: message_stop"
    if text.count(ends) != 1:
        raise ValueError(text)
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    if cell.client == "openai":
        deltas = [choice["delta"] for event in events for choice in event["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)
    return "".join(event.get("delta", {}).get("text", "") for event in events)


def print_table(trials: list[Trial]) -> None:
    """A line for each fault and strategy: what came, after how many attempts and milliseconds.

    In each the OpenAI client and the Anthropic client, JSON and a stream.
    """
    for fault, strategy in product(FAULTS, STRATEGIES):
        print(f"{fault.name:26} {strategy.name:13}", end="")
        for cell, tries in trials:
            if (cell.fault, cell.strategy) == (fault, strategy):
                seen = tries[-1]
                told = f"{seen.outcome[:40]} {seen.attempts}× {seen.milliseconds:.0f} ms"
                print(f" | {told:22}", end="" if is_as_stated(cell, tries) else " (!)")
        print()


def print_later(trials: list[Trial]) -> None:
    """A line for each fault: in how many of so many requests the first target was the first
    again."""
    learning = [strategy for strategy in STRATEGIES if strategy.learns]
    for fault in FAULTS:
        print(f"{fault.name:26}", end="")
        for strategy in learning:
            mine = [t for t in trials if (t[0].fault, t[0].strategy) == (fault, strategy)]
            again = [str(count_first(*trial)) for trial in mine]
            wrong = "" if all(is_as_stated(*trial) for trial in mine) else " (!)"
            print(f" | {strategy.name} {'+'.join(again)} of {len(mine) * LATER}{wrong}", end="")
        print()


def is_as_stated(cell: Cell, tries: list[Seen]) -> bool:
    """Whether each request came to what it had to, and nobody was asked in a foreign dialect."""
    return all(seen.came == cell.expect(seen.first) and not seen.foreign for seen in tries)


def count_first(cell: Cell, tries: list[Seen]) -> int:
    """In how many the target that fails was the first."""
    return sum(seen.first == cell.targets[0] for seen in tries)


def main() -> None:
    """Try, print, and write down."""
    with Simulator(list(KINDS)) as simulator, failing_gateway(simulator) as gateway:
        trials, later = try_all(gateway), try_later(gateway)
    print_table(trials)
    print("asked first again, once the strategy has learned:")
    print_later(later)
    print(Counter(seen.outcome[:40] for _, tries in [*trials, *later] for seen in tries))
    README.write_text(replace(README.read_text()))


if __name__ == "__main__":
    main()
