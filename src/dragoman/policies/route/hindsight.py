"""What a policy would have chosen for a request of the ledger, as far as its entry can tell.

Nothing is drawn: where weights decide, each target has the share that weights give it. What was
known at the time of incidents, speeds and canaries is what the entry's decision says of them.
Quotas, breakers and caches are as if there were none.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from urllib.parse import unquote

import msgspec

from dragoman.config.policy import Caller, Canary, Model, Policy, Target
from dragoman.dialects import CHAT, COUNT
from dragoman.dialects.registry import client_dialect
from dragoman.errors import NotOffered
from dragoman.ir import Json, Request
from dragoman.policies.authorize import Wish, authorize, find_model, restricts_features
from dragoman.policies.lifecycle import find_serving
from dragoman.policies.route.cheapest import estimate_cost, rank_cost
from dragoman.policies.route.choose import Chooser
from dragoman.policies.route.content import Asking, Content
from dragoman.policies.route.decision import Decision
from dragoman.policies.route.experiment import assign
from dragoman.policies.route.naming import name_target
from dragoman.policies.route.recalled import (
    MOST_LOWERED,
    Recalled,
    Shares,
    lowered_sets,
    recall,
    share_by_speed,
    share_by_weight,
)
from dragoman.policies.route.residency import find_demands
from dragoman.policies.route.weighted import group_targets
from dragoman.stores.latencies import Latencies
from dragoman.telemetry.recorded import Recorded

Missing = Literal[
    "canary", "caller", "content", "count", "features", "headers", "incidents", "loads", "metadata",
    "model", "residency", "rewards", "routes", "speeds", "tokens",
]  # fmt: skip
"""What stands in the way of an answer."""
Assumed = Literal[
    "by_weight", "canary", "incidents", "output_limit", "quota", "speeds", "translation"
]
"""What an answer takes for granted."""
_IN_PLACE_OF = "in_place_of="
_CANNOT_SAY = NotOffered.code


class NotRecorded(Exception):
    """What the policy asks for is not in the ledger."""

    def __init__(self, missing: Missing) -> None:
        super().__init__(missing)
        self.missing: Missing = missing


class Outlook(NamedTuple):
    """How likely each target would have been asked first; together 1."""

    shares: Mapping[Target, float]
    assumed: frozenset[Assumed]


class _Was(NamedTuple):
    """What was, as far as it is recorded."""

    entry: Recorded
    decision: Decision
    known: Recalled

    def expected_of(self, target: str) -> float | None:
        """How long a target was expected to take."""
        if target not in self.known.expected_ms:
            raise NotRecorded("speeds")
        return self.known.expected_ms[target]


class _Unrecorded(Mapping[str, str]):
    """Headers: the ledger has none."""

    def __getitem__(self, name: str) -> str:
        raise NotRecorded("headers")

    def __iter__(self) -> Iterator[str]:
        raise NotRecorded("headers")

    def __len__(self) -> int:
        raise NotRecorded("headers")


class _RecordedContent(Content):
    """A request that is gone, but for its size in tokens."""

    def __init__(self, entry: Recorded, caller: str) -> None:
        super().__init__(
            _Unrecorded(), {}, 0, _lacks_content if entry.operation == CHAT else None, caller
        )
        self._entry = entry
        self.assumed: set[Assumed] = set()

    @property
    def metadata(self) -> Json:
        raise NotRecorded("metadata")

    def input_tokens(self, profile: object) -> int:
        """Those that were counted, whatever would have been estimated."""
        del profile
        return self._counted().input_tokens

    @property
    def asked_output_tokens(self) -> int:
        """At least as many as it got."""
        self.assumed.add("output_limit")
        return self._counted().output_tokens

    @property
    def likely_output_tokens(self) -> int:
        return self._counted().output_tokens

    def _counted(self) -> Recorded:
        if self._entry.metering == "none":
            raise NotRecorded("tokens")
        return self._entry


def _lacks_content() -> Request:
    raise NotRecorded("content")


def _find_first(
    order: list[Target], able: Container[Target], lowered: Container[Target]
) -> tuple[list[Target], list[Target]]:
    """The priority that comes first, and those of it that may, of whom some are `able`; the lowered
    come after all others."""
    for is_lowered in (False, True):
        for group in group_targets(order):
            here = [target for target in group if (target in lowered) is is_lowered]
            if left := [target for target in here if target in able]:
                return group, left
    raise NotRecorded("model")


def _find_side(model: Model, canary: Canary, content: _RecordedContent, was: _Was) -> Model:
    """Whom a canary of the same name served, it serves."""
    if was.known.canary is None or was.known.canary[0] != canary.name:
        raise NotRecorded("canary")
    content.assumed.add("canary")
    return canary.use if was.known.canary[1] else model


def _draw() -> float:
    """For the Chooser's orders, of which only the members are looked at."""
    return 0.0


class Hindsight:
    """Looks back under one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._now = 0.0
        self._chooser = Chooser(policy, _draw, self._clock, Latencies(self._clock))

    def _clock(self) -> float:
        return self._now

    def look(self, entry: Recorded, decision: Decision) -> Outlook:
        """What the policy would have had asked first at the entry's time.

        Raises `NotRecorded`, or the `DragomanError` that the policy would have refused it with.
        """
        self._now = entry.timestamp.timestamp()
        caller = self._find_caller(entry)
        name, model = self._find_model(entry, decision, caller)
        content = _RecordedContent(entry, caller.name)
        kind = entry.client_dialect, entry.operation, entry.stream
        asking = Asking(caller, *kind, self._now, content)
        was = _Was(entry, decision, recall(decision))
        shares: dict[Target, float] = {}
        for share, serving in self._find_serving(model, asking, content, was):
            served = name if serving is model else serving.name
            for target, part in self._find_firsts(serving, served, asking, content, was):
                shares[target] = shares.get(target, 0.0) + share * part
        return Outlook(shares, frozenset(content.assumed))

    def _find_caller(self, entry: Recorded) -> Caller:
        known = self._policy.callers.by_name.get(entry.caller)
        if known is None:
            raise NotRecorded("caller")
        return msgspec.structs.replace(known, belongs={**entry.belongs, **known.belongs})

    def _find_model(self, entry: Recorded, decision: Decision, caller: Caller) -> tuple[str, Model]:
        """What serves, and the name that its targets are named by."""
        if not entry.model:
            raise NotRecorded("model")
        if entry.operation == COUNT:
            raise NotRecorded("count")
        notes = (note for note in decision.notes if note.startswith(_IN_PLACE_OF))
        asked = next((unquote(note.removeprefix(_IN_PLACE_OF)) for note in notes), entry.model)
        name = self._policy.aliases.get(asked, asked)
        asked_for = find_model(name, caller, self._policy.models)
        model = find_serving(asked_for, self._now).model
        name = name if model is asked_for else model.name
        if caller.roles:
            features = ("streaming",) if entry.stream else ()
            authorize(caller, Wish(entry.operation, entry.client_dialect, name, features))
            if restricts_features(caller):
                raise NotRecorded("features")
        return name, model

    def _find_serving(
        self, model: Model, asking: Asking, content: _RecordedContent, was: _Was
    ) -> Iterator[tuple[float, Model]]:
        """The models whose targets serve, by the first rule that holds, by experiment and canary,
        each with its share."""
        for share, serving in self._find_variants(model, asking, content):
            canary = serving.canary
            side = serving if canary is None else _find_side(serving, canary, content, was)
            yield share, side

    def _find_variants(
        self, model: Model, asking: Asking, content: _RecordedContent
    ) -> Iterator[tuple[float, Model]]:
        found = self._chooser.find_rule(model, asking)
        serving = found[1] if found else model
        experiment = serving.experiment
        if experiment is None:
            yield 1.0, serving
        elif experiment.by == "caller":
            yield 1.0, assign(experiment, content, _draw).use
        else:
            content.assumed.add("by_weight")
            weights = sum(variant.weight for variant in experiment.variants)
            for variant in experiment.variants:
                yield variant.weight / weights, variant.use

    def _find_firsts(
        self, model: Model, name: str, asking: Asking, content: _RecordedContent, was: _Was
    ) -> Iterator[tuple[Target, float]]:
        """The targets that may come first among the model's own, with their shares."""
        order = self._find_order(model, name, asking, content)
        able = frozenset(target for target in order if self._can_say(target, was))
        if not able:
            raise NotOffered(f"No upstream of {name} can be asked this.")
        for share, lowered in self._find_lowered(order, content, was):
            group, left = _find_first(order, able, lowered)
            shares = self._share(model, group, left, content, was)
            self._check(shares, content, was)
            for target, part in shares.items():
                yield target, share * part

    def _find_order(
        self, model: Model, name: str, asking: Asking, content: _RecordedContent
    ) -> list[Target]:
        """All targets; of their order, that of priorities holds."""
        if not model.targets:
            raise NotRecorded("routes")
        if model.reward is not None:
            raise NotRecorded("rewards")
        if model.strategy == "least_loaded":
            raise NotRecorded("loads")
        if model.sticky and model.sticky != "caller":
            content.assumed.add("by_weight")
            model = msgspec.structs.replace(model, sticky=None)
        demands = find_demands(asking.caller, {})
        return self._chooser.choose_among(model, name, demands, lambda: asking).order

    def _find_lowered(
        self, order: list[Target], content: _RecordedContent, was: _Was
    ) -> Iterator[tuple[float, frozenset[Target]]]:
        """Which targets are asked after the others, in which share of requests."""
        affected = [target for target in order if name_target(target) in was.known.incidents]
        rule = self._policy.healing
        if rule is None and affected:
            content.assumed.add("incidents")
        if rule is None or len(affected) in {0, len(order)}:
            yield 1.0, frozenset()
        elif len(affected) > MOST_LOWERED:
            raise NotRecorded("incidents")
        else:
            yield from lowered_sets(affected, rule.to)

    def _share(
        self,
        model: Model,
        group: list[Target],
        left: list[Target],
        content: _RecordedContent,
        was: _Was,
    ) -> Shares:
        """Who of a priority comes first, of those `left` of it."""
        if model.sticky == "caller":
            return {left[0]: 1.0}
        if model.learning is not None and group[1:]:
            content.assumed.add("speeds")
            return share_by_speed(group, left, was.expected_of, model.learning.explore)
        if model.strategy == "cheapest":
            ranks = {target: rank_cost(self._cost(target, content)) for target in left}
            left = [target for target in left if ranks[target] == min(ranks.values())]
        return share_by_weight(left)

    def _can_say(self, target: Target, was: _Was) -> bool:
        """Whether it can be asked this, as far as is known."""
        client = client_dialect(was.entry.client_dialect)
        provider = self._policy.providers[target.provider]
        if provider.endpoint_for(client, target.model) is None:
            return False
        gone = (name_target(target), _CANNOT_SAY)
        return gone not in [(skipped.target, skipped.reason) for skipped in was.decision.left_out]

    def _check(self, firsts: Iterable[Target], content: _RecordedContent, was: _Was) -> None:
        """Notes what has to be true for these to come first."""
        client, decision = client_dialect(was.entry.client_dialect), was.decision
        gone = {skipped.target: skipped.reason for skipped in decision.left_out}
        for target in firsts:
            name = name_target(target)
            endpoint = self._policy.providers[target.provider].endpoint_for(client, target.model)
            is_own = endpoint is not None and endpoint.dialect.name == client.name
            if gone.get(name) == "residency":
                raise NotRecorded("residency")
            if gone.get(name) == "quota":
                content.assumed.add("quota")
            if not (is_own or name in decision.order or name in gone):
                content.assumed.add("translation")

    def _cost(self, target: Target, content: Content) -> int | None:
        day = datetime.fromtimestamp(self._now, UTC).date()
        return estimate_cost(self._policy.profile(target.provider, target.model), content, day)
