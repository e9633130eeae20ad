"""Whose a token is, by its claims; what the policy file must say for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from dragoman.config.load import parse
from dragoman.config.policy import Caller, Policy
from dragoman.errors import (
    ConfigError,
    DragomanError,
    InvalidToken,
    PermissionDenied,
    ServiceUnavailable,
    Unauthenticated,
)
from dragoman.exchange.heads import RequestHead
from dragoman.policies.explain import claimant
from dragoman.policies.identify import identify
from dragoman.policies.quotas import UNREAD_AMOUNTS, QuotaPolicy
from dragoman.policies.tokens import find_claim
from dragoman.wire.protobuf import Malformed, read_json

JWKS = json.dumps({"keys": [{"kty": "oct", "k": "AAAA"}]})
TEXT = f"""
callers:
  shop: {{keys: ["{"0" * 64}"], team: retail, models: [fast]}}
  office: {{organization: acme, roles: [reader], addresses: [10.0.0.0/8]}}
roles: {{reader: {{allow: {{operations: [chat]}}}}, writer: {{}}}}
identity:
  jwt:
    corporate:
      issuer: https://corporate.test
      audiences: [dragoman]
      jwks: {{inline: '{JWKS}'}}
      claims: {{caller: groups, user: email, roles: realm.roles}}
      callers: {{shop-developers: shop, staff: office}}
      roles: {{llm-writer: writer, llm-reader: reader}}
    plain:
      issuer: https://plain.test
      audiences: [dragoman]
      jwks: {{uri: "https://plain.test:8443/jwks"}}
      claims: {{caller: azp, team: "https://plain.test/team"}}
      default_caller: shop
providers: {{openai: {{}}}}
models: {{fast: {{targets: [{{provider: openai, model: m}}]}}}}
quotas:
  - {{name: q, unit: requests, limit: 5, window: day, per: [team, user]}}
"""


def policy(text: str = TEXT) -> Policy:
    return parse(text, "test.yaml", {"OPENAI_API_KEY": "1"})


POLICY = policy()
ALICE = {"groups": ["x", "staff"], "email": "alice@acme.test", "realm": {"roles": ["llm-writer"]}}


def caller_of(address: str = "10.1.1.1:5", **found: Any) -> Caller:
    head = RequestHead(method="POST", path="/", address=address, token=found)
    return identify(head, POLICY.callers, None)


def test_claims_name_the_caller_the_user_and_roles() -> None:
    caller = caller_of(corporate=ALICE)
    assert caller.name == "office"
    assert caller.belongs == {"organization": "acme", "user": "alice@acme.test"}
    assert caller.stated == {"user": "alice@acme.test"}
    assert list(caller.roles) == ["reader", "writer"]


def test_of_several_callers_the_first_in_the_file_is_meant() -> None:
    both = ALICE | {"groups": ["staff", "shop-developers"]}
    assert caller_of(corporate=both).name == "shop"


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"azp": "office"}, "office"),
        ({"azp": "elsewhere"}, "shop"),
        ({"azp": {"no": "text"}}, "shop"),
        ({"azp": True}, "shop"),
        ({}, "shop"),
    ],
)
def test_values_are_callers_names_and_others_fall_to_the_default(
    claims: dict[str, Any], name: str
) -> None:
    claims |= {"https://plain.test/team": "web"}
    caller = caller_of(plain=claims)
    assert (caller.name, caller.belongs["team"]) == (name, "web")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"groups": []}, "names no caller"),
        ({"groups": None}, "names no caller"),
        ({"groups": "shop-developer"}, "names no caller"),
        ({"email": ""}, "lacks the claim email"),
        ({"email": None}, "lacks the claim email"),
        ({"email": "x" * 257}, "longer than 256"),
        ({"groups": "shop-developers", "realm": {"roles": ["other"]}}, "no role"),
        ({"groups": "shop-developers", "realm": {}}, "no role"),
    ],
)
def test_what_the_policy_has_no_place_for_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PermissionDenied, match=words):
        caller_of(corporate=ALICE | changes)


def test_networks_hold_for_tokens_too() -> None:
    with pytest.raises(PermissionDenied, match="address"):
        caller_of("11.1.1.1:5", corporate=ALICE)


def failed(code: float, message: str = "Jwt is expired") -> dict[str, Any]:
    return {"_failed": {"code": code, "message": message}}


def refusal(authorization: str, token: dict[str, Any]) -> DragomanError:
    headers = {"authorization": f"Bearer {authorization}"}
    head = RequestHead(method="POST", path="/", headers=headers, token=token)
    with pytest.raises(DragomanError) as refused:
        identify(head, POLICY.callers, None)
    return refused.value


def test_a_token_that_is_not_verified_is_refused_with_the_reason() -> None:
    expired = refusal("a.b.c", failed(3.0))
    assert (type(expired), "Jwt is expired" in expired.message) == (InvalidToken, True)
    assert isinstance(refusal("a.b.c", failed(40.0)), ServiceUnavailable)
    unknown = refusal("a.b.c", {})
    assert (type(unknown), "issuer" in unknown.message) == (InvalidToken, True)
    assert type(refusal("a-key", {})) is Unauthenticated
    assert isinstance(refusal("a.b.c", {"nobody": {"sub": "x"}}), InvalidToken)


def test_a_claim_named_with_dots_comes_before_those_inside_others() -> None:
    payload = {"a.b": 1, "a": {"b": 2, "c": [{"d": 3}, 4], "e.f": {"g": 5}}, "n": None}
    found = {"a.b": 1, "a.c.0.d": 3, "a.c.1": 4, "a.e.f.g": 5}
    assert {path: find_claim(payload, path) for path in found} == found
    for path in ("a.c.2", "a.c.x", "a.c.1.d", "a.b.c", "z", "n", "n.x", "", "."):
        assert find_claim(payload, path) is None


def test_users_of_one_caller_are_counted_apart_and_nobody_as_another() -> None:
    quotas = QuotaPolicy(POLICY.quotas)
    subjects = [("a|b", "c"), ("a", "b|c"), ("a%7Cb", "c"), ("a}b", "{c")]
    keys = set()
    for team, user in subjects:
        caller = Caller(name="shop", models=("*",), belongs={"team": team, "user": user})
        (demand,) = quotas.demands(caller, "fast", UNREAD_AMOUNTS, 0.0)
        assert demand.counter.key.count("{") == demand.counter.key.count("}") == 1
        keys.add(demand.counter.key)
    assert len(keys) == len(subjects)
    assert quotas.demands(Caller(name="shop", models=("*",)), "fast", UNREAD_AMOUNTS, 0.0) == ()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (("staff: office", "staff: nobody"), "$.identity.jwt.corporate.callers.staff"),
        (("default_caller: shop", "default_caller: nobody"), "$.identity.jwt.plain.default_caller"),
        (("llm-writer: writer", "llm-writer: nobody"), "$.identity.jwt.corporate.roles.llm-writer"),
        (("https://corporate.test", "https://plain.test"), "$.identity.jwt.plain.issuer"),
        (("caller: groups, ", ""), "$.identity.jwt.corporate"),
        ((", roles: realm.roles", ""), "$.identity.jwt.corporate.roles"),
        (("[dragoman]", "[]"), "$.identity.jwt.corporate.audiences"),
        (("inline: '", "file: x, inline: '"), "$.identity.jwt.corporate.jwks"),
        ((JWKS, "[]"), "$.identity.jwt.corporate.jwks"),
        ((JWKS, '{"keys": []}'), "$.identity.jwt.corporate.jwks"),
        (("inline: '", "file: '/absent"), "$.identity.jwt.corporate.jwks"),
        (("https://plain.test:8443", "ftp://plain.test"), "$.identity.jwt.plain.jwks.uri"),
        (("plain.test:8443", "plain.test:x"), "$.identity.jwt.plain.jwks.uri"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(change: tuple[str, str], path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        policy(TEXT.replace(*change))
    assert refused.value.path == path


def test_explain_takes_a_payload() -> None:
    payload = ALICE | {"iss": "https://corporate.test", "groups": "shop-developers"}
    assert claimant(POLICY, json.dumps(payload).encode()).name == "shop"
    for wrong in (b"{}", b'{"iss": "https://corporate.test/"}', b"[]", b"x"):
        with pytest.raises(DragomanError):
            claimant(POLICY, wrong)


TREES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


CLAIMS = ("groups", "email", "realm", "realm.roles", "azp", "https://plain.test/team", "sub")


@given(st.sampled_from(["corporate", "plain"]), st.dictionaries(st.sampled_from(CLAIMS), TREES))
def test_whatever_a_token_says_it_is_a_caller_of_the_policy_or_nobody(
    issuer: str, claims: dict[str, Any]
) -> None:
    try:
        caller = caller_of(**{issuer: claims})
    except PermissionDenied:
        return
    known = POLICY.callers.by_name[caller.name]
    assert known.belongs.items() <= {**caller.belongs, **known.belongs}.items()
    assert known.roles.keys() <= caller.roles.keys() <= {*known.roles, "reader", "writer"}
    assert caller.roles or issuer == "plain"
    assert (caller.models, caller.addresses) == (known.models, known.addresses)
    assert all(isinstance(name, str) and name for name in caller.stated.values())


@given(st.dictionaries(st.text(), TREES, max_size=5))
def test_metadata_is_read_as_protobuf_reads_it(tree: dict[str, Any]) -> None:
    message = Struct()
    message.update(tree)
    raw = message.SerializeToString()
    assert read_json(raw, 0, len(raw)) == tree


@given(st.binary(max_size=200))
def test_wild_metadata_is_refused(raw: bytes) -> None:
    try:
        read_json(raw, 0, len(raw))
    except (Malformed, IndexError, UnicodeDecodeError):
        return


def test_metadata_that_is_nested_without_end_is_refused() -> None:
    tree: dict[str, Any] = {}
    for _ in range(70):
        tree = {"a": tree}
    message = Struct()
    message.update(tree)
    raw = message.SerializeToString()
    with pytest.raises(Malformed):
        read_json(raw, 0, len(raw))
