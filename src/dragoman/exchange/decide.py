"""The decide stage: who calls, what is asked, which upstreams in which order.

One request in, one action out. Everything a client can get wrong is refused here, in the client's
own dialect: later stages only carry out what this one admitted.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import msgspec

from dragoman import metadata as names
from dragoman.actions import Mutate, Respond
from dragoman.config.policy import Caller, Endpoint, Model, Policy, Provider, Target
from dragoman.dialects import MODELS, AnyDialect, Call
from dragoman.dialects.registry import client_call
from dragoman.errors import (
    DragomanError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotOffered,
    Unrepresentable,
    UnsupportedMediaType,
)
from dragoman.exchange.heads import RequestHead
from dragoman.ir import Json
from dragoman.ir.losses import Losses
from dragoman.policies.authorize import find_model, list_models
from dragoman.policies.identify import identify
from dragoman.policies.route import Chance, order_targets
from dragoman.wire.json import decode
from dragoman.wire.splice import splice

_BYTES_PER_TOKEN = 4
"""Rough, and only for what a provider never counts (`metering: estimated` in the ledger)."""


class Decide:
    """Answers requests under one policy; holds nothing of a request."""

    def __init__(self, policy: Policy, chance: Chance = random.random) -> None:
        self._policy = policy
        self._chance = chance

    def on_request(self, head: RequestHead, body: bytes | None) -> Mutate | Respond:
        """Admit, answer or refuse. `body` is None for a request that has none."""
        client = client_call(head.path, head.headers)
        try:
            caller = identify(head, self._policy.callers)
            call = client.call
            if call is None:
                raise NotFound(f"No such path here: {head.path.partition('?')[0]}.")
            _check_method(head, call)
            if call.operation == MODELS:
                return self._list_models(call.model or "", client.dialect, caller)
            return self._admit(head, _json_body(head, body), client.dialect, call, caller)
        except DragomanError as error:
            return refuse(error, client.dialect)

    def _list_models(self, wanted: str, dialect: AnyDialect, caller: Caller) -> Respond:
        if not wanted:
            return _answer(dialect.encode_models(list_models(caller, self._policy.models)))
        find_model(wanted, caller, self._policy.models)
        return _answer(dialect.encode_model(wanted))

    def _admit(
        self, head: RequestHead, raw: bytes, client: AnyDialect, call: Call, caller: Caller
    ) -> Mutate:
        body = decode(raw)
        name = _model_name(body, call)
        client.check_request(body)
        model = find_model(name, caller, self._policy.models)
        query = head.path.partition("?")[2]
        asked = _Asked(client=client, call=call, query=query, body=body, model=model, name=name)
        order = self._speakable(asked, order_targets(model, name, self._chance))
        edits = self._edits(asked, order)
        base = next((edit for edit in edits if edit is not None), Json())
        facts = self._facts(asked, caller, head, len(raw)) | _plan(order, edits, base, asked)
        spaces: dict[str, Mapping[str, object]] = {
            names.NAMESPACE: facts,
            names.PATHS_NAMESPACE: self._paths(asked, order),
        }
        if order:
            groups = [{"name": target.provider} for target in order]
            spaces[names.ROUTE_NAMESPACE] = {"priority_groups": groups}
            spaces[names.MODELS_NAMESPACE] = {t.provider: t.model for t in reversed(order)}
        return Mutate(
            body=splice(raw, base) if base else None, metadata=spaces, clear_route_cache=True
        )

    def _speakable(self, asked: _Asked, order: list[Target]) -> list[Target]:
        """`order` without the targets whose dialect cannot say this request.

        Raises what the first of them could not say if none is left.
        """
        refusals: dict[str, DragomanError | None] = {}
        for target in order:
            provider = self._policy.providers[target.provider]
            if provider.name not in refusals:
                refusals[provider.name] = _refusal(asked, provider)
        left = [target for target in order if refusals[target.provider] is None]
        if order and not left:
            raise next(refusal for refusal in refusals.values() if refusal is not None)
        return left

    def _edits(self, asked: _Asked, order: list[Target]) -> list[Json | None]:
        """What each target of the client's own dialect needs changed; None where it translates."""
        if not order:
            return [asked.client.edits(asked.body)]
        edits: list[Json | None] = []
        for target in order:
            own = self._policy.providers[target.provider].endpoints.get(asked.client.name)
            edits.append(own_edits(own, asked.body, target.model) if own else None)
        return edits

    def _paths(self, asked: _Asked, order: list[Target]) -> dict[str, str]:
        """Where each provider is asked: those of the order, or all where Envoy's routes choose."""
        models = {target.provider: target.model for target in reversed(order)}
        chosen = models or dict.fromkeys(self._policy.providers, asked.name)
        return {
            name: path_at(endpoint, asked.client, model, asked.query, stream=asked.stream)
            for name, model in chosen.items()
            if (endpoint := self._policy.providers[name].endpoint_for(asked.client))
        }

    def _facts(self, asked: _Asked, caller: Caller, head: RequestHead, size: int) -> Json:
        stream = asked.stream
        wants_usage = asked.client.wants_usage(asked.body)
        strip = stream and wants_usage is False
        native = self._policy.native
        facts: Json = {
            names.ADMITTED: names.FLAG,
            names.CLIENT_DIALECT: asked.client.name,
            names.OPERATION: asked.call.operation,
            names.MODEL: asked.name,
            names.CALLER: caller.name,
            names.STREAM: _flag(stream),
            names.INCLUDE_USAGE: _flag(wants_usage is not False),
            names.REQUEST_ID: head.request_id,
            names.ESTIMATED_INPUT_TOKENS: float(size // _BYTES_PER_TOKEN),
        }
        if asked.call.framing:
            facts[names.FRAMING] = asked.call.framing
        if asked.model.clamp:
            facts[names.CLAMP] = names.FLAG
        if strip and native.strip_usage:
            facts[names.STRIP_USAGE] = names.FLAG
        if not native.usage or (strip and not native.strip_usage):
            facts[names.RESPOND] = names.FLAG
        return facts


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A chat request that was read and found a model."""

    client: AnyDialect
    call: Call
    query: str
    body: Json
    model: Model
    name: str

    @property
    def stream(self) -> bool:
        said = self.call.stream
        return self.body.get("stream") is True if said is None else said


def own_edits(endpoint: Endpoint, body: Json, model: str) -> Json:
    """Top-level fields to change (None: remove) before this provider takes its own dialect."""
    edits = endpoint.dialect.edits(body)
    if endpoint.names_model or body.get("model") == model:
        return edits
    return {"model": model, **edits}


def path_at(endpoint: Endpoint, client: AnyDialect, model: str, query: str, *, stream: bool) -> str:
    """Path and query to ask for; the client's own query is for its own dialect only."""
    kept = query if endpoint.dialect.name == client.name else ""
    return endpoint.request_path(model, kept, stream=stream)


def refuse(error: DragomanError, dialect: AnyDialect) -> Respond:
    """The error in the client's dialect, marked as ours in Envoy's response code details."""
    answer = dialect.encode_error(error)
    return msgspec.structs.replace(answer, details=f"dragoman_{error.code}")


def _answer(body: Json) -> Respond:
    return Respond(
        status=200,
        headers={"content-type": "application/json"},
        body=msgspec.json.encode(body),
        details="dragoman_models",
    )


def _check_method(head: RequestHead, call: Call) -> None:
    allowed = ("GET", "HEAD") if call.method == "GET" else (call.method,)
    if head.method not in allowed:
        path = head.path.partition("?")[0]
        raise MethodNotAllowed(
            f"{path} takes {call.method}, not {head.method}.", allow=", ".join(allowed)
        )


def _json_body(head: RequestHead, body: bytes | None) -> bytes:
    kind = head.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType(f"The body must be application/json, not {kind}.")
    encoding = head.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"The body must not be compressed, and it is {encoding}.")
    return body or b""


def _model_name(body: Json, call: Call) -> str:
    """The model asked for, by the path or by the body."""
    model = call.model or body.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("$.model", "a model name")
    return model


def _refusal(asked: _Asked, provider: Provider) -> DragomanError | None:
    """Why `provider` cannot be asked this; None where it can, or need not translate it."""
    endpoint = provider.endpoint_for(asked.client)
    if endpoint is None:
        return NotOffered(f"{provider.name} offers no {asked.client.operation}.")
    dialect = endpoint.dialect
    if dialect.name == asked.client.name:
        return None
    request = asked.client.decode_request(asked.body)
    try:
        dialect.encode_request(request, Losses(dialect.name, clamp=asked.model.clamp))
    except Unrepresentable as refusal:
        return refusal
    return None


def _plan(order: list[Target], edits: list[Json | None], base: Json, asked: _Asked) -> Json:
    """What the attempts need to know: their order, and where translation is skipped."""
    if not order:
        return {names.KEEP_DIALECT: asked.client.name}
    facts: Json = {
        names.TARGETS: names.encode_order([(t.provider, t.model) for t in order]),
        names.RETRIES: str(max(1, len(order) - 1)),
    }
    for target in order:
        alike = [
            edit == base and other.model == target.model
            for other, edit in zip(order, edits, strict=True)
            if other.provider == target.provider
        ]
        if all(alike):
            facts[names.KEEP + target.provider] = names.FLAG
    return facts


def _flag(value: bool) -> str:  # noqa: FBT001 - a converter, not a switch
    return "1" if value else "0"
