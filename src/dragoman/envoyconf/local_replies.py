"""Envoy's own errors in the client's dialect: too large, no upstream, timed out, malformed."""

from __future__ import annotations

import msgspec

from dragoman import metadata as names
from dragoman.dialects import AnyDialect
from dragoman.dialects.registry import FRAMED, NAMES, PREFIXES, client_dialect
from dragoman.envoyconf.told import id_header
from dragoman.envoyconf.typed import typed
from dragoman.errors import DragomanError
from dragoman.ir import Json

_OURS = (
    "response.code_details.startsWith('dragoman_') || response.code_details == 'direct_response'"
)
_FACTS = "metadata.filter_metadata['dragoman']"
_IS_ADMITTED = f"'dragoman' in metadata.filter_metadata && 'client_dialect' in {_FACTS}"
"""Once a request was admitted its path is no sign: each attempt writes its provider's own there."""
_WORDS: dict[int, str] = {
    400: "The request is malformed.",
    403: "This is not allowed here.",
    408: "The request took too long to arrive.",
    413: "The request body is larger than this gateway allows.",
    429: "The upstream is overloaded.",
    431: "The request headers are too large.",
    500: "The gateway failed.",
    502: "The upstream's answer could not be used.",
    503: "No upstream can serve this now.",
    504: "The upstream did not answer in time.",
}


_OVERFLOW = "The upstream has as many requests as this gateway may send it. Try again."
"""Of a circuit breaker, whose 503 Envoy never sends to the next target."""
_OVERFLOWED: Json = {"response_flag_filter": {"flags": ["UO"]}}
_RETRY_AFTER: Json = {
    "header": {"key": "retry-after", "value": "1"},
    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
}
_SIGN_IN = "Sign in first, or send a key."
"""Of 401, which Envoy answers where a filter of the operator's lets browsers sign in."""


class _EnvoyError(DragomanError):
    """An answer that Envoy gives by itself."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or f"gateway_{status}"


def error_body(dialect: AnyDialect, message: str, status: int, code: str = "") -> Json:
    """The error as the clients of `dialect` read it; `code` where the status says too little."""
    body = dialect.encode_error(_EnvoyError(message, status, code)).body
    return msgspec.json.decode(body, type=Json)


def local_replies(*, browsers: bool = False) -> Json:
    """Mappers by status and dialect; answers of our own stages are left as they are but for the
    request's id. `browsers` may be among the clients: then 401 is Envoy's too."""
    words = {**_WORDS, **({401: _SIGN_IN} if browsers else {})}
    overflows = [
        {**_mapper(_OVERFLOWED, spoken, body), "headers_to_add": [id_header(), _RETRY_AFTER]}
        for spoken, body in _replies(_OVERFLOW, 503, "upstream_overloaded")
    ]
    others = [
        _mapper(_has_status(status), expression, body)
        for status, message in words.items()
        for expression, body in _replies(message, status)
    ]
    own = {"filter": {"extension_filter": _cel(_OURS)}, "headers_to_add": [id_header()]}
    return {"mappers": [own, *overflows, *others]}


def _replies(message: str, status: int, code: str = "") -> list[tuple[str, Json]]:
    """Each shape of the error beside the expression that tells whose clients read it.

    The last shape, the default dialect's, is everybody's who has no other.
    """
    shapes: list[tuple[Json, list[str]]] = []
    default = error_body(client_dialect(""), message, status, code)
    for name in NAMES:
        body = error_body(client_dialect(name), message, status, code)
        if body == default:
            continue
        known = next((dialects for shape, dialects in shapes if shape == body), None)
        if known is None:
            shapes.append((body, [name]))
        else:
            known.append(name)
    replies = [(_is_spoken(dialects), body) for body, dialects in shapes]
    framed = [
        (_is_framed(*key), body)
        for key, dialect in FRAMED.items()
        if (body := error_body(dialect, message, status, code))
        != error_body(client_dialect(key[0]), message, status, code)
    ]
    return [*framed, *replies, ("true", default)]


def _is_framed(dialect: str, framing: str) -> str:
    """Whether the client was admitted as one that wants its streams framed so."""
    facts = {names.CLIENT_DIALECT: dialect, names.FRAMING: framing}
    said = [f"'{name}' in {_FACTS} && {_FACTS}['{name}'] == '{v}'" for name, v in facts.items()]
    return " && ".join(["'dragoman' in metadata.filter_metadata", *said])


def _is_spoken(dialects: list[str]) -> str:
    """Whether the client speaks one of `dialects`: as decided, or by its path."""
    listed = ", ".join(f"'{name}'" for name in dialects)
    paths = [f"request.path.startsWith('{start}')" for start, name in PREFIXES if name in dialects]
    by_path = " || ".join(paths) or "false"
    return f"({_IS_ADMITTED} ? {_FACTS}['client_dialect'] in [{listed}] : ({by_path}))"


def _has_status(status: int) -> Json:
    value = {"default_value": status, "runtime_key": "dragoman.local_reply_status"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _mapper(which: Json, spoken: str, body: Json) -> Json:
    filters = [which, {"extension_filter": _cel(spoken)}]
    return {
        "filter": {"and_filter": {"filters": filters}},
        "headers_to_add": [id_header()],
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }


def _cel(expression: str) -> Json:
    kind = "extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return typed("cel", kind, expression=expression)
