"""Wire formats. `Dialect` is all that the rest of the program sees of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from dragoman.actions import Respond
from dragoman.dialects.models import ModelCard
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import Blob, Json, Request, Response, Uri, Usage
from dragoman.ir.embeddings import EmbeddingResponse
from dragoman.ir.events import Event, PartStart, Start, UsageUpdate
from dragoman.ir.losses import Losses
from dragoman.ir.rerank import RerankResponse
from dragoman.wire.json import decode, decode_around_vectors

Q = TypeVar("Q")
A = TypeVar("A")
N = TypeVar("N", Start, Response, EmbeddingResponse, RerankResponse)

CHAT = "chat"
"""The operation whose dialects translate `ir.Request` and `ir.Response`, and stream."""
COUNT = "count_tokens"
"""The operation that counts the tokens of an `ir.Request`, and answers with an `ir.TokenCount`."""
EMBEDDINGS = "embeddings"
"""The operation of `ir.embeddings`."""
RERANK = "rerank"
"""The operation of `ir.rerank`."""
MODELS = "models"
"""Listing models: the service answers it itself."""
FEEDBACK = "feedback"
"""Scoring an answer: the service takes it itself, in the same shape from every client."""

LISTED = "listed"
"""The framing of an answer in one piece as an array that holds it; its streams are as usual."""

BodyKind = Literal["json", "form", "unread"]
"""How a request's body is read: whole, for its model alone, or not at all (it is not even held)."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a client's path asks for."""

    operation: str
    """`chat`, `models`, or the dialect's own operation."""
    method: str = "POST"
    """Empty: any."""
    body: BodyKind = "json"
    model: str | None = None
    """The model the path names, unquoted; None where the body names it. For `models`: the one
    asked about, empty for all of them."""
    answer: Json | None = None
    """For `models`: what everybody is told, where it is not about models that the policy has."""
    stream: bool | None = None
    """Whether the path asks for a stream; None where the body says."""
    streams_unless_told: bool = False
    """What a body means that does not say whether to stream."""
    default_model: str | None = None
    """The model meant where neither path nor body names one."""
    rest: str = ""
    """What of the path goes behind the provider's own."""
    framing: str = ""
    """How a stream is to be framed, where the dialect has more than one way; its own word."""
    wants_usage: bool = False
    """Whether a stream's usage is wanted, whatever the body says (`Dialect.wants_usage`)."""
    fields: Mapping[str, Any] = {}
    """Top-level fields of the body that the path says instead; None: the body must not say it."""
    header_fields: Mapping[str, str] = {}
    """Top-level lists of the body that a header may say instead, by commas: that header's name."""
    claims: Callable[[Json], bool] | None = None
    """Whether a body is one of this dialect, where others have the path too; None: any is."""

    def is_streamed(self, body: Json) -> bool:
        """Whether the call asks for a stream: by its path, else by its body."""
        if self.stream is not None:
            return self.stream
        said = body.get("stream")
        return said is True or (said is None and self.streams_unless_told)


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the client's request said that shapes the stream it gets back."""

    include_usage: bool = False
    framing: str = ""
    """`Call.framing`."""


class StreamDecoder(Protocol):
    """A provider's bytes in, events out, however the bytes are cut.

    Events are appended, so that those before a fault are there although it raises.
    """

    def feed(self, data: bytes, events: list[Event]) -> None:
        """Appends the events that are now complete. Raises `UpstreamProtocolError` on a broken
        frame and `UpstreamError` when the provider reports an error inside the stream."""
        ...

    def close(self, events: list[Event]) -> None:
        """Appends the last events. Raises `UpstreamProtocolError` if the stream was truncated."""
        ...


class StreamEncoder(Protocol):
    """Events in, the client's bytes out."""

    def feed(self, event: Event) -> bytes: ...
    def close(self) -> bytes: ...
    def fail(self, error: DragomanError) -> bytes:
        """End the stream with an error as this dialect reports one after the first byte."""
        ...


class Dialect(Protocol[Q, A]):
    """One wire format, as a client speaks it and as a provider speaks it.

    `Q` and `A` are the operation's request and answer. What the path says (the model, whether to
    stream) is not in the body: a dialect of which that is so leaves `model` empty and `stream`
    False when it decodes, and does not write them when it encodes; the exchange fills them in.
    """

    @property
    def name(self) -> str: ...
    @property
    def operation(self) -> str:
        """Dialects of one operation translate into each other."""
        ...

    @property
    def stream_types(self) -> tuple[str, ...]:
        """Content types (without parameters) that a stream of this dialect comes in."""
        ...

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        """What a client asks for by this path, if it is a path of this dialect."""
        ...

    def check_request(self, body: Json) -> None:
        """Raises `InvalidRequest` where the body cannot be one: a look at its top, no decoding."""
        ...

    def model_of(self, body: Json) -> Any:
        """The model that a body names, where the path does not; of any type, for no one looked."""
        ...

    def decode_request(self, body: Json) -> Q: ...
    def encode_request(self, request: Q, losses: Losses) -> Json: ...
    def decode_response(self, body: Json) -> A:
        """`body` is what `read_answer` made of the bytes."""
        ...

    def encode_response(self, response: A, losses: Losses) -> Json | list[Any]: ...
    def answer_id(self, request_id: str) -> str:
        """The id of the answer to that request, where its provider gave none, in this dialect's
        shape."""
        ...

    def stream_decoder(self) -> StreamDecoder: ...
    def stream_encoder(self, options: StreamOptions) -> StreamEncoder: ...
    def stream_type(self, options: StreamOptions) -> str:
        """The content type of what `stream_encoder(options)` writes."""
        ...

    def decode_error(self, status: int, body: bytes) -> UpstreamError: ...
    def encode_error(self, error: DragomanError) -> Respond: ...
    def encode_models(self, cards: Sequence[ModelCard], query: str) -> Json:
        """The answer to a call that lists models: the page of them that `query` asks for.

        Raises `InvalidRequest` naming a parameter of the query that asks for none.
        """
        ...

    def encode_model(self, card: ModelCard) -> Json:
        """The answer to a call that asks about one model."""
        ...

    def edits(self, body: Json) -> dict[str, Any]:
        """Top-level fields to set (None: remove) so that this provider takes `body`, a request in
        its own dialect, and reports usage when it streams. Empty where it takes it as it is."""
        ...

    def frames(self, framing: str) -> bool:
        """Whether this provider answers its own dialect as a client reads it that wants its stream
        framed so (`Call.framing`). Where it does not, what it answers is written anew."""
        ...

    def borrows(self, body: Json) -> bool:
        """Whether a client may send back in `body` what it was told of another dialect's answer,
        and this one's providers may refuse: reasoning, with its author's state."""
        ...

    def own_history(self, body: Json, losses: Losses) -> dict[str, Any]:
        """Top-level fields to set so that this provider takes such a body; empty for any other."""
        ...

    def wants_usage(self, body: Json) -> bool | None:
        """Whether the client asked for a usage frame at the end of a stream; None where the
        dialect always reports usage within its own frames."""
        ...

    def has_place_for(self, media: Uri | Blob) -> bool:
        """Whether a stream of this dialect says `media` that a model made."""
        ...

    def is_usage_frame(self, data: str) -> bool:
        """Whether a stream frame holds nothing but usage, and must not reach a client that did
        not ask for it."""
        ...


ChatDialect = Dialect[Request, Response]
AnyDialect = Dialect[Any, Any]


def read_answer(dialect: AnyDialect, raw: bytes, framing: str = "") -> Any:
    """A whole answer's bytes as `dialect.decode_response` takes them: an object; of embeddings and
    rerank any value, in which vectors stay the bytes they are.

    `framing` where it is as a client gets it. Raises as `dragoman.wire.json.decode` does.
    """
    if framing == LISTED:
        raw = _only_item(raw)
    is_any = dialect.operation in (EMBEDDINGS, RERANK)
    return decode_around_vectors(raw) if is_any else decode(raw)


def _only_item(raw: bytes) -> bytes:
    """What an array of one holds; as it is where it is none."""
    try:
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return raw
    return bytes(items[0]) if len(items) == 1 else raw


def with_id(answer: N, client: AnyDialect, request_id: str) -> N:
    """A whole answer, or the start of one, with an id; as it is where its provider gave one, or
    where nothing names the request."""
    if answer.id or not request_id:
        return answer
    return msgspec.structs.replace(answer, id=client.answer_id(request_id))


class StreamTranslator:
    """The one place where two dialects meet in a stream."""

    def __init__(
        self,
        upstream: ChatDialect,
        client: ChatDialect,
        options: StreamOptions,
        request_id: str = "",
    ) -> None:
        """`request_id` names an answer that its provider does not; empty: nothing does."""
        self._decoder = upstream.stream_decoder()
        self._encoder = client.stream_encoder(options)
        self._client = client
        self._request_id = request_id
        self.dropped: list[str] = []
        """Parts that the client's dialect has no words for; headers are too early to tell them."""
        self.usage: Usage | None = None
        """The last totals the provider reported; None while it has not."""

    def feed(self, data: bytes, out: bytearray) -> None:
        """Appends what the client gets of `data`; where it raises, what came before the fault."""
        events: list[Event] = []
        try:
            self._decoder.feed(data, events)
        finally:
            self._encode(events, out)

    def close(self, out: bytearray) -> None:
        """Appends the end of the answer. Raises as `feed` does, and where there is no end."""
        events: list[Event] = []
        try:
            self._decoder.close(events)
        finally:
            self._encode(events, out)
        out += self._encoder.close()

    def fail(self, error: DragomanError) -> bytes:
        return self._encoder.fail(error)

    def _encode(self, events: list[Event], out: bytearray) -> None:
        for event in events:
            if isinstance(event, UsageUpdate):
                self.usage = event.usage
            elif isinstance(event, PartStart) and event.kind == "opaque":
                self._note(event)
            elif isinstance(event, Start):
                event = with_id(event, self._client, self._request_id)  # noqa: PLW2901
            out += self._encoder.feed(event)

    def _note(self, part: PartStart) -> None:
        path = f"$.{part.name}"
        if part.media is not None:
            is_said = self._client.has_place_for(part.media)
        else:
            is_said = part.dialect == self._client.name
        if not is_said and path not in self.dropped:
            self.dropped.append(path)
