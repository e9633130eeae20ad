"""Envoy's own errors in the client's dialect: too large, no upstream, timed out, malformed."""

from __future__ import annotations

from dragoman.envoyconf.typed import typed
from dragoman.ir import Json

_OURS = (
    "response.code_details.startsWith('dragoman_') || response.code_details == 'direct_response'"
)
_FACTS = "metadata.filter_metadata['dragoman']"
_IS_ANTHROPIC = (
    f"('dragoman' in metadata.filter_metadata && 'client_dialect' in {_FACTS}"
    f" ? {_FACTS}['client_dialect'] == 'anthropic_messages'"
    " : request.path.startsWith('/v1/messages'))"
)
"""Once a request was admitted its path is no sign: each attempt writes its provider's own there."""

_WORDS: dict[int, tuple[str, str, str]] = {
    400: ("The request is malformed.", "invalid_request_error", "invalid_request_error"),
    403: ("This is not allowed here.", "permission_error", "permission_error"),
    408: ("The request took too long to arrive.", "invalid_request_error", "invalid_request_error"),
    413: (
        "The request body is larger than this gateway allows.",
        "invalid_request_error",
        "request_too_large",
    ),
    429: ("The upstream is overloaded.", "rate_limit_error", "rate_limit_error"),
    431: ("The request headers are too large.", "invalid_request_error", "invalid_request_error"),
    500: ("The gateway failed.", "server_error", "api_error"),
    502: ("The upstream's answer could not be used.", "server_error", "api_error"),
    503: ("No upstream can serve this now.", "server_error", "api_error"),
    504: ("The upstream did not answer in time.", "server_error", "timeout_error"),
}
"""Status: the message, and the error type in OpenAI's and in Anthropic's words."""


def openai_error(words: str, kind: str, code: str) -> Json:
    """The shape OpenAI's clients read."""
    return {"error": {"message": words, "type": kind, "param": None, "code": code}}


def anthropic_error(words: str, kind: str) -> Json:
    """The shape Anthropic's clients read."""
    return {"type": "error", "error": {"type": kind, "message": words}}


def local_replies() -> Json:
    """Mappers by status and path; answers of our own stages are left as they are."""
    mappers: list[Json] = []
    for status, (words, openai, anthropic) in _WORDS.items():
        mappers += [
            _mapper(status, _IS_ANTHROPIC, anthropic_error(words, anthropic)),
            _mapper(status, f"!{_IS_ANTHROPIC}", openai_error(words, openai, f"gateway_{status}")),
        ]
    return {"mappers": mappers}


def _mapper(status: int, path: str, body: Json) -> Json:
    comparison = {
        "op": "EQ",
        "value": {"default_value": status, "runtime_key": "dragoman.local_reply_status"},
    }
    expression = f"!({_OURS}) && {path}"
    ours = typed(
        "cel",
        "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression=expression,
    )
    filters = [{"status_code_filter": {"comparison": comparison}}, {"extension_filter": ours}]
    return {
        "filter": {"and_filter": {"filters": filters}},
        "body_format_override": {"json_format": body, "content_type": "application/json"},
    }
