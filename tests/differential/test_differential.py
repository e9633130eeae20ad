"""The same conversation, asked in any dialect, reaches each provider as the same request.

Every client dialect that can say a conversation whole says it, is read, and is written for every
provider. What differs from the conversation written straight away is stated here, or is a bug.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import pytest

from dragoman.dialects import ChatDialect
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.errors import Unrepresentable
from dragoman.ir import Request
from dragoman.ir.losses import Losses
from tests.differential.conversations import CONVERSATIONS, spoken

ANY = "*"


class Difference(NamedTuple):
    """Where a provider's request may depend on the dialect the client spoke."""

    conversation: str
    """Names separated by `|`, as for client and provider."""
    client: str
    provider: str
    path: str
    """Regular expression; indices are written `[*]`."""
    reason: str


STATED: tuple[Difference, ...] = (
    Difference("no limit", "anthropic_messages", ANY, r".*", "its clients must say max_tokens"),
    Difference(
        ANY,
        "openai_responses",
        ANY,
        r"\$\.dropped|.*\.strict",
        "its tools are strict unless they say not, and a provider without the word leaves it out",
    ),
    Difference(
        "one call at a time",
        "anthropic_messages",
        ANY,
        r"\$\.(tool_choice|toolConfig).*",
        "the wish stands in a tool_choice, which is auto",
    ),
    Difference(
        "reasoning",
        "anthropic_messages|gemini_generate|bedrock_converse|cohere_chat",
        ANY,
        r".*",
        "an effort is a budget of tokens there, and a budget no effort again: dropped, reported",
    ),
    Difference(
        "several texts",
        "ollama_chat",
        ANY,
        r".*\.(content|parts)",
        "a message is one text there: they are joined by a blank line",
    ),
    Difference(
        "tool choice auto",
        "cohere_chat|ollama_chat",
        ANY,
        r"\$\.(tool_choice|toolConfig).*",
        "that the model chooses is said by saying nothing",
    ),
    Difference(
        "reasoning off",
        "openai_chat",
        "openai_chat",
        r"\$\.(dropped|thinking|max_tokens|max_completion_tokens)",
        "said as DeepSeek has it, for OpenAI has no word: in its own dialect it stays so",
    ),
    Difference(
        "reasoning off",
        "gemini_generate",
        ANY,
        r"\$\.dropped",
        "no thinking is a budget of none there: dropped and reported",
    ),
    Difference(
        "a tool's result|parallel tools|one tool twice",
        "gemini_generate",
        ANY,
        r"\$\.dropped",
        "a call that was not thought of carries a stand-in for its signature, which is reported",
    ),
    Difference(
        "image by address",
        ANY,
        ANY,
        r".*\.mimeType|\$\.dropped",
        "only Gemini says the media type of an address",
    ),
    Difference(
        "top k|cache marks",
        "openai_chat|openai_completions",
        "openai_chat|openai_completions",
        r".*",
        "only some of its providers take it: it passes to each of them as it stands",
    ),
    Difference(
        "several texts",
        "openai_completions|tgi_generate",
        ANY,
        r".*",
        "a prompt is one text: several are joined by a blank line",
    ),
    Difference(
        "log probabilities",
        "openai_responses",
        ANY,
        r"\$\.dropped",
        "what is to be included is listed twice, and the list is reported",
    ),
)
CASES = list(product(CONVERSATIONS, CHAT_NAMES))


def _said(client: ChatDialect, conversation: Request) -> Request | None:
    """The conversation as read from a client of the dialect; None where it cannot say it whole."""
    found = spoken(client, conversation)
    return None if found is None or found[1] else found[0]


def _written(provider: ChatDialect, request: Request) -> dict[str, Any]:
    losses = Losses(provider.name)
    try:
        body = provider.encode_request(request, losses)
    except Unrepresentable as refusal:
        return {"refused": refusal.message.rpartition(": ")[2]}
    return {"dropped": bool(losses.paths), **body}


def differences(one: Any, other: Any, path: str = "$") -> Iterator[str]:
    """Paths where the two say another thing."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            if name not in one or name not in other:
                yield f"{path}.{name}"
            else:
                yield from differences(one[name], other[name], f"{path}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for a, b in zip(one, other, strict=True):
            yield from differences(a, b, f"{path}[*]")
    elif one != other:
        yield path


def _found(name: str, client: str) -> Iterator[tuple[str, str]]:
    """Provider and path of each difference."""
    conversation = CONVERSATIONS[name]
    read = _said(client_dialect(client), conversation)
    if read is None:
        return
    for provider in CHAT_NAMES:
        straight = _written(client_dialect(provider), conversation)
        through = _written(client_dialect(provider), read)
        for path in differences(straight, through):
            yield provider, path


def _states(stated: Difference, name: str, client: str, provider: str, path: str) -> bool:
    pairs = ((stated.conversation, name), (stated.client, client), (stated.provider, provider))
    named = all(given == ANY or one in given.split("|") for given, one in pairs)
    return named and re.fullmatch(stated.path, path) is not None


@pytest.mark.parametrize(("name", "client"), CASES)
def test_a_provider_is_asked_the_same_whatever_the_client_speaks(name: str, client: str) -> None:
    unstated = [
        f"{provider} {path}"
        for provider, path in _found(name, client)
        if not any(_states(one, name, client, provider, path) for one in STATED)
    ]

    assert not unstated, "; ".join(unstated)


def test_every_stated_difference_is_there() -> None:
    found = [
        (name, client, provider, path)
        for name, client in CASES
        for provider, path in _found(name, client)
    ]
    stale = [one for one in STATED if not any(_states(one, *place) for place in found)]

    assert stale == []


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_each_conversation_can_be_said_in_a_dialect(name: str) -> None:
    assert any(_said(client_dialect(client), CONVERSATIONS[name]) for client in CHAT_NAMES)
