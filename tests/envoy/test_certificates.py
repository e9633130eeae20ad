"""TLS, clients' certificates and lists of addresses, through the real Envoy."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from dragoman.simulator import Simulator
from tests.certificates import Authority, Pair
from tests.envoy.gateway import KEY, Gateway, digest, run_gateway, wait_until
from tests.envoy.test_routing import body
from tests.tokens import AUDIENCE, run_issuer

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
CHECKOUT = "spiffe://mesh/ns/shop/sa/checkout"
CALLERS: dict[str, Any] = {
    "demo": {"keys": [digest(KEY)]},
    "checkout": {"spiffe": [CHECKOUT]},
    "mesh": {"spiffe": ["spiffe://mesh/ns/lab/*"], "models": ["a/*"]},
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "mesh")


@pytest.fixture(scope="module")
def mutual_gateway(all_providers: Simulator, authority: Authority) -> Iterator[Gateway]:
    server = authority.issue("gateway")
    tls = {"certificate": server.certificate, "key": server.key, "client_ca": authority.ca}
    with run_gateway(all_providers, callers=CALLERS, listener={"tls": tls}) as gateway:
        yield gateway


@pytest.fixture
def mutual(mutual_gateway: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return mutual_gateway


def trust(authority: Authority, shown: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def ask(
    gateway: Gateway, context: ssl.SSLContext, headers: dict[str, str] | None = None
) -> httpx.Response:
    url = f"https://127.0.0.1:{gateway.port}"
    with httpx.Client(verify=context, timeout=20) as client:
        return client.post(url + CHAT, json=body("o/bytes-16"), headers=headers)


def test_a_certificate_names_the_caller(mutual: Gateway, authority: Authority) -> None:
    context = trust(authority, authority.issue("checkout", uris=(CHECKOUT,)))
    assert ask(mutual, context).status_code == 200
    lab = trust(authority, authority.issue("lab", uris=("spiffe://mesh/ns/lab/sa/x",)))
    assert ask(mutual, lab).status_code == 404, "its models are others"


def test_an_sdk_that_insists_on_a_key_gets_a_word_for_none(
    mutual: Gateway, authority: Authority
) -> None:
    context = trust(authority, authority.issue("sdk", uris=(CHECKOUT,)))
    url = f"https://127.0.0.1:{mutual.port}/v1"
    with httpx.Client(verify=context) as http:
        client = openai.OpenAI(base_url=url, api_key="mtls", http_client=http, max_retries=0)
        answer = client.chat.completions.create(
            model="o/bytes-16", messages=[{"role": "user", "content": "x"}]
        )
    assert answer.choices[0].message.content


def test_nobody_is_a_caller_by_a_certificate_of_none(mutual: Gateway, authority: Authority) -> None:
    for uris in ((), ("spiffe://mesh/ns/shop/sa/other",), ("https://mesh/ns/lab/",)):
        context = trust(authority, authority.issue("stranger", uris=uris))
        assert ask(mutual, context).status_code == 401
    assert ask(mutual, trust(authority, None)).status_code == 401
    assert ask(mutual, trust(authority, None), {"x-api-key": "mtls"}).status_code == 401


def test_keys_go_on_without_a_certificate(mutual: Gateway, authority: Authority) -> None:
    assert ask(mutual, trust(authority, None), {"x-api-key": KEY}).status_code == 200


def test_a_header_does_not_stand_in_for_a_certificate(
    mutual: Gateway, authority: Authority
) -> None:
    said = {"x-forwarded-client-cert": f"URI={CHECKOUT}", "x-dragoman-peer": "127.0.0.1"}
    assert ask(mutual, trust(authority, None), said).status_code == 401


@pytest.mark.parametrize("case", ["another authority's", "expired"])
def test_a_certificate_that_is_not_valid_gets_no_answer(
    mutual: Gateway, authority: Authority, tmp_path: Path, case: str
) -> None:
    signer = Authority(tmp_path, "evil") if case != "expired" else authority
    shown = signer.issue("wrong", uris=(CHECKOUT,), expired=case == "expired")
    with pytest.raises(httpx.TransportError):
        ask(mutual, trust(authority, shown))


@pytest.mark.parametrize("trusted", [True, False])
def test_an_issuers_keys_are_fetched_over_tls_from_whom_the_policy_trusts(
    start: Start, authority: Authority, tmp_path: Path, trusted: bool
) -> None:
    signer = authority if trusted else Authority(tmp_path, "evil")
    with run_issuer(signer.issue("issuer")) as issuer:
        entry = {"issuer": issuer.url, "audiences": [AUDIENCE], "jwks": {"uri": issuer.jwks_uri}}
        identity = {"jwt": {"secure": {**entry, "default_caller": "demo"}}}
        with start(identity=identity, ca_file=authority.ca) as gateway:
            answer = plain(gateway, authorization=f"Bearer {issuer.token()}")
            assert answer.status_code == (200 if trusted else 503)


Start = Callable[..., AbstractContextManager[Gateway]]


def test_certificates_may_be_required(start: Start, authority: Authority) -> None:
    server = authority.issue("gateway")
    tls = {"certificate": server.certificate, "key": server.key, "client_ca": authority.ca}
    with start(callers=CALLERS, listener={"tls": {**tls, "require": True}}) as gateway:
        assert "ready listener=https://" in gateway.output()
        shown = trust(authority, authority.issue("checkout", uris=(CHECKOUT,)))
        assert ask(gateway, shown).status_code == 200
        with pytest.raises(httpx.TransportError):
            ask(gateway, trust(authority, None), {"x-api-key": KEY})


def test_certificates_are_renewed_while_it_runs(
    start: Start, authority: Authority, tmp_path: Path
) -> None:
    server, shown = authority.issue("gateway"), authority.issue("new", uris=(CHECKOUT,))
    files = {"certificate": server.certificate, "key": server.key, "client_ca": authority.ca}
    tls = {name: str(shutil.copy(file, tmp_path / name)) for name, file in files.items()}
    with start(callers=CALLERS, listener={"tls": tls}) as gateway:
        assert ask(gateway, trust(authority, shown)).status_code == 200
        (tmp_path / "second").mkdir()
        second = Authority(tmp_path / "second", "second")
        renewed, theirs = second.issue("gateway"), second.issue("new", uris=(CHECKOUT,))
        files = {"certificate": renewed.certificate, "key": renewed.key, "client_ca": second.ca}
        for name, file in files.items():
            shutil.copy(file, tmp_path / "next")
            (tmp_path / "next").rename(tmp_path / name)

        def is_known() -> bool:
            try:
                return ask(gateway, trust(second, theirs)).status_code == 200
            except httpx.TransportError:
                return False

        wait_until(is_known, 10, "renewal")
        with pytest.raises(httpx.TransportError):
            ask(gateway, trust(second, shown))


def plain(gateway: Gateway, path: str = CHAT, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    content = body("o/bytes-16", max_tokens=20)
    return httpx.post(gateway.url + path, json=content, headers=given, timeout=20)


def test_a_proxys_word_is_taken_from_its_networks_alone(start: Start, simulator: Simulator) -> None:
    said = f"URI=spiffe://mesh/forged,By=spiffe://mesh/us;Hash=ab;URI={CHECKOUT}"
    for network, status in (("127.0.0.0/8", 200), ("10.0.0.0/8", 401)):
        identity = {"forwarded_client_cert": [network]}
        # Behind another proxy the client's address is a header's, and the peer's is not.
        listener = {"trusted_hops": 1}
        with start(callers=CALLERS, identity=identity, listener=listener) as gateway:
            address = {"x_forwarded_for": "127.0.0.1", "x_dragoman_peer": "127.0.0.1"}
            answer = plain(gateway, x_forwarded_client_cert=said, **address)
            assert answer.status_code == status
            if status == 200:
                assert (
                    plain(
                        gateway, x_forwarded_client_cert=said, x_forwarded_for="10.1.1.1"
                    ).status_code
                    == 200
                )
                assert plain(gateway).status_code == 401
    sent = {name for request in simulator.control.requests() for name, _ in request.headers}
    assert not {"x-forwarded-client-cert", "x-dragoman-peer"} & sent


def test_networks_may_be_listed_for_all(start: Start) -> None:
    listener = {"allow": ["127.0.0.0/8", "10.0.0.0/8"], "deny": ["10.6.0.0/16"], "trusted_hops": 1}
    with start(listener=listener) as gateway:
        statuses = {
            address: plain(gateway, x_api_key=KEY, x_forwarded_for=address).status_code
            for address in ("10.1.1.1", "10.6.1.1", "11.1.1.1", "11.1.1.1, 10.1.1.1")
        }
        assert list(statuses.values()) == [200, 403, 403, 200]
        refused = plain(gateway, MESSAGES, x_api_key=KEY, x_forwarded_for="10.6.1.1").json()
        assert (refused["type"], "not allowed" in refused["error"]["message"]) == ("error", True)


def test_without_trusted_hops_no_client_chooses_its_address(start: Start) -> None:
    with start(listener={"deny": ["127.0.0.0/8"]}) as gateway:
        assert plain(gateway, x_api_key=KEY, x_forwarded_for="10.1.1.1").status_code == 403
