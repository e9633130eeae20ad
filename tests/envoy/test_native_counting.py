"""Who counts the tokens of what passes through: each row of the table in `envoy/README.md`.

A row holds where the ledger's entry and Envoy's statistics say the provider's own figures, and no
other filter or stage than the row's has worked for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, Gateway, wait_until
from tests.envoy.test_stats import Meter

README = Path(__file__).parents[2] / "envoy" / "README.md"
Counter = Literal["json", "sse", "aws", "respond", "translate", "nobody"]
SAYS = "one two"
TURNS = [{"role": "user", "content": SAYS}]
PARTS = [{"role": "user", "parts": [{"text": SAYS}]}]
BLOCKS = [{"role": "user", "content": [{"text": SAYS}]}]
CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": TURNS}
GENERATE = {"inputs": SAYS, "parameters": {"max_new_tokens": 50}}
RANK = {"query": "q", "documents": [SAYS]}
CHAT = (2, 4)
"""Tokens of the question and of what the simulator says to it."""
READ = (2, 0)
"""Where nothing is written."""
TOLD = (11, 7)
"""What scripted answers tell."""
USAGE = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request, its tokens, and what the provider is scripted to answer, if it is."""

    path: str
    body: dict[str, Any]
    tokens: tuple[int, int] = CHAT
    then: Mapping[str, Any] = {}
    is_form: bool = False


def _chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": TURNS, "max_tokens": 50} | more


def _gemini(method: str, p: str = "g") -> Case:
    return Case(path=f"/v1beta/models/{p}%2Fecho:{method}", body={"contents": PARTS})


def _events(*events: dict[str, Any]) -> dict[str, Any]:
    told = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return {"status": 200, "sse_raw": told}


def _image(**more: Any) -> dict[str, Any]:
    return {"status": 200, "body": {"created": 1, "data": [{"b64_json": "AAAA" * 999}], **more}}


ROWS: dict[str, tuple[Counter, dict[str, Case]]] = {
    "JSON of any dialect": (
        "json",
        {
            "openai_chat": Case(path="/v1/chat/completions", body=_chat("o/echo")),
            "openai_completions": Case(
                path="/v1/completions", body={"model": "c/echo", "prompt": SAYS, "max_tokens": 50}
            ),
            "openai_responses": Case(path="/v1/responses", body={"model": "p/echo", "input": SAYS}),
            "anthropic_messages": Case(path="/v1/messages", body=_chat("a/echo")),
            "anthropic_messages invoked": Case(path="/model/i%2Fecho/invoke", body=CLAUDE),
            "gemini_generate": _gemini("generateContent"),
            "bedrock_converse": Case(path="/model/b%2Fecho/converse", body={"messages": BLOCKS}),
            "cohere_chat": Case(path="/v2/chat", body=_chat("k/echo")),
            "ollama_chat": Case(
                path="/api/chat", body={"model": "l/echo", "messages": TURNS, "stream": False}
            ),
        },
    ),
    "Chat Completions, Completions, a stream": (
        "sse",
        {
            "openai_chat": Case(path="/v1/chat/completions", body=_chat("o/echo", stream=True)),
            "openai_completions": Case(
                path="/v1/completions",
                body={"model": "c/echo", "prompt": SAYS, "max_tokens": 50, "stream": True},
            ),
        },
    ),
    "Messages, Responses, Gemini, Cohere, a stream": (
        "sse",
        {
            "anthropic_messages": Case(path="/v1/messages", body=_chat("a/echo", stream=True)),
            "openai_responses": Case(
                path="/v1/responses", body={"model": "p/echo", "input": SAYS, "stream": True}
            ),
            "gemini_generate": _gemini("streamGenerateContent?alt=sse"),
            "cohere_chat": Case(path="/v2/chat", body=_chat("k/echo", stream=True)),
        },
    ),
    "Bedrock Converse, a stream": (
        "aws",
        {
            "bedrock_converse": Case(
                path="/model/b%2Fecho/converse-stream", body={"messages": BLOCKS}
            )
        },
    ),
    "Gemini, a stream as one JSON array; Ollama, a stream of lines": (
        "respond",
        {
            "gemini_generate": _gemini("streamGenerateContent"),
            "ollama_chat": Case(path="/api/chat", body={"model": "l/echo", "messages": TURNS}),
        },
    ),
    "TGI's `/generate_stream`": (
        "sse",
        {"tgi_generate": Case(path="/models/tgi/echo/generate_stream", body=GENERATE)},
    ),
    "Messages in Bedrock's event stream": (
        "respond",
        {
            "anthropic_messages": Case(
                path="/model/i%2Fecho/invoke-with-response-stream", body=CLAUDE
            )
        },
    ),
    "Messages, a provider that frames its stream otherwise than the client reads it": (
        "translate",
        {
            "anthropic_messages": Case(path="/v1/messages", body=_chat("i/echo", stream=True)),
            "invoked": Case(path="/model/a%2Fecho/invoke-with-response-stream", body=CLAUDE),
        },
    ),
    "embeddings and rerank": (
        "json",
        {
            "openai_embeddings": Case(
                path="/v1/embeddings", body={"model": "o/echo", "input": SAYS}, tokens=READ
            ),
            "openai_embeddings by total": Case(
                path="/v1/embeddings", body={"model": "w/echo", "input": SAYS}, tokens=READ
            ),
            "cohere_embed": Case(
                path="/v2/embed",
                body={"model": "k/echo", "texts": [SAYS], "input_type": "classification"},
                tokens=READ,
            ),
            "gemini_embed": Case(
                path="/v1beta/models/g%2Fecho:embedContent",
                body={"content": {"parts": [{"text": SAYS}]}},
                tokens=READ,
            ),
            "gemini_batch_embed": Case(
                path="/v1beta/models/g%2Fecho:batchEmbedContents",
                body={
                    "requests": [{"model": "models/g/echo", "content": {"parts": [{"text": SAYS}]}}]
                },
                tokens=READ,
            ),
            "bedrock_titan_embed": Case(
                path="/model/b%2Fecho/invoke", body={"inputText": SAYS}, tokens=READ
            ),
            "ollama_embed": Case(
                path="/api/embed", body={"model": "l/echo", "input": SAYS}, tokens=READ
            ),
            "jina_rerank": Case(path="/v1/rerank", body={"model": "j/echo", **RANK}, tokens=READ),
            "voyage_rerank": Case(
                path="/v1/rerank", body={"model": "w/echo", **RANK, "top_k": 1}, tokens=READ
            ),
        },
    ),
    "images, transcripts, translations": (
        "json",
        {
            "openai_image_generations": Case(
                path="/v1/images/generations",
                body={"model": "o/echo", "prompt": SAYS},
                tokens=TOLD,
                then=_image(usage=USAGE),
            ),
            "openai_image_edits": Case(
                path="/v1/images/edits",
                body={"model": "o/echo", "prompt": SAYS},
                tokens=TOLD,
                then=_image(usage=USAGE),
                is_form=True,
            ),
            "openai_transcriptions": Case(
                path="/v1/audio/transcriptions",
                body={"model": "o/echo"},
                tokens=TOLD,
                then={"status": 200, "body": {"text": "hi", "usage": {"type": "tokens", **USAGE}}},
                is_form=True,
            ),
        },
    ),
    "speech, images and transcripts, a stream": (
        "sse",
        {
            "openai_speech": Case(
                path="/v1/audio/speech",
                body={
                    "model": "o/echo",
                    "input": SAYS,
                    "voice": "alloy",
                    "stream_format": "sse",
                },
                tokens=TOLD,
                then=_events(
                    {"type": "speech.audio.delta", "audio": "AAAA"},
                    {"type": "speech.audio.done", "usage": USAGE},
                ),
            ),
            "openai_image_generations": Case(
                path="/v1/images/generations",
                body={"model": "o/echo", "prompt": SAYS, "stream": True},
                tokens=TOLD,
                then=_events({"type": "image_generation.completed", "usage": USAGE}),
            ),
            "openai_transcriptions": Case(
                path="/v1/audio/transcriptions",
                body={"model": "o/echo", "stream": "true"},
                tokens=TOLD,
                then=_events(
                    {"type": "transcript.text.delta", "delta": "hi"},
                    {"type": "transcript.text.done", "text": "hi", "usage": USAGE},
                ),
                is_form=True,
            ),
        },
    ),
    "InvokeModel, of models whose body tells nothing (Cohere, Nova)": (
        "json",
        {
            "bedrock_cohere_embed": Case(
                path="/model/n%2Fecho/invoke",
                body={"texts": [SAYS], "input_type": "classification"},
                tokens=READ,
            ),
            "bedrock_nova_embed": Case(
                path="/model/q%2Fecho/invoke",
                body={
                    "taskType": "SINGLE_EMBEDDING",
                    "singleEmbeddingParams": {
                        "embeddingPurpose": "CLASSIFICATION",
                        "text": {"truncationMode": "NONE", "value": SAYS},
                    },
                },
                tokens=READ,
            ),
        },
    ),
    "translated": (
        "translate",
        {
            "chat": Case(path="/v1/chat/completions", body=_chat("a/echo")),
            "chat, a stream": Case(path="/v1/messages", body=_chat("b/echo", stream=True)),
            "embeddings": Case(
                path="/v1/embeddings", body={"model": "k/echo", "input": SAYS}, tokens=READ
            ),
            "embeddings, counted in a header": Case(
                path="/v1/embeddings", body={"model": "q/echo", "input": SAYS}, tokens=READ
            ),
        },
    ),
}
UNCOUNTED: dict[str, dict[str, Case]] = {
    "TGI's `/generate`": {
        "tgi_generate": Case(
            path="/models/tgi/echo/generate",
            body=GENERATE,
            tokens=(0, 4),
            then={
                "status": 200,
                "body": {
                    "generated_text": "You said: one two",
                    "details": {"finish_reason": "length", "generated_tokens": 4, "seed": None},
                },
            },
        )
    },
    "TEI, Vertex AI's `predict`, Cohere's and Bedrock's rerank": {
        "tei_embed": Case(path="/embed", body={"model": "t/echo", "inputs": SAYS}, tokens=(0, 0)),
        "tei_rerank": Case(
            path="/rerank", body={"model": "t/echo", "query": "q", "texts": [SAYS]}, tokens=(0, 0)
        ),
        "vertex_predict": Case(
            path="/v1/projects/p/locations/l/publishers/google/models/e%2Fecho:predict",
            body={"instances": [{"content": SAYS}]},
            tokens=(0, 0),
        ),
        "cohere_rerank": Case(path="/v2/rerank", body={"model": "k/echo", **RANK}, tokens=(0, 0)),
        "bedrock_rerank": Case(
            path="/rerank",
            body={
                "queries": [{"type": "TEXT", "textQuery": {"text": "q"}}],
                "sources": [
                    {
                        "type": "INLINE",
                        "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": SAYS}},
                    }
                ],
                "rerankingConfiguration": {
                    "type": "BEDROCK_RERANKING_MODEL",
                    "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": "u/echo"}},
                },
            },
            tokens=(0, 0),
        ),
    },
    "moderations, speech as sound, whisper's transcripts, images of models priced by piece": {
        "openai_moderations": Case(
            path="/v1/moderations",
            body={"model": "o/echo", "input": SAYS},
            tokens=(0, 0),
            then={"status": 200, "body": {"id": "m", "results": [{"flagged": False}]}},
        ),
        "openai_speech": Case(
            path="/v1/audio/speech",
            body={"model": "o/echo", "input": SAYS, "voice": "alloy"},
            tokens=(0, 0),
            then={"status": 200, "raw_body": "ID3" * 999, "content_type": "audio/mpeg"},
        ),
        "openai_transcriptions": Case(
            path="/v1/audio/transcriptions",
            body={"model": "o/echo"},
            tokens=(0, 0),
            then={
                "status": 200,
                "body": {"text": "hi", "usage": {"type": "duration", "seconds": 3}},
            },
            is_form=True,
        ),
        "openai_image_generations": Case(
            path="/v1/images/generations",
            body={"model": "o/echo", "prompt": SAYS},
            tokens=(0, 0),
            then=_image(),
        ),
    },
}
"""Rows of answers that tell no tokens, or not all of them: `tokens` are those that are told."""
FREE = "files, batches, `pass_through` paths"
UNREAD = ("batches", "files", "pass_through")
SOUND = {"file": ("a.wav", b"RIFF\0\1" * 99)}
AWS = "aws_eventstream_parser.resp.json.metadata_added"
STATS = r"aws_eventstream_parser|ext_proc\.streams_started"


def _named(rows: Mapping[str, Mapping[str, Case]]) -> list[Any]:
    return [
        pytest.param(row, case, id=f"{row}: {name}")
        for row, cases in rows.items()
        for name, case in cases.items()
    ]


def _ask(gateway: Gateway, simulator: Simulator, case: Case) -> tuple[Meter, int]:
    """The caller's meter, and the bytes of what it sent."""
    if case.then:
        simulator.control.script(dict(case.then))
    meter = Meter(gateway)
    given: Any = {"data": case.body, "files": SOUND} if case.is_form else {"json": case.body}
    answer = meter.send(case.path, **given)
    assert answer.status_code == 200, answer.text
    meter.await_requests(1)
    return meter, int(answer.request.headers["content-length"])


@pytest.mark.parametrize(("row", "case"), _named({row: cases for row, (_, cases) in ROWS.items()}))
def test_counted(gateway: Gateway, simulator: Simulator, row: str, case: Case) -> None:
    counter, _ = ROWS[row]
    before = gateway.stats(STATS)
    meter, _ = _ask(gateway, simulator, case)
    (entry,) = meter.entries()
    assert entry["dragoman.metering"] == "exact"
    found = (entry["gen_ai.usage.input_tokens"], entry["gen_ai.usage.output_tokens"])
    assert found == case.tokens
    told = dict(zip(("input", "output"), case.tokens, strict=True))
    assert meter.tokens() == {way: count for way, count in told.items() if count}
    gained = {n: v - before.get(n, 0) for n, v in gateway.stats(STATS).items()}
    streams = {n: v for n, v in gained.items() if n.endswith("streams_started") and v}
    downstream = streams.pop("http.dragoman.ext_proc.streams_started")
    assert downstream == (2 if counter == "respond" else 1)
    assert list(streams.values()) == ([1] if counter == "translate" else [])
    assert (gained.get(AWS, 0) > 0) is (counter == "aws")


@pytest.mark.parametrize(("row", "case"), _named(UNCOUNTED))
def test_estimated(gateway: Gateway, simulator: Simulator, row: str, case: Case) -> None:
    """The ledger estimates text by its bytes, and nothing else by them."""
    del row
    meter, size = _ask(gateway, simulator, case)
    (entry,) = meter.entries()
    assert entry["dragoman.metering"] == "estimated"
    found = (entry["gen_ai.usage.input_tokens"], entry["gen_ai.usage.output_tokens"])
    told = {"output": case.tokens[1]} if case.tokens[1] else {}
    assert meter.tokens() == told
    assert found[0] == (0 if case.is_form else size // 4)
    assert found[1] == case.tokens[1] or entry["gen_ai.operation.name"] == "transcriptions"


@pytest.mark.parametrize("path", ["/v1/batches/batch_1", "/v1/files", "/v1/realtime/calls"])
def test_what_nobody_reads_uses_none(gateway: Gateway, simulator: Simulator, path: str) -> None:
    """A batch tells what it has used each time it is looked at."""
    simulator.control.script({"status": 200, "body": {"id": "x", "usage": USAGE}})

    def entries() -> list[dict[str, Any]]:
        return [e for e in gateway.ledger() if e.get("gen_ai.operation.name") in UNREAD]

    def counted() -> dict[Any, float]:
        found = gateway.series("tokens").items()
        return {who: count for who, count in found if count and ("model", "none") in who}

    before, told = len(entries()), counted()
    headers = {"authorization": f"Bearer {KEY}"}
    assert httpx.get(gateway.url + path, headers=headers).status_code == 200
    entry = wait_until(lambda: entries()[before:], what="the ledger's entry")[0]
    assert entry["dragoman.metering"] == "none"
    assert entry["gen_ai.usage.input_tokens"] == 0
    assert counted() == told


def test_the_readme_has_these_rows() -> None:
    table = README.read_text().partition("| answer | counted by |\n|---|---|\n")[2]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()]
    assert rows[: rows.index("")] == [*ROWS, *UNCOUNTED, FREE]
