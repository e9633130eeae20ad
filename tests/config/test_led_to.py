"""Profiles of models that others lead to: none is passed over in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dragoman.config.load import parse
from dragoman.config.policy import Policy
from dragoman.errors import ConfigError

TARGETS = {"targets": [{"provider": "one", "model": "m"}]}
REDACTION = {"strict": {"entities": {"personal": "mask"}}, "mild": {"entities": {"card": "mask"}}}
GUARDRAILS = {"strict": {"injection": {}}, "mild": {"injection": {"action": "report"}}}
LEADS: dict[str, dict[str, Any]] = {
    "rules[0].use": {"rules": [{"when": {"callers": ["a"]}, "use": "led"}], **TARGETS},
    "experiment.variants.b.use": {
        "experiment": {"name": "e", "variants": {"a": {"use": "plain"}, "b": {"use": "led"}}}
    },
    "canary.use": {"canary": {"name": "c", "use": "led"}, **TARGETS},
    "shadow.use": {"shadow": {"use": "led", "share": 0.5}, **TARGETS},
}


def policy(lead: dict[str, Any], led: dict[str, str], **defaults: str) -> Policy:
    document = {
        "callers": {"demo": {"keys": ["0" * 64]}},
        "providers": {"one": {"kind": "vllm", "url": "http://127.0.0.1:9"}},
        "redaction": {"profiles": REDACTION, "default": defaults.get("redaction")},
        "guardrails": {"profiles": GUARDRAILS, "default": defaults.get("guardrails")},
        "models": {"asked": lead, "plain": TARGETS, "led": {**TARGETS, **led}},
    }
    return parse(json.dumps(document), "p.yaml", {})


@pytest.mark.parametrize("path", LEADS)
@pytest.mark.parametrize("kind", ["redaction", "guardrails"])
def test_a_profile_that_would_not_apply_is_refused(kind: str, path: str) -> None:
    for own, its, default, is_refused in (
        (None, "strict", None, True),
        ("mild", "strict", None, True),
        ("off", "strict", None, True),
        (None, "strict", "mild", True),
        ("off", None, "strict", True),
        ("strict", "strict", None, False),
        (None, "strict", "strict", False),
        ("strict", None, None, False),
        ("strict", "off", "mild", False),
        (None, None, "strict", False),
    ):
        lead = LEADS[path] | ({kind: own} if own else {})
        led = {kind: its} if its else {}
        defaults = {kind: default} if default else {}
        # what else it leads to is under the default, whatever this case is about
        if default and "experiment" in lead and own not in {None, default}:
            continue
        if not is_refused:
            policy(lead, led, **defaults)
            continue
        with pytest.raises(ConfigError) as refused:
            policy(lead, led, **defaults)
        assert f"$.models.asked.{path}: is under the {kind} {its or default}" in str(refused.value)
