"""What becomes of a request whose first target fails: each fault against each strategy.

What is to happen is stated here; `test_faults.py` holds the gateway to it. `python -m
tests.envoy.faults` tries all of it, prints a table, and brings envoy/README.md up to date.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from dragoman.simulator import Simulator
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

README = Path(__file__).parents[2] / "envoy" / "README.md"
BEGIN = "<!-- faults: written by `python -m tests.envoy.faults`, from what the tests hold it to -->"
END = "<!-- faults: end -->"
AT_ONCE = 32
"""Cells tried at a time: most of a cell that waits for a time-out is waiting."""
TIMEOUTS = {"connect_seconds": 1.5, "first_byte_seconds": 1.5, "idle_seconds": 1.5}

NEXT = "next"
OWN_ERROR = "its error"
NO_ERROR = "503"
EVENT = "error event"
CUT = "cut"
AS_IS = "as it is"
EMPTY = "empty"
FIRST = "the first target's answer"
"""Never stated: each fault is one."""
MEANINGS = {
    NEXT: "the next target's whole answer",
    OWN_ERROR: "the provider's status and message, in the client's dialect",
    NO_ERROR: "the gateway's own error, in the client's dialect",
    EVENT: "a stream that ends with an error event of the client's dialect",
    CUT: "an answer that breaks off, as HTTP itself says",
    AS_IS: "byte for byte what the provider sent",
    EMPTY: "an answer of the client's dialect without text",
}


class Outcomes(NamedTuple):
    """What the client gets, by what it asked for."""

    json: str = NEXT
    stream: str = NEXT


Script = Callable[[str, bool], Mapping[str, Any]]
"""Of the failing provider's dialect, and whether a stream was asked for: what the simulator does."""


class Fault(NamedTuple):
    """One way to fail, and what is to come of it."""

    name: str
    script: Script | None = None
    """None: the provider cannot be reached."""
    at: str = ""
    """Of such a provider: which, of `_unreachable`."""
    everywhere: bool = False
    """Each target fails so."""
    passed: Outcomes = Outcomes()
    """Where the target speaks the client's dialect."""
    translated: Outcomes = Outcomes()
    watched_passed: Outcomes = Outcomes()
    """With `fallback_on`."""
    watched_translated: Outcomes = Outcomes()


class Strategy(NamedTuple):
    """A way to order two targets of which the first fails."""

    name: str
    first: str
    """The dialects of the two, in the order they are asked."""
    second: str
    settings: Mapping[str, Any] = {}
    shared: bool = False
    """Of one priority: weight and price make `first` the first."""

    @property
    def watches(self) -> bool:
        return "fallback_on" in self.settings


STRATEGIES = (
    Strategy("to anthropic", "openai", "anthropic"),
    Strategy("to openai", "anthropic", "openai"),
    Strategy("alike", "openai", "openai-b"),
    Strategy("weighted", "openai", "anthropic", shared=True),
    Strategy("cheapest", "openai", "anthropic", {"strategy": "cheapest"}, shared=True),
    Strategy("sticky", "openai", "anthropic", {"sticky": "conversation"}, shared=True),
    Strategy(
        "fallback_on",
        "openai",
        "anthropic",
        {"fallback_on": ["context_length", "content_filter", "empty", "invalid"]},
    ),
)
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}


def _always(**then: Any) -> Script:
    return lambda dialect, stream: then


def _cut(dialect: str, stream: bool) -> Mapping[str, Any]:
    """Of a stream, after some events have gone out on their own."""
    return {"cut_after_bytes": 900, "chunk_pause_ms": 50} if stream else {"cut_after_bytes": 150}


def _too_long(dialect: str, stream: bool) -> Mapping[str, Any]:
    code = {"param": None, "code": "context_length_exceeded"} if dialect == "openai" else {}
    error = {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8 maximum"}
    whole = {} if dialect == "openai" else {"type": "error"}
    return {"status": 400, "body": {**whole, "error": {**error, **code}}}


_CHUNK = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
_MESSAGE = {
    "id": "x",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def _chunk(content: str, finish: str | None = None) -> str:
    delta = {"role": "assistant", "content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({**_CHUNK, 'choices': [choice]})}\n\n"


def _event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def _half(dialect: str, stream: bool) -> Mapping[str, Any]:
    """Whole as HTTP, half as a stream."""
    if dialect == "openai":
        return {"sse_raw": _chunk("half")}
    start = _event("message_start", message={**_MESSAGE, "stop_reason": None})
    block = _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    delta = _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "half"})
    return {"sse_raw": start + block + delta}


def _silent(dialect: str, stream: bool) -> Mapping[str, Any]:
    if stream and dialect == "openai":
        return {"sse_raw": _chunk("", "stop") + "data: [DONE]\n\n"}
    if stream:
        start = _event("message_start", message={**_MESSAGE, "stop_reason": None})
        ended = {"stop_reason": "end_turn", "stop_sequence": None}
        delta = _event("message_delta", delta=ended, usage={"output_tokens": 1})
        return {"sse_raw": start + delta + _event("message_stop")}
    if dialect == "anthropic":
        return {"body": {**_MESSAGE, "stop_reason": "end_turn"}}
    message = {"role": "assistant", "content": ""}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"body": {**_CHUNK, "object": "chat.completion", "choices": [choice]}}


def _in_stream(dialect: str, stream: bool) -> Mapping[str, Any]:
    """The provider's own error event after some text; a status where no stream was asked for."""
    return {"stream_error_after": 4, "chunk_pause_ms": 50} if stream else {"status": 500}


_PASSED = Outcomes(AS_IS, AS_IS)
_BEGUN = Outcomes(CUT, CUT)
FAULTS = (
    Fault("connection refused", at="refused"),
    Fault("name not resolved", at="unresolved"),
    Fault("TLS fails", at="plain"),
    Fault("reset before headers", _always(reset_before_headers=True)),
    Fault("429", _always(status=429)),
    Fault("429, retry-after: 1", _always(status=429, retry_after=1)),
    Fault("429, retry-after: 60", _always(status=429, retry_after=60)),
    Fault("500", _always(status=500)),
    Fault("503", _always(status=503)),
    Fault("529", _always(status=529)),
    Fault("no answer in time", _always(stall=True)),
    Fault("headers, then closed", _always(cut_after_bytes=0), passed=_BEGUN),
    Fault("headers, then silence", _always(body_delay_ms=30_000), passed=_BEGUN),
    Fault(
        "cut in the middle",
        _cut,
        passed=_BEGUN,
        translated=Outcomes(stream=CUT),
        watched_passed=Outcomes(stream=CUT),
        watched_translated=Outcomes(stream=CUT),
    ),
    Fault(
        "silence in the middle",
        lambda dialect, stream: {**_cut(dialect, stream), "stall": True},
        passed=_BEGUN,
        translated=Outcomes(stream=CUT),
        watched_passed=Outcomes(stream=CUT),
        watched_translated=Outcomes(stream=CUT),
    ),
    Fault(
        "error event in the middle",
        _in_stream,
        passed=Outcomes(stream=EVENT),
        translated=Outcomes(stream=EVENT),
        watched_passed=Outcomes(stream=EVENT),
        watched_translated=Outcomes(stream=EVENT),
    ),
    Fault(
        "half an answer, whole as HTTP",
        lambda dialect, stream: _half(dialect, stream) if stream else {"raw_body": '{"id": "x'},
        passed=_PASSED,
        translated=Outcomes(stream=EVENT),
        watched_passed=Outcomes(stream=AS_IS),
        watched_translated=Outcomes(stream=EVENT),
    ),
    Fault(
        "no JSON",
        lambda dialect, stream: {"sse_raw": "data: {no\n\n"} if stream else {"raw_body": "{no"},
        passed=_PASSED,
        watched_passed=Outcomes(stream=AS_IS),
    ),
    Fault(
        "a page of HTML, 200",
        _always(raw_body="<html>", content_type="text/html"),
        passed=_PASSED,
    ),
    Fault("no body, 200", _always(raw_body=""), passed=_PASSED),
    Fault(
        "an answer without text",
        _silent,
        passed=_PASSED,
        translated=Outcomes(EMPTY, EMPTY),
        watched_passed=Outcomes(stream=AS_IS),
        watched_translated=Outcomes(stream=EMPTY),
    ),
    Fault(
        "400, prompt too long",
        _too_long,
        passed=Outcomes(OWN_ERROR, OWN_ERROR),
        translated=Outcomes(OWN_ERROR, OWN_ERROR),
    ),
    Fault(
        "all answer 503",
        _always(status=503, message="scripted"),
        everywhere=True,
        passed=Outcomes(OWN_ERROR, OWN_ERROR),
        translated=Outcomes(OWN_ERROR, OWN_ERROR),
        watched_passed=Outcomes(OWN_ERROR, OWN_ERROR),
        watched_translated=Outcomes(OWN_ERROR, OWN_ERROR),
    ),
    Fault(
        "none can be reached",
        at="refused",
        everywhere=True,
        passed=Outcomes(NO_ERROR, NO_ERROR),
        translated=Outcomes(NO_ERROR, NO_ERROR),
        watched_passed=Outcomes(NO_ERROR, NO_ERROR),
        watched_translated=Outcomes(NO_ERROR, NO_ERROR),
    ),
)


class Cell(NamedTuple):
    """One request."""

    fault: Fault
    strategy: Strategy
    client: str
    """Its dialect."""
    stream: bool
    name: str
    """In the model and in the text, so that it is found again in every log."""

    @property
    def targets(self) -> tuple[str, str]:
        """The providers in the order they are to be asked."""
        fault, (_, first, second, *_) = self.fault, self.strategy
        at = f"{fault.at}-{first}" if fault.at else first
        return at, f"{fault.at}-{second}" if fault.at and fault.everywhere else second

    @property
    def model(self) -> str:
        return f"{_model(self.strategy, *self.targets)}/{self.name}"

    @property
    def expected(self) -> str:
        is_own = self.client == KINDS[self.strategy.first]
        way = ("watched_" if self.strategy.watches else "") + ("passed" if is_own else "translated")
        outcomes: Outcomes = getattr(self.fault, way)
        return outcomes.stream if self.stream else outcomes.json

    @property
    def goes_on(self) -> bool:
        """Whether the second target is to be asked."""
        return self.expected == NEXT or self.fault.everywhere

    @property
    def asked(self) -> list[str]:
        """Who is to get the request."""
        targets = self.targets if self.goes_on else self.targets[:1]
        return [name for name in targets if name in KINDS]

    @property
    def text(self) -> str:
        return f"{self.name} one two three"

    def body(self) -> dict[str, Any]:
        """What the two dialects write differently: a system prompt and stop sequences."""
        system, turn = "be brief", {"role": "user", "content": self.text}
        asked: dict[str, Any] = {"model": self.model, "max_tokens": 100, "stream": self.stream}
        if self.client == "anthropic":
            return {**asked, "system": system, "stop_sequences": ["@"], "messages": [turn]}
        turns = [{"role": "system", "content": system}, turn]
        return {**asked, "stop": ["@"], "messages": turns}


def all_cells() -> list[Cell]:
    numbers = count(1)
    return [
        Cell(fault, strategy, client, stream, f"cell{next(numbers)}x")
        for fault, strategy, client, stream in product(FAULTS, STRATEGIES, PATHS, (False, True))
    ]


class Seen(NamedTuple):
    """What came of one request."""

    outcome: str
    """A key of `MEANINGS`, or what else came."""
    asked: list[str]
    """The providers that got it, in order."""
    foreign: list[str]
    """Those of them that got it in another dialect than their own."""
    attempts: int
    milliseconds: float


def _model(strategy: Strategy, first: str, second: str) -> str:
    return f"{strategy.name.replace(' ', '-')}-{first}-{second}"


def _models() -> dict[str, Any]:
    models: dict[str, Any] = {}
    for cell in all_cells():
        targets: list[dict[str, Any]] = [
            {"provider": name, "model": "sim/echo"} for name in cell.targets
        ]
        if cell.strategy.shared:
            targets = [target | {"priority": 0} for target in targets]
            targets[0]["weight"] = 1_000_000
        settings = {**cell.strategy.settings, "targets": targets}
        models[f"{_model(cell.strategy, *cell.targets)}/*"] = settings
    return models


def _providers(simulator: Simulator, folder: Path) -> dict[str, Any]:
    """Four that answer, and the same four where nobody does."""
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
            found[f"{at}-{name}"] = {"kind": KINDS[name], "url": url, "key": key}
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


def try_all(gateway: Gateway) -> list[tuple[Cell, Seen]]:
    """Each cell once, some at a time."""
    cells = all_cells()
    control = gateway.simulator.control
    for cell in cells:
        if cell.fault.script is not None:
            first = {} if cell.fault.everywhere else {"listener": cell.strategy.first}
            then = cell.fault.script(KINDS[cell.strategy.first], cell.stream)
            control.script(then, {**first, "body_contains": cell.text})
    headers = {"x-api-key": KEY}
    with (
        httpx.Client(base_url=gateway.url, headers=headers, timeout=30) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        told = list(pool.map(lambda cell: _ask(client, cell), cells))
    asked = [(request, request.body_text or "") for request in control.requests()]
    names = {cell.model for cell in cells}

    def attempts() -> dict[str, int] | None:
        entries = {e["gen_ai.request.model"]: e for e in gateway.ledger()}
        found = {name: e["dragoman.attempts"] for name, e in entries.items()}
        return found if names <= set(found) else None

    counted = wait_until(attempts, what="ledger") or {}
    seen: list[tuple[Cell, Seen]] = []
    for cell, (outcome, milliseconds) in zip(cells, told, strict=True):
        mine = [request for request, text in asked if cell.text in text]
        asked_of = [request.listener for request in mine]
        foreign = [r.listener for r in mine if not _speaks(r.listener, r.target, r.json())]
        is_first = outcome == NEXT and asked_of[-1:] != [cell.strategy.second]
        found = Seen(
            FIRST if is_first else outcome, asked_of, foreign, counted[cell.model], milliseconds
        )
        seen.append((cell, found))
    return seen


def _speaks(listener: str, target: str, body: Any) -> bool:
    """Whether a provider was asked in its own dialect, and in no part of the other."""
    dialect = KINDS[listener]
    own = {"openai": {"stop"}, "anthropic": {"stop_sequences", "system"}}
    other = own["anthropic" if dialect == "openai" else "openai"]
    return target == PATHS[dialect] and own[dialect] <= set(body) and not other & set(body)


def _ask(client: httpx.Client, cell: Cell) -> tuple[str, float]:
    """What came, and after how many milliseconds."""
    started, text, is_cut = time.monotonic(), "", False
    with client.stream("POST", PATHS[cell.client], json=cell.body()) as answer:
        try:
            for piece in answer.iter_text():
                text += piece
        except httpx.RemoteProtocolError:
            is_cut = True
    milliseconds = (time.monotonic() - started) * 1000
    return CUT if is_cut else _name(cell, answer.status_code, text), milliseconds


def _name(cell: Cell, status: int, text: str) -> str:
    """The outcome's name; what has none is told as it came."""
    if status >= 400:
        return _name_error(cell, status, text)
    whole = f"You said: {cell.text}"
    if cell.fault.script is not None:
        then = cell.fault.script(KINDS[cell.strategy.first], cell.stream)
        if text == _sent(then):
            return AS_IS
    if cell.stream and _tells_error(cell.client, text):
        return EVENT
    with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
        return {whole: NEXT, "": EMPTY}.get(_said(cell, text), text)
    return f"{status}: {text}"


def _sent(then: Mapping[str, Any]) -> str | None:
    if "body" in then:
        return json.dumps(then["body"], separators=(",", ":"))
    return then.get("raw_body", then.get("sse_raw"))


def _name_error(cell: Cell, status: int, text: str) -> str:
    error = json.loads(text)
    is_own = ("type" in error) == (cell.client == "anthropic") and "message" in error["error"]
    if not is_own:
        return f"{status}: {text}"
    if cell.fault.script is None:
        return NO_ERROR if status == 503 else f"{status}: {text}"
    then = cell.fault.script(KINDS[cell.strategy.first], cell.stream)
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


def render() -> str:
    """The README's section, with its markers: what `FAULTS` states."""
    columns = ["the first target", "passed on", "translated", "`fallback_on`, passed on"]
    rows = [[*columns, "`fallback_on`, translated"], ["---"] * 5]
    for fault in FAULTS:
        rows.append([fault.name, *map(_told, fault[4:])])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    legend = "\n".join(f"- {name}: {meaning}." for name, meaning in MEANINGS.items())
    return f"{BEGIN}\n\n{table}\n\n{legend}\n\n{END}"


def _told(outcomes: Outcomes) -> str:
    if outcomes.json == outcomes.stream:
        return outcomes.json
    return f"{outcomes.json}; a stream: {outcomes.stream}"


def replace(text: str) -> str:
    """`text` with the section brought up to date."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README has no place for the section: {BEGIN}")
    return head + render() + tail


def print_table(seen: list[tuple[Cell, Seen]]) -> None:
    """A line for each fault and strategy: what came, after how many attempts and milliseconds.

    In each the OpenAI client and the Anthropic client, JSON and a stream.
    """
    for fault, strategy in product(FAULTS, STRATEGIES):
        print(f"{fault.name:26} {strategy.name:13}", end="")
        for cell, found in seen:
            if (cell.fault, cell.strategy) == (fault, strategy):
                told = f"{found.outcome[:40]} {found.attempts}× {found.milliseconds:.0f} ms"
                print(f" | {told:22}", end="" if found.outcome == cell.expected else " (!)")
        print()


def main() -> None:
    """Try, print, and write down."""
    with Simulator(list(KINDS)) as simulator, failing_gateway(simulator) as gateway:
        seen = try_all(gateway)
    print_table(seen)
    print(Counter(found.outcome[:40] for _, found in seen))
    README.write_text(replace(README.read_text()))


if __name__ == "__main__":
    main()
