"""What is to become of a request whose first target fails: each fault against each strategy.

`test_faults.py` holds the gateway to it. `python -m tests.envoy.trials` tries all of it, prints a
table, and brings envoy/README.md up to date.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

from tests.envoy.gateway import KINDS

README = Path(__file__).parents[2] / "envoy" / "README.md"
BEGIN = "<!-- faults: written by `python -m tests.envoy.trials`, from what the tests hold it to -->"
END = "<!-- faults: end -->"

NEXT = "next"
OWN_ERROR = "its error"
NO_ERROR = "503"
EVENT = "error event"
CUT = "cut"
AS_IS = "as it is"
EMPTY = "empty"
FIRST = "its answer"
MEANINGS = {
    NEXT: "the next target's whole answer",
    FIRST: "the first target's whole answer",
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
    learns: bool = False
    """Likewise, and no setting says which is the first: it is asked until it was."""
    by_provider: bool = False
    """It learns of providers, not of models: who fails is another one in each cell."""
    region: str = ""
    """Where the request has to stay. A target before these two is nowhere."""

    @property
    def watches(self) -> bool:
        return "fallback_on" in self.settings


_WATCHED = {"fallback_on": ["context_length", "content_filter", "empty", "invalid"]}
_GREEDY = {"learning": {"explore": 0}}
STRATEGIES = (
    Strategy("to anthropic", "openai", "anthropic"),
    Strategy("to openai", "anthropic", "openai"),
    Strategy("alike", "openai", "openai-b"),
    Strategy("weighted", "openai", "anthropic", shared=True),
    Strategy("cheapest", "openai", "anthropic", {"strategy": "cheapest"}, shared=True),
    Strategy("sticky", "openai", "anthropic", {"sticky": "conversation"}, shared=True),
    Strategy("residency", "openai", "anthropic", region="eu"),
    Strategy("fallback_on", "openai", "anthropic", _WATCHED),
    Strategy("fastest", "openai", "anthropic", {"strategy": "fastest", **_GREEDY}, learns=True),
    Strategy(
        "bandit",
        "openai",
        "anthropic",
        {"strategy": "bandit", "reward": {"error": 1}, **_GREEDY},
        learns=True,
    ),
    Strategy(
        "least_loaded",
        "openai",
        "anthropic",
        {"strategy": "least_loaded"},
        learns=True,
        by_provider=True,
    ),
)
APART = "apart"
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
_SLOW = Outcomes(FIRST, FIRST)
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
    Fault(
        "slow to begin, in time",
        _always(first_byte_delay_ms=500),
        passed=_SLOW,
        translated=_SLOW,
        watched_passed=_SLOW,
        watched_translated=_SLOW,
    ),
    Fault("no answer in time", _always(stall=True)),
    Fault("headers, then closed", _always(cut_after_bytes=0), passed=_BEGUN),
    Fault(
        "headers, then a reset",
        _always(cut_after_bytes=0, body_delay_ms=50, cut_by_reset=True),
        passed=_BEGUN,
    ),
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


class Expected(NamedTuple):
    """What is to come of one request."""

    outcome: str
    """A key of `MEANINGS`."""
    asked: list[str]
    """The simulator's listeners that are to get it, in order."""
    attempts: int
    broken: bool = False
    """Whether the ledger says that the stream broke off: where a stage has read it."""


class Cell(NamedTuple):
    """One fault, strategy and way to ask."""

    fault: Fault
    strategy: Strategy
    client: str
    """Its dialect."""
    stream: bool
    name: str
    """In the model and in the text, so that it is found again in every log."""

    @property
    def then(self) -> Mapping[str, Any]:
        """What the simulator does."""
        script = self.fault.script
        return script(KINDS[self.strategy.first], self.stream) if script else {}

    @property
    def targets(self) -> tuple[str, str]:
        """The providers, of which the first fails."""
        first, second = self.reached
        if not self.strategy.by_provider:
            return first, second
        own = self.name if self.fault.everywhere else APART
        return at_provider(self.name, first), at_provider(own, second)

    @property
    def reached(self) -> tuple[str, str]:
        """The same, as the providers that all cells have in common are called."""
        fault, (_, first, second, *_) = self.fault, self.strategy
        return at_provider(fault.at, first), at_provider(fault.at * fault.everywhere, second)

    @property
    def pattern(self) -> str:
        """The model as the policy has it. What is learned in one cell says nothing in another."""
        shared = f"{self.strategy.name.replace(' ', '-')}-{'-'.join(self.targets)}"
        return f"{shared}/{self.name if self.strategy.learns else '*'}"

    @property
    def model(self) -> str:
        return self.pattern.replace("*", self.name)

    def expect(self, first: str) -> Expected:
        """Where the provider `first` is the first one asked."""
        fails, serves = self.strategy.first, self.strategy.second
        asked = [fails, serves]
        if self.fault.script is None:
            asked = [] if self.fault.everywhere else [serves]
        if first != self.targets[0]:
            everywhere = self.fault.everywhere
            asked = asked[::-1] if everywhere else [serves]
            return Expected(self._outcome if everywhere else NEXT, asked, 1 + everywhere)
        goes_on = self._outcome == NEXT or self.fault.everywhere
        broken = self._outcome == EVENT and not self._is_own
        return Expected(self._outcome, asked if goes_on else asked[:1], 1 + goes_on, broken)

    @property
    def _is_own(self) -> bool:
        """Whether the client speaks the first target's dialect."""
        return self.client == KINDS[self.strategy.first]

    @property
    def _outcome(self) -> str:
        way = "passed" if self._is_own else "translated"
        way = f"watched_{way}" if self.strategy.watches else way
        outcomes: Outcomes = getattr(self.fault, way)
        return outcomes.stream if self.stream else outcomes.json

    @property
    def mark(self) -> str:
        """In the text of all cells in which a provider does the same."""
        kind = "s" if self.stream else "j"
        return f"fault{FAULTS.index(self.fault)}{kind}-{self.strategy.first}-"

    def text(self, number: int) -> str:
        """Of the request of this number."""
        return f"{self.mark}{self.name}n{number}x one two three"

    def body(self, number: int) -> dict[str, Any]:
        """What the two dialects write differently: a system prompt and stop sequences."""
        system, turn = "be brief", {"role": "user", "content": self.text(number)}
        asked: dict[str, Any] = {"model": self.model, "max_tokens": 100, "stream": self.stream}
        if self.client == "anthropic":
            return {**asked, "system": system, "stop_sequences": ["@"], "messages": [turn]}
        turns = [{"role": "system", "content": system}, turn]
        return {**asked, "stop": ["@"], "messages": turns}


def at_provider(at: str, name: str) -> str:
    """A provider as the policy calls it: `name`, or another that is reached `at` somewhere else."""
    return f"{at}-{name}" if at else name


def all_cells() -> list[Cell]:
    numbers = count(1)
    return [
        Cell(fault, strategy, client, stream, f"cell{next(numbers)}")
        for fault, strategy, client, stream in product(FAULTS, STRATEGIES, PATHS, (False, True))
    ]


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
