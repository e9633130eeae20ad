"""The translate stage: one attempt at one upstream that speaks another dialect.

The body comes from Envoy, the client's own each time; what the decide stage knew comes from
metadata. An answer that cannot be used before its first byte went out turns into a status that
Envoy retries on the next target.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Metadata, Mutate, Respond, Shared, amend
from dragoman.config.policy import Endpoint, Policy, Provider
from dragoman.dialects import (
    CHAT,
    COUNT,
    LISTED,
    AnyDialect,
    BodyKind,
    StreamTranslator,
    read_answer,
    with_id,
)
from dragoman.dialects.error_words import is_error
from dragoman.errors import (
    DragomanError,
    NotOffered,
    ServiceUnavailable,
    UpstreamProtocolError,
)
from dragoman.exchange.answers import refuse
from dragoman.exchange.asked import changes, own_edits
from dragoman.exchange.bodies import edit_body, read_body
from dragoman.exchange.fitting import AnswerReader, Fitting, FittingEditor, fitting_for
from dragoman.exchange.heads import AttemptHead, ResponseEditor, Steps, client_of, stream_options
from dragoman.exchange.usage import tell_broken, usage_metadata, usage_of_headers
from dragoman.exchange.watch import Watch, WatchEditor, tell_kept, watch_for
from dragoman.ir import Json, Request, Usage
from dragoman.ir.embeddings import EmbeddingRequest
from dragoman.ir.losses import Losses
from dragoman.ir.rerank import RerankRequest
from dragoman.policies.capabilities import fit
from dragoman.wire.content_encoding import ContentDecoder, late_decoder

if TYPE_CHECKING:
    from dragoman.exchange.compared import Compared
    from dragoman.exchange.scoring import Scoring, ScoringEditor

DROPPED_HEADER = "x-dragoman-dropped"
"""Response header: JSON paths of what the upstream's dialect could not say, comma separated."""
_MAX_DROPPED_BYTES = 4096
_ERROR_STATUS = 400
Question = EmbeddingRequest | RerankRequest
_JSON = {"content-type": "application/json"}


class Translate:
    """One attempt, request and answer. A `ResponseEditor` unless `passes_response`."""

    def __init__(
        self,
        policy: Policy,
        head: AttemptHead,
        clock: Callable[[], float] = time.time,
        secret: bytes = b"",
    ) -> None:
        """`clock` tells Unix seconds; `secret` is what all workers share, where answers are to be
        compared."""
        self._clock = clock
        self._secret = secret
        self._policy = policy
        self._head = head
        self._client = client_of(head.metadata)
        self._provider = self._client
        """The dialect that was asked, once the request is written."""
        self._dropped: list[str] = []
        self._question: Question | None = None
        self._watch = Watch()
        self._fitting: Fitting | None = None
        self._scoring: Scoring | None = None
        self._compared: Compared | None = None
        self._is_own = False
        """The answer is in the client's own dialect and framing."""
        self._editor: ResponseEditor | ScoringEditor | None = None
        self.passes_response = False
        """True once the request is known to need no work on its answer."""

    def on_request(self, raw: bytes) -> Mutate | Respond:
        """The request in the provider's dialect. Answers, rather than raises, what goes wrong."""
        try:
            model = self._model()
            provider, endpoint = self._upstream(model)
            self._provider = endpoint.dialect
            body = self._body(provider, endpoint, raw, model)
        except DragomanError as error:
            self.passes_response = True
            return refuse(error, self._client)
        path = None
        if endpoint.dialect.name != self._client.name or endpoint.names_model:
            path = endpoint.request_path(model, stream=self._stream)
        told = _tell(self._head.cluster, model, provider.name, path)
        return Mutate(body=body, metadata=told)

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        self._editor = self._choose_editor(headers)
        return self._editor.on_headers(headers, end_of_stream=end_of_stream)

    def on_body(self, data: bytes, *, end_of_stream: bool) -> Steps:
        return self._response().on_body(data, end_of_stream=end_of_stream)

    def on_trailers(self) -> Steps:
        return self._response().on_trailers()

    def _response(self) -> ResponseEditor | ScoringEditor:
        if self._editor is None:
            raise UpstreamProtocolError("the upstream's body came before its headers")
        return self._editor

    @property
    def _stream(self) -> bool:
        return self._head.metadata.get(names.STREAM) == names.FLAG

    def _upstream(self, model: str) -> tuple[Provider, Endpoint]:
        name = self._head.provider or self._head.cluster
        provider = self._policy.providers.get(name)
        if provider is None:
            raise ServiceUnavailable(f"The policy has no provider {name} for the cluster chosen.")
        endpoint = provider.endpoint_for(self._client, model)
        if endpoint is None:
            raise NotOffered(f"{name} offers no {self._client.operation}.")
        return provider, endpoint

    def _model(self) -> str:
        """The model to ask for: the attempt's, the cluster's, or the name the client used."""
        order = self._head.metadata.get(names.TARGETS, "")
        found = names.model_at(order, self._head.cluster, self._head.attempt)
        return found or self._head.model or self._head.metadata.get(names.MODEL, "")

    def _body(self, provider: Provider, endpoint: Endpoint, raw: bytes, model: str) -> bytes | None:
        kind = cast("BodyKind", self._head.metadata.get(names.BODY, "json"))
        body, said = read_body(kind, raw), self._said()
        if endpoint.dialect.name == self._client.name:
            options = stream_options(self._head.metadata)
            self._watch = watch_for(self._head, model, lambda: self._read(body, said), self._clock)
            self._fitting = fitting_for(self._head, lambda: self._read(body, said))
            self._scoring = self._score(raw, body)
            self._is_own = endpoint.dialect.frames(options.framing)
            self._compared = self._compare(lambda: self._read(body, said))
            edits = self._own_edits(endpoint, body, said, model)
            told = self._watch.wanted or self._fitting or self._compared or self._dropped
            self.passes_response = self._is_own and not told
            return edit_body(kind, raw, edits)
        losses = Losses(endpoint.dialect.name, clamp=names.CLAMP in self._head.metadata)
        request = msgspec.structs.replace(self._read(body, said), model=model)
        self._watch = watch_for(self._head, model, lambda: request, self._clock)
        self._fitting = fitting_for(self._head, lambda: request)
        self._scoring = self._score(raw, body)
        self._compared = self._compare(lambda: request)
        if isinstance(request, Request):
            request = msgspec.structs.replace(request, stream=self._stream)
            if self._client.operation == CHAT:
                profile = self._policy.profile(provider.name, model)
                request = fit(request, profile, model, losses)
        else:
            self._question = request
        encoded = endpoint.dialect.encode_request(request, losses)
        self._dropped = losses.paths
        return msgspec.json.encode(encoded)

    def _own_edits(self, endpoint: Endpoint, body: Json, said: Json, model: str) -> Json:
        """What the provider gets otherwise than its own dialect's client has written it."""
        losses = Losses(self._client.name)
        history = endpoint.dialect.own_history({**body, "model": model}, losses)
        self._dropped = losses.paths
        return changes(body, history | own_edits(endpoint, {**body, **history}, said, model))

    def _read(self, body: Json, said: Json) -> Any:
        return self._client.decode_request({**body, **said})

    def _score(self, raw: bytes, body: Json) -> Scoring | None:
        if names.SCORER not in self._head.metadata or self._stream:
            return None
        from dragoman.exchange.scoring import scoring_for  # noqa: PLC0415 - seldom wanted

        return scoring_for(self._policy, self._head, self._watch, raw, body)

    def _compare(self, read: Callable[[], object]) -> Compared | None:
        """What the answer is described by, where it is to be compared. A request in the provider's
        own dialect may be none that is known here: then nothing is."""
        nonce = self._head.metadata.get(names.NONCE)
        if not nonce or not self._secret:
            return None
        from dragoman.exchange.compared import Compared  # noqa: PLC0415 - seldom wanted

        try:
            return Compared.of(read(), self._secret, nonce)
        except DragomanError:
            return None

    def _said(self) -> Json:
        """Fields that stood beside the client's body, or that the decide stage took out of it."""
        return msgspec.json.decode(self._head.metadata.get(names.FIELDS) or "{}", type=Json)

    def _choose_editor(self, headers: Mapping[str, str]) -> ResponseEditor | ScoringEditor:
        editor = self._inner_editor(headers)
        if self._compared is not None:
            editor = self._compared.look_at(editor, self._reader(headers))
        if self._fitting is not None:
            editor = FittingEditor(editor, self._fitting, self._client, self._reader(headers))
        if self._scoring is None or self._is_streamed(headers):
            return editor
        from dragoman.exchange.scoring import ScoringEditor  # noqa: PLC0415 - seldom wanted

        return ScoringEditor(editor, self._scoring, self._client, self._reader(headers))

    def _reader(self, headers: Mapping[str, str]) -> AnswerReader:
        """Of what the client would get."""
        encoding = headers.get("content-encoding", "") if self._is_own else ""
        limit = self._policy.limits.response_body_bytes
        return AnswerReader(
            self._client,
            self._head.metadata.get(names.FRAMING, ""),
            late_decoder(encoding, limit),
            limit,
            streams=self._is_streamed(headers),
        )

    def _is_streamed(self, headers: Mapping[str, str]) -> bool:
        """Whether it is the stream that was asked for."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_well = int(headers.get(":status", "0")) < _ERROR_STATUS
        return self._stream and is_well and kind in self._provider.stream_types

    def _inner_editor(self, headers: Mapping[str, str]) -> ResponseEditor:
        provider = self._provider
        limit = self._policy.limits.response_body_bytes
        decoder = late_decoder(headers.get("content-encoding", ""), limit)
        streams = self._is_streamed(headers)
        if self._is_own:
            told = _dropped_header(self._dropped)
            return WatchEditor(provider, self._watch, decoder, limit, told, streams=streams)
        if streams:
            options = stream_options(self._head.metadata)
            named = self._head.request_id
            translator = StreamTranslator(provider, self._client, options, named)
            kind = self._client.stream_type(options)
            return _StreamEditor(translator, self._client, kind, decoder, self._dropped)
        pair = _Pair(
            provider=provider,
            client=self._client,
            question=self._question,
            listed=self._head.metadata.get(names.FRAMING) == LISTED,
            watch=self._watch,
            request_id=self._head.request_id,
        )
        return _BodyEditor(pair, decoder, self._dropped, limit)


@functools.lru_cache(1024)
def _tell(cluster: str, model: str, provider: str, path: str | None) -> Shared:
    """What is told of an attempt: the same of all that ask this model there."""
    spaces = Shared({names.MODELS_NAMESPACE: {cluster: model}})
    if path is not None:
        spaces[names.PATHS_NAMESPACE] = {provider: path}
    return spaces


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Between whom an answer is translated."""

    provider: AnyDialect
    client: AnyDialect
    question: Question | None
    """What was asked, where an answer is complete only with it."""
    listed: bool
    """The client wants it as an array of one."""
    watch: Watch
    request_id: str


class _BodyEditor:
    """An answer in one piece: read whole, then written in the client's dialect."""

    def __init__(
        self, pair: _Pair, decoder: ContentDecoder, dropped: list[str], max_bytes: int
    ) -> None:
        self._provider = pair.provider
        self._client = pair.client
        self._question = pair.question
        self._listed = pair.listed
        self._watch = pair.watch
        self._request_id = pair.request_id
        self._decoder = decoder
        self._dropped = dropped
        self._max_bytes = max_bytes
        self._status = 0
        self._usage: Usage | None = None
        self._body = bytearray()
        self._error: DragomanError | None = None
        self._kept: str | None = None

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        self._status = int(headers.get(":status", "0"))
        self._usage = usage_of_headers(headers)
        return self._finish(ends_stream=True) if end_of_stream else []

    def on_body(self, data: bytes, *, end_of_stream: bool) -> list[Action]:
        self._take(data)
        return self._finish(ends_stream=True) if end_of_stream else []

    def on_trailers(self) -> list[Action]:
        return self._finish(ends_stream=False)

    def _take(self, data: bytes) -> None:
        """Keep `data`, unless the answer has already gone wrong: then only its end is awaited."""
        if self._error is not None:
            return
        try:
            self._body += self._decoder.feed(data)
        except DragomanError as error:
            self._error = error
        if len(self._body) > self._max_bytes:
            self._error = UpstreamProtocolError("the upstream's answer is larger than the limit")
            self._body.clear()

    def _finish(self, *, ends_stream: bool) -> list[Action]:
        try:
            answer, usage = self._translate()
            kept, told = tell_kept(self._kept)
        except DragomanError as error:
            answer, usage, kept = refuse(error, self._client), None, dict[str, str]()
            told = self._watch.tell(error)
        headers = {**_answer_headers(answer), **_dropped_header(self._dropped), **kept}
        return [
            Mutate(set_headers=headers, remove_headers=("content-encoding",)),
            Chunk(
                body=answer.body,
                end_of_stream=ends_stream,
                metadata={**usage_metadata(usage, exact=True), **told},
            ),
        ]

    def _translate(self) -> tuple[Respond, Usage | None]:
        if self._error is not None:
            raise self._error
        self._body += self._decoder.close()
        raw = bytes(self._body)
        if self._status >= _ERROR_STATUS:
            error = self._provider.decode_error(self._status, raw)
            self._kept = self._watch.judge_error(error)
            answer = self._client.encode_error(error)
            return msgspec.structs.replace(answer, status=self._status), None
        losses = Losses(self._client.name)
        response = self._decode(raw)
        self._kept = self._watch.judge(response)
        if response.usage is None and self._usage is not None:
            response = msgspec.structs.replace(response, usage=self._usage)
        if self._client.operation != COUNT:
            response = with_id(response, self._client, self._request_id)
        encoded = self._client.encode_response(response, losses)
        self._dropped = [*self._dropped, *losses.paths]
        body = msgspec.json.encode([encoded] if self._listed else encoded)
        return Respond(status=self._status, headers=_JSON, body=body), response.usage

    def _decode(self, raw: bytes) -> Any:
        """The answer. What is none may be an error with the status of an answer."""
        try:
            response = self._provider.decode_response(_read_answer(self._provider, raw))
            return response if self._question is None else self._question.complete(response)
        except UpstreamProtocolError as fault:
            if is_error(raw):
                raise self._provider.decode_error(fault.status, raw) from fault
            raise


class _StreamEditor:
    """A streamed answer. Its headers are held until the first byte for the client exists."""

    def __init__(
        self,
        translator: StreamTranslator,
        client: AnyDialect,
        kind: str,
        decoder: ContentDecoder,
        dropped: list[str],
    ) -> None:
        self._translator = translator
        self._client = client
        self._kind = kind
        self._decoder = decoder
        self._dropped = dropped
        self._released = False
        self._ended = False

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        del headers
        return self.on_body(b"", end_of_stream=True) if end_of_stream else []

    def on_body(self, data: bytes, *, end_of_stream: bool) -> list[Action]:
        return self._advance(data, closes=end_of_stream, ends_stream=end_of_stream)

    def on_trailers(self) -> list[Action]:
        return self._advance(b"", closes=True, ends_stream=False)

    def _advance(self, data: bytes, *, closes: bool, ends_stream: bool) -> list[Action]:
        if self._ended:
            return []
        told = bytearray()
        try:
            self._translator.feed(self._decoder.feed(data), told)
            if closes:
                self._translator.feed(self._decoder.close(), told)
                self._translator.close(told)
        except DragomanError as error:
            return self._fail(error, bytes(told), ends_stream=ends_stream or not closes)
        out = bytes(told)
        if not out and not closes:
            return []
        self._ended = closes
        usage: Metadata = {}
        if closes:
            usage = self._metadata(exact=True)
        chunk = Chunk(body=out, end_of_stream=ends_stream, metadata=usage)
        return [*self._release(), chunk]

    def _metadata(self, *, exact: bool) -> Metadata:
        stream = self._translator
        return usage_metadata(stream.usage, exact=exact, dropped=stream.dropped)

    def _release(self) -> list[Action]:
        if self._released:
            return []
        self._released = True
        headers = {"content-type": self._kind, **_dropped_header(self._dropped)}
        return [Mutate(set_headers=headers, remove_headers=("content-length", "content-encoding"))]

    def _fail(self, error: DragomanError, out: bytes, *, ends_stream: bool) -> list[Action]:
        """End the answer: as a status Envoy may retry while nothing went out, else in-stream,
        behind `out`, what was still read of it.

        At trailers it is they that end the stream (`ends_stream`).
        """
        self._ended = True
        usage = self._metadata(exact=False)
        if self._released:
            told = out + self._translator.fail(error)
            metadata = amend(usage, tell_broken(error))
            return [Chunk(body=told, end_of_stream=ends_stream, metadata=metadata)]
        answer = refuse(error, self._client)
        return [
            Mutate(set_headers=_answer_headers(answer), remove_headers=("content-encoding",)),
            Chunk(body=answer.body, end_of_stream=ends_stream, metadata=usage),
        ]


def _answer_headers(answer: Respond) -> dict[str, str]:
    size = str(len(answer.body))
    return {**answer.headers, ":status": str(answer.status), "content-length": size}


def _read_answer(provider: AnyDialect, raw: bytes) -> Any:
    try:
        return read_answer(provider, raw)
    except DragomanError as error:
        raise UpstreamProtocolError("the upstream's answer is not a JSON object") from error


def _dropped_header(paths: list[str]) -> dict[str, str]:
    """The header's value in printable ASCII; what does not fit is counted, not hidden."""
    if not paths:
        return {}
    kept: list[str] = []
    size = 0
    for path in dict.fromkeys(paths):
        safe = quote(path, safe="$.[]*_-'\"/:@ ")
        size += len(safe) + 2
        if size > _MAX_DROPPED_BYTES:
            kept.append(f"and {len(dict.fromkeys(paths)) - len(kept)} more")
            break
        kept.append(safe)
    return {DROPPED_HEADER: ", ".join(kept)}
