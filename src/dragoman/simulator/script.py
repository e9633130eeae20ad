"""What a test may script: which requests to match, and what to do with the answer.

The same `Then` is made by the control API and by directives in a model's name (`sim/fail-429`).
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache

import msgspec

from dragoman.simulator.messages import ReceivedRequest

MODEL_PREFIX = "sim/"


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests a rule is for; all given fields must fit. Texts are `fnmatch` patterns."""

    method: str | None = None
    path: str | None = None
    """Without the query."""
    model: str | None = None
    listener: str | None = None
    host: str | None = None
    """The `host` header (`:authority` as Envoy sent it)."""
    headers: dict[str, str] = {}
    """Names in lower case."""
    body_contains: str | None = None

    def fits(self, request: ReceivedRequest, model: str | None) -> bool:
        """Whether the rule is for this request; `model` is the one it asks for, if any."""
        pairs = (
            (self.method, request.method),
            (self.path, request.path),
            (self.model, model),
            (self.listener, request.listener),
            (self.host, request.header("host")),
            *((pattern, request.header(name)) for name, pattern in self.headers.items()),
        )
        return all(_fits(pattern, value) for pattern, value in pairs) and (
            self.body_contains is None or self.body_contains.encode() in request.body
        )


def _fits(pattern: str | None, value: str | None) -> bool:
    return pattern is None or (value is not None and fnmatchcase(value, pattern))


class Then(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an answer differs from the one the pretended provider would have given."""

    status: int | None = None
    """400 and above without a body: the provider's own error shape for that status."""
    message: str | None = None
    """Of that error."""
    headers: dict[str, str] = {}
    """Added, or put in the place of those of the same name."""
    retry_after: int | float | str | None = None
    """Value of a `retry-after` header."""
    content_type: str | None = None
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """A JSON value sent as the body."""
    raw_body: str | None = None
    """Text sent as the body."""
    sse_raw: str | list[str] | None = None
    """Text sent as an event stream, a list in one HTTP chunk an element."""
    chunks: list[str] | None = None
    """As `sse_raw`, under whatever content type was given."""
    gzip: bool = False
    first_byte_delay_ms: float = 0
    """Before the status line."""
    body_delay_ms: float = 0
    """Between the headers and the body."""
    chunk_bytes: int | None = None
    """Cut the body into pieces of this size, each written on its own."""
    chunk_pause_ms: float | None = None
    """Between pieces; 0 writes each on its own, without it a body is written at once."""
    cut_after_bytes: int | None = None
    """Close the connection after so many bytes of the body."""
    cut_by_reset: bool = False
    """Reset it there instead of closing it."""
    reset_before_headers: bool = False
    """Reset the connection instead of answering."""
    stall: bool = False
    """Never answer, or with `cut_after_bytes` never go on, until the client leaves."""
    stream_error_after: int | None = None
    """After so many events of a stream send the provider's error event, and end."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a script."""

    match: Match = Match()
    then: Then = Then()
    times: int | None = None
    """How often it applies; without it, always."""
    skip: int = 0
    """How many matching requests pass by first."""


class Script:
    """The rules in force; the first that fits a request and has turns left applies."""

    def __init__(self) -> None:
        """Start with no rules."""
        self._rules: list[tuple[Rule, list[int]]] = []

    def add(self, rules: Iterable[Rule]) -> None:
        """Append rules."""
        self._rules.extend((rule, [0]) for rule in rules)

    def clear(self) -> None:
        """Drop all rules."""
        self._rules.clear()

    def counts(self) -> list[tuple[Rule, int]]:
        """The rules with how many requests each has matched so far."""
        return [(rule, seen[0]) for rule, seen in self._rules]

    def take(self, request: ReceivedRequest, model: str | None) -> Then | None:
        """What is scripted for this request, using up one turn of its rule."""
        for rule, seen in self._rules:
            last = None if rule.times is None else rule.skip + rule.times
            if (last is not None and seen[0] >= last) or not rule.match.fits(request, model):
                continue
            seen[0] += 1
            if seen[0] > rule.skip:
                return rule.then
        return None


class Directives(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's name asks for, as in `sim/think+pause-20` or `sim/fail-429`."""

    then: Then | None = None
    switches: frozenset[str] = frozenset()
    """Of `SWITCHES`: what kind of answer."""
    bench_chunks: int | None = None
    """Precomputed: a stream of so many deltas, or a body of so many words."""
    bench_bytes: int | None = None
    """Precomputed: a text of so many bytes."""


SWITCHES = frozenset({"echo", "refuse", "think", "tools", "length", "filter", "nousage", "whole"})
_NUMBERED = {
    "fail": "status",
    "retry-after": "retry_after",
    "slow": "first_byte_delay_ms",
    "pause": "chunk_pause_ms",
    "cut": "cut_after_bytes",
    "pieces": "chunk_bytes",
    "midfail": "stream_error_after",
}
_FLAGS = {"reset": "reset_before_headers", "stall": "stall", "gzip": "gzip"}


@lru_cache(maxsize=1024)
def read_directives(model: str) -> Directives | None:
    """The directives of a model name, none for an ordinary one.

    `None` for an unknown directive: no such model.
    """
    if not model.startswith(MODEL_PREFIX):
        return Directives()
    then: dict[str, float | bool] = {}
    bench: dict[str, int] = {}
    switches: set[str] = set()
    for word in model.removeprefix(MODEL_PREFIX).split("+"):
        name, _, number = word.rpartition("-")
        if word in SWITCHES:
            switches.add(word)
        elif word in _FLAGS:
            then[_FLAGS[word]] = True
        elif name in _NUMBERED and number.isdecimal():
            then[_NUMBERED[name]] = int(number)
        elif name in ("chunks", "bytes") and number.isdecimal():
            bench[f"bench_{name}"] = int(number)
        else:
            return None
    scripted = msgspec.convert(then, Then) if then else None
    return Directives(then=scripted, switches=frozenset(switches), **bench)
