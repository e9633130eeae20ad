"""What clients and the operator are told of the public models."""

from __future__ import annotations

from datetime import date

from click.testing import CliRunner

from dragoman.cli import main
from dragoman.config.load import parse
from dragoman.config.policy import Policy
from dragoman.policies.describe import describe, describe_line, find_retirements, make_card

TEXT = """
callers: {demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers:
  openai: {}
  anthropic: {}
  local: {kind: vllm, url: "http://10.0.0.5:8000"}
profiles:
  - {provider: local, model: end, retires: 2026-12-01, title: Ends}
models:
  fast: {targets: [{provider: openai, model: gpt-5.4}, {provider: anthropic, model: claude-haiku-4-5}]}
  ours: {targets: [{provider: local, model: end, priority: 3}, {provider: local, model: x, priority: 2}]}
  any/*: {targets: [{provider: anthropic, model: "*"}]}
  routed: {route: envoy}
"""
KEYS = {"OPENAI_API_KEY": "1", "ANTHROPIC_API_KEY": "2"}
POLICY = parse(TEXT, "p.yaml", KEYS)
TODAY = date(2026, 11, 24)


def card(name: str, pattern: str = "", policy: Policy = POLICY):  # noqa: ANN201
    return make_card(name, policy.models[pattern or name], policy)


def test_of_two_targets_limits_the_least_is_told_and_of_modalities_all() -> None:
    fast = card("fast")
    assert (fast.title, fast.created) == ("GPT-5.4", date(2026, 3, 5))
    assert (fast.max_input_tokens, fast.max_output_tokens) == (200_000, 64_000)
    assert fast.input == ("text", "image", "document")
    assert (fast.reasons, fast.retires) == (True, None)


def test_a_model_is_no_more_when_the_last_target_ends() -> None:
    ours = card("ours")
    assert (ours.name, ours.reasons, ours.retires) == ("ours", None, None)
    alone = TEXT.replace(", {provider: local, model: x, priority: 2}", "")
    ends = card("ours", policy=parse(alone, "p.yaml", KEYS))
    assert (ends.name, ends.retires) == ("Ends", date(2026, 12, 1))


def test_a_pattern_is_described_by_what_it_is_asked_for() -> None:
    assert card("any/*").max_input_tokens is None
    found = card("any/claude-opus-4-6", "any/*")
    assert (found.id, found.title) == ("any/claude-opus-4-6", "Claude Opus 4.6")
    assert card("routed").input == ()


def test_retirements_are_near_or_past() -> None:
    def told(today: date) -> list[tuple[str, bool]]:
        return [(found.path, found.past) for found in find_retirements(POLICY, today)]

    path = "$.models.ours.targets[0].model"
    assert told(date(2026, 9, 1)) == []
    assert told(date(2026, 9, 2)) == [(path, False)]
    assert told(date(2026, 11, 30)) == [(path, False)]
    assert told(date(2026, 12, 1)) == [(path, True)]


def test_the_operator_sees_targets_in_the_order_they_are_asked() -> None:
    models = {model.name: model for model in describe(POLICY, date(2026, 9, 1))}
    assert [t.model for t in models["ours"].targets] == ["x", "end"]
    assert models["routed"].targets == ()
    fast, ours = models["fast"].targets[1], models["ours"].targets
    assert describe_line(fast, TODAY) == (
        "anthropic claude-haiku-4-5; 200,000 in, 64,000 out; text+image+document to text; "
        "USD a million: input 1, output 5, cached 0.1, cache_write_5m 1.25, cache_write_1h 2"
    )
    assert describe_line(ours[0], TODAY) == "local x: nothing known"
    assert describe_line(ours[1], TODAY) == "local end; until 2026-12-01"


def test_the_command_line_prints_the_facts() -> None:
    runner = CliRunner()
    text = runner.invoke(main, ["models"])
    assert text.exit_code == 0
    assert "fast\n  simulator-openai simulated-fast: nothing known\n" in text.output
    found = runner.invoke(main, ["models", "--json"])
    assert found.exit_code == 0
    assert '"name": "fast"' in found.output
