"""Which dialect a client speaks, and what that may hang on."""

from collections.abc import Mapping

import pytest

from dragoman.dialects.registry import _BEGINNING, _CLIENTS, _PRESENT, _TELLING, client_call

PATHS = (
    "/v1/chat/completions", "/v1/messages", "/v1/models", "/v1/models/x", "/v1beta/models", "/v2/chat",
    "/v1/files", "/v1/messages/batches", "/api/chat", "/model/m/converse", "/v1/embeddings", "/nothing",
    "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict", "/model/anthropic.x/invoke",
)  # fmt: skip


class Watched(Mapping):
    """Headers that note which were looked at."""

    def __init__(self):
        self.looked = set()

    def __getitem__(self, name):
        self.looked.add(name)
        raise KeyError(name)

    def __contains__(self, name):
        self.looked.add(name)
        return False

    def __iter__(self):
        raise AssertionError("a dialect looks at all headers")

    __len__ = __iter__


@pytest.mark.parametrize("path", PATHS)
def test_dialects_look_at_the_headers_alone_that_calls_are_remembered_by(path):
    headers = Watched()
    for dialect in _CLIENTS.values():
        dialect.match(path, "", headers)
    assert headers.looked <= {*_TELLING, *_PRESENT, *dict(_BEGINNING)}


def test_the_same_path_is_told_apart_by_its_headers_each_time():
    for _ in range(2):
        assert client_call("/v1/models", {}).dialect.name == "openai_chat"
        assert (
            client_call("/v1/models", {"anthropic-version": "1"}).dialect.name
            == "anthropic_messages"
        )
        assert client_call("/v1/models", {"x-goog-api-key": "k"}).dialect.name == "gemini_generate"


def test_no_key_is_remembered_with_a_call(monkeypatch):
    seen = []
    monkeypatch.setattr("dragoman.dialects.registry._known_call", lambda *given: seen.append(given))
    agent = "mistral-client-python/secret"
    keys = {"x-goog-api-key": "secret", "authorization": "Bearer secret", "user-agent": agent}
    client_call("/v1/models", keys)
    assert seen
    assert "secret" not in repr(seen)


@pytest.mark.parametrize(
    ("agent", "framing"),
    [("mistral-client-python/3.7.0", "whole_calls"), ("OpenAI/Python 2", ""), ("", "")],
)
def test_mistrals_sdks_are_known_by_their_user_agent(agent, framing):
    call = client_call("/v1/chat/completions", {"user-agent": agent}).call
    assert call is not None
    assert (call.framing, call.wants_usage) == (framing, bool(framing))
