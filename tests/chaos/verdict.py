"""Whether it all adds up: each function yields what does not, in words."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tests.chaos.clients import Asked
from tests.chaos.ledgers import Count, Entry, Received
from tests.chaos.setting import DIALECTS, FEW, PRICE, dialect_of
from tests.chaos.troubles import EITHER, sent_as_they_are

_LOST_SECONDS = 1.0
"""The ledger may lose the entry of a request that ended so shortly before a worker was killed: Envoy
had sent it, and waits for no receipt."""
_AWAY_SECONDS = 8.0
"""Or while a worker is away, which waits up to five seconds before it starts: Envoy may send to it."""
UNSETTLED_SECONDS = 1.0
"""Likewise what a request used, which its worker had not told the store."""
_OUTAGE_SECONDS = 8.0
"""The longest that the store is away, which waits before each start."""
_WRITTEN_SECONDS = 10.0
"""The latest that an entry stands in the ledger after its request's end."""
_EARLY_SECONDS = 3.0
"""An answer that breaks off is over for Envoy a second before it closes the connection."""
_UNSCRIPTED = frozenset({400, 401, 403, 404, 405, 413, 415, 422})
_ERRORS = frozenset({429, 500, 502, 503, 504, 529})
"""What providers or the gateway may answer here; anything else would blame the client."""

Served = Mapping[str, Sequence[Received]]


class Times:
    """Moments, and whether another one is close to any of them."""

    def __init__(self, times: Iterable[float]) -> None:
        self._times = sorted(times)

    def within(self, first: float, last: float) -> bool:
        """Whether one of them lies between."""
        at = bisect_left(self._times, first)
        return at < len(self._times) and self._times[at] <= last

    def took(self, ended: float) -> bool:
        """Whether one of them, a worker's death, may have taken the entry of a request with it."""
        return self.within(ended - _AWAY_SECONDS, ended + _LOST_SECONDS)


class Spans:
    """When what was used may have gone untold: around the death of each worker, and since the
    store was last there to be told."""

    def __init__(self, kills: Iterable[float], outages: Iterable[float]) -> None:
        begun = list(outages)
        self._spans = [
            (min([kill, *_before(kill, begun)]) - UNSETTLED_SECONDS, kill + UNSETTLED_SECONDS)
            for kill in kills
        ]

    def have(self, at: float) -> bool:
        """Whether it was then."""
        return any(first <= at <= last for first, last in self._spans)


def _before(kill: float, outages: Iterable[float]) -> list[float]:
    return [began for began in outages if 0 <= kill - began <= _OUTAGE_SECONDS]


def answers(all_asked: Iterable[Asked], served: Served, kills: Times) -> Iterator[str]:
    """Each request has an answer or an error of its own dialect, and it is its own."""
    sent = sent_as_they_are()
    for asked in all_asked:
        problem = _answer(asked, served.get(asked.id, ()), sent, kills)
        if problem:
            told = f"{asked.api.dialect}{' stream' if asked.stream else ''} {asked.slot}"
            found = [(one.listener, one.status, one.outcome) for one in served.get(asked.id, ())]
            yield f"{asked.id} {told}: {problem}; {asked.status} {asked.told[:200]!r}; asked {found}"


def _answer(asked: Asked, received: Sequence[Received], sent: set[bytes], kills: Times) -> str:
    last = received[-1] if received else None
    passed = last is not None and dialect_of(last.path) == asked.api.dialect
    if asked.status and not asked.told_id:
        return "an answer without an id"
    match asked.outcome:
        case "whole":
            return _whole(asked, last, passed=passed)
        case "error":
            return "" if asked.status in _ERRORS else "an error that blames the client"
        case "error event" | "hung up":
            return ""
        case "malformed":
            return "" if passed and asked.raw in sent else f"malformed: {asked.raw[-200:]!r}"
        case "cut":
            is_cut = last is not None and last.outcome != "answered"
            is_killed = kills.within(asked.began - _LOST_SECONDS, asked.ended)
            return "" if is_cut or is_killed else "cut for no reason"
    return asked.outcome


def _whole(asked: Asked, last: Received | None, *, passed: bool) -> str:
    if asked.told == f"You said: {asked.text}":
        return ""
    if not asked.told and last is not None and last.listener in EITHER:
        return ""  # an answer without text is one of the faults
    return "" if passed and asked.told == "half" else "another answer than its own"


def received(served: Served, all_asked: Iterable[Asked]) -> Iterator[str]:
    """Each provider was asked in its own dialect, with its own key, and once for each request."""
    known = {asked.id for asked in all_asked}
    for name, found in served.items():
        if name not in known:
            yield f"at a provider, but nobody's: {name or found[0].text[:200]!r}"
        times = Counter(one.listener for one in found)
        if max(times.values()) > 1:
            yield f"{name}: asked twice for one request: {dict(times)}"
        for one in found:
            if dialect_of(one.path) not in DIALECTS[one.listener]:
                yield f"{name}: {one.listener} was asked by the path {one.path}"
            if not one.own_key:
                yield f"{name}: {one.listener} got another key than its own"
            if one.status in _UNSCRIPTED:
                yield f"{name}: {one.listener} refused it with {one.status}: {one.text[:300]}"


class Matched:
    """Requests beside their entries in the ledger, by the id that the answer's header told."""

    def __init__(self, all_asked: Sequence[Asked], entries: Sequence[Entry]) -> None:
        found = {entry.id: entry for entry in entries}
        self.pairs = [
            (asked, found[asked.told_id]) for asked in all_asked if asked.told_id in found
        ]
        self.missing = [asked for asked in all_asked if asked.told_id not in found]
        told = {asked.told_id for asked in all_asked}
        self.left = [entry for entry in entries if entry.id not in told]
        """Entries of no request."""


def _differs(asked: Asked, entry: Entry) -> Iterator[str]:
    """What the entry has otherwise than the client has seen it."""
    if entry.slot and (entry.slot, entry.dialect, entry.stream) != (
        asked.slot, asked.api.dialect, asked.stream
    ):  # fmt: skip
        yield f"is of {entry.slot} {entry.dialect} stream={entry.stream}"
    if entry.status != asked.status:
        yield f"has the status {entry.status}"
    if entry.caller not in ("", asked.caller):
        yield f"is of {entry.caller}"
    told = asked.usage and (asked.usage.input_tokens, asked.usage.output_tokens)
    if told and entry.metering == "exact" and told != entry.tokens:
        yield f"has {entry.tokens} tokens, not {told}"
    if not -_EARLY_SECONDS <= entry.at - asked.ended <= _WRITTEN_SECONDS:
        yield f"was written {entry.at - asked.ended:.1f} s after its end"


def ledger(matched: Matched, entries: Sequence[Entry], kills: Times) -> Iterator[str]:
    """Each request has one entry, but for those that a killed worker took with it."""
    for name, times in Counter(entry.id for entry in entries).items():
        if times > 1:
            yield f"the ledger has the request {name} {times} times"
    for asked in matched.missing:
        if not kills.took(asked.ended):
            yield f"no entry in the ledger: {asked.id} {asked.slot} {asked.outcome} {asked.status}"
    for asked, entry in matched.pairs:
        for difference in _differs(asked, entry):
            yield f"{asked.id} {asked.slot} {asked.caller} {asked.status}: its entry {difference}"
    yield from (f"an entry of no request: {entry}" for entry in matched.left)


def costs(matched: Matched) -> Iterator[str]:
    """What the ledger has an answer cost is what its tokens do."""
    for asked, entry in matched.pairs:
        cost = (entry.tokens[0] * PRICE["input"] + entry.tokens[1] * PRICE["output"]) / 1e6
        if abs(cost - entry.cost) > 1e-9:
            yield f"{asked.id}: costs {entry.cost} in the ledger, not {cost}"


_UNITS: dict[str, tuple[str, Callable[[Entry], int]]] = {
    "calls": ("one two", lambda entry: int(bool(entry.provider))),
    "few": ("few", lambda entry: int(bool(entry.provider))),
    "words": ("one two", lambda entry: sum(entry.tokens)),
    "purse": ("one two open", lambda entry: round(entry.cost * 1e9)),
}
"""Whose each quota is, and what an entry of the ledger counts in it at the least."""


def quotas(
    counts: Mapping[tuple[str, str], Count], matched: Matched, unsure: Spans
) -> Iterator[str]:
    """Counters have what was used: no less, but for what killed workers had to tell; and no more,
    but for entries that they took with them, and requests that nobody served."""
    for quota, (callers, amount) in _UNITS.items():
        for caller in callers.split():
            own = [entry for _, entry in matched.pairs if entry.caller == caller]
            total = sum(map(amount, own))
            least = total - sum(amount(entry) for entry in own if unsure.have(entry.at))
            unserved = sum(not entry.provider for entry in own)
            lost = [asked for asked in matched.missing if asked.caller == caller]
            most = total + len(lost) * max(map(amount, own), default=0)
            most += unserved if quota in ("calls", "few") else 0
            used = counts.get((quota, caller), Count(0, 0)).used
            if not least <= used <= most:
                yield f"{quota} of {caller}: {used} counted, not {least} to {most}"
    if (few := counts.get(("few", "few"), Count(0, 0)).used) > FEW:
        yield f"few: {few} counted, of {FEW}"


def leases(counts: Mapping[tuple[str, str], Count]) -> Iterator[str]:
    """Nothing is out any more."""
    for (quota, caller), count in counts.items():
        if count.out:
            yield f"{quota} of {caller}: {count.out} still out on leases"
