"""Providers of embeddings and rerank, spoken with the gateway's own codecs.

A vector is a function of its text, the same for every provider; a score counts the words that a
document shares with the query. As in `translated`, a request is judged only by whether its dialect
can read it.
"""

import base64
import hashlib
from array import array

import msgspec

from dragoman.dialects import EMBEDDINGS, RERANK, AnyDialect, Call
from dragoman.dialects.registry import client_call, client_dialect
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Blob, Text, Usage
from dragoman.ir.embeddings import (
    FLOATS,
    Embedding,
    EmbeddingRequest,
    EmbeddingResponse,
    Format,
    Input,
    Tokens,
    Vector,
)
from dragoman.ir.losses import Losses
from dragoman.ir.rerank import Ranked, RerankRequest, RerankResponse
from dragoman.simulator.messages import (
    JsonObject,
    ProviderError,
    ReceivedRequest,
    Reply,
    encode_json,
)
from dragoman.simulator.providers.protocol import Context, Endpoint
from dragoman.simulator.tokens import IMAGE_TOKENS, count_tokens

DIMENSIONS = 8
_MOST_DIMENSIONS = 4096
_HEADER = "x-amzn-bedrock-input-token-count"


class UnaryProvider:
    """Whoever serves the operation at one suffix; the path and the body tell the dialect.

    `name` is the dialect whose errors it answers with.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._dialect = client_dialect(name)

    def check_access(self, request: ReceivedRequest, *, keyless: bool) -> None:
        """Any key will do, wherever it stands."""
        names = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
        if not keyless and not any(map(request.header, names)):
            raise ProviderError(401, "API key not valid. Please pass a valid API key.")

    def render_error(self, error: ProviderError) -> Reply:
        """The error in the dialect's shape."""
        answer = self._dialect.encode_error(UpstreamError(error.message, status=error.status))
        headers = tuple((k, v) for k, v in answer.headers.items() if k != "content-type")
        return Reply(status=error.status, headers=headers, pieces=(answer.body,))

    def render_stream_error(self, error: ProviderError) -> bytes:
        """Nothing streams here."""
        return self.render_error(error).pieces[0]

    def handle(self, request: ReceivedRequest, body: JsonObject, context: Context) -> Reply:
        """An answer to a request that one of the path's dialects can read."""
        try:
            dialect, call = _spoken(request, body)
            asked = dialect.decode_request(body)
            model = call.model or asked.model
            asked = msgspec.structs.replace(asked, model=model)
            found = msgspec.structs.replace(_answer(asked), id=f"sim{context.number}")
            answer = dialect.encode_response(found, Losses(dialect.name))
        except DragomanError as error:
            raise ProviderError(400, error.message) from error
        tokens = found.usage.input_tokens if found.usage else 0
        headers = ((_HEADER, str(tokens)),) if "/model/" in request.path else ()
        return Reply(headers=headers, pieces=(encode_json(answer),))


def _spoken(request: ReceivedRequest, body: JsonObject) -> tuple[AnyDialect, Call]:
    """The dialect by the path, or by what is left of it behind the provider's own base path."""
    path = request.path
    while path:
        found = client_call(path, {}).claimed(body)
        if found.call is not None and found.call.operation in (EMBEDDINGS, RERANK):
            return found.dialect, found.call
        path = path[path.find("/", 1) :] if "/" in path[1:] else ""
    raise ProviderError(404, f"Invalid URL ({request.path})")


def _answer(asked: EmbeddingRequest | RerankRequest) -> EmbeddingResponse | RerankResponse:
    if isinstance(asked, RerankRequest):
        return asked.complete(_rank(asked))
    return asked.complete(_embed(asked))


def _embed(asked: EmbeddingRequest) -> EmbeddingResponse:
    size = min(asked.dimensions or DIMENSIONS, _MOST_DIMENSIONS)
    formats = asked.formats or (FLOATS,)
    return EmbeddingResponse(
        embeddings=tuple(
            Embedding(vectors=tuple(_vector(one, size, wanted) for wanted in formats))
            for one in asked.inputs
        ),
        usage=Usage(input_tokens=sum(map(_tokens, asked.inputs))),
    )


def make_vector(text: str, size: int = DIMENSIONS) -> list[float]:
    """Numbers between -1 and 1 that 32 bits hold exactly."""
    digest = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(size)
    return [(byte - 128) / 128 for byte in digest]


def _vector(one: Input, size: int, wanted: Format) -> Vector:
    numbers = make_vector(_text(one), size)
    if wanted.dtype != "float":
        whole = [int(number * 127) + (128 if wanted.dtype[0] == "u" else 0) for number in numbers]
        return Vector(dtype=wanted.dtype, data=msgspec.Raw(msgspec.json.encode(whole)))
    if wanted.base64:
        data = base64.b64encode(array("f", numbers).tobytes()).decode()
        return Vector(dtype="float", data=data)
    return Vector(dtype="float", data=msgspec.Raw(msgspec.json.encode(numbers)))


def _text(one: Input) -> str:
    said = [
        part.content if isinstance(part, Text | Blob) else repr(getattr(part, "ids", part))
        for part in one.parts
    ]
    return "\n".join(said)


def _tokens(one: Input) -> int:
    count = 0
    for part in one.parts:
        match part:
            case Text():
                count += count_tokens(part.content)
            case Tokens():
                count += len(part.ids)
            case _:
                count += IMAGE_TOKENS
    return count


def _rank(asked: RerankRequest) -> RerankResponse:
    """The most shared words first; of those with as many, the first first."""
    wanted = set((asked.query.text or "").lower().split())
    texts = [document.text or "" for document in asked.documents]
    scores = [len(wanted & set(text.lower().split())) / max(1, len(wanted)) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    return RerankResponse(
        results=tuple(Ranked(index=index, score=scores[index]) for index in order),
        usage=Usage(input_tokens=sum(map(count_tokens, texts))),
        search_units=1,
    )


_SUFFIXES = {
    "/embeddings": "openai_embeddings",
    "/v2/embed": "cohere_embed",
    "/api/embed": "ollama_embed",
    "/embed": "tei_embed",
    ":embedContent": "gemini_embed",
    ":batchEmbedContents": "gemini_batch_embed",
    ":predict": "vertex_predict",
    "/invoke": "bedrock_titan_embed",
    "/v2/rerank": "cohere_rerank",
    "/v1/rerank": "jina_rerank",
    "/rerank": "bedrock_rerank",
}
"""Ends of paths, and whose errors are answered there."""
ENDPOINTS = tuple(
    Endpoint(provider=provider, method="POST", suffix=suffix, handle=provider.handle)
    for suffix, name in _SUFFIXES.items()
    for provider in (UnaryProvider(name),)
)
