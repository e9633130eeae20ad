"""What a worker serves by, before and after its policy changes."""

from __future__ import annotations

import msgspec
import pytest

from dragoman.config.load import parse
from dragoman.extproc.background import Background
from dragoman.extproc.in_force import InForce
from dragoman.stores.latencies import LatencySharing

TEXT = """
callers: {demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers: {left: {kind: openai}, right: {kind: anthropic}}
models: {fast: {targets: [{provider: left, model: m}, {provider: right, model: m}]}}
quotas: [{name: calls, unit: requests, limit: 9, window: day}]
guardrails: {profiles: {strict: {deny: [{name: bad, words: [word]}]}}, default: strict}
"""
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "2"}
POLICY = parse(TEXT, "p.yaml", KEYS)
LATER = parse(
    """
callers: {demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers: {left: {kind: openai, region: eu}}
models: {fast: {targets: [{provider: left, model: m}]}}
""",
    "p.yaml",
    KEYS,
)


def test_what_is_gone_is_known_until_the_next_change():
    now = InForce(POLICY)
    now.replace(LATER)
    assert now.policy.models == LATER.models
    assert now.policy.providers["left"].region == "eu"
    assert now.find_dialect("right", "openai_chat", "m") == "anthropic_messages"
    assert [quota.name for quota in now.policy.quotas] == ["calls"]
    assert now.guards.named("strict")
    now.replace(LATER)
    assert list(now.policy.providers) == ["left"]
    assert now.find_dialect("right", "openai_chat", "m") is None
    assert not now.policy.quotas
    assert now.guards is None


def test_a_policy_that_cannot_be_used_changes_nothing():
    now = InForce(LATER)
    before = vars(now).copy()
    section = POLICY.guardrails
    profile = section.profiles["strict"]
    rule = msgspec.structs.replace(profile.deny[0], patterns=("(",))
    profile = msgspec.structs.replace(profile, deny=(rule,))
    section = msgspec.structs.replace(section, profiles={"strict": profile})
    broken = msgspec.structs.replace(POLICY, guardrails=section)
    with pytest.raises(ValueError, match="bad"):
        now.replace(broken)
    assert vars(now) == before


def test_what_was_learned_is_shared_from_the_first_policy_on_that_learns():
    asked = []

    class Sharing(Background):
        def _sharing(self, now, policy):
            asked.append((now.latencies, policy))
            return sharing if policy is learns else None

    learns = msgspec.structs.replace(LATER, workers=7)
    now = InForce(LATER, Sharing(0, None, None))
    sharing = LatencySharing(now.latencies, None)
    assert now.beside.sharing is None
    now.replace(learns)
    now.replace(LATER)
    assert now.beside.sharing is sharing
    assert asked == [(now.latencies, LATER), (now.latencies, learns)]
