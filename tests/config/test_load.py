"""A policy file is used whole or refused with the place that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dragoman.catalog import provider_rows
from dragoman.config.cores import available_cores
from dragoman.config.load import load, parse
from dragoman.errors import ConfigError

DIGEST = "a" * 64
BASE = f"""
callers: {{team: {{keys: [{DIGEST}]}}}}
providers:
  openai: {{key: {{env: OPENAI_API_KEY}}}}
  local: {{kind: vllm, url: "http://10.0.0.5:8000"}}
models:
  fast:
    targets:
      - {{provider: openai, model: gpt-5-mini}}
      - {{provider: local, model: llama}}
"""
ENVIRONMENT = {"OPENAI_API_KEY": "sk-never-read"}


def test_a_whole_file_resolves() -> None:
    policy = parse(BASE, "p.yaml", ENVIRONMENT)
    openai, local = policy.providers["openai"], policy.providers["local"]
    assert (openai.host, openai.port, openai.tls) == ("api.openai.com", 443, True)
    assert openai.authority == "api.openai.com"
    assert (local.host, local.port, local.tls, local.key) == ("10.0.0.5", 8000, False, None)
    assert local.authority == "10.0.0.5:8000"
    assert [(t.provider, t.priority) for t in policy.models["fast"].targets] == [
        ("openai", 0),
        ("local", 1),
    ]
    assert "sk-never-read" not in repr(policy)


def test_workers_are_as_many_as_the_cores_it_may_use() -> None:
    assert parse(f"{BASE}workers: auto", "p.yaml", ENVIRONMENT).workers == available_cores()
    assert parse(f"{BASE}workers: 3", "p.yaml", ENVIRONMENT).workers == 3
    with pytest.raises(ConfigError, match="workers"):
        parse(f"{BASE}workers: some", "p.yaml", ENVIRONMENT)


def test_the_embedded_defaults_need_no_account() -> None:
    policy = load(None, {})
    assert set(policy.providers) == {"simulator-openai", "simulator-anthropic"}
    assert {"fast", "smart", "mixed"} <= set(policy.models)
    assert "openai/*" not in policy.models


def test_a_key_in_the_environment_brings_its_provider() -> None:
    """Every one of whom the catalogue knows the address and the key's variable."""
    for name, row in provider_rows().items():
        if not row.url or not row.key_env or row.signer:
            continue
        policy = load(None, {row.key_env: "k"})
        assert name in policy.providers
        assert policy.models[f"{name}/*"].targets[0].model == "*"


def test_every_row_of_the_catalogue_is_usable() -> None:
    for name, row in provider_rows().items():
        url = "" if row.url else ', url: "https://example.test"'
        url += f", params: {dict.fromkeys(row.params, chr(120))}"
        text = f"""
callers: {{team: {{keys: [{DIGEST}]}}}}
providers: {{p: {{kind: {name}{url}}}}}
models: {{m: {{targets: [{{provider: p, model: x}}]}}}}
"""
        environment = {row.key_env: "k"} if row.key_env else {}
        provider = parse(text, "p.yaml", environment).providers["p"]
        assert list(provider.endpoints) == list(row.serves)
        for endpoint in provider.endpoints.values():
            assert endpoint.request_path("m").startswith("/")
            assert "{" not in endpoint.request_path("m", stream=True)


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (("fast:\n    targets:", "fast: 3\nx:"), "$", "Expected `object`"),
        (("callers:", "colours: 1\ncallers:"), "$", "unknown field `colours`"),
        (("model: llama", "modle: llama"), "$.models", "unknown field `modle`"),
        (("provider: local", "provider: nowhere"), "$.models.fast.targets[1].provider", "nowhere"),
        (("kind: vllm", "kind: vlllm"), "$.providers.local.kind", "catalogue has"),
        (('url: "http://10.0.0.5:8000"', "optional: true"), "$.providers.local.url", "address"),
        (("http://10.0.0.5:8000", "ftp://x"), "$.providers.local.url", "http(s)"),
        (("http://10.0.0.5:8000", "http://x/v1"), "$.providers.local.url", "nothing more"),
        (("http://10.0.0.5:8000", "http://x:99999"), "$.providers.local.url", "not a URL"),
        (("env: OPENAI_API_KEY", "env: A, file: b"), "$.providers.openai.key", "either"),
        (("env: OPENAI_API_KEY", "env: ABSENT"), "$.providers.openai.key", "ABSENT is not set"),
        (("env: OPENAI_API_KEY", "file: /nope"), "$.providers.openai.key", "no file /nope"),
        (("model: llama", "model: llama, weight: 3"), "$.models.fast.targets[1].weight", "effect"),
        (("model: llama", 'model: "*"'), "$.models.fast", "`*`"),
        (("fast:", "fast: {route: envoy, targets: [{provider: local, model: x}]}\n  b:"), "$.models.fast", "route"),
        (("callers:", "callers: ["), "line", "not YAML"),
        (("callers:", "models: {}\ncallers:"), "line 7", "the name models is given more than once"),
        (("model: llama", "model: llama, model: other"), "line", "name model is given more than once"),
        (("http://10.0.0.5:8000", "http://ex ample"), "$.providers.local.url", "nothing more"),
        (("http://10.0.0.5:8000", "http://:pass@x"), "$.providers.local.url", "nothing more"),
        (("http://10.0.0.5:8000", "http://x#v1"), "$.providers.local.url", "nothing more"),
        (("http://10.0.0.5:8000", "http://x:0"), "$.providers.local.url", "nothing more"),
        (("callers:", "transport: quic\ncallers:"), "$.transport", "quic"),
        ((DIGEST, "dragoman-demo"), "$.callers.team.keys[0]", "as `dragoman digest` prints it"),
        (("kind: vllm", "kind: vllm, circuit_breaker: {max_requests: 0}"), "$.providers.local.circuit_breaker.max_requests", ">= 1"),
        (("kind: vllm", "kind: vllm, circuit_breaker: {max_pending_requests: 3}"), "$.providers.local.circuit_breaker.max_pending_requests", "needs max_connections"),
        (("kind: vllm", "kind: vllm, outlier_detection: {max_ejection_percent: 101}"), "$.providers.local.outlier_detection.max_ejection_percent", "<= 100"),
        (("kind: vllm", "kind: vllm, health_check: {path: health}"), "$.providers.local.health_check.path", "regex"),
        (("kind: vllm", "kind: vllm, health_check: {timeout_seconds: 11}"), "$.providers.local.health_check.timeout_seconds", "<= 10"),
        (("kind: vllm", "kind: vllm, health_check: {interval_seconds: 1}"), "$.providers.local.health_check.timeout_seconds", "longer than the interval"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change: tuple[str, str], path: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(BASE.replace(*change), "p.yaml", ENVIRONMENT)
    assert refusal.value.file == "p.yaml"
    assert (refusal.value.path or "").startswith(path)
    assert words in str(refusal.value)


def test_health_is_asked_for_where_the_catalogue_says() -> None:
    def path(kind: str, check: str = "{}") -> str | None:
        text = BASE.replace("kind: vllm", f"kind: {kind}, health_check: {check}")
        found = parse(text, "p.yaml", ENVIRONMENT).providers["local"].health_check
        assert found is not None
        return found.path

    assert (path("vllm"), path("ollama"), path("openai")) == ("/health", "/api/version", None)
    assert path("vllm", "{path: /ready?deep=1}") == "/ready?deep=1"
    assert parse(BASE, "p.yaml", ENVIRONMENT).providers["local"].health_check is None


def test_one_key_has_one_owner() -> None:
    text = BASE.replace("callers: {", f"callers: {{other: {{keys: [{DIGEST}]}}, ")
    with pytest.raises(ConfigError, match="already belongs to other"):
        parse(text, "p.yaml", ENVIRONMENT)


def test_an_optional_provider_without_its_key_takes_its_targets_along() -> None:
    text = BASE.replace("{key: {env: OPENAI_API_KEY}}", "{optional: true}")
    policy = parse(text, "p.yaml", {})
    assert [t.provider for t in policy.models["fast"].targets] == ["local"]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(tmp_path / "absent.yaml"), {})
    (tmp_path / "p.yaml").write_text(BASE)
    assert load(str(tmp_path / "p.yaml"), ENVIRONMENT).source.endswith("p.yaml")


PROFILED = BASE + "profiles: [{provider: local, model: 'llama*', max_input_tokens: 8192}]\n"


def test_an_operators_profile_is_found_by_the_target() -> None:
    policy = parse(PROFILED, "p.yaml", ENVIRONMENT)
    known = policy.profile("local", "llama-3")
    assert known is not None
    assert known.max_input_tokens == 8192
    assert policy.profile("local", "qwen") is None
    assert policy.profile("nowhere", "llama-3") is None
    fast = policy.profile("openai", "gpt-5-mini")
    assert fast is not None
    assert fast.title == "GPT-5 mini"


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        ("{provider: nowhere, model: m}", "$.profiles[1].provider", "no provider nowhere"),
        ("{provider: local, model: 'a*b'}", "$.profiles[1].model", "at the end only"),
        ("{provider: local, model: 'llama*'}", "$.profiles[1]", "the same model"),
        ("{provider: local, model: m, like: gpt-0}", "$.profiles[1].like", "no such table"),
        ("{provider: local, model: m, price: 3}", "$.profiles[", "unknown field `price`"),
        ("{provider: local, model: m, prices: {inputs: 3}}", "$.profiles[", "field `inputs`"),
        (
            "{provider: local, model: m, prices: [{input: 1}, {input: 2}]}",
            "$.profiles[1].prices[1].since",
            "same day",
        ),
        ("{provider: local, model: m, input: [smell]}", "$.profiles[", "smell"),
        ("{provider: local, model: m, retires: soon}", "$.profiles[", "date"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused(entry: str, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(PROFILED.replace("}]", "}, " + entry + "]"), "p.yaml", ENVIRONMENT)
    assert path in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            "fallback_on: [empty, shorter_than]",
            (
                "$.models.m.fallback_on[1]: Invalid enum value 'shorter_than'; allowed: context_length, "
                "content_filter, refusal, empty, invalid, schema, truncated, {shorter_than: …, scored_below: …, by: …}"
            ),
        ),
        (
            "fallback_on: [{shorter_than: a}]",
            "$.models.m.fallback_on[0].shorter_than: Expected `int | null`, got `str`",
        ),
        (
            "fallback_on: [1]",
            (
                "$.models.m.fallback_on[0]: Expected `str | object`, got `int`; allowed: context_length, "
                "content_filter, refusal, empty, invalid, schema, truncated, {shorter_than: …, scored_below: …, by: …}"
            ),
        ),
        (
            "rules: [{use: m, when: {features: [magic]}}]",
            (
                "$.models.m.rules[0].when.features[0]: Invalid enum value 'magic'; allowed: streaming, "
                "tools, media, schema, reasoning"
            ),
        ),
        ("learning: {explore: 2}", "$.models.m.learning.explore: Expected `float` <= 1.0"),
        ("sticky: 1", "$.models.m.sticky: Expected `str | null`, got `int`"),
    ],
)
def test_a_value_of_no_allowed_type_is_named_with_what_is_allowed(wrong: str, said: str) -> None:
    text = f"models: {{m: {{targets: [], {wrong}}}}}"
    with pytest.raises(ConfigError) as caught:
        parse(text, "p.yaml", {})
    assert str(caught.value) == f"p.yaml: {said}"
