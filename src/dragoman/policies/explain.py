"""What would become of a request, and why, in words."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from dragoman.config.guardrails import DenyRule
from dragoman.config.leading import Condition
from dragoman.config.policy import Caller, Model, Policy
from dragoman.config.schema import Reward
from dragoman.errors import InvalidToken, NotFound
from dragoman.policies.authorize import Wish, find_model, judge
from dragoman.policies.limits import limits_of
from dragoman.policies.quotas import QuotaPolicy
from dragoman.policies.route.weighted import name_targets
from dragoman.policies.tokens import find_caller
from dragoman.wire.json import decode


class Explanation(NamedTuple):
    """Whether it is allowed, and the reasons, a line each."""

    allowed: bool
    lines: list[str]


def claimant(policy: Policy, payload: bytes) -> Caller:
    """Whose a token with this payload (JSON) is, were it valid. Raises a `DragomanError`."""
    claims = decode(payload)
    issuers = policy.callers.issuers.values()
    issuer = next((issuer for issuer in issuers if issuer.issuer == claims.get("iss")), None)
    if issuer is None:
        raise InvalidToken("The token's issuer is not known here.")
    return find_caller(claims, issuer)


def explain(policy: Policy, caller: Caller, wish: Wish) -> Explanation:
    """What becomes of `wish` of `caller`, as far as it does not hang on a request's body."""
    wish = wish._replace(model=policy.aliases.get(wish.model, wish.model))
    try:
        model = find_model(wish.model, caller, policy.models)
    except NotFound:
        granted = ", ".join(caller.models) or "none"
        known = "is not in the policy" if wish.model not in policy.models else "is there"
        return Explanation(
            allowed=False,
            lines=[f"refused: the model {wish.model} {known}; {caller.name} is granted {granted}"],
        )
    verdict = judge(caller, wish)
    word = "allowed" if verdict.allowed else "refused"
    who = ", ".join(f"{subject} {name}" for subject, name in caller.belongs.items())
    lines = [f"{word}: {verdict.because}", f"caller {caller.name}{f' of {who}' if who else ''}"]
    if verdict.allowed:
        lines += [*_guardrail_lines(policy, caller, model), *_limit_lines(caller)]
        lines += [*_quota_lines(policy, caller, model), *_end_lines(model)]
        lines += [*_rule_lines(model), *_target_lines(model, wish.model)]
    return Explanation(allowed=verdict.allowed, lines=lines)


def _guardrail_lines(policy: Policy, caller: Caller, model: Model) -> list[str]:
    section = policy.guardrails
    profile = section.choose(caller.guardrails, model.guardrails) if section else None
    if profile is None:
        return []
    said = [f"{_verb(rule)} {rule.name}" for rule in profile.deny]
    said += [f"{_verb(rule)} {rule.name} in answers" for rule in profile.answers]
    if (most := profile.max_answer_characters) is not None:
        said.append(f"cuts answers at {most:,} characters")
    if disclaimer := profile.disclaimer:
        said.append(f"has a disclaimer at the {disclaimer.where} of answers")
    if schema := profile.schema:
        said.append(f"{schema.action}s answers that do not fit the request's schema")
    if injection := profile.injection:
        said.append(f"{injection.action}s injection from {injection.threshold}")
    said += [
        f"asks {c.name}{_OF[side]} ({c.action}; on failure {c.on_failure})"
        for c in profile.callouts
        for side in c.applies_to
    ]
    return [f"guardrails {profile.name}: {', '.join(said)}"]


_OF = {"request": "", "answer": " about answers"}


def _verb(rule: DenyRule) -> str:
    return "denies" if rule.blocks else "reports"


def _limit_lines(caller: Caller) -> list[str]:
    limits = limits_of(caller)
    said = msgspec.structs.asdict(limits).items() if limits else ()
    return [f"limit {what}: {limit:,}" for what, limit in said if limit is not None]


def _quota_lines(policy: Policy, caller: Caller, model: Model) -> list[str]:
    quotas = QuotaPolicy(policy.quotas)
    covering = quotas.covering(caller, model.name)
    for provider in dict.fromkeys(target.provider for target in model.targets):
        covering += quotas.covering(caller, model.name, provider)
    return list(
        dict.fromkeys(
            f"quota {quota.name}: {quota.unit}, counted for {who or 'all'}"
            for quota, who in covering
        )
    )


def _end_lines(model: Model) -> list[str]:
    planned = model.deprecated
    if planned is None:
        return []
    after = f", then {planned.substitute.name} serves" if planned.substitute else ""
    return [f"deprecated: since {planned.since}, until {planned.ends or 'further notice'}{after}"]


def _rule_lines(model: Model) -> list[str]:
    """Which models serve in its place, and where."""
    lines: list[str] = []
    for i, rule in enumerate(model.rules):
        words = _words(rule.when) or "nothing else holds"
        lines.append(f"rule {i}: {rule.use.name} serves where {words}")
    if experiment := model.experiment:
        lines += [
            f"experiment {experiment.name}: {variant.use.name} serves as {variant.name}, "
            f"weight {variant.weight}, by {experiment.by}"
            for variant in experiment.variants
        ]
    if canary := model.canary:
        steps = ", ".join(f"{step:g}" for step in canary.steps)
        lines.append(f"canary {canary.name}: {canary.use.name} serves a share of {steps} percent")
    if shadow := model.shadow:
        where = f", where {words}" if (words := _words(shadow.when)) else ""
        payer = shadow.charge_to or "nobody"
        share = f"a share of {shadow.share:.4g}{where}"
        lines.append(f"shadow: {shadow.use.name} is asked too, {share}, charged to {payer}")
    return lines


def _words(when: Condition) -> str:
    """What has to hold; empty where nothing has."""
    said, unsaid = msgspec.to_builtins(when), msgspec.to_builtins(Condition())
    facts = {name: value for name, value in said.items() if value != unsaid[name]}
    return msgspec.json.encode(facts).decode() if facts else ""


def _target_lines(model: Model, name: str) -> list[str]:
    if not (model.targets or model.rules or model.experiment):
        return ["upstream: Envoy's own routes choose it"]
    targets = sorted(name_targets(model, name), key=lambda target: target.priority)
    return [
        *_strategy_lines(model),
        *(
            f"upstream: {target.provider} with {target.model}, priority {target.priority}, "
            f"weight {target.weight}"
            for target in targets
        ),
    ]


def _strategy_lines(model: Model) -> list[str]:
    """How those of one priority are ordered, where it is not by weight alone."""
    if model.learning is not None:
        learning = model.learning
        half_life, explore = learning.half_life_seconds, learning.explore
        line = f"strategy {model.strategy}: half-life {half_life} s, explores {explore:.2%}"
        return [line, *_reward_lines(model.reward)]
    return [f"strategy {model.strategy}"] if model.strategy != "weighted" else []


def _reward_lines(reward: Reward | None) -> list[str]:
    if reward is None:
        return []
    parts = [f"error {reward.error:g}"] if reward.error else []
    if reward.latency:
        parts.append(f"latency {reward.latency:g}, at {reward.latency_scale_ms:g} ms 0.37 of it")
    if reward.cost:
        parts.append(f"cost {reward.cost:g}, at {reward.cost_scale_usd:g} USD 0.37 of it")
    if reward.feedback:
        parts.append(f"feedback {reward.feedback:g}")
    return [f"rewards: {'; '.join(parts)}"]
