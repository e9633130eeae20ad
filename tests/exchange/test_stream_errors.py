"""A stream that goes wrong after its first piece ends in an error of the client's dialect.

Every client dialect (in each of its framings), every provider dialect, every fault: the provider's
own error event, an end without the terminator, a cut frame, and a frame that is none. The official
SDKs say what a user sees of it.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import msgspec
import pytest

from dragoman.actions import Action, Chunk, Mutate
from dragoman.config.load import parse
from dragoman.dialects import ChatDialect, StreamOptions
from dragoman.dialects.anthropic_messages.names import INVOKE
from dragoman.dialects.openai_chat.spelling import WHOLE_CALLS
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.exchange.heads import AttemptHead
from dragoman.exchange.respond import RespondStage
from dragoman.exchange.translate import Translate
from dragoman.ir import Message, Request, Text, Usage
from dragoman.ir.events import Delta, Event, PartStart, Start, UsageUpdate
from dragoman.ir.losses import Losses
from dragoman.wire.eventstream import encode_eventstream
from tests import sdk

KINDS = {
    "openai_chat": "simulator-openai",
    "openai_responses": "simulator-responses",
    "openai_completions": "simulator-completions",
    "anthropic_messages": "simulator-anthropic",
    "gemini_generate": "simulator-gemini",
    "bedrock_converse": "simulator-bedrock",
    "cohere_chat": "cohere",
    "ollama_chat": "simulator-ollama",
    "tgi_generate": "simulator-tgi",
}
"""A provider for each dialect."""
URL = "https://provider.test"
_WHOLE_POLICY = parse(
    json.dumps(
        {
            "callers": {"demo": {"keys": ["0" * 64]}},
            "providers": {name: {"kind": kind, "url": URL} for name, kind in KINDS.items()},
            "models": {"m": {"targets": [{"provider": "openai_chat", "model": "m"}]}},
        }
    ),
    "test.yaml",
    {"CO_API_KEY": "1"},
)
POLICY = msgspec.structs.replace(
    _WHOLE_POLICY,
    providers={
        name: msgspec.structs.replace(provider, endpoints={name: provider.endpoints[name]})
        for name, provider in _WHOLE_POLICY.providers.items()
    },
)
"""Where each provider speaks that dialect alone."""
CLIENTS = [
    *((name, "") for name in CHAT_NAMES),
    ("anthropic_messages", INVOKE),
    ("gemini_generate", "json"),
    ("openai_chat", WHOLE_CALLS),
]
"""Each with each framing it has (`Call.framing`)."""
PAIRS = [
    (client, framing, provider)
    for (client, framing), provider in product(CLIENTS, CHAT_NAMES)
    if client != provider
]
WORDS = "broke down"
SAID = "hé there"
BEGUN: list[Event] = [
    UsageUpdate(usage=Usage(input_tokens=3, output_tokens=1)),
    Start(id="id1", model="m"),
    PartStart(kind="text"),
    Delta(content="hé "),
    Delta(content="there"),
]
"""Usage comes first, for the dialects that say some in their first frame."""


def sse(value: Any, event: str = "") -> bytes:
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def aws(kind: str, name: str, payload: bytes) -> bytes:
    of = {"exception": ":exception-type", "event": ":event-type"}[kind]
    headers = {of: name, ":content-type": "application/json", ":message-type": kind}
    return encode_eventstream(headers, payload)


OPENAI = {"message": WORDS, "type": "server_error", "param": None, "code": None}
ERRORS: dict[str, dict[str, bytes]] = {
    "openai_chat": {
        "OpenAI": sse({"error": OPENAI}),
        "vLLM": sse({"object": "error", "message": WORDS, "type": "InternalServerError"}),
        "OpenRouter": sse(
            {
                "id": "id1",
                "error": {"code": 502, "message": WORDS},
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
            }
        ),
        "by its event": sse({"message": WORDS}, "error"),
    },
    "openai_completions": {"OpenAI": sse({"error": OPENAI})},
    "openai_responses": {
        "error": sse(
            {
                "type": "error",
                "code": "server_error",
                "message": WORDS,
                "param": None,
                "sequence_number": 9,
            },
            "error",
        ),
        "failed": sse(
            {
                "type": "response.failed",
                "sequence_number": 9,
                "response": {
                    "id": "id1",
                    "object": "response",
                    "status": "failed",
                    "error": {"code": "server_error", "message": WORDS},
                },
            },
            "response.failed",
        ),
    },
    "anthropic_messages": {
        "Anthropic": sse(
            {"type": "error", "error": {"type": "overloaded_error", "message": WORDS}}, "error"
        )
    },
    "gemini_generate": {
        "Google": sse({"error": {"code": 503, "message": WORDS, "status": "UNAVAILABLE"}})
    },
    "bedrock_converse": {
        "exception": aws(
            "exception", "modelStreamErrorException", json.dumps({"message": WORDS}).encode()
        )
    },
    "cohere_chat": {
        "the message's end": sse(
            {"type": "message-end", "delta": {"error": WORDS, "finish_reason": "ERROR"}},
            "message-end",
        )
    },
    "ollama_chat": {"Ollama": json.dumps({"error": WORDS}).encode() + b"\n"},
    "tgi_generate": {"TGI": sse({"error": WORDS, "error_type": "generation"})},
}
"""What each provider sends in a stream that breaks."""
INVALID: dict[str, dict[str, bytes]] = {
    "bedrock_converse": {
        "no JSON": aws("event", "contentBlockDelta", b'{"delta":'),
        "no object": aws("event", "contentBlockDelta", b"[1]"),
        "a wrong checksum": aws("event", "metadata", b"{}")[:-1] + b"x",
    },
    "ollama_chat": {"no JSON": b'{"message":\n', "no object": b"[1]\n"},
}
ANY_INVALID = {"no JSON": b'data: {"x":\n\n', "no object": b"data: [1]\n\n"}


def faults(provider: str) -> dict[str, bytes]:
    """What comes after `begun`, and before the end, by what it is."""
    told = {f"error: {name}": wire for name, wire in ERRORS[provider].items()}
    invalid = INVALID.get(provider, ANY_INVALID)
    half = next(iter(ERRORS[provider].values()))[:-12]
    return {**told, **invalid, "an early end": b"", "a cut frame": half}


def begun(provider: str) -> list[bytes]:
    """The frames of a stream of which something has been said."""
    encoder = client_dialect(provider).stream_encoder(StreamOptions(include_usage=True))
    return [frame for event in BEGUN if (frame := encoder.feed(event))]


def open_attempt(
    client: ChatDialect, framing: str, provider: str, *, stream: bool = True
) -> Translate:
    asked = Request(model="m", messages=(Message(role="user", parts=(Text(content="hi"),)),))
    asked = msgspec.structs.replace(asked, max_tokens=9, stream=stream)
    facts = {
        "client_dialect": client.name,
        "model": "m",
        "stream": "1" if stream else "0",
        "framing": framing,
        "include_usage": "1",
    }
    stage = Translate(POLICY, AttemptHead(cluster=provider, metadata=facts))
    body = client.encode_request(asked, Losses(client.name))
    action = stage.on_request(json.dumps(body).encode())
    assert isinstance(action, Mutate), action
    assert stage.passes_response == (client.name == provider and client.frames(framing))
    return stage


def start_answer(stage: Translate | RespondStage, provider: str) -> list[Action]:
    kind = client_dialect(provider).stream_type(StreamOptions())
    return stage.on_headers({":status": "200", "content-type": kind}, end_of_stream=False)


def chunks_of(actions: list[Action]) -> list[Chunk]:
    return [action for action in actions if isinstance(action, Chunk)]


CASES = {
    f"{client}{'+' if framing else ''}{framing}<-{provider}: {name}": (
        client,
        framing,
        provider,
        name,
    )
    for client, framing, provider in PAIRS
    for name in faults(provider)
}


@pytest.mark.parametrize(("client", "framing", "provider", "fault"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("trailers", [False, True], ids=["", "trailers"])
def test_the_client_reads_an_error_of_its_own_dialect(
    client: str, framing: str, provider: str, fault: str, *, trailers: bool
) -> None:
    stage = open_attempt(client_dialect(client), framing, provider)
    first = start_answer(stage, provider)
    for frame in begun(provider):
        first += stage.on_body(frame, end_of_stream=False)
    assert chunks_of(first), "nothing went out before the fault"
    last = stage.on_body(faults(provider)[fault], end_of_stream=False)
    told_early = any(chunk.body for chunk in chunks_of(last))
    after = stage.on_trailers() if trailers else stage.on_body(b"", end_of_stream=True)
    assert not (told_early and after), "something went on after the error"

    head, *rest = first + last + after
    assert isinstance(head, Mutate)
    chunks = chunks_of(rest)
    assert len(chunks) == len(rest)
    wire = sdk.Wire(b"".join(c.body for c in chunks), kind=head.set_headers["content-type"])
    said, words = sdk.read_break(client, wire)
    assert said == SAID
    assert WORDS in words if fault.startswith("error") else words
    _assert_ended(chunks, at_trailers=trailers and not told_early)


def _assert_ended(chunks: list[Chunk], *, at_trailers: bool) -> None:
    """The last chunk ends the body, unless trailers do; what was counted is told as a part."""
    assert [chunk.end_of_stream for chunk in chunks] == [False] * (len(chunks) - 1) + [
        not at_trailers
    ]
    assert not any(chunk.metadata for chunk in chunks[:-1])
    usage = chunks[-1].metadata["dragoman.usage"]
    assert usage.get("exact", "0") == "0"
    assert usage["broken"] in {"upstream_error", "upstream_protocol_error"}


@pytest.mark.parametrize(("client", "framing", "provider"), PAIRS)
def test_what_comes_with_an_early_end_is_not_lost(client: str, framing: str, provider: str) -> None:
    stage = open_attempt(client_dialect(client), framing, provider)
    *before, last = begun(provider)
    head, *rest = start_answer(stage, provider) + stage.on_body(
        b"".join(before), end_of_stream=False
    )
    assert isinstance(head, Mutate)
    chunks = chunks_of(rest + stage.on_body(last, end_of_stream=True))
    wire = sdk.Wire(b"".join(c.body for c in chunks), kind=head.set_headers["content-type"])
    assert sdk.read_break(client, wire)[0] == SAID
    _assert_ended(chunks, at_trailers=False)


@pytest.mark.parametrize(("client", "framing", "provider", "fault"), CASES.values(), ids=CASES)
def test_what_comes_in_one_piece_with_a_fault_is_not_lost(
    client: str, framing: str, provider: str, fault: str
) -> None:
    stage = open_attempt(client_dialect(client), framing, provider)
    *before, last = begun(provider)
    head, *rest = start_answer(stage, provider) + stage.on_body(
        b"".join(before), end_of_stream=False
    )
    assert isinstance(head, Mutate)
    rest += stage.on_body(last + faults(provider)[fault], end_of_stream=False)
    chunks = chunks_of(rest + stage.on_body(b"", end_of_stream=True))
    wire = sdk.Wire(b"".join(c.body for c in chunks), kind=head.set_headers["content-type"])
    assert sdk.read_break(client, wire)[0] == SAID
    _assert_ended(chunks, at_trailers=False)


def test_a_part_of_a_count_is_told_as_one() -> None:
    """Anthropic counts from its first event on: what was counted is known, and known as a part."""
    stage = open_attempt(client_dialect("openai_chat"), "", "anthropic_messages")
    actions = start_answer(stage, "anthropic_messages")
    for frame in begun("anthropic_messages"):
        actions += stage.on_body(frame, end_of_stream=False)
    *_, last = chunks_of(actions + stage.on_body(b"", end_of_stream=True))
    usage = last.metadata["dragoman.usage"]
    assert (usage["input_tokens"], usage["exact"]) == (3.0, "0")


OWN = {f"{name}: {fault}": (name, fault) for name in CHAT_NAMES for fault in faults(name)}


@pytest.mark.parametrize(("dialect", "fault"), OWN.values(), ids=OWN)
def test_a_stream_of_the_clients_own_dialect_is_left_as_it_is(dialect: str, fault: str) -> None:
    """The translate stage has no part in its answer; the respond stage, where it counts for want
    of Envoy's filters, adds nothing and changes nothing, and does not take the count for whole."""
    assert open_attempt(client_dialect(dialect), "", dialect).passes_response
    facts = {"client_dialect": dialect, "stream": "1", "include_usage": "1"}
    stage = RespondStage(POLICY, facts, cluster=dialect)
    pieces = [*begun(dialect), faults(dialect)[fault]]
    actions = start_answer(stage, dialect)
    for piece in pieces:
        actions += stage.on_body(piece, end_of_stream=False)
    actions += stage.on_body(b"", end_of_stream=True)
    chunks = chunks_of(actions)
    assert b"".join(chunk.body for chunk in chunks) == b"".join(pieces)
    if fault.startswith("error"):
        kind = client_dialect(dialect).stream_type(StreamOptions())
        assert not _tells(dialect, fault) or sdk.read_break(
            dialect, sdk.Wire(b"".join(pieces), kind=kind)
        ) == (SAID, WORDS)
    _assert_ended(chunks, at_trailers=False)


def _tells(dialect: str, fault: str) -> bool:
    """Whether the dialect's own SDK reads this provider's way of telling as an error."""
    return (dialect, fault) not in {
        ("openai_chat", "error: vLLM"),
        ("openai_chat", "error: by its event"),
        ("openai_responses", "error: failed"),
    }
