"""The strategies of a model, one after the other, and what each left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, NamedTuple

from dragoman.catalog.profiles import Prices
from dragoman.config.leading import SimilarTo
from dragoman.config.policy import Canary, Fallback, Model, Policy, Target
from dragoman.policies.route.bandit import judge_rewards
from dragoman.policies.route.canary import NOBODY, Shares, assign_side, tell_side
from dragoman.policies.route.cheapest import estimate_cost, rank_cost
from dragoman.policies.route.content import Asking, Content
from dragoman.policies.route.context import find_excess
from dragoman.policies.route.experiment import assign
from dragoman.policies.route.fastest import judge_speeds
from dragoman.policies.route.learned import PROPENSITY, Learned, latency_key
from dragoman.policies.route.least_loaded import rank_loads
from dragoman.policies.route.lowered import Incidents, lower
from dragoman.policies.route.naming import name_target, quote_name
from dragoman.policies.route.residency import Demands, keep_residents
from dragoman.policies.route.sticky import find_key, rank_sticky
from dragoman.policies.route.weighted import (
    Chance,
    draw_all,
    draw_groups,
    group_targets,
    name_targets,
)
from dragoman.stores.latencies import Latencies
from dragoman.stores.loads import Loads

if TYPE_CHECKING:
    from dragoman.policies.route.rules import Rules


class LeftOut(NamedTuple):
    """A target that is not asked, and the word for why."""

    target: Target
    reason: str


class Choice(NamedTuple):
    """Which targets are asked, in their order, which are not, and what strategies add to that."""

    order: list[Target]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    strategy: str = "weighted"
    clamp: bool = False
    fallback: Fallback | None = None
    """These three are as the model has it that serves."""
    canary: str | None = None
    """Whose canary it is, and which side serves (`canary.tell_side`)."""
    latency_key: str | None = None
    """What is seen of the request is learned under, where the strategy learns."""
    is_compared: bool = False
    """The answer is to be compared, so that a stage has to read it."""
    must_fit: str = ""
    """What becomes of an answer that is not the JSON asked for (`metadata.MUST_FIT`)."""

    def without(self, reasons: Mapping[Target, str]) -> Choice:
        """The same, with these targets left out for these reasons."""
        order = [target for target in self.order if target not in reasons]
        gone = (LeftOut(target, reason) for target, reason in reasons.items())
        return self._replace(order=order, left_out=(*self.left_out, *gone))

    def noting(self, *notes: str) -> Choice:
        """The same, with `notes` before its own."""
        return self._replace(notes=(*notes, *self.notes)) if notes else self


class Chooser:
    """Chooses under one policy; holds nothing of a request."""

    def __init__(
        self,
        policy: Policy,
        chance: Chance,
        clock: Callable[[], float],
        latencies: Latencies,
        shares: Shares = NOBODY,
        *,
        incidents: Incidents | None = None,
        loads: Loads | None = None,
    ) -> None:
        """`clock` tells Unix seconds; `shares` how far canaries are. `incidents` None: no target
        is ever lowered; `loads` None: nothing is known of any."""
        self._shares = shares
        self._policy = policy
        self._learned = {
            "fastest": Learned(judge_speeds, latencies, chance, clock),
            "bandit": Learned(judge_rewards, latencies, chance, clock),
        }
        self._incidents = incidents
        self._loads = loads or Loads(clock)
        self._limits = {
            name: provider.circuit_breaker.most_at_once
            for name, provider in policy.providers.items()
            if provider.circuit_breaker is not None
        }
        self._chance = chance
        self._clock = clock
        self._groups = {
            name: group_targets(model.targets)
            for name, model in policy.models.items()
            if not name.endswith("*")
        }
        """Of models whose targets are the same for each request."""
        self._rules = _rules(policy)

    def choose(
        self, model: Model, name: str, demands: Demands, look: Callable[[], Asking]
    ) -> Choice:
        """The targets for a request for `name`. `look` is called if something has to see it.

        Raises `ResidencyRefused` where no target is where the request has to stay.
        """
        if not (model.rules or model.experiment or model.canary):
            return self._heal(self.choose_among(model, name, demands, look))
        asking = look()
        notes: list[str] = []
        serving = self._find_serving(model, asking, notes)
        told = None
        if serving.canary is not None:
            serving, told = self._find_side(serving, serving.canary, asking, notes)
        name = name if serving is model else serving.name
        choice = self._heal(self.choose_among(serving, name, demands, lambda: asking))
        choice = choice.noting(*notes)
        return choice._replace(canary=told) if told else choice

    def find_rule(self, model: Model, asking: Asking) -> tuple[int, Model] | None:
        """The first of the model's rules that holds, counted from 0, and the model that serves."""
        return self._rules[model.name].find(asking) if model.rules else None

    def find_wanted(self, model: Model, look: Callable[[], Asking]) -> dict[int, SimilarTo]:
        """By number of the model's rule, what has to be known before it can be found."""
        return self._rules[model.name].wanted(look) if model.rules else {}

    def _find_serving(self, model: Model, asking: Asking, notes: list[str]) -> Model:
        """The model whose targets serve: by the first rule that holds, and by experiment."""
        found = self.find_rule(model, asking)
        if found is not None:
            index, model = found
            notes.append(f"rule={index}({quote_name(model.name)})")
        experiment = model.experiment
        if experiment is not None:
            variant = assign(experiment, asking.content, self._chance)
            notes.append(f"experiment={experiment.name}({variant.name})")
            model = variant.use
        return model

    def _find_side(
        self, model: Model, canary: Canary, asking: Asking, notes: list[str]
    ) -> tuple[Model, str | None]:
        """Who serves of a model and its candidate, and what the ledger is told of it."""
        percent = self._shares.percent(model.name, canary)
        side = assign_side(canary, percent, asking.content, self._chance)
        notes.append(side.note)
        return canary.use if side.candidate else model, tell_side(model.name, side)

    def choose_among(
        self, model: Model, name: str, demands: Demands, look: Callable[[], Asking]
    ) -> Choice:
        """As `choose`, among the model's own targets, whatever rules and experiment it has."""
        if not (demands or model.has_strategy):
            groups = self._groups.get(model.name)
            if groups is None:
                groups = group_targets(name_targets(model, name))
            return _choice(model, draw_groups(groups, self._chance))
        left_out: list[LeftOut] = []
        targets = name_targets(model, name)
        if demands:
            kept = keep_residents(name, targets, demands)
            left_out += [LeftOut(target, "residency") for target in targets if target not in kept]
            targets = kept
        if not model.has_strategy:
            order = self._arrange(model, targets, None, None)
            return _choice(model, order, left_out)
        asking = look()
        content = asking.content
        notes: list[str] = []
        if model.fit_context:
            targets = self._fit(targets, content, left_out, notes)
        if model.learning is not None:
            key = latency_key(model, asking)
            learned = self._learned[model.strategy]
            order, told = learned.rank(targets, key, asking, model.learning.explore)
            if model.reward is not None and model.reward.cost:
                notes += [f"unpriced={name_target(t)}" for t in targets if self._prices(t) is None]
            choice = _choice(model, order, left_out, (*notes, *told))
            return choice._replace(latency_key=key)
        if model.strategy == "least_loaded":
            loaded = rank_loads(targets, self._loads, self._limits, self._chance)
            return _choice(model, loaded.order, left_out, (*notes, *loaded.notes))
        by = None
        if model.sticky is not None:
            by = find_key(model.sticky, content)
            notes.append(f"sticky={'none' if by is None else model.sticky}")
        order = self._arrange(model, targets, by, content)
        if model.strategy == "cheapest":
            notes += [f"unpriced={name_target(t)}" for t in order if self._cost(t, content) is None]
        return _choice(model, order, left_out, notes)

    def _heal(self, choice: Choice) -> Choice:
        """With targets that are not as usual after the others."""
        rule = self._policy.healing
        if self._incidents is None or not self._incidents.incidents or rule is None:
            return choice
        lowered = lower(choice.order, self._incidents.incidents, rule.to, self._chance)
        if lowered is None:
            return choice
        order, told = lowered
        notes = [note for note in choice.notes if not note.startswith(PROPENSITY)]
        return choice._replace(order=order, notes=(*notes, *told))

    def _fit(
        self, targets: list[Target], content: Content, left_out: list[LeftOut], notes: list[str]
    ) -> list[Target]:
        """Those that the request is not too long for; all where it is for each, because an estimate
        is no ground to refuse what the provider might take."""
        excess = {
            target: reason
            for target in targets
            if (reason := find_excess(self._policy.profile(target.provider, target.model), content))
        }
        if len(excess) == len(targets):
            notes.append("fits=none")
            return targets
        left_out += [LeftOut(target, reason) for target, reason in excess.items()]
        return [target for target in targets if target not in excess]

    def _arrange(
        self, model: Model, targets: list[Target], key: bytes | None, content: Content | None
    ) -> list[Target]:
        """Priority by priority: drawn by weight or by the conversation, then by cost; of equal
        cost, the draw stands."""
        ordered: list[Target] = []
        for group in group_targets(targets):
            ranked = rank_sticky(group, key) if key else draw_all(group, self._chance)
            if model.strategy == "cheapest" and content is not None:
                ranked.sort(key=lambda target: rank_cost(self._cost(target, content)))
            ordered += ranked
        return ordered

    def _cost(self, target: Target, content: Content) -> int | None:
        profile = self._policy.profile(target.provider, target.model)
        return estimate_cost(profile, content, self._today())

    def _prices(self, target: Target) -> Prices | None:
        profile = self._policy.profile(target.provider, target.model)
        return None if profile is None else profile.prices_on(self._today())

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()


def _choice(
    model: Model, order: list[Target], left_out: Iterable[LeftOut] = (), notes: Iterable[str] = ()
) -> Choice:
    facts = (model.strategy, model.clamp, model.fallback)
    return Choice(order, tuple(left_out), tuple(notes), *facts)


def _rules(policy: Policy) -> dict[str, Rules]:
    """Those of each model that has any; what they need is loaded only then."""
    ruled = {name: model.rules for name, model in policy.models.items() if model.rules}
    if not ruled:
        return {}
    from dragoman.policies.route.rules import Rules  # noqa: PLC0415 - knows languages and zones

    return {name: Rules(rules) for name, rules in ruled.items()}
