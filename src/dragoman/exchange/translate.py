"""The translate stage: one attempt at one upstream that speaks another dialect.

The body comes from Envoy, the client's own each time; what the decide stage knew comes from
metadata. An answer that cannot be used before its first byte went out turns into a status that
Envoy retries on the next target.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from dragoman import metadata as names
from dragoman.actions import Action, Chunk, Metadata, Mutate, Respond
from dragoman.config.policy import Policy, Provider
from dragoman.dialects import AnyDialect, StreamOptions, StreamTranslator
from dragoman.dialects.registry import client_dialect
from dragoman.errors import DragomanError, ServiceUnavailable, UpstreamProtocolError
from dragoman.exchange.decide import own_edits, refuse
from dragoman.exchange.heads import AttemptHead, ResponseEditor
from dragoman.exchange.usage import usage_metadata
from dragoman.ir import Usage
from dragoman.ir.losses import Losses
from dragoman.wire.content_encoding import ContentDecoder, content_decoder
from dragoman.wire.json import decode
from dragoman.wire.splice import splice

DROPPED_HEADER = "x-dragoman-dropped"
"""Response header: JSON paths of what the upstream's dialect could not say, comma separated."""
_MAX_DROPPED_BYTES = 4096
_ERROR_STATUS = 400
_EVENT_STREAM = "text/event-stream"


class Translate:
    """One attempt, request and answer. A `ResponseEditor` unless `passes_response`."""

    def __init__(self, policy: Policy, head: AttemptHead) -> None:
        self._policy = policy
        self._head = head
        self._client = client_dialect(head.metadata.get(names.CLIENT_DIALECT, ""))
        self._dropped: list[str] = []
        self._editor: ResponseEditor | None = None
        self.passes_response = False
        """True once the request is known to need no work on its answer."""

    def on_request(self, raw: bytes) -> Mutate | Respond:
        """The request in the provider's dialect. Answers, rather than raises, what goes wrong."""
        try:
            provider = self._provider()
            model = self._model()
            body = self._body(provider, raw, model)
        except DragomanError as error:
            self.passes_response = True
            return refuse(error, self._client)
        models = {self._head.cluster: model} if model else {}
        return Mutate(body=body, metadata={names.MODELS_NAMESPACE: models})

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        self._editor = self._choose_editor(headers)
        return self._editor.on_headers(headers, end_of_stream=end_of_stream)

    def on_body(self, data: bytes, *, end_of_stream: bool) -> list[Action]:
        return self._response().on_body(data, end_of_stream=end_of_stream)

    def on_trailers(self) -> list[Action]:
        return self._response().on_trailers()

    def _response(self) -> ResponseEditor:
        if self._editor is None:
            raise UpstreamProtocolError("the upstream's body came before its headers")
        return self._editor

    def _provider(self) -> Provider:
        name = self._head.provider or self._head.cluster
        provider = self._policy.providers.get(name)
        if provider is None:
            raise ServiceUnavailable(f"The policy has no provider {name} for the cluster chosen.")
        return provider

    def _model(self) -> str | None:
        """The model to ask for; None: the name the client used."""
        order = self._head.metadata.get(names.TARGETS, "")
        found = names.model_at(order, self._head.cluster, self._head.attempt)
        return found or self._head.model or self._head.metadata.get(names.MODEL)

    def _body(self, provider: Provider, raw: bytes, model: str | None) -> bytes | None:
        body = decode(raw)
        wanted = model or body.get("model", "")
        if provider.dialect.name == self._client.name:
            self.passes_response = True
            edits = own_edits(provider.dialect, body, wanted)
            return splice(raw, edits) if edits else None
        losses = Losses(provider.dialect.name, clamp=names.CLAMP in self._head.metadata)
        request = msgspec.structs.replace(self._client.decode_request(body), model=wanted)
        encoded = provider.dialect.encode_request(request, losses)
        self._dropped = losses.paths
        return msgspec.json.encode(encoded)

    def _choose_editor(self, headers: Mapping[str, str]) -> ResponseEditor:
        provider = self._provider().dialect
        decoder = content_decoder(
            headers.get("content-encoding", ""), self._policy.limits.response_body_bytes
        )
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == _EVENT_STREAM and int(headers.get(":status", "0")) < _ERROR_STATUS:
            asked = self._head.metadata.get(names.INCLUDE_USAGE) == names.FLAG
            options = StreamOptions(include_usage=asked)
            translator = StreamTranslator(provider, self._client, options)
            return _StreamEditor(translator, self._client, decoder, self._dropped)
        limit = self._policy.limits.response_body_bytes
        return _BodyEditor(provider, self._client, decoder, self._dropped, limit)


class _BodyEditor:
    """An answer in one piece: read whole, then written in the client's dialect."""

    def __init__(
        self,
        provider: AnyDialect,
        client: AnyDialect,
        decoder: ContentDecoder,
        dropped: list[str],
        max_bytes: int,
    ) -> None:
        self._provider = provider
        self._client = client
        self._decoder = decoder
        self._dropped = dropped
        self._max_bytes = max_bytes
        self._status = 0
        self._body = bytearray()
        self._error: DragomanError | None = None

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]:
        self._status = int(headers.get(":status", "0"))
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
            status, body, usage = self._translate()
        except DragomanError as error:
            answer = refuse(error, self._client)
            status, body, usage = answer.status, answer.body, None
        headers = {
            ":status": str(status),
            "content-type": "application/json",
            "content-length": str(len(body)),
            **_dropped_header(self._dropped),
        }
        return [
            Mutate(set_headers=headers, remove_headers=("content-encoding",)),
            Chunk(body=body, end_of_stream=ends_stream, metadata=usage_metadata(usage, exact=True)),
        ]

    def _translate(self) -> tuple[int, bytes, Usage | None]:
        if self._error is not None:
            raise self._error
        self._body += self._decoder.close()
        raw = bytes(self._body)
        if self._status >= _ERROR_STATUS:
            error = self._provider.decode_error(self._status, raw)
            return self._status, self._client.encode_error(error).body, None
        losses = Losses(self._client.name)
        response = self._provider.decode_response(_decode_answer(raw))
        encoded = self._client.encode_response(response, losses)
        self._dropped = [*self._dropped, *losses.paths]
        return self._status, msgspec.json.encode(encoded), response.usage


class _StreamEditor:
    """A streamed answer. Its headers are held until the first byte for the client exists."""

    def __init__(
        self,
        translator: StreamTranslator,
        client: AnyDialect,
        decoder: ContentDecoder,
        dropped: list[str],
    ) -> None:
        self._translator = translator
        self._client = client
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
        try:
            out = self._translator.feed(self._decoder.feed(data))
            if closes:
                out += self._translator.feed(self._decoder.close()) + self._translator.close()
        except DragomanError as error:
            return self._fail(error)
        if not out and not closes:
            return []
        self._ended = closes
        usage: Metadata = {}
        if closes:
            usage = usage_metadata(self._translator.usage, exact=True)
        chunk = Chunk(body=out, end_of_stream=ends_stream, metadata=usage)
        return [*self._release(), chunk]

    def _release(self) -> list[Action]:
        if self._released:
            return []
        self._released = True
        headers = {"content-type": _EVENT_STREAM, **_dropped_header(self._dropped)}
        return [Mutate(set_headers=headers, remove_headers=("content-length", "content-encoding"))]

    def _fail(self, error: DragomanError) -> list[Action]:
        """End the answer: as a status Envoy may retry while nothing went out, else in-stream."""
        self._ended = True
        usage = usage_metadata(self._translator.usage, exact=False)
        if self._released:
            return [Chunk(body=self._translator.fail(error), end_of_stream=True, metadata=usage)]
        answer = refuse(error, self._client)
        headers = {
            ":status": str(answer.status),
            "content-type": "application/json",
            "content-length": str(len(answer.body)),
        }
        return [
            Mutate(set_headers=headers, remove_headers=("content-encoding",)),
            Chunk(body=answer.body, end_of_stream=True, metadata=usage),
        ]


def _decode_answer(raw: bytes) -> dict[str, object]:
    try:
        return decode(raw)
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
