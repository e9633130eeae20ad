"""What roles allow, case by case, and who may come from where."""

from __future__ import annotations

from typing import Any

import pytest

from dragoman.config.load import parse
from dragoman.config.policy import Policy
from dragoman.dialects.registry import client_dialect
from dragoman.errors import ConfigError, PermissionDenied, Unauthenticated
from dragoman.exchange.heads import RequestHead
from dragoman.policies.authorize import Wish, features_of, judge, restricts_features
from dragoman.policies.explain import explain
from dragoman.policies.identify import identify
from dragoman.stores.keys import IssuedKey

TEXT = """
callers:
  free: {keys: ["%s"]}
  intern: {keys: ["%s"], roles: [reader, careful], models: [fast, smart]}
  searcher: {keys: ["%s"], roles: [reader, search]}
  office: {keys: ["%s"], addresses: [10.1.0.0/16, "2001:db8::/32"], team: web, limits: {input_tokens: 8000}}
roles:
  reader: {allow: {models: [fast, "cheap/*"], operations: [chat], features: [streaming, tools]}}
  search: {allow: {operations: [embeddings, rerank], dialects: [openai_embeddings]}}
  careful: {allow: {}, deny: {features: [tools], models: ["cheap/secret*"]}}
providers: {openai: {}}
models: {fast: {targets: [{provider: openai, model: m}]}, smart: {targets: [{provider: openai, model: n}]}}
quotas: [{name: q, unit: requests, limit: 5, window: day, per: [team]}]
""" % tuple(f"{i}" * 64 for i in range(4))  # noqa: UP031 - YAML is full of braces


def policy(text: str = TEXT) -> Policy:
    return parse(text, "test.yaml", {"OPENAI_API_KEY": "1"})


POLICY = policy()


@pytest.mark.parametrize(
    ("caller", "wish", "reason"),
    [
        ("free", Wish("images", "openai_chat", "any", ("tools",)), None),
        ("searcher", Wish("chat", "openai_chat", "fast", ("tools",)), None),
        ("searcher", Wish("chat", "openai_chat", "cheap/x"), None),
        ("searcher", Wish("chat", "openai_chat", "smart"), "reader does not allow the model smart, search does not allow the operation chat"),
        ("searcher", Wish("embeddings", "openai_embeddings", "smart"), None),
        ("searcher", Wish("files", "openai_files"), "reader does not allow the operation files"),
        ("searcher", Wish("chat", "openai_chat", "fast", ("media",)), "reader does not allow the feature media"),
        ("intern", Wish("chat", "openai_chat", "smart", ("media", "streaming")), None),
        ("intern", Wish("chat", "openai_chat", "fast", ("tools",)), "careful denies the feature tools"),
        ("intern", Wish("chat", "openai_chat", "cheap/secret-1"), "careful denies the model"),
    ],
)  # fmt: skip
def test_roles(caller: str, wish: Wish, reason: str | None) -> None:
    verdict = judge(POLICY.callers.by_name[caller], wish)
    assert verdict.allowed is (reason is None), verdict
    assert (reason or "") in verdict.because


def test_features_are_looked_for_only_where_roles_speak_of_them() -> None:
    names = ("free", "searcher", "intern")
    assert [restricts_features(POLICY.callers.by_name[n]) for n in names] == [False, True, True]


@pytest.mark.parametrize(
    ("fields", "features"),
    [
        ({}, ()),
        ({"stream": True}, ("streaming",)),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, ("tools",)),
        ({"response_format": {"type": "json_object"}}, ("schema",)),
        ({"response_format": {"type": "text"}, "reasoning_effort": "none"}, ()),
        ({"reasoning_effort": "low"}, ("reasoning",)),
    ],
)
def test_features_of_a_request(fields: dict[str, Any], features: tuple[str, ...]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    assert features_of(client_dialect("openai_chat").decode_request(body)) == features


@pytest.mark.parametrize("in_tool", [False, True])
def test_media_are_found_in_messages_and_in_what_tools_say(in_tool: bool) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    content = [result if in_tool else image]
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": content}]}
    assert features_of(client_dialect("anthropic_messages").decode_request(body)) == ("media",)


class Store:
    """Holds one key."""

    def __init__(self, **fields: Any) -> None:
        self._key = IssuedKey(digest="0" * 64, created_at=0, **fields)

    def find(self, digest: str) -> IssuedKey | None:
        del digest
        return self._key


@pytest.mark.parametrize(
    ("caller", "address", "belongs"),
    [
        ("free", "10.9.0.1:1", {"user": "alice", "application": "chat"}),
        ("free", "[2001:db8::1]:1", {"user": "alice", "application": "chat"}),
        ("free", "11.0.0.1:1", None),
        ("free", "", None),
        ("office", "10.1.0.1:1", {"team": "web", "user": "alice", "application": "chat"}),
        ("office", "10.9.0.1:1", None),
        ("owned", "10.9.0.1:1", {"user": "owner", "application": "chat"}),
    ],
)
def test_an_issued_key_narrows_and_never_overrides_its_caller(
    caller: str, address: str, belongs: dict[str, str] | None
) -> None:
    text = TEXT.replace("callers:", f'callers:\n  owned: {{keys: ["{"9" * 64}"], user: owner}}')
    head = RequestHead(method="POST", path="/", headers={"x-api-key": "k"}, address=address)
    networks = ("10.0.0.0/8", "2001:db8::/32")
    store = Store(caller=caller, user="alice", application="chat", addresses=networks)
    if belongs is None:
        with pytest.raises(PermissionDenied, match="address"):
            identify(head, policy(text).callers, store)
        return
    found = identify(head, policy(text).callers, store)
    assert found.belongs == belongs
    assert found.stated == {who: name for who, name in belongs.items() if name in ("alice", "chat")}


def test_a_key_of_a_caller_that_is_gone_is_not_known() -> None:
    head = RequestHead(method="POST", path="/", headers={"x-api-key": "k"})
    with pytest.raises(Unauthenticated):
        identify(head, POLICY.callers, Store(caller="gone"))


@pytest.mark.parametrize(
    ("address", "admitted"),
    [
        ("10.1.2.3:5000", True),
        ("10.2.2.3:5000", False),
        ("[2001:db8::7]:80", True),
        ("[2001:db9::7]:80", False),
        ("", False),
        ("somewhere", False),
    ],
)
def test_a_caller_may_be_bound_to_networks(address: str, admitted: bool) -> None:
    head = RequestHead(method="POST", path="/", headers={"x-api-key": "issued"}, address=address)
    if admitted:
        assert identify(head, POLICY.callers, Store(caller="office")).name == "office"
    else:
        with pytest.raises(PermissionDenied, match="address"):
            identify(head, POLICY.callers, Store(caller="office"))


@pytest.mark.parametrize(
    ("caller", "wish", "allowed", "word"),
    [
        ("office", Wish("chat", "openai_chat", "fast"), True, "quota q: requests, counted for web"),
        ("office", Wish("chat", "openai_chat", "fast"), True, "limit input_tokens: 8,000"),
        ("free", Wish("chat", "openai_chat", "fast"), True, "upstream: openai with m"),
        ("intern", Wish("chat", "openai_chat", "fast", ("tools",)), False, "careful denies"),
        ("intern", Wish("chat", "openai_chat", "absent"), False, "granted fast, smart"),
    ],
)
def test_an_explanation_says_why(caller: str, wish: Wish, allowed: bool, word: str) -> None:
    found = explain(POLICY, POLICY.callers.by_name[caller], wish)
    assert found.allowed is allowed
    assert word in "\n".join(found.lines)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (("roles: [reader, careful]", "roles: [absent]"), "$.callers.intern.roles[0]"),
        (("10.1.0.0/16", "10.1.0.1/16"), "$.callers.office.addresses[0]"),
        (("10.1.0.0/16", "home"), "$.callers.office.addresses[0]"),
        (("features: [tools]", "features: [magic]"), "$.roles.careful.deny.features[0]"),
        (("0" * 64, "1" * 64), "$.callers.intern.keys[0]"),
        ((f'keys: ["{"0" * 64}"]', "keys: []"), "$.callers.free.keys"),
        (("roles:\n", "issued_keys: true\nroles:\n"), "$.issued_keys"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(change: tuple[str, str], path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        policy(TEXT.replace(*change))
    assert refused.value.path == path
