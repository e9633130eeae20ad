"""What another policy would have done with the requests of a ledger: whom it would have asked
first, at what price, how fast.

Time is linear in the lines; memory in the targets, and eight bytes a request that was answered.
"""

from __future__ import annotations

import functools
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC
from statistics import median
from typing import BinaryIO

import msgspec

from dragoman.catalog.costs import NANODOLLARS
from dragoman.config.policy import Policy, Target
from dragoman.errors import DragomanError
from dragoman.policies.route.decision import Decision, read_decision
from dragoman.policies.route.hindsight import Assumed, Hindsight, Missing, NotRecorded
from dragoman.policies.route.lowered import read_incidents
from dragoman.policies.route.naming import name_target, quote_name
from dragoman.telemetry.ledger import REQUEST, find_cost
from dragoman.telemetry.ledger_lines import Broken, read_lines
from dragoman.telemetry.recorded import Recorded, decode

_MOST_TARGETS = 10_000
_ERROR_STATUS = 400
_YEARS = range(1971, 9999)
"""What is before or after is no time of a request."""

UNJUDGED: Mapping[Missing | str, str] = {
    "undecided": "no target was chosen: refused, answered here, or nobody's to choose",
    "caller": "the policy has no such caller",
    "content": "rules look at what the request says",
    "count": "tokens were to be counted, not used",
    "features": "a role looks at what the request asks for",
    "headers": "rules look at headers",
    "metadata": "rules look at the body's metadata",
    "model": "the entry names no model",
    "residency": "it was kept from the target that would come first, by a region it named itself",
    "routes": "Envoy's own routes choose the upstream",
    "canary": "how far the canary would have been is not recorded",
    "incidents": "more targets were not as usual than are reckoned with",
    "loads": "the strategy goes by the requests that were in flight",
    "rewards": "the strategy goes by rewards that were learned meanwhile",
    "speeds": "the strategy goes by speeds, and the decision says nothing of a target's",
    "tokens": "the policy goes by tokens, and none were counted",
}
"""Why requests are not judged."""
ASSUMED: Mapping[Assumed | str, str] = {
    "by_weight": "conversations, users or headers fall to targets and variants by weight",
    "canary": "a canary serves whom the one of its name served",
    "incidents": "targets that were not as usual come first as if they were",
    "output_limit": "clients set no higher limit of output than they got",
    "quota": "quotas that were spent are not",
    "speeds": "speeds are what was expected when it was decided",
    "translation": "targets of another dialect can say the request",
}
"""What judgements take for granted."""


class TooManyTargets(DragomanError):
    """The ledger names more targets than a report could show."""

    code = "too_many_targets"


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests asked a target first."""

    target: str
    before: int
    after: float
    """Expected."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Of the requests whose cost is known on both sides."""

    requests: int
    before_usd: float
    """As the ledger has it, whoever answered."""
    after_usd: float
    """Expected: the tokens that were counted, at the prices of the targets that come first."""
    unpriced: int
    """Requests whose price is not known before or after."""
    unmetered: int
    """Requests that used nothing."""


class Duration(msgspec.Struct, frozen=True, kw_only=True):
    """By the medians of the ledger's own targets."""

    requests: int
    before_ms: float | None
    after_ms: float | None
    """Means over the requests; None where there are none."""
    unknown: int
    """Requests that would have asked a target that has answered none in the ledger, or did; or one
    that was not as usual then: its median says nothing of that time."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What would be otherwise."""

    requests: int
    judged: int
    changed: float
    """Of the judged ones: expected to ask another target first, or to be refused."""
    fell_back: int
    """Of the judged ones: answered by another target than the first."""
    troubled: int
    """Of the judged ones: decided while a target was not as usual (`healing`)."""
    shares: list[Share]
    refused: dict[str, int]
    """By the error's code."""
    unjudged: dict[str, int]
    """By what stood in the way (`UNJUDGED`)."""
    assumed: dict[str, int]
    """How many judgements rest on what (`ASSUMED`)."""
    cost: Cost
    duration: Duration


class Replay:
    """Judges lines under one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._hindsight = Hindsight(policy)
        self.broken = Broken()
        self._requests = self._judged = self._fell_back = self._troubled = 0
        self._changed = 0.0
        self._before = Counter[str]()
        self._after = defaultdict[str, float](float)
        self._refused = Counter[str]()
        self._unjudged = Counter[str]()
        self._assumed = Counter[str]()
        self._priced = self._unpriced = self._unmetered = 0
        self._nanodollars = [0.0, 0.0]
        self._times = defaultdict[str, "array[float]"](lambda: array("d"))
        self._moves = Counter[tuple[str, tuple[tuple[str, float], ...]]]()
        """Requests by the target that came first and those that would, with their shares."""
        self._untimed = 0
        """Requests whose duration nothing is known of."""

    def read(self, lines: BinaryIO, name: str) -> None:
        """Add the lines of a file that is called `name`. Raises `TooManyTargets`."""
        broken = functools.partial(self.broken.add, name)
        for number, entry in read_lines(lines, _decode, broken):
            if entry is None:
                continue
            if entry.timestamp.tzinfo is None or entry.timestamp.year not in _YEARS:
                broken(number)
            else:
                self._add(entry)

    def _add(self, entry: Recorded) -> None:
        self._requests += 1
        decision = read_decision(entry.decision)
        incidents = read_incidents(decision.notes) if decision else frozenset[str]()
        self._time(entry, incidents)
        if decision is None or not decision.order:
            self._unjudged["undecided"] += 1
            return
        try:
            outlook = self._hindsight.look(entry, decision)
        except NotRecorded as reason:
            self._unjudged[reason.missing] += 1
            return
        except DragomanError as refusal:
            self._judge(entry, decision, incidents)
            self._refused[refusal.code] += 1
            self._changed += 1
            return
        self._judge(entry, decision, incidents)
        self._assumed.update(outlook.assumed)
        self._compare(entry, decision.order[0], outlook.shares, incidents)
        if max(len(self._times), len(self._after), len(self._before)) > _MOST_TARGETS:
            raise TooManyTargets(f"more than {_MOST_TARGETS:,} targets: give fewer ledgers")

    def _time(self, entry: Recorded, incidents: frozenset[str]) -> None:
        """How long its target took, if it was as usual."""
        if entry.attempts == 1 and entry.provider and 0 < entry.status < _ERROR_STATUS:
            name = _answering(entry)
            if name not in incidents:
                self._times[name].extend(filter(None, [entry.duration_ms]))

    def _judge(self, entry: Recorded, decision: Decision, incidents: frozenset[str]) -> None:
        self._judged += 1
        self._before[decision.order[0]] += 1
        self._fell_back += bool(entry.provider) and _answering(entry) != decision.order[0]
        self._troubled += bool(incidents)

    def _compare(
        self,
        entry: Recorded,
        before: str,
        shares: Mapping[Target, float],
        incidents: frozenset[str],
    ) -> None:
        named = defaultdict[str, float](float)
        for target, share in shares.items():
            named[name_target(target)] += share
        for name, share in named.items():
            self._after[name] += share
        self._changed += 1 - named.get(before, 0.0)
        if incidents & {before, *named}:
            self._untimed += 1
        else:
            self._moves[before, tuple(sorted(named.items()))] += 1
        self._price(entry, shares)

    def _price(self, entry: Recorded, shares: Mapping[Target, float]) -> None:
        if entry.metering == "none":
            self._unmetered += 1
            return
        if entry.cost_usd is None:
            self._unpriced += 1
            return
        day, after = entry.timestamp.astimezone(UTC).date(), 0.0
        for target, share in shares.items():
            profile = self._policy.profile(target.provider, target.model)
            prices = profile.prices_on(day) if profile else None
            cost = find_cost(entry.tokens, entry.metering, prices)
            if cost is None:
                self._unpriced += 1
                return
            after += share * cost
        self._priced += 1
        self._nanodollars[0] += entry.cost_usd * NANODOLLARS
        self._nanodollars[1] += after

    def report(self) -> Report:
        """What came of all lines so far."""
        before, after = (total / NANODOLLARS for total in self._nanodollars)
        return Report(
            requests=self._requests,
            judged=self._judged,
            changed=self._changed,
            fell_back=self._fell_back,
            troubled=self._troubled,
            shares=[
                Share(target=name, before=self._before[name], after=self._after.get(name, 0.0))
                for name in sorted({*self._before, *self._after})
            ],
            refused=dict(sorted(self._refused.items())),
            unjudged=dict(sorted(self._unjudged.items())),
            assumed=dict(sorted(self._assumed.items())),
            cost=Cost(
                requests=self._priced,
                before_usd=before,
                after_usd=after,
                unpriced=self._unpriced,
                unmetered=self._unmetered,
            ),
            duration=self._duration(),
        )

    def _duration(self) -> Duration:
        medians = {name: median(times) for name, times in self._times.items() if times}
        known, unknown = 0, self._untimed
        before_ms = after_ms = 0.0
        for (before, after), count in self._moves.items():
            if not medians.keys() >= {before, *(name for name, _ in after)}:
                unknown += count
                continue
            known += count
            before_ms += count * medians[before]
            after_ms += count * sum(share * medians[name] for name, share in after)
        return Duration(
            requests=known,
            before_ms=before_ms / known if known else None,
            after_ms=after_ms / known if known else None,
            unknown=unknown,
        )


def _decode(line: bytes) -> Recorded | None:
    """None for the lines of other events, which may have other fields."""
    if _decode_event(line).event != REQUEST:
        return None
    return decode(line)


class _Event(msgspec.Struct, frozen=True):
    event: str


_decode_event = msgspec.json.Decoder(_Event).decode


def _answering(entry: Recorded) -> str:
    """Who was asked last, as decisions name targets."""
    return f"{entry.provider}/{quote_name(entry.upstream_model)}"


def describe_report(report: Report) -> Iterator[str]:
    """The report in lines."""
    yield f"{report.requests} requests, {report.judged} judged"
    for reason, count in report.unjudged.items():
        yield f"  not judged: {count}: {UNJUDGED[reason]}"
    if not report.judged:
        return
    yield (
        f"{report.changed:.1f} of them would go elsewhere or be refused; "
        f"{report.fell_back} were answered by a fallback"
    )
    if report.troubled:
        yield f"  decided while a target was not as usual: {report.troubled}"
    for code, count in report.refused.items():
        yield f"  would be refused: {count}: {code}"
    for share in report.shares:
        before, after = (count / report.judged for count in (share.before, share.after))
        yield f"  {share.target}: {before:.1%} before, {after:.1%} after"
    yield from _amount_lines(report)
    for what, count in report.assumed.items():
        yield f"  taken for granted of {count}: {ASSUMED[what]}"


def _amount_lines(report: Report) -> Iterator[str]:
    cost, duration = report.cost, report.duration
    yield (
        f"cost of {cost.requests}: {cost.before_usd:.6f} USD before, {cost.after_usd:.6f} after; "
        f"{cost.unpriced} without a known price, {cost.unmetered} that used nothing"
    )
    if duration.before_ms is not None:
        yield (
            f"duration of {duration.requests}, by the targets' medians: {duration.before_ms:.1f} ms"
            f" before, {duration.after_ms:.1f} after"
        )
    if duration.unknown:
        yield f"  no duration known of a target, or not at that time: {duration.unknown}"
