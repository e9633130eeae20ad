"""Every dialect by name, and which one a client speaks by the path it calls."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

import msgspec

from dragoman.dialects import CHAT, FEEDBACK, AnyDialect, Call
from dragoman.dialects.anthropic_messages import INVOKE, AnthropicMessages, InvokedMessages
from dragoman.dialects.anthropic_messages import Quirks as AnthropicQuirks
from dragoman.dialects.bedrock_converse import BedrockConverse
from dragoman.dialects.bedrock_converse import Quirks as BedrockQuirks
from dragoman.dialects.cohere_chat import CohereChat
from dragoman.dialects.count_tokens import CountTokens, Row
from dragoman.dialects.count_tokens.envelopes import Bare, Envelope, Input, Whole
from dragoman.dialects.count_tokens.rows import ROWS, VERTEX
from dragoman.dialects.embeddings import cohere_embed, gemini_embed, openai_embeddings
from dragoman.dialects.embeddings.bedrock_cohere_embed import BedrockCohereEmbed
from dragoman.dialects.embeddings.bedrock_nova_embed import BedrockNovaEmbed
from dragoman.dialects.embeddings.bedrock_nova_embed import Quirks as NovaQuirks
from dragoman.dialects.embeddings.bedrock_titan_embed import BedrockTitanEmbed
from dragoman.dialects.embeddings.ollama_embed import OllamaEmbed
from dragoman.dialects.embeddings.tei_embed import TeiEmbed
from dragoman.dialects.embeddings.vertex_predict import VertexPredict
from dragoman.dialects.gemini_generate import GeminiGenerate
from dragoman.dialects.gemini_generate import Quirks as GeminiQuirks
from dragoman.dialects.ollama_chat import OllamaChat
from dragoman.dialects.openai_chat import WHOLE_CALLS, OpenAIChat, WholeChat
from dragoman.dialects.openai_chat import Quirks as OpenAIQuirks
from dragoman.dialects.openai_chat.spelling import SDK_AGENT, USER_AGENT
from dragoman.dialects.openai_completions import OpenAICompletions
from dragoman.dialects.openai_completions import Quirks as CompletionsQuirks
from dragoman.dialects.openai_responses import OpenAIResponses
from dragoman.dialects.openai_responses import Quirks as ResponsesQuirks
from dragoman.dialects.pass_through import OPERATIONS, Operation, PassThrough
from dragoman.dialects.rerank.bedrock_rerank import BedrockRerank
from dragoman.dialects.rerank.cohere_rerank import CohereRerank
from dragoman.dialects.rerank.jina_rerank import JinaRerank
from dragoman.dialects.rerank.tei_rerank import TeiRerank
from dragoman.dialects.rerank.voyage_rerank import Quirks as VoyageQuirks
from dragoman.dialects.rerank.voyage_rerank import VoyageRerank
from dragoman.dialects.tgi_generate import TgiGenerate
from dragoman.errors import InvalidRequest
from dragoman.ir import Json


class ClientCall(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for. `call` None: nothing known; the dialect is the error's likeliest."""

    dialect: AnyDialect
    call: Call | None
    others: tuple[ClientCall, ...] = ()
    """Dialects of the same path, in the order in which they are asked whether a body is theirs."""

    def claimed(self, body: Json) -> ClientCall:
        """The one of this and `others` that claims `body`. Raises `InvalidRequest` if none does."""
        for one in (self, *self.others):
            if one.call is None or one.call.claims is None or one.call.claims(body):
                return one
        raise InvalidRequest("$", "a body that this path is known to take")


def _alike(dialect: AnyDialect, quirks: Json) -> AnyDialect:
    """A dialect that every provider speaks the same way."""
    if quirks:
        raise msgspec.ValidationError(f"{dialect.name} takes no quirks")
    return dialect


_MAKERS: dict[str, Callable[[Json], AnyDialect]] = {
    "anthropic_messages": lambda quirks: AnthropicMessages(
        msgspec.convert(quirks, AnthropicQuirks)
    ),
    "bedrock_converse": lambda quirks: BedrockConverse(msgspec.convert(quirks, BedrockQuirks)),
    "gemini_embed": lambda quirks: gemini_embed.GeminiEmbed(
        msgspec.convert(quirks, gemini_embed.Quirks)
    ),
    "gemini_batch_embed": lambda quirks: gemini_embed.GeminiBatchEmbed(
        msgspec.convert(quirks, gemini_embed.Quirks)
    ),
    "cohere_chat": functools.partial(_alike, CohereChat()),
    "ollama_chat": functools.partial(_alike, OllamaChat()),
    "gemini_generate": lambda quirks: GeminiGenerate(msgspec.convert(quirks, GeminiQuirks)),
    "openai_completions": lambda quirks: OpenAICompletions(
        msgspec.convert(quirks, CompletionsQuirks)
    ),
    "openai_responses": lambda quirks: OpenAIResponses(msgspec.convert(quirks, ResponsesQuirks)),
    "tgi_generate": lambda quirks: _alike(TgiGenerate(), quirks),
    "openai_chat": lambda quirks: OpenAIChat(msgspec.convert(quirks, OpenAIQuirks)),
    "openai_embeddings": lambda quirks: openai_embeddings.OpenAIEmbeddings(
        msgspec.convert(quirks, openai_embeddings.Quirks)
    ),
    "cohere_embed": lambda quirks: cohere_embed.CohereEmbed(
        msgspec.convert(quirks, cohere_embed.Quirks)
    ),
    "vertex_predict": functools.partial(_alike, VertexPredict()),
    "bedrock_titan_embed": functools.partial(_alike, BedrockTitanEmbed()),
    "bedrock_cohere_embed": lambda quirks: BedrockCohereEmbed(
        msgspec.convert(quirks, cohere_embed.Quirks)
    ),
    "bedrock_nova_embed": lambda quirks: BedrockNovaEmbed(msgspec.convert(quirks, NovaQuirks)),
    "tei_embed": functools.partial(_alike, TeiEmbed()),
    "ollama_embed": functools.partial(_alike, OllamaEmbed()),
    "cohere_rerank": functools.partial(_alike, CohereRerank()),
    "voyage_rerank": lambda quirks: VoyageRerank(msgspec.convert(quirks, VoyageQuirks)),
    "bedrock_rerank": functools.partial(_alike, BedrockRerank()),
    "tei_rerank": functools.partial(_alike, TeiRerank()),
    "jina_rerank": functools.partial(_alike, JinaRerank()),
}
"""Each dialect with a provider's quirks. Those that claim fewer paths, or fewer of the bodies that
a path takes, come first."""
_FAMILIES = {
    "openai": "openai_chat",
    "anthropic": "anthropic_messages",
    "gemini": "gemini_generate",
}
"""Whose errors an operation's clients read, by the first word of its name."""


def _pass_through(row: Operation, family: Callable[[Json], AnyDialect], quirks: Json) -> AnyDialect:
    return _alike(PassThrough(row, family({})), quirks)


_WHOLE = "whole"
"""The quirk of a provider's count that takes Google's `generateContentRequest`."""
_INVOKE_MODEL = AnthropicQuirks(version="bedrock-2023-05-31", invoke_model=True)


def _count_tokens(row: Row, quirks: Json) -> AnyDialect:
    """Its chat dialect's quirks are its own; Google's way has one more, `whole`."""
    chat = _MAKERS[row.chat]({name: value for name, value in quirks.items() if name != _WHOLE})
    envelope: Envelope = Bare()
    if row.chat == "gemini_generate":
        whole = msgspec.convert(quirks.get(_WHOLE, True), bool)
        row = row if whole else msgspec.structs.replace(row, **VERTEX)
        envelope = Whole(whole=whole)
    elif row.chat == "bedrock_converse":
        envelope = Input(AnthropicMessages(_INVOKE_MODEL))
    return CountTokens(row, chat, envelope)


_AZURE = re.compile(r"/openai(?:/v1)?(?:/deployments/([^/]+))?(/.+)")
"""Azure's base paths: behind them stands what OpenAI has behind `/v1`.
Source: https://learn.microsoft.com/azure/ai-services/openai/reference, November 2026."""

_COUNTING = {row.name: functools.partial(_count_tokens, row) for row in ROWS}
"""They come before those of chat, whose lists of models claim Google's paths of counts too."""
_ALL = (
    _COUNTING
    | _MAKERS
    | {
        row.name: functools.partial(
            _pass_through, row, _MAKERS[_FAMILIES[row.name.partition("_")[0]]]
        )
        for row in OPERATIONS
    }
)
_CLIENTS: dict[str, AnyDialect] = {name: make({}) for name, make in _ALL.items()}
FRAMED: dict[tuple[str, str], AnyDialect] = {
    ("anthropic_messages", INVOKE): InvokedMessages(),
    ("openai_chat", WHOLE_CALLS): WholeChat(),
}
"""Those whose errors or whole answers, too, are others where the client wants its streams so."""
PREFIXES: tuple[tuple[str, str], ...] = (
    ("/v1/messages", "anthropic_messages"),
    ("/v1beta", "gemini_generate"),
    ("/v1/projects/", "gemini_generate"),
    ("/model/", "bedrock_converse"),
    ("/generate", "tgi_generate"),
    ("/foundation-models", "bedrock_converse"),
    ("/v2/", "cohere_chat"),
    ("/api/", "ollama_chat"),
    ("/embed", "tei_embed"),
)
"""Whose client calls an unknown path that begins so."""

SUCCESSORS = {
    "/api/generate": "/api/chat",
    "/api/embeddings": "/api/embed",
    "/v1/complete": "/v1/messages",
    "/v1/chat": "/v2/chat",
    "/v1/embed": "/v2/embed",
}
"""Former paths of the dialects, which nobody here answers, and what came after them."""

NAMES = tuple(_CLIENTS)
"""All dialects, by name."""
CHAT_NAMES = tuple(name for name, dialect in _CLIENTS.items() if dialect.operation == CHAT)
"""Those of chat, which all translate into each other."""


def names_of(operation: str) -> tuple[str, ...]:
    """Names of the dialects of one operation."""
    return tuple(name for name, dialect in _CLIENTS.items() if dialect.operation == operation)


def client_dialect(name: str, framing: str = "") -> AnyDialect:
    """The dialect of a client, by name; OpenAI's, the most widely read, where there is none.
    `framing` is `Call.framing`."""
    return FRAMED.get((name, framing)) or _CLIENTS.get(name) or _CLIENTS["openai_chat"]


def client_call(path_and_query: str, headers: Mapping[str, str]) -> ClientCall:
    """The dialect of a request, and what it asks for; its body may tell otherwise (`claimed`)."""
    path, _, query = path_and_query.partition("?")
    told = tuple((name, headers[name]) for name in _TELLING if name in headers)
    told += tuple((name, "") for name in _PRESENT if name in headers)
    told += tuple(item for item in _BEGINNING if headers.get(item[0], "").startswith(item[1]))
    if query or len(path) > _KEPT_PATH:
        return _find_call(path, query, told)
    return _known_call(path, "", told)


_TELLING = ("x-fern-sdk-name",)
_PRESENT = ("anthropic-version", "x-stainless-lang", "x-goog-api-key")
_BEGINNING = ((USER_AGENT, SDK_AGENT),)
"""Headers that tell whose client calls: by what they say, by being there, or by how they begin. A
dialect sees no other, and of the last no more than that, so that the same answer holds for the next
request like it."""
_KEPT_PATH = 256
_FEEDBACK = "/v1/feedback"
"""Ours, and no dialect's: only its errors are in the client's."""


@functools.lru_cache(1024)
def _known_call(path: str, query: str, told: tuple[tuple[str, str], ...]) -> ClientCall:
    return _find_call(path, query, told)


def _find_call(path: str, query: str, told: tuple[tuple[str, str], ...]) -> ClientCall:
    headers = dict(told)
    if path == _FEEDBACK:
        return ClientCall(dialect=_likeliest(path, headers), call=Call(operation=FEEDBACK))
    if azure := _AZURE.fullmatch(path):
        found = _find(f"/v1{azure[2]}", query, headers)
        return _at_deployment(found, azure[1] and unquote(azure[1]))
    return _find(path, query, headers)


def _find(path: str, query: str, headers: Mapping[str, str]) -> ClientCall:
    found: list[ClientCall] = []
    for dialect in _CLIENTS.values():
        if call := dialect.match(path, query, headers):
            spoken = client_dialect(dialect.name, call.framing)
            found.append(ClientCall(dialect=spoken, call=call))
            if call.claims is None:
                break
    if found:
        return msgspec.structs.replace(found[0], others=tuple(found[1:]))
    return ClientCall(dialect=_likeliest(path, headers), call=None)


def _at_deployment(found: ClientCall, model: str | None) -> ClientCall:
    """The call of an Azure client, whose deployment is the model, whatever its body says."""
    call = found.call
    if call is None or call.body == "unread":
        return ClientCall(dialect=found.dialect, call=None)
    if model is not None:
        fields = {**call.fields, "model": model}
        call = msgspec.structs.replace(call, model=model, fields=fields)
    return ClientCall(dialect=found.dialect, call=call)


def _likeliest(path: str, headers: Mapping[str, str]) -> AnyDialect:
    if "anthropic-version" in headers:
        return _CLIENTS["anthropic_messages"]
    return client_dialect(next((name for start, name in PREFIXES if path.startswith(start)), ""))


def provider_dialect(name: str, quirks: Json) -> AnyDialect:
    """The dialect `name` as a provider with `quirks` speaks it.

    Raises `InvalidRequest` for a dialect or a quirk that does not exist.
    """
    make = _ALL.get(name)
    if make is None:
        raise InvalidRequest("$.dialect", "one of " + ", ".join(NAMES))
    try:
        return make(quirks)
    except msgspec.ValidationError as error:
        raise InvalidRequest("$.quirks", str(error)) from error
