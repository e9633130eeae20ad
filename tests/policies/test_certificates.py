"""Whose a certificate is, by what Envoy or a proxy says of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.config.load import parse
from dragoman.config.policy import Policy
from dragoman.errors import ConfigError, DragomanError, PermissionDenied, Unauthenticated
from dragoman.exchange.heads import RequestHead
from dragoman.policies.certificates import read_forwarded
from dragoman.policies.identify import identify

CHECKOUT = "spiffe://mesh/ns/shop/sa/checkout"
TEXT = f"""
callers:
  checkout: {{spiffe: ["{CHECKOUT}"]}}
  shop: {{spiffe: ["spiffe://mesh/ns/shop/*"], addresses: [10.0.0.0/8]}}
  mesh: {{spiffe: ["spiffe://mesh/*"], keys: ["{"0" * 64}"]}}
identity: {{forwarded_client_cert: [127.0.0.0/8]}}
listener: {{deny: [192.0.2.0/24], trusted_hops: 1}}
providers: {{openai: {{}}}}
models: {{fast: {{targets: [{{provider: openai, model: m}}]}}}}
"""


def policy(text: str = TEXT) -> Policy:
    return parse(text, "test.yaml", {"OPENAI_API_KEY": "1"})


POLICY = policy()


def who(certificate: str = "", address: str = "10.0.0.1:1", **headers: str) -> str:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    head = RequestHead(
        method="POST", path="/", headers=given, address=address, certificate=certificate
    )
    return identify(head, POLICY.callers, None).name


def test_the_longest_name_that_fits_is_meant() -> None:
    assert who(CHECKOUT) == "checkout"
    assert who("spiffe://mesh/ns/shop/sa/other") == "shop"
    assert who("spiffe://mesh/ns/else/sa/checkout") == "mesh"
    assert who(CHECKOUT, authorization="Bearer mtls") == "checkout"
    with pytest.raises(PermissionDenied):
        who("spiffe://mesh/ns/shop/sa/other", "11.0.0.1:1")


@pytest.mark.parametrize("certificate", ["", "spiffe://other/ns/shop/sa/checkout", "mesh"])
def test_a_name_of_nobody_is_no_caller(certificate: str) -> None:
    with pytest.raises(Unauthenticated):
        who(certificate)
    with pytest.raises(Unauthenticated):
        who(certificate, x_api_key="mtls")


def test_a_wrong_key_is_refused_whatever_the_certificate() -> None:
    with pytest.raises(Unauthenticated):
        who(CHECKOUT, x_api_key="wrong")


PROXY = {"x_dragoman_peer": "127.0.0.6"}


def test_a_proxys_word_is_taken_where_the_policy_believes_it() -> None:
    header = f'By=spiffe://mesh/us;Hash=ab;Subject="CN=x";URI={CHECKOUT}'
    assert who(x_forwarded_client_cert=header, **PROXY) == "checkout"
    assert who("spiffe://mesh/sidecar", x_forwarded_client_cert=header, **PROXY) == "checkout"
    for peer in ({}, {"x_dragoman_peer": "10.0.0.9"}, {"x_dragoman_peer": "x"}):
        with pytest.raises(Unauthenticated):
            who(x_forwarded_client_cert=header, **peer)
    with pytest.raises(Unauthenticated):
        who("spiffe://mesh/sidecar", **PROXY)


@pytest.mark.parametrize(
    ("header", "uri"),
    [
        (f"URI={CHECKOUT}", CHECKOUT),
        (f'Hash=a;uri="{CHECKOUT}"', CHECKOUT),
        (f"URI=spiffe://mesh/forged,By=x;URI={CHECKOUT};DNS=a;DNS=b", CHECKOUT),
        (f"URI={CHECKOUT},Hash=abc", ""),
        (f"URI={CHECKOUT};URI=spiffe://mesh/other", ""),
        (rf'Subject="CN=a\",URI={CHECKOUT}"', ""),
        (rf'Subject="O=\"x\",URI=spiffe://mesh/forged;\\";URI={CHECKOUT}', CHECKOUT),
        (f'Subject="CN=a;URI={CHECKOUT}', ""),
        (f"URI={CHECKOUT};;", ""),
        ("", ""),
        ("URI=", ""),
        ("=,;", ""),
    ],
)
def test_the_last_element_counts(header: str, uri: str) -> None:
    assert read_forwarded(header) == uri


@given(st.text())
def test_whatever_stands_before_the_proxys_element_changes_nothing(before: str) -> None:
    found = read_forwarded(f"{before},By=x;URI={CHECKOUT}")
    assert found in (CHECKOUT, "")
    assert read_forwarded(before) == "" or "=" in before


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (("forwarded_client_cert: [127.0.0.0/8]", ""), "$.callers.checkout.spiffe[0]"),
        (("spiffe://mesh/ns/shop/*", CHECKOUT), "$.callers.shop.spiffe[0]"),
        (("spiffe://mesh/*", "https://mesh/*"), "$.callers.mesh.spiffe[0]"),
        (("spiffe://mesh/*", "spiffe://*"), "$.callers.mesh.spiffe[0]"),
        (("[127.0.0.0/8]", "[home]"), "$.identity.forwarded_client_cert[0]"),
        (("deny: [192.0.2.0/24]", "deny: [192.0.2.1/24]"), "$.listener.deny[0]"),
        (("trusted_hops", "tls: {certificate: /no, key: /no}, hops"), "$.listener"),
        (("trusted_hops: 1", "tls: {certificate: /no, key: /no}"), "$.listener.tls.certificate"),
        (("trusted_hops: 1", "tls: {certificate: /no, key: /no, require: true}"), "$.listener.tls.require"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_path(change: tuple[str, str], path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        policy(TEXT.replace(*change))
    assert isinstance(refused.value, DragomanError)
    assert refused.value.path == path
