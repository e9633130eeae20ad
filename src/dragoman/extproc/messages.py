"""Between Envoy's messages and plain values: the only place that knows both.

Who owns `content-length`: Envoy, wherever it still can. The request phases never set it, because a
buffer filter behind them writes the length of the body that goes out; in the answer phases the
stage sets or removes it with its headers, because nothing behind them counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import msgspec

from dragoman.actions import (
    Action,
    Amended,
    Chunk,
    Continue,
    Metadata,
    Mutate,
    Respond,
    Shared,
)
from dragoman.exchange.heads import AttemptHead, RequestHead
from dragoman.extproc.transports import Message
from dragoman.ir import Json
from dragoman.metadata import HEAD, JWT_NAMESPACE, REQUEST_ID_ATTRIBUTE
from dragoman.wire.protobuf import (
    Entries,
    Malformed,
    Pieces,
    encode_member,
    encode_struct,
    field,
    message_head,
    read_fields,
    read_json,
    read_struct,
    read_varint,
    varint,
    wrap,
)

Kind = Literal[
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
]


class Attributes(dict[str, str]):
    """Envoy attributes by the name they were asked for; numbers as text. Never changed."""

    @cached_property
    def head(self) -> RequestHead:
        """The client's request as named in the attributes of the decide filter.

        A header may also have an attribute of its own, with all of its values.
        """
        method, path, *lines = f"{self.get(_HEAD, '')}\n".split("\n")
        said = (line.partition(":") for line in lines)
        return RequestHead(
            method=method,
            path=path,
            headers={name: value for name, _, value in said if value} | _keyed(self, _HEADERS),
            address=self.get("source.address", ""),
            certificate=self.get("connection.uri_san_peer_certificate", ""),
        )


NO_ATTRIBUTES = Attributes()
_OURS = b"envoy.filters.http.ext_proc"
"""Under which name Envoy sends attributes, whatever the filter's own."""
_TOKENS = JWT_NAMESPACE.encode()
_METADATA = "metadata.filter_metadata['dragoman']['"
_CLUSTER_METADATA = "xds.cluster_metadata.filter_metadata['dragoman']['"
_HEAD = f"filter_state['{HEAD}']"
_HEADERS = "request.headers['"
_CLOSE = "']"
_NOTHING = "x-dragoman-none"
"""A header nobody has: naming it makes Envoy heed `clear_route_cache`, which it ignores in a reply
without any header mutation."""

_BODIES: dict[int, Kind] = {4: "request_body", 5: "response_body"}
_HEADERS_OF: dict[int, Kind] = {2: "request_headers", 3: "response_headers"}
_TRAILERS: dict[int, Kind] = {6: "request_trailers", 7: "response_trailers"}
_METADATA_CONTEXT, _ATTRIBUTES, _PROTOCOL = 8, 9, 11
"""Fields of `ProcessingRequest`."""
_STREAMED = b"\x08\x01"
"""How `ProtocolConfiguration` begins where a request's body comes as it is received."""
_RESPONSE_HEADERS, _REQUEST_BODY, _RESPONSE_BODY = 2, 3, 4
_RESPONSE_TRAILERS, _IMMEDIATE_RESPONSE, _DYNAMIC_METADATA = 6, 7, 8
"""Of `ProcessingResponse`."""
_CONTINUE_AND_REPLACE = b"\x08\x01"
_HEADER_MUTATION, _BODY_MUTATION, _CLEAR_ROUTE_CACHE = 2, 3, b"\x28\x01"
"""Of `CommonResponse`; the last one set."""
_STREAMED_RESPONSE, _END_OF_STREAM = 3, b"\x10\x01"
"""Of `BodyMutation`, and of what it is."""
_PIECE, _PIECE_BODY = 5 << 3 | 2, 1 << 3 | 2
"""How a `ProcessingRequest` with a response's body begins, and how the body in it does."""
_NOTHING_MORE = (b"\x42\x00", b"")
"""What is behind it: metadata without any, or nothing."""
_OVERWRITE_IF_EXISTS_OR_ADD = b"\x18\x02"
"""The action of a `HeaderValueOption`."""
_UNCHANGED_HEADERS = field(_HEADER_MUTATION, field(2, _NOTHING.encode()))


_KEPT, _KEPT_BYTES = 512, 1024
"""How many attributes are remembered, and up to which size. Envoy sends those of one request in
any order, which counts as many times."""
_KEPT_CHARS = 64
"""Up to which size the values of headers are, once written."""


class Incoming(NamedTuple):
    """One message from Envoy."""

    kind: Kind | None
    """Which of its forms it has; None for one this service does not know."""
    body: bytes
    end_of_stream: bool
    headers: Sequence[tuple[str, str]]
    """Names in lower case."""
    attributes: Attributes
    """Envoy sends them on the first message of a direction only."""
    token: Json
    """What Envoy's `jwt_authn` found, where the filter forwards it."""
    in_pieces: bool = False
    """On the first message: the request's body comes in pieces, and each wants its reply."""


def read_message(raw: Message) -> Incoming:
    """One message from Envoy; of a body one copy is made. Raises `Malformed`."""
    kind: Kind | None = None
    headers: Sequence[tuple[str, str]] = ()
    body, ended, in_pieces = b"", False, False
    attributes = NO_ATTRIBUTES
    token: Json = {}
    try:
        if (piece := _read_piece(raw)) is not None:
            return piece
        for number, begin, end in read_fields(raw, 0, len(raw)):
            if number in _BODIES:
                kind = _BODIES[number]
                body, ended = _read_body(raw, begin, end)
            elif number in _HEADERS_OF:
                kind = _HEADERS_OF[number]
                headers, ended = _read_headers(raw, begin, end)
            elif number in _TRAILERS:
                kind = _TRAILERS[number]
            elif number == _ATTRIBUTES:
                attributes = _read_attributes(raw, begin, end) or attributes
            elif number == _PROTOCOL:
                in_pieces = raw[begin : begin + 2] == _STREAMED
            elif number == _METADATA_CONTEXT and begin < end:
                token = _read_token(raw, begin, end)
    except (IndexError, UnicodeDecodeError) as error:
        raise Malformed from error
    return Incoming(kind, body, ended, headers, attributes, token, in_pieces)


def _read_piece(raw: Message) -> Incoming | None:
    """A piece of an answer's body that is not the last, read at a look; None for all else."""
    if not raw or raw[0] != _PIECE:
        return None
    size, at = read_varint(raw, 1)
    if raw[at] != _PIECE_BODY:
        return None
    length, begin = read_varint(raw, at + 1)
    end = begin + length
    if end != at + size or end > len(raw) or raw[end:] not in _NOTHING_MORE:
        return None
    body = bytes(memoryview(raw)[begin:end])
    return Incoming("response_body", body, False, (), NO_ATTRIBUTES, {})  # noqa: FBT003 - a field


def _read_body(raw: Message, at: int, end: int) -> tuple[bytes, bool]:
    body, ended = b"", False
    for number, first, last in read_fields(raw, at, end):
        if number == 1:
            body = bytes(memoryview(raw)[first:last])
        elif number == 2:  # noqa: PLR2004 - fields of HttpBody
            ended = bool(first)
    return body, ended


def _read_headers(raw: Message, at: int, end: int) -> tuple[Sequence[tuple[str, str]], bool]:
    headers: Sequence[tuple[str, str]] = ()
    ended = False
    for number, first, last in read_fields(raw, at, end):
        if number == 1:
            headers = _HEADERS_READ.read(bytes(raw[first:last]))
        elif number == 3:  # noqa: PLR2004 - fields of HttpHeaders
            ended = bool(first)
    return headers, ended


def _read_header(entry: bytes) -> tuple[str, str]:
    """A `HeaderValue`: what it is said in as bytes goes before what is in it as text."""
    key = text = raw = b""
    for number, first, last in read_fields(entry, 0, len(entry)):
        match number:
            case 1:
                key = entry[first:last]
            case 2:
                text = entry[first:last]
            case _:
                raw = entry[first:last]
    return key.decode(), raw.decode("utf-8", "surrogateescape") or text.decode()


_HEADERS_READ = Entries(_read_header)


def _read_attributes(raw: Message, at: int, end: int) -> Attributes:
    """A client says most of it with each request, so what is short is read once."""
    if end - at <= _KEPT_BYTES:
        return _known_attributes(bytes(raw[at:end]))
    return _cut_attributes(raw, at, end)


@lru_cache(_KEPT)
def _known_attributes(raw: bytes) -> Attributes:
    return _cut_attributes(raw, 0, len(raw))


def _cut_attributes(raw: Message, at: int, end: int) -> Attributes:
    name, attributes = b"", NO_ATTRIBUTES
    for number, first, last in read_fields(raw, at, end):
        if number == 1:
            name = bytes(raw[first:last])
        else:
            attributes = Attributes(read_struct(raw, first, last))
    return attributes if name == _OURS else NO_ATTRIBUTES


def _read_token(raw: Message, at: int, end: int) -> Json:
    """What stands in the metadata of the filter that verifies tokens; nothing else is looked at."""
    for number, begin, stop in read_fields(raw, at, end):
        fields = {part: (first, last) for part, first, last in read_fields(raw, begin, stop)}
        name = bytes(raw[slice(*fields.get(1, (0, 0)))])
        if number == 1 and name == _TOKENS and 2 in fields:  # noqa: PLR2004 - the map's value
            return read_json(raw, *fields[2])
    return {}


def read_headers(message: Incoming) -> dict[str, str]:
    """Headers by lower-case name, values of a repeated one joined as HTTP says."""
    found: dict[str, str] = {}
    for name, value in message.headers:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def request_head(attributes: Attributes, token: Json) -> RequestHead:
    """The client's request, and its token."""
    return msgspec.structs.replace(attributes.head, token=token) if token else attributes.head


def attempt_head(attributes: Attributes) -> AttemptHead:
    """The attempt as named in the attributes of the translate filter."""
    return AttemptHead(
        cluster=attributes.get("xds.cluster_name", ""),
        attempt=int(attributes.get("upstream.request_attempt_count", "1")),
        provider=attributes.get(f"{_CLUSTER_METADATA}provider{_CLOSE}", ""),
        model=attributes.get(f"{_CLUSTER_METADATA}model{_CLOSE}", ""),
        metadata=stage_metadata(attributes),
        request_id=attributes.get(REQUEST_ID_ATTRIBUTE, ""),
    )


def stage_metadata(attributes: Attributes) -> dict[str, str]:
    """What the decide stage wrote, as far as the filter names it."""
    return _keyed(attributes, _METADATA)


def decide_reply(action: Mutate | Respond, kind: Kind) -> bytes:
    """The one reply of the decide stage to the one message of form `kind`."""
    if isinstance(action, Respond):
        return _immediate(action)
    mutation = _UNCHANGED_HEADERS
    if action.set_headers or action.remove_headers:
        removed = (*action.remove_headers, _NOTHING)
        mutation = field(_HEADER_MUTATION, _header_mutation(action.set_headers, removed))
    cleared = _CLEAR_ROUTE_CACHE if action.clear_route_cache else b""
    number = 1 if kind == "request_headers" else _REQUEST_BODY
    return _reply(number, [*_changed(action.body), mutation, cleared], action.metadata)


def piece_reply(body: bytes | None) -> bytes:
    """The one reply to a piece of a request's body that is not its last; None: it stays."""
    return _reply(_REQUEST_BODY, _changed(body), {})


def attempt_reply(action: Mutate | Respond) -> bytes:
    """The one reply to a whole upstream request: another body, or none where it stays."""
    if isinstance(action, Respond):
        return _immediate(action)
    return _reply(_REQUEST_BODY, _changed(action.body), action.metadata)


def _changed(body: bytes | None) -> Pieces:
    """A `CommonResponse` that puts `body` in the place of what there is."""
    return [] if body is None else wrap(_BODY_MUTATION, 1, [body])


def _reply(number: int, common: Pieces, metadata: Metadata) -> bytes:
    """A `ProcessingResponse` to a message with headers or a body."""
    pieces = wrap(number, 1, common)
    if metadata:
        pieces.append(_encode_metadata(metadata))
    return b"".join(pieces)


class _Written:
    """Shared metadata, as far as it can be written before all of it is known."""

    def __init__(self, metadata: Shared) -> None:
        self.spaces = {name: encode_struct(space) for name, space in metadata.items()}
        self.members = {name: encode_member(name, space) for name, space in self.spaces.items()}
        self.whole = field(_DYNAMIC_METADATA, b"".join(self.members.values()))


def _encode_metadata(metadata: Metadata) -> bytes:
    """Most of it is the policy's, and the same for every request like this one."""
    if isinstance(metadata, Shared):
        return _written(metadata).whole
    known: _Written | None = None
    if isinstance(metadata, Amended):
        known, metadata = _written(metadata.shared), metadata.added
    members = dict(known.members) if known else {}
    for name, fields in metadata.items():
        space = encode_struct(fields)
        if known and name in known.spaces:
            space = known.spaces[name] + space
        members[name] = encode_member(name, space)
    return field(_DYNAMIC_METADATA, b"".join(members.values()))


def _written(metadata: Shared) -> _Written:
    if not isinstance(metadata.written, _Written):
        metadata.written = _Written(metadata)
    return metadata.written


def answer_replies(actions: Iterable[Action]) -> list[bytes]:
    """The replies of an answer phase in full-duplex mode, one an action."""
    return [_answer_reply(action) for action in actions]


def bodiless_answer_reply(actions: Iterable[Action]) -> bytes:
    """The one reply to an answer without a body: its headers, and the body it gains, if any."""
    common: Pieces = []
    metadata: Metadata = {}
    for action in actions:
        match action:
            case Mutate():
                mutation = _header_mutation(action.set_headers, action.remove_headers)
                common.append(field(_HEADER_MUTATION, mutation))
            case Chunk():
                common += (_CONTINUE_AND_REPLACE, *_changed(action.body))
                metadata = action.metadata
            case Respond():
                return _immediate(action)
            case Continue():
                pass
    return _reply(_RESPONSE_HEADERS, common, metadata)


def trailers_reply() -> bytes:
    """Let the answer's trailers pass."""
    return field(_RESPONSE_TRAILERS, b"")


def _answer_reply(action: Action) -> bytes:
    match action:
        case Chunk() if not (action.end_of_stream or action.metadata):
            return _piece_head(len(action.body)) + action.body
        case Chunk():
            ends = _END_OF_STREAM if action.end_of_stream else b""
            streamed = [message_head(1, len(action.body)), action.body, ends]
            common = wrap(_BODY_MUTATION, _STREAMED_RESPONSE, streamed)
            return _reply(_RESPONSE_BODY, common, action.metadata)
        case Respond():
            return _immediate(action)
        case Mutate():
            mutation = _header_mutation(action.set_headers, action.remove_headers)
            changed = [field(_HEADER_MUTATION, mutation)]
            return _reply(_RESPONSE_HEADERS, changed, action.metadata)
        case Continue():
            return _reply(_RESPONSE_HEADERS, [], action.metadata)


@lru_cache(1024)
def _piece_head(size: int) -> bytes:
    """What goes before a piece of an answer of so many bytes, which is the last in its message."""
    head = b""
    for number in (1, _STREAMED_RESPONSE, _BODY_MUTATION, 1, _RESPONSE_BODY):
        head = message_head(number, size + len(head)) + head
    return head


def _immediate(action: Respond) -> bytes:
    immediate = [
        field(1, b"\x08" + varint(action.status)),
        field(2, _header_mutation(action.headers, ())),
        field(3, action.body),
        field(5, action.details.encode()),
    ]
    metadata = _encode_metadata(action.metadata) if action.metadata else b""
    return field(_IMMEDIATE_RESPONSE, b"".join(immediate)) + metadata


def _header_mutation(set_headers: Mapping[str, str], remove: Iterable[str]) -> bytes:
    """A `HeaderMutation` that overwrites what there is."""
    options = [
        _known_option(name, value) if len(value) <= _KEPT_CHARS else _option(name, value)
        for name, value in set_headers.items()
    ]
    return b"".join([*options, *map(_removal, remove)])


def _option(name: str, value: str) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    header = field(1, field(1, name.encode()) + field(3, raw))
    return field(1, header + _OVERWRITE_IF_EXISTS_OR_ADD)


_known_option = lru_cache(_KEPT)(_option)


@lru_cache(_KEPT)
def _removal(name: str) -> bytes:
    return field(2, name.encode())


def _keyed(attributes: Attributes, prefix: str) -> dict[str, str]:
    """The attributes `PREFIX name ']`, by name."""
    return {
        name[len(prefix) : -len(_CLOSE)]: value
        for name, value in attributes.items()
        if name.startswith(prefix)
    }
