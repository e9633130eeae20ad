"""Where a chat request stands in a body that asks for its tokens to be counted."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple, Protocol, cast

import msgspec

from dragoman.dialects import ChatDialect
from dragoman.errors import DragomanError, InvalidRequest
from dragoman.ir import Json, Request
from dragoman.wire.json import decode


class Opened(NamedTuple):
    """A chat request found in a body."""

    root: str
    """Its JSON path there."""
    chat: ChatDialect
    """Whose request it is."""
    body: Json
    model: str = ""
    """The model it names in a way of its own."""


class Envelope(Protocol):
    """One dialect's way of wrapping a chat request."""

    @property
    def roots(self) -> tuple[str, ...]:
        """Where a request may stand in it."""
        ...

    def open(self, body: Json, chat: ChatDialect) -> Opened:
        """Raises `InvalidRequest` where there is no request in it."""
        ...

    def chat_for(self, request: Request, chat: ChatDialect) -> ChatDialect:
        """The chat dialect in which `request` is best written here."""
        ...

    def close(self, request: Request, inner: Json) -> Json:
        """The body around `inner`, which is `request` as `chat_for` writes it."""
        ...

    def edits(self, body: Json, model: str | None) -> dict[str, Any]:
        """See `Dialect.edits`; `model` is the target's, None where Envoy's routes choose."""
        ...


class Bare:
    """Nothing around it: Anthropic, OpenAI, vLLM, TGI."""

    roots: tuple[str, ...] = ("$",)

    def open(self, body: Json, chat: ChatDialect) -> Opened:
        return Opened("$", chat, body)

    def chat_for(self, request: Request, chat: ChatDialect) -> ChatDialect:
        del request
        return chat

    def close(self, request: Request, inner: Json) -> Json:
        del request
        return inner

    def edits(self, body: Json, model: str | None) -> dict[str, Any]:
        del body, model
        return {}


_WHOLE = "generateContentRequest"
_CHAT = "gemini_generate"
_CONTENTS = "contents"
_PREFIX = "models/"
_NATIVE = "$.input.invokeModel.body"


class Whole(Bare):
    """Google's: `contents` alone, or all of the request in `generateContentRequest`.

    AI Studio takes what is not content in a whole request only, which names its model once more.
    Vertex AI takes all of it bare, and no whole request.
    """

    roots = ("$", f"$.{_WHOLE}")

    def __init__(self, *, whole: bool) -> None:
        self._takes_whole = whole

    def open(self, body: Json, chat: ChatDialect) -> Opened:
        inner = body.get(_WHOLE)
        if inner is None:
            return Opened("$", chat, body)
        if not isinstance(inner, dict):
            raise InvalidRequest(f"$.{_WHOLE}", "an object")
        whole = cast("Json", inner)
        named = whole.get("model")
        model = named.removeprefix(_PREFIX) if isinstance(named, str) else ""
        return Opened(f"$.{_WHOLE}", chat, _without_model(whole), model)

    def close(self, request: Request, inner: Json) -> Json:
        own = request.residue is not None and request.residue.dialect == _CHAT
        wrapped = request.root != "$" if own else bool(inner.keys() - {_CONTENTS})
        if wrapped and self._takes_whole:
            return {_WHOLE: {"model": _PREFIX + request.model, **inner}}
        return inner

    def edits(self, body: Json, model: str | None) -> dict[str, Any]:
        inner = body.get(_WHOLE)
        if isinstance(inner, dict):
            if not self._takes_whole:
                return {**_without_model(cast("Json", inner)), _WHOLE: None}
            named = {} if model is None else {"model": _PREFIX + model}
            return {_WHOLE: {**inner, **named}}
        more = [name for name in body if name not in (_CONTENTS, "model")]
        if not self._takes_whole or not more or model is None:
            return {}
        whole = {name: body[name] for name in (_CONTENTS, *more) if name in body}
        removed = dict.fromkeys(whole)
        return {**removed, _WHOLE: {"model": _PREFIX + model, **whole}}


def _without_model(inner: Json) -> Json:
    return {name: value for name, value in inner.items() if name != "model"}


class Input(Bare):
    """Bedrock's: Converse's request in `input.converse`, or a model's own in `input.invokeModel`.

    Of those, base64 of JSON, `native` is what is read and written: of the models that Bedrock
    counts for, all are Anthropic's.
    """

    roots = ("$.input.converse", _NATIVE)

    def __init__(self, native: ChatDialect) -> None:
        self._native = native

    def open(self, body: Json, chat: ChatDialect) -> Opened:
        match body.get("input"):
            case {"converse": {**inner}}:
                return Opened("$.input.converse", chat, cast("Json", inner))
            case {"invokeModel": {"body": str(packed)}}:
                return Opened(_NATIVE, self._native, _unpacked(packed))
            case _:
                raise InvalidRequest("$.input", "an object with converse or invokeModel.body")

    def chat_for(self, request: Request, chat: ChatDialect) -> ChatDialect:
        return self._native if self._is_native(request) else chat

    def close(self, request: Request, inner: Json) -> Json:
        if not self._is_native(request):
            return {"input": {"converse": inner}}
        packed = base64.b64encode(msgspec.json.encode(inner)).decode()
        return {"input": {"invokeModel": {"body": packed}}}

    def _is_native(self, request: Request) -> bool:
        return request.residue is not None and request.residue.dialect == self._native.name


def _unpacked(packed: str) -> Json:
    try:
        return decode(base64.b64decode(packed, validate=True))
    except (ValueError, DragomanError) as error:
        raise InvalidRequest(_NATIVE, "base64 of a JSON object") from error
