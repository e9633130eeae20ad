"""Embeddings and rerank through the real Envoy, with their official SDKs.

`o/`, `m/`, `w/` and `j/` are OpenAI, Mistral, Voyage and Jina, which speak OpenAI's dialect; `k/` is
Cohere, `g/` Gemini, `e/` Vertex AI and `x/` its newer models, `b/` Titan, `n/` Cohere and `q/` Nova on
Bedrock, `u/` its agent runtime, `l/` Ollama, `t/` TEI.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import cohere
import httpx
import ollama
import openai
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from cohere.core.api_error import ApiError
from google import genai
from google.genai import types
from mistralai.client import Mistral

from dragoman.simulator import Simulator
from dragoman.simulator.providers.unary import make_vector
from tests.envoy.gateway import KEY, Gateway, fresh_caller, wait_until


@pytest.fixture
def co(gateway: Gateway) -> Iterator[cohere.ClientV2]:
    with httpx.Client() as http:
        yield cohere.ClientV2(api_key=KEY, base_url=gateway.url, max_retries=0, httpx_client=http)


@pytest.fixture
def gemini(gateway: Gateway) -> Iterator[genai.Client]:
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=gateway.url)) as client:
        yield client


@pytest.fixture
def llama(gateway: Gateway) -> Iterator[ollama.Client]:
    headers = {"Authorization": f"Bearer {KEY}"}
    with ollama.Client(host=gateway.url, headers=headers) as client:
        yield client


def _runtime(gateway: Gateway, kind: Any) -> Any:
    """boto3's, with the key put in by hand: it sends bearer tokens over TLS only."""
    config = Config(retries={"total_max_attempts": 1}, signature_version=UNSIGNED)
    client = boto3.client(kind, region_name="x", endpoint_url=gateway.url, config=config)

    def authorize(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {KEY}"

    client.meta.events.register(f"before-send.{kind}.*", authorize)
    return client


ONE = ("b", "q", "x")
MANY = ("o", "m", "w", "j", "k", "g", "e", "n", "l", "t")
by_any = pytest.mark.parametrize("p", ONE + MANY)
by_many = pytest.mark.parametrize("p", MANY)
HELLO = make_vector("hello")


@by_any
@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_openai(openai_client: openai.OpenAI, p: str, encoding: Any) -> None:
    more: Any = {} if encoding is None else {"encoding_format": encoding}
    answer = openai_client.embeddings.create(model=f"{p}/echo", input="hello", **more)
    found: Any = answer.data[0].embedding
    if encoding == "base64":  # as it came: the SDK reads only what it asked for itself
        assert isinstance(found, str)
        return
    assert found == HELLO
    assert answer.usage.prompt_tokens == 1


@by_many
def test_openai_lists_and_dimensions(openai_client: openai.OpenAI, p: str) -> None:
    asked = ["hello", "hello there"]
    answer = openai_client.embeddings.create(model=f"{p}/echo", input=asked, dimensions=16)
    assert [item.embedding for item in answer.data] == [make_vector(text, 16) for text in asked]
    assert [item.index for item in answer.data] == [0, 1]


def test_what_cannot_be_asked_is_refused_by_its_path(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"\$\.input\[1\]: .*one input a call"):
        openai_client.embeddings.create(model="b/echo", input=["hello", "there"])
    with pytest.raises(openai.BadRequestError, match=r"\$\.input: .*it takes text"):
        openai_client.embeddings.create(model="k/echo", input=[1, 2, 3])
    answer = openai_client.embeddings.create(model="o/echo", input=[1, 2, 3])
    assert len(answer.data) == 1


BUSY = {"status": 429, "retry_after": "7", "body": {"message": "not now"}}
"""In a shape that every dialect's clients and translators can read words from."""


@by_any
def test_a_providers_error_keeps_its_status(
    openai_client: openai.OpenAI, co: cohere.ClientV2, simulator: Simulator, p: str
) -> None:
    simulator.control.script(BUSY)
    with pytest.raises(openai.RateLimitError, match="not now") as caught:
        openai_client.embeddings.create(model=f"{p}/echo", input="hello")
    assert caught.value.response.headers["retry-after"] == "7"
    with pytest.raises(ApiError) as refused:
        co.embed(model=f"{p}/echo", texts=["hello"], input_type="classification")
    assert (refused.value.status_code, refused.value.body["message"]) == (429, "not now")


def test_what_was_assumed_is_reported(http: httpx.Client) -> None:
    answer = http.post("/v1/embeddings", json={"model": "k/echo", "input": "hello"})
    assert answer.headers["x-dragoman-dropped"] == "$.input_type"
    asked = {"model": "k/echo", "input": "hello", "input_type": "query"}
    assert "x-dragoman-dropped" not in http.post("/v1/embeddings", json=asked).headers


@by_any
def test_cohere_embed(co: cohere.ClientV2, p: str) -> None:
    answer = co.embed(
        model=f"{p}/echo", texts=["hello"], input_type="search_query", embedding_types=["float"]
    )
    assert answer.embeddings.float_ == [HELLO]


@pytest.mark.parametrize("p", ["k", "n"])
def test_cohere_integers(co: cohere.ClientV2, p: str) -> None:
    answer = co.embed(
        model=f"{p}/echo",
        texts=["hello"],
        input_type="clustering",
        embedding_types=["int8", "float", "base64"] if p == "k" else ["int8", "float"],
    )
    assert answer.embeddings.float_ == [HELLO]
    assert answer.embeddings.int8 == [[int(number * 127) for number in HELLO]]


@by_many
def test_gemini(gemini: genai.Client, p: str) -> None:
    config = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=16)
    contents: Any = ["hello", "there"]
    answer = gemini.models.embed_content(model=f"{p}/echo", contents=contents, config=config)
    assert [one.values for one in answer.embeddings or ()] == [
        make_vector(text, 16) for text in contents
    ]


@by_any
def test_titan(gateway: Gateway, p: str) -> None:
    client: Any = _runtime(gateway, "bedrock-runtime")
    body = json.dumps({"inputText": "hello", "normalize": True})
    answer = json.loads(client.invoke_model(modelId=f"{p}/echo", body=body)["body"].read())
    assert answer["embedding"] == answer["embeddingsByType"]["float"] == HELLO


@by_many
def test_ollama(llama: ollama.Client, p: str) -> None:
    answer = llama.embed(model=f"{p}/echo", input=["hello", "there"])
    assert [list(one) for one in answer.embeddings] == [HELLO, make_vector("there")]


@by_many
def test_mistral(gateway: Gateway, p: str) -> None:
    with Mistral(api_key=KEY, server_url=gateway.url) as client:
        answer = client.embeddings.create(
            model=f"{p}/echo", inputs=["hello", "there"], output_dimension=16
        )
    assert [item.embedding for item in answer.data] == [
        make_vector("hello", 16),
        make_vector("there", 16),
    ]


def test_tei_names_no_model(http: httpx.Client) -> None:
    assert http.post("/embed", json={"inputs": "hello"}).json() == [HELLO]


@pytest.mark.parametrize("p", ["q", "o", "k"])
def test_nova(gateway: Gateway, p: str) -> None:
    body = {
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {
            "embeddingPurpose": "GENERIC_RETRIEVAL",
            "text": {"truncationMode": "NONE", "value": "hello"},
        },
    }
    client: Any = _runtime(gateway, "bedrock-runtime")
    found = client.invoke_model(modelId=f"{p}/echo", body=json.dumps(body))
    (answer,) = json.loads(found["body"].read())["embeddings"]
    assert (answer["embeddingType"], answer["embedding"]) == ("TEXT", HELLO)


@pytest.mark.parametrize("p", ["x", "g", "o"])
def test_vertexs_embed_content(gateway: Gateway, p: str) -> None:
    """One input a call, which only Vertex AI's newer models take."""
    body = {"content": {"parts": [{"text": "hello"}]}}
    path = f"/v1beta1/projects/p/locations/l/publishers/google/models/{p}%2Fecho:embedContent"
    answer = httpx.post(gateway.url + path, json=body, headers={"authorization": f"Bearer {KEY}"})
    assert answer.json()["embedding"]["values"] == HELLO


DOCUMENTS = ["a red fox", "a blue whale", "the whale is blue and large"]
RANKED = [1, 2, 0]


by_ranker = pytest.mark.parametrize("p", ["k", "t", "w", "j", "u"])


@by_ranker
def test_cohere_rerank(co: cohere.ClientV2, p: str) -> None:
    answer = co.rerank(model=f"{p}/echo", query="blue whale", documents=DOCUMENTS, top_n=2)
    assert [one.index for one in answer.results] == RANKED[:2]
    assert [one.relevance_score for one in answer.results] == [1.0, 1.0]


@by_ranker
def test_bedrock_rerank(gateway: Gateway, p: str) -> None:
    sources = [
        {
            "type": "INLINE",
            "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}},
        }
        for text in DOCUMENTS
    ]
    model = {"numberOfResults": 2, "modelConfiguration": {"modelArn": f"{p}/echo"}}
    answer = _runtime(gateway, "bedrock-agent-runtime").rerank(
        queries=[{"type": "TEXT", "textQuery": {"text": "blue whale"}}],
        sources=sources,
        rerankingConfiguration={
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": model,
        },
    )
    assert [one["index"] for one in answer["results"]] == RANKED[:2]


@by_ranker
def test_jina_and_voyage_share_a_path(http: httpx.Client, p: str) -> None:
    asked = {"model": f"{p}/echo", "query": "blue whale", "documents": DOCUMENTS}
    jina = http.post("/v1/rerank", json={**asked, "top_n": 2}).json()
    assert [(one["index"], one["document"]) for one in jina["results"]] == [
        (index, {"text": DOCUMENTS[index]}) for index in RANKED[:2]
    ]
    voyage = http.post("/v1/rerank", json={**asked, "top_k": 2, "return_documents": True}).json()
    assert [(one["index"], one["document"]) for one in voyage["data"]] == [
        (index, DOCUMENTS[index]) for index in RANKED[:2]
    ]


def _paths(simulator: Simulator) -> list[str]:
    return [request.target for request in simulator.control.requests()]


def test_each_model_is_asked_in_its_own_body(
    openai_client: openai.OpenAI, simulator: Simulator
) -> None:
    for p in ("b", "n", "e"):
        openai_client.embeddings.create(model=f"{p}/echo", input="hello")
    assert _paths(simulator) == [
        "/model/sim%2Fecho/invoke",
        "/model/cohere.embed-sim%2Fecho/invoke",
        "/v1/projects/p1/locations/eu/publishers/google/models/sim%2Fecho:predict",
    ]
    first, second, _ = (
        json.loads(request.body_text or "") for request in simulator.control.requests()
    )
    assert first == {"inputText": "hello"}
    assert second["texts"] == ["hello"]


COUNTED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/embeddings", {"model": "o/echo", "input": "hello there"}),
    "voyage": ("/v1/embeddings", {"model": "w/echo", "input": "hello there"}),
    "cohere": (
        "/v2/embed",
        {"model": "k/echo", "texts": ["hello there"], "input_type": "search_query"},
    ),
    "gemini": (
        "/v1beta/models/g%2Fecho:embedContent",
        {"content": {"parts": [{"text": "hello there"}]}},
    ),
    "titan": ("/model/b%2Fecho/invoke", {"inputText": "hello there"}),
    "bedrock cohere, in a header": (
        "/model/n%2Fecho/invoke",
        {"texts": ["hello there"], "input_type": "search_query"},
    ),
    "translated to bedrock cohere": ("/v1/embeddings", {"model": "n/echo", "input": "hello there"}),
    "ollama": ("/api/embed", {"model": "l/echo", "input": "hello there"}),
    "rerank": (
        "/v1/rerank",
        {"model": "w/echo", "query": "q", "documents": ["hello there"], "top_k": 1},
    ),
}


@pytest.mark.parametrize(("path", "body"), COUNTED.values(), ids=COUNTED)
def test_tokens_are_counted(gateway: Gateway, path: str, body: dict[str, Any]) -> None:
    caller, key = fresh_caller()
    answer = httpx.post(gateway.url + path, json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    (entry,) = wait_until(
        lambda: [one for one in gateway.ledger() if caller in one.values()], what="the entry"
    )
    assert entry["dragoman.metering"] == "exact"
    assert entry["gen_ai.usage.input_tokens"] == 2
