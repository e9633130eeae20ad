"""The public models, with every name of the policy file resolved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from dragoman.catalog.costs import NANODOLLARS
from dragoman.config.leading import Condition, ExperimentEntry
from dragoman.config.patterns import Refuse, any_of, check_pattern
from dragoman.config.policy import (
    Canary,
    Deprecation,
    Experiment,
    Fallback,
    Model,
    Provider,
    Rule,
    Shadow,
    Target,
    Variant,
)
from dragoman.config.schema import FallbackLimits, FallbackMeasure, Learning, ModelEntry

_LEARNING = ("fastest", "bandit")
"""Strategies that learn."""
IsServed = Callable[[str, str], bool]
"""Whether a provider is in use; its path in the file is for the error where it is not there."""


class Models(NamedTuple):
    """All that are served: without those whose providers were all left out."""

    by_name: Mapping[str, Model]
    aliases: Mapping[str, str]
    """Further names, and whose they are."""


def resolve_models(
    entries: Mapping[str, ModelEntry],
    providers: Mapping[str, Provider],
    is_served: IsServed,
    refuse: Refuse,
) -> Models:
    """The models of a file. Raises what `refuse` makes."""
    resolver = _Models(entries, providers, is_served, refuse)
    by_name = {name: model for name in entries if (model := resolver.find(name))}
    return Models(by_name, _aliases(entries, by_name, refuse))


def _aliases(
    entries: Mapping[str, ModelEntry], served: Mapping[str, Model], refuse: Refuse
) -> dict[str, str]:
    owners: dict[str, str] = {}
    for name, entry in entries.items():
        for i, alias in enumerate(entry.aliases):
            path = f"$.models.{name}.aliases[{i}]"
            if alias in entries or alias in owners:
                raise refuse(path, f"{alias} is the name of {owners.get(alias, 'a model')} already")
            if "*" in alias or "*" in name:
                raise refuse(path, "neither it nor its model may be a pattern")
            if entry.route == "envoy":
                raise refuse(path, "Envoy's own routes would send the alias to the provider")
            owners[alias] = name
    return {alias: name for alias, name in owners.items() if name in served}


class _Models:
    """Each model resolved once, those it leads to before it."""

    def __init__(
        self,
        entries: Mapping[str, ModelEntry],
        providers: Mapping[str, Provider],
        is_served: IsServed,
        refuse: Refuse,
    ) -> None:
        self._entries = entries
        self._providers = providers
        self._is_served = is_served
        self._refuse = refuse
        self._found: dict[str, Model | None] = {}

    def find(self, name: str) -> Model | None:
        """None where all its providers were left out."""
        if name not in self._found:
            self._found[name] = self._model(name, self._entries[name])
        return self._found[name]

    def _model(self, name: str, entry: ModelEntry) -> Model | None:
        path = f"$.models.{name}"
        self._check_kind(entry, path)
        self._check_learning(entry, path)
        targets = self._targets(entry, path)
        self._check_targets(name, entry, path)
        rules = self._rules(entry, path)
        experiment = self._experiment(entry.experiment, f"{path}.experiment")
        ends_in = targets or experiment or (rules and rules[-1].when == Condition())
        if not ends_in and entry.route != "envoy":
            return None
        return Model(
            name=name,
            targets=targets,
            clamp=entry.clamp,
            strategy=entry.strategy,
            learning=_learning(entry),
            reward=entry.reward,
            sticky=entry.sticky,
            fit_context=entry.fit_context,
            fallback=_fallback(entry) if entry.fallback_on else None,
            has_strategy=bool(entry.strategy != "weighted" or entry.sticky or entry.fit_context),
            redaction=entry.redaction,
            guardrails=entry.guardrails,
            priority=entry.priority,
            rules=rules,
            experiment=experiment,
            canary=self._canary(entry, f"{path}.canary"),
            shadow=self._shadow(name, entry, f"{path}.shadow"),
            deprecated=self._deprecation(entry, f"{path}.deprecated"),
        )

    def _check_kind(self, entry: ModelEntry, path: str) -> None:
        always = bool(entry.rules) and entry.rules[-1].when == Condition()
        kinds = bool(entry.targets), entry.route == "envoy", entry.experiment is not None, always
        if sum(kinds) != 1:
            problem = "give targets, or an experiment, or rules of which the last always holds, "
            raise self._refuse(path, f"{problem}or route: envoy; and only one of them")
        if entry.rules and entry.route == "envoy":
            raise self._refuse(f"{path}.rules", "have no effect where Envoy's own routes choose")
        for i, rule in enumerate(entry.rules[:-1]):
            if rule.when == Condition():
                problem = "always holds, so that the rules after it never do"
                raise self._refuse(f"{path}.rules[{i}]", problem)

    def _check_learning(self, entry: ModelEntry, path: str) -> None:
        if entry.strategy not in _LEARNING and entry.learning is not None:
            problem = f"has no effect without strategy: {' or '.join(_LEARNING)}"
            raise self._refuse(f"{path}.learning", problem)
        if entry.strategy in (*_LEARNING, "least_loaded") and entry.sticky is not None:
            problem = f"cannot be kept with strategy: {entry.strategy}, whose order changes"
            raise self._refuse(f"{path}.sticky", problem)
        self._check_reward(entry, f"{path}.reward")

    def _check_reward(self, entry: ModelEntry, path: str) -> None:
        reward = entry.reward
        if entry.strategy != "bandit":
            if reward is not None:
                raise self._refuse(path, "has no effect without strategy: bandit")
            return
        if reward is None or not any((reward.latency, reward.cost, reward.error, reward.feedback)):
            problem = "strategy: bandit needs a weight: latency, cost, error or feedback"
            raise self._refuse(path, problem)
        scales = {
            "latency_scale_ms": ("latency", reward.latency, reward.latency_scale_ms),
            "cost_scale_usd": ("cost", reward.cost, reward.cost_scale_usd),
        }
        for name, (of, weight, scale) in scales.items():
            if weight and scale is None:
                raise self._refuse(f"{path}.{name}", f"is needed for {of}")
            if scale is not None and not weight:
                raise self._refuse(f"{path}.{name}", f"has no effect without {of}")

    def _targets(self, entry: ModelEntry, path: str) -> tuple[Target, ...]:
        return tuple(
            Target(
                provider=target.provider,
                model=target.model,
                weight=target.weight,
                priority=i if target.priority is None else target.priority,
                region=target.region or self._providers[target.provider].region,
            )
            for i, target in enumerate(entry.targets)
            if self._is_served(target.provider, f"{path}.targets[{i}].provider")
        )

    def _check_targets(self, name: str, entry: ModelEntry, path: str) -> None:
        if not name.endswith("*") and any("*" in t.model for t in entry.targets):
            raise self._refuse(path, "a target's `*` needs a model name that ends in `*`")
        priorities = [i if t.priority is None else t.priority for i, t in enumerate(entry.targets)]
        for i, target in enumerate(entry.targets):
            if target.weight != 1 and priorities.count(priorities[i]) == 1:
                problem = "has no effect: no other target has this priority"
                raise self._refuse(f"{path}.targets[{i}].weight", problem)
        ranks = {"strategy": entry.strategy != "weighted", "sticky": entry.sticky is not None}
        for name_of, is_given in ranks.items():
            if is_given and len(set(priorities)) == len(priorities):
                problem = "has no effect: no two targets have the same priority"
                raise self._refuse(f"{path}.{name_of}", problem)
        for name_of in ("fit_context", "fallback_on"):
            if getattr(entry, name_of) and not entry.targets[1:]:
                raise self._refuse(f"{path}.{name_of}", "has no effect: there is no other target")

        self._check_measures(entry, path)
        limits = entry.fallback_limits
        if limits is not None and not entry.fallback_on:
            raise self._refuse(f"{path}.fallback_limits", "has no effect without fallback_on")
        if limits is not None and limits.within_ms is None and limits.usd is None:
            raise self._refuse(f"{path}.fallback_limits", "give within_ms or usd")

    def _check_measures(self, entry: ModelEntry, path: str) -> None:
        given = [one for one in entry.fallback_on if isinstance(one, FallbackMeasure)]
        for i, one in enumerate(entry.fallback_on):
            if not isinstance(one, FallbackMeasure):
                continue
            if (one.shorter_than is None) == (one.scored_below is None):
                problem = "give one of shorter_than and scored_below"
                raise self._refuse(f"{path}.fallback_on[{i}]", problem)
            if (one.scored_below is None) != (one.by is None):
                raise self._refuse(f"{path}.fallback_on[{i}]", "scored_below goes with by")
        if sum(one.shorter_than is not None for one in given) > 1:
            raise self._refuse(f"{path}.fallback_on", "give one length")
        if sum(one.scored_below is not None for one in given) > 1:
            raise self._refuse(f"{path}.fallback_on", "give one score")

    def _rules(self, entry: ModelEntry, path: str) -> tuple[Rule, ...]:
        rules: list[Rule] = []
        for i, rule in enumerate(entry.rules):
            self._check_condition(rule.when, f"{path}.rules[{i}].when")
            model = self._led_to(rule.use, f"{path}.rules[{i}].use", may_try=True)
            rules += [Rule(when=rule.when, use=model)] if model else []
        return tuple(rules)

    def _check_condition(self, when: Condition, path: str) -> None:
        least, below = when.input_tokens_from, when.input_tokens_below
        if least is not None and below is not None and least >= below:
            raise self._refuse(f"{path}.input_tokens_below", "never holds")
        if when.hours is not None and when.hours.zone != "UTC":
            from zoneinfo import ZoneInfo  # noqa: PLC0415 - for policies with hours

            try:
                ZoneInfo(when.hours.zone)
            except (KeyError, OSError, ValueError) as error:
                problem = f"{when.hours.zone} is no time zone known here"
                raise self._refuse(f"{path}.hours.zone", problem) from error
        if when.words:
            check_pattern(any_of(list(when.words)), f"{path}.words", self._refuse)
        for i, pattern in enumerate(when.patterns):
            check_pattern(pattern, f"{path}.patterns[{i}]", self._refuse)

    def _experiment(self, entry: ExperimentEntry | None, path: str) -> Experiment | None:
        if entry is None:
            return None
        found = {
            name: self._led_to(variant.use, f"{path}.variants.{name}.use")
            for name, variant in entry.variants.items()
        }
        variants = [
            Variant(name=name, weight=entry.variants[name].weight, use=model)
            for name, model in found.items()
            if model is not None
        ]
        if not variants:
            return None
        return Experiment(name=entry.name, by=entry.by, variants=tuple(variants))

    def _canary(self, model: ModelEntry, path: str) -> Canary | None:
        entry = model.canary
        if entry is None:
            return None
        if not model.targets:
            raise self._refuse(path, "has no effect on a model without targets of its own")
        if list(entry.steps) != sorted(set(entry.steps)):
            raise self._refuse(f"{path}.steps", "do not grow")
        use = self._led_to(entry.use, f"{path}.use")
        if use is None:
            return None
        told = msgspec.json.encode([entry, use.targets])
        digest = hashlib.sha256(told).hexdigest()[:16]
        return Canary(
            name=entry.name,
            by=entry.by,
            use=use,
            steps=entry.steps,
            step_seconds=entry.step_seconds,
            at_least=entry.at_least,
            rollback_on=entry.rollback_on,
            digest=digest,
        )

    def _shadow(self, name: str, model: ModelEntry, path: str) -> Shadow | None:
        entry = model.shadow
        if entry is None:
            return None
        if model.route == "envoy":
            problem = "has no effect where Envoy's own routes choose: let them mirror"
            raise self._refuse(path, problem)
        if entry.use == name:
            raise self._refuse(f"{path}.use", "is this model itself")
        used = self._entries.get(entry.use)
        if used is not None and used.shadow is not None:
            raise self._refuse(f"{path}.use", f"{entry.use} has a shadow itself")
        if entry.when.similar_to is not None:
            raise self._refuse(f"{path}.when.similar_to", "is for rules alone")
        self._check_condition(entry.when, f"{path}.when")
        use = self._led_to(entry.use, f"{path}.use")
        if use is None:
            return None
        return Shadow(
            use=use,
            share=entry.share,
            when=entry.when,
            charge_to=entry.charge_to,
            answers=entry.answers,
        )

    def _deprecation(self, model: ModelEntry, path: str) -> Deprecation | None:
        entry = model.deprecated
        if entry is None:
            return None
        if entry.ends is not None and entry.ends <= entry.since:
            raise self._refuse(f"{path}.ends", "is not after since")
        substitutes = entry.afterwards == "substitute"
        for name in ("ends", "use"):
            if substitutes and getattr(entry, name) is None:
                raise self._refuse(f"{path}.{name}", "is needed for afterwards: substitute")
        use = self._led_to(entry.use, f"{path}.use", may_try=True) if entry.use else None
        return Deprecation(
            since=entry.since,
            ends=entry.ends,
            use=entry.use,
            substitute=self._substitute(model, use, f"{path}.use") if substitutes else None,
        )

    def _substitute(self, ended: ModelEntry, use: Model | None, path: str) -> Model | None:
        """`use` as it serves for a model that ended: under the profiles that this one names."""
        if use is None:
            return None
        named: dict[str, str | None] = {}
        for section in ("redaction", "guardrails"):
            own, its = getattr(ended, section), getattr(use, section)
            if own and its and own != its:
                problem = f"{use.name} is under the {section} {its}, and this model under {own}"
                raise self._refuse(path, problem)
            named[section] = own or its
        return msgspec.structs.replace(use, **named)

    def _led_to(self, name: str, path: str, *, may_try: bool = False) -> Model | None:
        """The model that serves for another: one that leads no further, but perhaps into an
        experiment."""
        entry = self._entries.get(name)
        if entry is None or name.endswith("*"):
            raise self._refuse(path, f"no model {name} in this file, or a pattern")
        leads = entry.rules or entry.deprecated or entry.canary
        if leads or (entry.experiment and not may_try):
            raise self._refuse(path, f"{name} leads to another model itself")
        if entry.route == "envoy":
            raise self._refuse(path, f"{name} is served where Envoy's own routes choose")
        return self.find(name)


def find_loaded(models: Mapping[str, Model]) -> tuple[str, ...]:
    """The providers of models whose strategy goes by load."""
    loaded = [model for model in models.values() if model.strategy == "least_loaded"]
    return tuple(dict.fromkeys(t.provider for model in loaded for t in model.targets))


def _fallback(entry: ModelEntry) -> Fallback:
    limits = entry.fallback_limits or FallbackLimits()
    measures = [given for given in entry.fallback_on if isinstance(given, FallbackMeasure)]
    scored = next((given for given in measures if given.by is not None), FallbackMeasure())
    return Fallback(
        reasons=tuple(given for given in entry.fallback_on if isinstance(given, str)),
        shorter_than=next((m.shorter_than for m in measures if m.shorter_than), None),
        scored_below=scored.scored_below,
        scorer=scored.by or "",
        within_ms=limits.within_ms,
        nanodollars=None if limits.usd is None else round(limits.usd * NANODOLLARS),
    )


def _learning(entry: ModelEntry) -> Learning | None:
    return entry.learning or Learning() if entry.strategy in _LEARNING else None
