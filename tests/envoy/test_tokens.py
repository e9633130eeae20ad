"""Tokens through the real Envoy, with an issuer of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, digest, run_gateway, wait_until
from tests.envoy.test_routing import body
from tests.tokens import AUDIENCE, Issuer, SigningKey, run_issuer, token

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
DOTTED_KEY = "client-key.with-two.dots-5b"
EXAMPLE = Path(__file__).parents[2] / "envoy" / "identity.yaml"
EXAMPLE_ISSUER = "https://sso.acme.example/realms/acme"
FILE_ISSUER = "https://file.test"
STRANGER = SigningKey("k1")
FILED = SigningKey("f1")


Start = Callable[..., AbstractContextManager[Gateway]]


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with run_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def silent() -> Iterator[Issuer]:
    """An issuer whose keys cannot be fetched."""
    with run_issuer() as running:
        running.answers = False
        yield running


@pytest.fixture(scope="module")
def trusting_gateway(
    all_providers: Simulator,
    issuer: Issuer,
    silent: Issuer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    keys = tmp_path_factory.mktemp("keys") / "jwks.json"
    keys.write_text(json.dumps({"keys": [FILED.public()]}))
    callers: dict[str, Any] = {
        "demo": {"keys": [digest(KEY), digest(DOTTED_KEY)]},
        "shop": {"team": "retail", "roles": ["chatter"]},
        "office": {"models": ["o/*"], "addresses": ["203.0.113.0/24"]},
    }
    claims = {"caller": "groups", "user": "email", "roles": "realm.roles"}
    tables = {"callers": {"devs": "shop", "staff": "office"}, "roles": {"llm-maker": "maker"}}
    jwt = {
        "local": {
            "issuer": issuer.url,
            "audiences": [AUDIENCE],
            "jwks": {"uri": issuer.jwks_uri},
            "claims": claims,
            **tables,
        },
        "silent": {
            "issuer": silent.url,
            "audiences": [AUDIENCE],
            "jwks": {"uri": silent.jwks_uri},
            "default_caller": "shop",
        },
        "filed": {
            "issuer": FILE_ISSUER,
            "audiences": ["other", AUDIENCE],
            "jwks": {"file": str(keys)},
            "default_caller": "shop",
        },
    }
    quota = {"name": "mine", "unit": "requests", "limit": 3, "window": "month", "per": ["user"]}
    options: dict[str, Any] = {
        "callers": callers,
        "identity": {"jwt": jwt},
        "roles": {
            "chatter": {"allow": {"operations": ["chat"], "features": ["streaming"]}},
            "maker": {"allow": {"operations": ["chat"], "features": ["tools"]}},
        },
        "quotas": [quota],
    }
    with run_gateway(all_providers, **options) as gateway:
        yield gateway


@pytest.fixture
def trusting(trusting_gateway: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return trusting_gateway


def ask(
    gateway: Gateway,
    bearer: str,
    path: str = CHAT,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> httpx.Response:
    content = body("o/bytes-16", max_tokens=20, **fields)
    given = {"authorization": f"Bearer {bearer}", **(headers or {})}
    return httpx.post(gateway.url + path, json=content, headers=given, timeout=20)


def devs(issuer: Issuer, user: str, **claims: Any) -> str:
    return issuer.token(**{"groups": ["x", "devs"], "email": f"{user}@acme.test"} | claims)


def test_a_token_names_caller_and_user(trusting: Gateway, issuer: Issuer) -> None:
    given = devs(issuer, "alice")
    assert ask(trusting, given).status_code == 200
    entry = wait_until(
        lambda: next(
            (e for e in trusting.ledger() if e.get("dragoman.user") == "alice@acme.test"), None
        )
    )
    assert (entry["dragoman.caller"], entry["dragoman.team"]) == ("shop", "retail")
    assert given not in trusting.written()
    assert given.rpartition(".")[2] not in trusting.written()


def test_no_token_reaches_a_provider(
    trusting: Gateway, issuer: Issuer, simulator: Simulator
) -> None:
    given = devs(issuer, "bob")
    assert ask(trusting, given).status_code == 200
    (seen,) = simulator.control.requests()
    assert all(given not in value for _, value in seen.headers)


def test_keys_go_on_beside_tokens(trusting: Gateway, issuer: Issuer) -> None:
    assert ask(trusting, KEY).status_code == 200
    assert ask(trusting, DOTTED_KEY).status_code == 200
    by_header = {"x-api-key": KEY}
    listed = httpx.get(f"{trusting.url}/v1/models", headers=by_header, timeout=20)
    assert listed.status_code == 200
    token_and_key = ask(trusting, devs(issuer, "carol", groups=[]), headers=by_header)
    assert token_and_key.status_code == 403, "a good key stands in for no token"
    bad_token_and_key = ask(trusting, token(STRANGER, issuer.url), headers=by_header)
    assert bad_token_and_key.status_code == 401


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": int(time.time()) - 600}, "Jwt is expired"),
    "early": ({"nbf": int(time.time()) + 86_400}, "Jwt not yet valid"),
    "endless": ({"exp": None}, "Jwt verification fails"),
    "audience": ({"aud": "other"}, "Audiences in Jwt are not allowed"),
    "issuer": ({"iss": "https://stranger.test"}, "issuer is not known"),
    "kid": ({"kid": "k2"}, "Jwks doesn't have key"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_what_is_not_valid_is_refused_in_the_clients_dialect(
    trusting: Gateway, issuer: Issuer, path: str, name: str
) -> None:
    claims, words = REFUSED[name]
    given = devs(issuer, "mallory", **claims)
    refused = ask(trusting, given, path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    answer = refused.json()
    assert words in answer["error"]["message"]
    assert ("type" in answer) is (path == MESSAGES)
    assert given not in refused.text


def forged(issuer: Issuer) -> dict[str, str]:
    good = devs(issuer, "eve")
    header, payload, signature = good.split(".")
    other = devs(issuer, "admin").split(".")[1]
    return {
        "another key": token(STRANGER, issuer.url, groups=["devs"], email="e"),
        "no signature": token(None, issuer.url, groups=["devs"], email="e"),
        "cut": f"{header}.{payload}.",
        "another's payload": f"{header}.{other}.{signature}",
        "of another issuer's key": token(FILED, issuer.url, groups=["devs"], email="e"),
        "garbage": "a.b.c",
    }


def test_what_is_forged_is_refused(trusting: Gateway, issuer: Issuer) -> None:
    for name, given in forged(issuer).items():
        refused = ask(trusting, given)
        assert refused.status_code == 401, name
        listed = httpx.get(
            f"{trusting.url}/v1/models", headers={"authorization": f"Bearer {given}"}, timeout=20
        )
        assert listed.status_code == 401, name


def test_nothing_a_client_says_stands_in_for_a_verified_token(trusting: Gateway) -> None:
    payload = json.dumps({"local": {"groups": ["devs"], "email": "m@acme.test"}})
    for name in ("x-jwt-payload", "envoy.filters.http.jwt_authn", "x-dragoman-subject", "local"):
        assert ask(trusting, "not-a-key", headers={name: payload}).status_code == 401


def test_an_issuer_that_does_not_answer_is_no_fault_of_the_client(
    trusting: Gateway, silent: Issuer
) -> None:
    refused = ask(trusting, silent.token())
    assert refused.status_code == 503
    assert "issuer does not answer" in refused.json()["error"]["message"]
    assert ask(trusting, KEY).status_code == 200
    silent.answers = True
    wait_until(lambda: ask(trusting, silent.token()).status_code == 200, 10, "keys fetched")


def test_an_issuers_keys_are_fetched_once_for_many_requests(
    trusting: Gateway, issuer: Issuer
) -> None:
    statuses = {ask(trusting, devs(issuer, f"u{i}")).status_code for i in range(20)}
    assert statuses == {200}
    assert issuer.fetches == ["/jwks"]


@pytest.mark.parametrize("scheme", ["bearer", "Bearer  "])
def test_the_scheme_is_read_as_clients_write_it(
    trusting: Gateway, issuer: Issuer, scheme: str
) -> None:
    headers = {"authorization": f"{scheme} {devs(issuer, 'judy')}"}
    listed = httpx.get(f"{trusting.url}/v1/models", headers=headers, timeout=20)
    assert listed.status_code == 200


def test_keys_may_lie_in_a_file(trusting: Gateway) -> None:
    assert ask(trusting, token(FILED, FILE_ISSUER)).status_code == 200


def test_a_method_without_a_body_knows_tokens(trusting: Gateway, issuer: Issuer) -> None:
    bearer = {"authorization": f"Bearer {devs(issuer, 'dave')}"}
    assert httpx.get(f"{trusting.url}/v1/models", headers=bearer, timeout=20).status_code == 200


def test_roles_of_the_token_are_added(trusting: Gateway, issuer: Issuer) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    plain = ask(trusting, devs(issuer, "erin"), tools=[tool])
    assert (plain.status_code, "feature tools" in plain.text) == (403, True)
    maker = devs(issuer, "erin", realm={"roles": ["x", "llm-maker"]})
    assert ask(trusting, maker, tools=[tool]).status_code == 200


def test_networks_of_the_caller_hold(trusting: Gateway, issuer: Issuer) -> None:
    refused = ask(trusting, devs(issuer, "frank", groups="staff", realm={"roles": "llm-maker"}))
    assert refused.status_code == 403
    assert "address" in refused.json()["error"]["message"]


def test_quotas_count_users_of_one_caller_apart(trusting: Gateway, issuer: Issuer) -> None:
    grace = [ask(trusting, devs(issuer, "grace")).status_code for _ in range(4)]
    assert grace == [200, 200, 200, 429]
    assert ask(trusting, devs(issuer, "heidi")).status_code == 200


def test_the_example_runs(start: Start, issuer: Issuer) -> None:
    text = EXAMPLE.read_text()
    text = text.replace(f"{EXAMPLE_ISSUER}/protocol/openid-connect/certs", issuer.jwks_uri)
    document = yaml.safe_load(text.replace(EXAMPLE_ISSUER, issuer.url))
    sections = ("callers", "roles", "identity", "quotas")
    with start(**{name: document[name] for name in sections}) as gateway:
        tools = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}
        assert ask(gateway, issuer.token()).status_code == 200
        assert ask(gateway, issuer.token(), **tools).status_code == 403
        member = {"groups": ["/sales", "/research"], "realm_access": {"roles": ["llm-builder"]}}
        assert ask(gateway, issuer.token(**member)).status_code == 200
        wait_until(lambda: "research" in {e.get("dragoman.caller") for e in gateway.ledger()})


def test_explain_says_what_a_token_may(trusting: Gateway, issuer: Issuer) -> None:
    def explain(**claims: Any) -> tuple[int, str]:
        command = [sys.executable, "-m", "dragoman", "explain", "--claims", "-", "--model", "o/x"]
        command += ["-c", str(trusting.folder / "dragoman.yaml")]
        payload = json.dumps({"iss": issuer.url, **claims})
        done = subprocess.run(command, input=payload, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    status, said = explain(groups=["devs"], email="ivan@acme.test")
    assert status == 0, said
    assert "caller shop of team retail, user ivan@acme.test" in said
    assert "quota mine: requests, counted for ivan@acme.test" in said
    status, said = explain(groups=["devs"])
    assert (status, "lacks the claim email" in said) == (1, True)
