"""Embeddings and rerank: answers survive their own dialect and say the same in every other."""

from __future__ import annotations

import base64
import json
import struct
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from dragoman.dialects import EMBEDDINGS, RERANK, AnyDialect, read_answer
from dragoman.dialects.embeddings.vectors import write_vector
from dragoman.dialects.registry import client_call, names_of
from dragoman.errors import Unrepresentable, UpstreamProtocolError
from dragoman.ir import Text, Usage
from dragoman.ir.embeddings import (
    FLOATS,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    Format,
    Input,
    Vector,
)
from dragoman.ir.losses import Losses
from dragoman.ir.rerank import Document, Ranked, RerankRequest, RerankResponse
from tests import sdk
from tests.properties.cases import TO_ALL, TRANSLATED, peers

UNARY = {name: TRANSLATED[name] for op in (EMBEDDINGS, RERANK) for name in names_of(op)}
by_dialect = pytest.mark.parametrize("dialect", UNARY.values(), ids=UNARY)

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = st.lists(floats, min_size=1, max_size=6)
usages = st.none() | st.builds(Usage, input_tokens=st.integers(0, 10**6))


def as_json(numbers: list[float]) -> Vector:
    return Vector(dtype="float", data=msgspec.Raw(msgspec.json.encode(numbers)))


def as_base64(numbers: list[float]) -> Vector:
    data = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
    return Vector(dtype="float", data=data)


@st.composite
def exchanges(draw: st.DrawFn, dialect: AnyDialect) -> tuple[Any, Any]:
    """A question with its answer, complete, as a client of the dialect may get it."""
    usage = draw(usages)
    if dialect.operation == RERANK:
        scores = draw(st.lists(st.floats(0, 1), min_size=1, max_size=4))
        documents = tuple(Document(text=f"d{i}") for i in range(len(scores)))
        asked = RerankRequest(model="m", query=Document(text="q"), documents=documents)
        results = tuple(Ranked(index=i, score=s) for i, s in enumerate(scores))
        return asked, asked.complete(RerankResponse(results=results, usage=usage))
    alone = dialect.name in ("gemini_embed", "bedrock_titan_embed", "bedrock_nova_embed")
    found = draw(st.lists(vectors, min_size=1, max_size=1 if alone else 3))
    inputs = tuple(Input(parts=(Text(content="t"),)) for _ in found)
    question = EmbeddingRequest(model="m", inputs=inputs)
    embeddings = tuple(Embedding(vectors=(as_json(one),)) for one in found)
    return question, question.complete(EmbeddingResponse(embeddings=embeddings, usage=usage))


def written(dialect: AnyDialect, answer: Any) -> bytes:
    return msgspec.json.encode(dialect.encode_response(answer, Losses(dialect.name)))


@by_dialect
@given(st.data())
def test_an_answer_survives_its_own_dialect(dialect: AnyDialect, data: st.DataObject) -> None:
    _, answer = data.draw(exchanges(dialect))
    raw = written(dialect, answer)
    losses = Losses(dialect.name)
    again = dialect.encode_response(dialect.decode_response(read_answer(dialect, raw)), losses)

    assert json.loads(msgspec.json.encode(again)) == json.loads(raw)
    assert losses.paths == []


@by_dialect
@TO_ALL
@given(st.data())
def test_a_translated_answer_says_the_same(dialect: AnyDialect, data: st.DataObject) -> None:
    asked, answer = data.draw(exchanges(dialect))
    raw = written(dialect, answer)
    read = asked.complete(dialect.decode_response(read_answer(dialect, raw)))
    said = sdk.read(dialect.name, sdk.Wire(raw))
    for target in (dialect, *peers(dialect.name)):
        note(f"to {target.name}")
        try:
            told = written(target, read)
        except Unrepresentable as refusal:
            assert refusal.path
            continue
        names = (dialect.name, target.name)
        found = sdk.read(target.name, sdk.Wire(told))
        assert sdk.comparable(found, *names, like=said) == sdk.comparable(said, *names, like=said)


@given(vectors)
def test_base64_and_numbers_are_exactly_the_same(numbers: list[float]) -> None:
    plain, packed = Embedding(vectors=(as_json(numbers),)), Embedding(vectors=(as_base64(numbers),))
    assert write_vector(plain, Format(base64=True)) == packed.vectors[0].data
    assert msgspec.json.decode(write_vector(packed, FLOATS)) == numbers  # type: ignore[arg-type]
    assert write_vector(plain, FLOATS) is plain.vectors[0].data
    assert write_vector(packed, Format(base64=True)) is packed.vectors[0].data


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ("not base64!", FLOATS),
        ("AAA=", FLOATS),
        (base64.b64encode(struct.pack("<f", float("nan"))).decode(), FLOATS),
        (msgspec.Raw(b"[1e300]"), Format(base64=True)),
        (msgspec.Raw(b"[1e400]"), Format(base64=True)),
        (msgspec.Raw(b"[1,null]"), Format(base64=True)),
        (msgspec.Raw(b"[300]"), Format(dtype="uint8", base64=True)),
    ],
)
def test_what_is_no_vector_is_the_providers_fault(data: Any, wanted: Format) -> None:
    with pytest.raises(UpstreamProtocolError):
        write_vector(Embedding(vectors=(Vector(data=data),)), wanted)


def test_fewer_vectors_than_inputs_are_the_providers_fault() -> None:
    one = Input(parts=(Text(content="t"),))
    with pytest.raises(UpstreamProtocolError, match="1 embeddings for 2 inputs"):
        EmbeddingRequest(model="m", inputs=(one, one)).complete(
            EmbeddingResponse(embeddings=(Embedding(vectors=(as_json([1.0]),)),))
        )


def test_documents_and_top_n_come_from_the_question() -> None:
    documents = tuple(Document(text=text) for text in "abc")
    asked = RerankRequest(model="m", query=Document(text="q"), documents=documents, top_n=2)
    results = tuple(Ranked(index=i, score=1.0) for i in (2, 0, 1))
    found = asked.complete(RerankResponse(results=results)).results
    assert [(one.index, one.document and one.document.text) for one in found] == [
        (2, "c"),
        (0, "a"),
    ]
    with pytest.raises(UpstreamProtocolError):
        asked.complete(RerankResponse(results=(Ranked(index=3, score=1.0),)))


CLAIMS: dict[str, tuple[str, dict[str, Any]]] = {
    "jina_rerank": ("/v1/rerank", {"documents": [], "top_n": 1}),
    "voyage_rerank": ("/v1/rerank", {"documents": [], "top_k": 1}),
    "tei_rerank": ("/rerank", {"texts": []}),
    "bedrock_rerank": ("/rerank", {"rerankingConfiguration": {}}),
    "bedrock_titan_embed": ("/model/x/invoke", {"inputText": "x"}),
    "bedrock_cohere_embed": ("/model/arn%3Ax/invoke", {"texts": ["x"]}),
    "bedrock_nova_embed": ("/model/x/invoke", {"singleEmbeddingParams": {}}),
    "vertex_predict": (
        "/v1/projects/p/locations/l/publishers/google/models/m:predict",
        {"instances": [{"content": "x"}]},
    ),
}


@pytest.mark.parametrize(("name", "call"), CLAIMS.items(), ids=CLAIMS)
def test_the_body_tells_whose_it_is(name: str, call: tuple[str, dict[str, Any]]) -> None:
    path, body = call
    assert client_call(path, {}).claimed(body).dialect.name == name


def test_cost_is_linear_and_vectors_stay_bytes() -> None:
    """Sixteen times as many vectors cost about sixteen times as much; a square would be 256."""
    source, target = UNARY["openai_embeddings"], UNARY["cohere_embed"]

    def cost(count: int) -> float:
        item = {"object": "embedding", "embedding": [0.123456789] * 1536}
        raw = msgspec.json.encode(
            {"object": "list", "data": [{**item, "index": i} for i in range(count)]}
        )
        before = time.process_time()
        answer = source.decode_response(read_answer(source, raw))
        msgspec.json.encode(target.encode_response(answer, Losses(target.name)))
        return time.process_time() - before

    small, large = min(cost(32) for _ in range(3)), min(cost(512) for _ in range(3))
    assert large < 64 * max(small, 1e-4)


@pytest.mark.parametrize("body", [{}, {"data": None}, {"vectors": [[0.5]], "total_tokens": 1}])
def test_an_answer_without_vectors_is_the_providers_fault(body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamProtocolError, match=r"\$\.data"):
        UNARY["openai_embeddings"].decode_response(body)


@pytest.mark.parametrize(
    ("cut", "dropped"), [(True, "$.truncation_direction"), (False, "$.truncate")]
)
def test_the_side_that_is_cut_off_is_reported(cut: bool, dropped: str) -> None:  # noqa: FBT001
    side = "Right"
    body = {"inputs": "x", "truncate": cut, "truncation_direction": side}
    losses = Losses("gemini_embed")
    UNARY["gemini_embed"].encode_request(UNARY["tei_embed"].decode_request(body), losses)
    assert dropped in losses.paths
    assert "$.truncation_direction" in losses.paths
