"""A request as the decide stage has read it, before and after its model is known."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import msgspec

from dragoman.config.policy import Caller, Endpoint, Model
from dragoman.dialects import CHAT, AnyDialect, Call
from dragoman.errors import InvalidRequest
from dragoman.exchange.heads import RequestHead
from dragoman.ir import Json, Modality
from dragoman.policies.authorize import Wish, features_of, restricts_features
from dragoman.policies.capabilities import find_media
from dragoman.wire.fields import as_list

CLIMB = ".."
"""A step out of a folder, which no path that a client chooses may take."""


class Asker(NamedTuple):
    """Who asks, before it is known what."""

    head: RequestHead
    client: AnyDialect
    caller: Caller


class Asked(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A chat request that was read and found a model."""

    client: AnyDialect
    call: Call
    query: str
    sent: bytes
    """The body, before anything was hidden in it."""
    raw: Json
    """The body, read."""
    said: Json
    """Fields that path and headers say beside it."""
    model: Model
    """That serves: of one that ended, the substitute."""
    name: str
    told: tuple[tuple[str, str], ...] = ()
    """What response headers say of the model asked for, by metadata key."""

    @property
    def body(self) -> Json:
        return {**self.raw, **self.said} if self.said else self.raw

    @functools.cached_property
    def request(self) -> Any:
        """The body, decoded. Raises `DragomanError`."""
        return self.client.decode_request(self.body)

    @functools.cached_property
    def borrows(self) -> bool:
        """See `Dialect.borrows`."""
        return self.client.borrows(self.raw)

    @functools.cached_property
    def media(self) -> frozenset[Modality]:
        """What its bytes may hold: a look at all of them."""
        return find_media(self.sent)

    @property
    def stream(self) -> bool:
        return self.call.is_streamed(self.body)


def model_name(body: Json, client: AnyDialect, call: Call) -> str:
    """The model asked for, by the path or by the body."""
    model = call.model or client.model_of(body) or call.default_model
    if not isinstance(model, str) or not model or CLIMB in model.split("/"):
        raise InvalidRequest("$.model", "a model name")
    return model


def said_outside(head: RequestHead, call: Call) -> Json:
    """Fields of the body that the path says, and lists that a header says."""
    if not call.header_fields:
        return {**call.fields}
    found = {
        field: [word.strip() for word in head.headers[header].split(",")]
        for field, header in call.header_fields.items()
        if head.headers.get(header)
    }
    return {**call.fields, **found}


def headers_said(asked: Asked) -> dict[str, str]:
    """What the body says that the dialect's other providers read in a header."""
    if not asked.call.header_fields:
        return {}
    return {
        header: ",".join(map(str, words))
        for field, header in asked.call.header_fields.items()
        if field not in asked.said and (words := as_list(asked.raw.get(field)))
    }


def wish_of(asked: Asked, caller: Caller) -> Wish:
    """What roles are asked about; the features only where the caller's speak of any."""
    features: tuple[str, ...] = ("streaming",) if asked.stream else ()
    if asked.client.operation == CHAT and restricts_features(caller):
        features = features_of(msgspec.structs.replace(asked.request, stream=asked.stream))
    return Wish(asked.call.operation, asked.client.name, asked.name, features)


def own_edits(endpoint: Endpoint, body: Json, said: Json, model: str) -> Json:
    """Top-level fields to change (None: remove) before this provider takes its own dialect.

    `said` is what path and headers say beside the body.
    """
    named = body.get("model") if endpoint.names_model else model
    edits = {**said, "model": named, **endpoint.dialect.edits({**body, **said, "model": model})}
    return changes(body, edits)


def changes(body: Json, edits: Json) -> Json:
    """Those of `edits` that change something."""
    return {name: value for name, value in edits.items() if body.get(name) != value}
