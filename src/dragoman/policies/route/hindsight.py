"""What a policy would have chosen for a request of the ledger, as far as its entry can tell.

Nothing is drawn: where weights decide, each target has the share that weights give it. Quotas,
breakers and caches are as if there were none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from urllib.parse import unquote

import msgspec

from dragoman.config.policy import Caller, Model, Policy, Target
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
from dragoman.policies.route.residency import find_demands
from dragoman.stores.latencies import Latencies
from dragoman.telemetry.recorded import Recorded

Missing = Literal[
    "canary", "caller", "content", "count", "features", "headers", "loads", "metadata", "model",
    "residency", "rewards", "routes", "speeds", "tokens",
]  # fmt: skip
"""What stands in the way of an answer."""
Assumed = Literal["by_weight", "output_limit", "quota", "translation"]
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
        shares: dict[Target, float] = {}
        for share, serving in self._find_serving(model, asking, content):
            served = name if serving is model else serving.name
            firsts = self._find_firsts(serving, served, asking, content, (entry, decision))
            weights = sum(firsts.values())
            for target, weight in firsts.items():
                shares[target] = shares.get(target, 0.0) + share * weight / weights
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
        self, model: Model, asking: Asking, content: _RecordedContent
    ) -> Iterator[tuple[float, Model]]:
        """The models whose targets serve, by the first rule that holds and by experiment, each with
        its share."""
        found = self._chooser.find_rule(model, asking)
        serving = found[1] if found else model
        if serving.canary is not None:
            raise NotRecorded("canary")
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
        self,
        model: Model,
        name: str,
        asking: Asking,
        content: _RecordedContent,
        was: tuple[Recorded, Decision],
    ) -> dict[Target, int]:
        """The targets that may come first among the model's own, with their weights."""
        if not model.targets:
            raise NotRecorded("routes")
        if model.learning is not None:
            raise NotRecorded("rewards" if model.reward else "speeds")
        if model.strategy == "least_loaded":
            raise NotRecorded("loads")
        by_caller = model.sticky == "caller"
        if model.sticky and not by_caller:
            content.assumed.add("by_weight")
            model = msgspec.structs.replace(model, sticky=None)
        demands = find_demands(asking.caller, {})
        choice = self._chooser.choose_among(model, name, demands, lambda: asking)
        order = [target for target in choice.order if self._can_say(target, *was)]
        if not order:
            raise NotOffered(f"No upstream of {name} can be asked this.")
        firsts = [target for target in order if target.priority == order[0].priority]
        if model.strategy == "cheapest":
            ranks = {target: rank_cost(self._cost(target, content)) for target in firsts}
            firsts = [target for target in firsts if ranks[target] == ranks[order[0]]]
        firsts = order[:1] if by_caller else firsts
        self._check(firsts, content, *was)
        return {target: target.weight for target in firsts}

    def _can_say(self, target: Target, entry: Recorded, decision: Decision) -> bool:
        """Whether it can be asked this, as far as is known."""
        client = client_dialect(entry.client_dialect)
        provider = self._policy.providers[target.provider]
        if provider.endpoint_for(client, target.model) is None:
            return False
        gone = (name_target(target), _CANNOT_SAY)
        return gone not in [(skipped.target, skipped.reason) for skipped in decision.left_out]

    def _check(
        self,
        firsts: list[Target],
        content: _RecordedContent,
        entry: Recorded,
        decision: Decision,
    ) -> None:
        """Notes what has to be true for these to come first."""
        client = client_dialect(entry.client_dialect)
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
