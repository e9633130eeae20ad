"""Between Envoy's messages and plain values: the only place that knows both.

Who owns `content-length`: Envoy, wherever it still can. The request phases never set it, because a
buffer filter behind them writes the length of the body that goes out; in the answer phases the
stage sets or removes it with its headers, because nothing behind them counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

from dragoman.actions import Action, Chunk, Continue, Metadata, Mutate, Respond
from dragoman.exchange.heads import AttemptHead, RequestHead
from dragoman.extproc.pb.ext_proc_pb2 import (
    BodyMutation,
    BodyResponse,
    CommonResponse,
    HeaderMap,
    HeaderMutation,
    HeadersResponse,
    HeaderValue,
    HeaderValueOption,
    HttpStatus,
    ImmediateResponse,
    ProcessingRequest,
    ProcessingResponse,
    StreamedBodyResponse,
    TrailersResponse,
)
from dragoman.extproc.transports import Message

Kind = Literal[
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
]
Attributes = Mapping[str, str]
"""Envoy attributes by the name they were asked for; numbers as text."""

_ATTRIBUTES = "envoy.filters.http.ext_proc"
_METADATA = "metadata.filter_metadata['dragoman']['"
_CLUSTER_METADATA = "xds.cluster_metadata.filter_metadata['dragoman']['"
_HEADERS = "request.headers['"
_CLOSE = "']"
_OVERWRITE = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
_NOTHING = "x-dragoman-none"
"""A header nobody has: naming it makes Envoy heed `clear_route_cache`, which it ignores in a reply
without any header mutation."""


def read_message(raw: Message) -> ProcessingRequest:
    """One message from Envoy."""
    return ProcessingRequest.FromString(raw)  # type: ignore[arg-type]  # it reads any buffer


def kind_of(message: ProcessingRequest) -> Kind | None:
    """Which of its forms `message` has; None for one this service does not know."""
    kind: Kind | None = message.WhichOneof("request")
    return kind


def read_attributes(message: ProcessingRequest) -> Attributes:
    """The attributes Envoy sent along; it sends them on the first message of a direction only."""
    if _ATTRIBUTES not in message.attributes:
        return {}
    fields = message.attributes[_ATTRIBUTES].fields
    return {
        name: value.string_value if value.HasField("string_value") else f"{value.number_value:.0f}"
        for name, value in fields.items()
    }


def read_headers(headers: HeaderMap) -> dict[str, str]:
    """Headers by lower-case name, values of a repeated one joined as HTTP says."""
    found: dict[str, str] = {}
    for header in headers.headers:
        value = header.raw_value.decode("utf-8", "surrogateescape") or header.value
        found[header.key] = f"{found[header.key]}, {value}" if header.key in found else value
    return found


def request_head(attributes: Attributes) -> RequestHead:
    """The client's request as named in the attributes of the decide filter."""
    return RequestHead(
        method=attributes.get("request.method", ""),
        path=attributes.get("request.path", ""),
        headers=_keyed(attributes, _HEADERS),
        request_id=attributes.get("request.id", ""),
        address=attributes.get("source.address", ""),
    )


def attempt_head(attributes: Attributes) -> AttemptHead:
    """The attempt as named in the attributes of the translate filter."""
    return AttemptHead(
        cluster=attributes.get("xds.cluster_name", ""),
        attempt=int(attributes.get("upstream.request_attempt_count", "1")),
        provider=attributes.get(f"{_CLUSTER_METADATA}provider{_CLOSE}", ""),
        model=attributes.get(f"{_CLUSTER_METADATA}model{_CLOSE}", ""),
        metadata=stage_metadata(attributes),
    )


def stage_metadata(attributes: Attributes) -> dict[str, str]:
    """What the decide stage wrote, as far as the filter names it."""
    return _keyed(attributes, _METADATA)


def decide_reply(action: Mutate | Respond, kind: Kind) -> bytes:
    """The one reply of the decide stage to the one message of form `kind`."""
    if isinstance(action, Respond):
        return _immediate(action)
    common = CommonResponse(
        header_mutation=_header_mutation(action.set_headers, (*action.remove_headers, _NOTHING)),
        clear_route_cache=action.clear_route_cache,
    )
    if action.body is not None:
        common.body_mutation.body = action.body
    reply = ProcessingResponse()
    if kind == "request_headers":
        reply.request_headers.response.CopyFrom(common)
    else:
        reply.request_body.response.CopyFrom(common)
    return _finish(reply, action.metadata)


def attempt_reply(action: Mutate | Respond) -> bytes:
    """The one reply to a whole upstream request: another body, or none where it stays."""
    if isinstance(action, Respond):
        return _immediate(action)
    common = CommonResponse()
    if action.body is not None:
        common.body_mutation.body = action.body
    reply = ProcessingResponse(request_body=BodyResponse(response=common))
    return _finish(reply, action.metadata)


def answer_replies(actions: Iterable[Action]) -> list[bytes]:
    """The replies of an answer phase in full-duplex mode, one an action."""
    return [_answer_reply(action) for action in actions]


def bodiless_answer_reply(actions: Iterable[Action]) -> bytes:
    """The one reply to an answer without a body: its headers, and the body it gains, if any."""
    common = CommonResponse()
    metadata: Metadata = {}
    for action in actions:
        match action:
            case Mutate():
                mutation = _header_mutation(action.set_headers, action.remove_headers)
                common.header_mutation.CopyFrom(mutation)
            case Chunk():
                common.status = CommonResponse.CONTINUE_AND_REPLACE
                common.body_mutation.body = action.body
                metadata = action.metadata
            case Respond():
                return _immediate(action)
            case Continue():
                pass
    reply = ProcessingResponse(response_headers=HeadersResponse(response=common))
    return _finish(reply, metadata)


def trailers_reply() -> bytes:
    """Let the answer's trailers pass."""
    reply = ProcessingResponse(response_trailers=TrailersResponse())
    return reply.SerializeToString()


def _answer_reply(action: Action) -> bytes:
    match action:
        case Respond():
            return _immediate(action)
        case Chunk():
            piece = StreamedBodyResponse(body=action.body, end_of_stream=action.end_of_stream)
            common = CommonResponse(body_mutation=BodyMutation(streamed_response=piece))
            reply = ProcessingResponse(response_body=BodyResponse(response=common))
        case Mutate():
            mutation = _header_mutation(action.set_headers, action.remove_headers)
            common = CommonResponse(header_mutation=mutation)
            reply = ProcessingResponse(response_headers=HeadersResponse(response=common))
        case Continue():
            reply = ProcessingResponse(response_headers=HeadersResponse())
    return _finish(reply, action.metadata)


def _immediate(action: Respond) -> bytes:
    immediate = ImmediateResponse(
        status=HttpStatus(code=action.status),
        headers=_header_mutation(action.headers, ()),
        body=action.body,
        details=action.details,
    )
    return _finish(ProcessingResponse(immediate_response=immediate), action.metadata)


def _finish(reply: ProcessingResponse, metadata: Metadata) -> bytes:
    if metadata:
        reply.dynamic_metadata.update(cast("Any", metadata))
    return reply.SerializeToString()


def _header_mutation(set_headers: Mapping[str, str], remove: Iterable[str]) -> HeaderMutation:
    return HeaderMutation(
        set_headers=[
            HeaderValueOption(
                header=HeaderValue(key=name, raw_value=value.encode("utf-8", "surrogateescape")),
                append_action=_OVERWRITE,
            )
            for name, value in set_headers.items()
        ],
        remove_headers=remove,
    )


def _keyed(attributes: Attributes, prefix: str) -> dict[str, str]:
    """The attributes `PREFIX name ']`, by name."""
    return {
        name[len(prefix) : -len(_CLOSE)]: value
        for name, value in attributes.items()
        if name.startswith(prefix)
    }
