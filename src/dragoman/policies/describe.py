"""What the public models are: for clients that list them, for the operator, and for estimates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from operator import attrgetter

import msgspec

from dragoman.catalog.profiles import Profile, Rates
from dragoman.config.policy import Model, Policy, Target
from dragoman.dialects.models import ModelCard
from dragoman.policies.lifecycle import State, state_of
from dragoman.policies.route.weighted import name_targets

NEAR = timedelta(days=90)
"""How long before a model's end its targets are worth a warning."""
_MEDIA = ("text", "image", "audio", "video", "document", "embedding", "score")


class DescribedTarget(msgspec.Struct, frozen=True, kw_only=True):
    """One target, and what is known of its model."""

    provider: str
    model: str
    weight: int
    priority: int
    profile: Profile | None


class DescribedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One public model; without targets, rules and experiment Envoy's own routes choose."""

    name: str
    state: State
    ends: date | None
    instead: str | None
    """The model to ask for in its place."""
    aliases: tuple[str, ...]
    rules: tuple[str, ...]
    """The models that serve where its rules hold, in their order."""
    experiment: str | None
    variants: Mapping[str, str]
    """The model of each, by its name."""
    canary: str | None
    """The model that serves a growing share."""
    shadow: str | None
    """The model that is asked a share too, for comparison."""
    targets: tuple[DescribedTarget, ...]


class Retirement(msgspec.Struct, frozen=True, kw_only=True):
    """A target whose model has ended, or soon will."""

    path: str
    """Where the target stands in the policy file."""
    target: Target
    retires: date
    past: bool


def describe(policy: Policy, today: date) -> list[DescribedModel]:
    """Every public model, in the policy's order, with its targets in the order they are asked."""
    return [_describe(policy, model, today) for model in policy.models.values()]


def _describe(policy: Policy, model: Model, today: date) -> DescribedModel:
    experiment, planned = model.experiment, model.deprecated
    return DescribedModel(
        name=model.name,
        state=state_of(model, today),
        ends=planned.ends if planned else None,
        instead=planned.use if planned else None,
        aliases=tuple(alias for alias, name in policy.aliases.items() if name == model.name),
        rules=tuple(rule.use.name for rule in model.rules),
        experiment=experiment.name if experiment else None,
        variants={v.name: v.use.name for v in experiment.variants} if experiment else {},
        canary=model.canary.use.name if model.canary else None,
        shadow=model.shadow.use.name if model.shadow else None,
        targets=tuple(
            DescribedTarget(
                provider=target.provider,
                model=target.model,
                weight=target.weight,
                priority=target.priority,
                profile=policy.profile(target.provider, target.model),
            )
            for target in sorted(model.targets, key=attrgetter("priority"))
        ),
    )


def describe_model_line(model: DescribedModel) -> str:
    """A model in one line: its name, and what is to be known of it beside its targets."""
    words = [model.name]
    if model.state != "current":
        words.append(model.state + (f", ends {model.ends}" if model.ends else ""))
    if model.instead:
        words.append(f"use {model.instead}")
    if model.aliases:
        words.append(f"also {', '.join(model.aliases)}")
    if model.rules:
        words.append(f"rules to {', '.join(model.rules)}")
    if model.experiment:
        sides = ", ".join(f"{name} {use}" for name, use in model.variants.items())
        words.append(f"experiment {model.experiment}: {sides}")
    if model.canary:
        words.append(f"canary {model.canary}")
    if model.shadow:
        words.append(f"shadow {model.shadow}")
    return "; ".join(words)


def describe_line(target: DescribedTarget, today: date) -> str:
    """A target in one line: who serves it, its limits, modalities, prices of `today` and end."""
    words = [f"{target.provider} {target.model}"]
    if target.profile is None:
        return f"{words[0]}: nothing known"
    facts = target.profile
    limits = ((facts.max_input_tokens, "in"), (facts.max_output_tokens, "out"))
    words += [", ".join(f"{limit:,} {way}" for limit, way in limits if limit is not None)]
    if facts.input and facts.output:
        words.append(f"{'+'.join(facts.input)} to {'+'.join(facts.output)}")
    prices = facts.prices_on(today)
    if prices is not None:
        rates = ((kind, getattr(prices, kind)) for kind in Rates.__struct_fields__)
        said = [f"{kind} {price:g}" for kind, price in rates if price is not None]
        words.append(f"USD a million: {', '.join(said)}")
        words += [f"USD a call: {prices.request:g}"] if prices.request is not None else []
    if facts.retires is not None:
        words.append(f"until {facts.retires}")
    return "; ".join(word for word in words if word)


def make_card(name: str, model: Model, policy: Policy) -> ModelCard:
    """What a client is told of `name`, a public model or one that its pattern covers.

    Its title and date are those of the target asked first. Of several targets' limits the least is
    told, which all of them can serve; of their modalities all, for a part that a target cannot take
    goes to the next.
    """
    further = [target for target in model.all_targets if target not in model.targets]
    targets = [*sorted(name_targets(model, name), key=attrgetter("priority")), *further]
    known = [policy.profile(target.provider, target.model) for target in targets]
    profiles = [profile for profile in known if profile is not None]
    first = known[0] if known and known[0] is not None else Profile()
    ends = [profile.retires for profile in profiles if profile.retires]
    return ModelCard(
        id=name,
        title=first.title or "",
        created=first.released,
        max_input_tokens=_least(profile.max_input_tokens for profile in profiles),
        max_output_tokens=_least(profile.max_output_tokens for profile in profiles),
        input=_all(profile.input for profile in profiles),
        output=_all(profile.output for profile in profiles),
        reasons=None if first.title is None else first.reasoning is not None,
        retires=_end(model) or (max(ends) if len(ends) == len(known) and ends else None),
    )


def find_retirements(policy: Policy, today: date) -> list[Retirement]:
    """The targets whose models have ended by `today` or end within `NEAR`, in the file's order."""
    return [
        Retirement(
            path=f"$.models.{name}.targets[{i}].model",
            target=target,
            retires=profile.retires,
            past=profile.retires <= today,
        )
        for name, model in policy.models.items()
        for i, target in enumerate(model.targets)
        if (profile := policy.profile(target.provider, target.model))
        and profile.retires is not None
        and profile.retires <= today + NEAR
    ]


def _end(model: Model) -> date | None:
    return model.deprecated.ends if model.deprecated else None


def _least(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _all(said: Iterable[tuple[str, ...] | None]) -> tuple[str, ...]:
    found = {kind for kinds in said for kind in kinds or ()}
    return tuple(kind for kind in _MEDIA if kind in found)
