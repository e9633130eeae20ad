"""The decide stage: who calls, what is asked, which upstreams in which order.

One request in, one action out. Everything a client can get wrong is refused here, in the client's
own dialect: later stages only carry out what this one admitted.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from dragoman import metadata as names
from dragoman.actions import Mutate, Respond, Shared
from dragoman.catalog.profiles import Prices, Profile
from dragoman.config.policy import Caller, Endpoint, Model, Policy, Target
from dragoman.dialects import CHAT, COUNT, MODELS, AnyDialect, BodyKind, Call, StreamOptions
from dragoman.dialects.registry import ClientCall, client_call
from dragoman.dialects.unary import Unary
from dragoman.errors import (
    ContentBlocked,
    DragomanError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    NotOffered,
    PermissionDenied,
    QuotaExceeded,
    Unrepresentable,
    UnsupportedMediaType,
)
from dragoman.exchange.bodies import CONTENT_TYPES, edit_body, read_body
from dragoman.exchange.heads import RequestHead
from dragoman.exchange.redaction import RequestRedaction
from dragoman.exchange.reserve import Pending, Quotas, Reserve, Unlimited
from dragoman.ir import Json, Modality, TokenCount
from dragoman.ir.losses import Losses
from dragoman.policies.authorize import (
    Wish,
    authorize,
    features_of,
    find_model,
    list_models,
    restricts_features,
)
from dragoman.policies.capabilities import (
    check_media,
    find_media,
    fit,
    refuses_media,
)
from dragoman.policies.describe import make_card
from dragoman.policies.estimate import estimate_tokens
from dragoman.policies.identify import Issued, identify
from dragoman.policies.quotas import UNREAD_AMOUNTS, amounts_of
from dragoman.policies.route.choose import Choice, Chooser, describe_choice
from dragoman.policies.route.content import Content
from dragoman.policies.route.residency import check_region, find_demands
from dragoman.policies.route.weighted import Chance
from dragoman.wire.fields import as_list

if TYPE_CHECKING:
    from dragoman.policies.redact.profiles import Redactors

PROVIDER_HEADER = "dragoman-provider"
"""Names the provider of a request that names no model."""
_MOST_KNOWN = 1024
_COUNTED_STREAMS = ("text/event-stream", "application/vnd.amazon.eventstream")
"""Content types of streams that Envoy's own filters count in, where they are framed as usual."""
ESTIMATED_HEADER = "x-dragoman-estimated"
"""Response header: `true` where a count of tokens is this service's own estimate."""
_LISTED = "dragoman_models"
UNKNOWN_PATH = "pass_through"
"""The operation of a path that nobody here knows."""
_BYTES_PER_TOKEN = 4
"""Rough, and only for what a provider never counts (`metering: estimated` in the ledger)."""


class Decide:
    """Answers requests under one policy; holds nothing of a request."""

    def __init__(
        self,
        policy: Policy,
        chance: Chance = random.random,
        quotas: Quotas | None = None,
        issued: Issued | None = None,
        clock: Callable[[], float] = time.time,
        *,
        redactors: Redactors | None = None,
    ) -> None:
        """`quotas` None: nobody keeps any, and nothing is reserved; `issued` likewise, keys.
        `redactors`: the policy's."""
        self._policy = policy
        self._chooser = Chooser(policy, chance)
        self._redaction = RequestRedaction(policy, redactors)
        self._issued = issued
        self._known: dict[Hashable, tuple[Call, Shared]] = {}
        """What was told of earlier requests, and the call it was told of."""
        limits = policy.quotas if quotas else ()
        self._reserve = Reserve(limits, quotas or Unlimited(), clock)

    def on_request(self, head: RequestHead, body: bytes | None) -> Mutate | Respond | Pending:
        """Admit, answer or refuse. `body` is None for a request that has none."""
        client = client_call(head.path, head.headers)
        try:
            caller = identify(head, self._policy.callers, self._issued)
            call = client.call
            if call is None:
                asker = _Asker(head, client.dialect, caller)
                authorize(caller, Wish(UNKNOWN_PATH, client.dialect.name))
                return self._spend(self._pass_unknown(asker), asker)
            _check_method(head, call)
            if call.operation == MODELS:
                return self._list_models(call.model or "", _Asker(head, client.dialect, caller))
            if call.body == "unread":
                asker = _Asker(head, client.dialect, caller)
                authorize(caller, Wish(call.operation, client.dialect.name))
                return self._spend(self._pass(asker, call), asker)
            _check_type(head, call.body)
            read = read_body(call.body, body or b"")
            client = client.claimed(read)
            return self._admit(head, body or b"", read, client, caller)
        except ContentBlocked as error:
            found = {names.REDACTION_NAMESPACE: {error.entity: 1.0}}
            return msgspec.structs.replace(refuse(error, client.dialect), metadata=found)
        except DragomanError as error:
            return refuse(error, client.dialect)

    def _spend(
        self,
        admitted: Mutate,
        asker: _Asker,
        model: str = "",
        amounts: Mapping[str, int] = UNREAD_AMOUNTS,
    ) -> Mutate | Respond | Pending:
        """`admitted`, once the caller's quotas allow it."""
        who = asker.caller, model
        return self._reserve.admit(
            admitted, who, amounts, lambda error: refuse(error, asker.client)
        )

    def _prices(self, order: list[Target]) -> Iterator[Prices | None]:
        for target in order:
            profile = self._policy.profile(target.provider, target.model)
            yield profile.prices if profile else None

    def _list_models(self, wanted: str, asker: _Asker) -> Respond:
        models, dialect = self._policy.models, asker.client
        if wanted:
            model = find_model(wanted, asker.caller, models)
            return _answer(dialect.encode_model(make_card(wanted, model, self._policy)), _LISTED)
        names = list_models(asker.caller, models)
        cards = [make_card(name, models[name], self._policy) for name in names]
        return _answer(dialect.encode_models(cards, asker.head.path.partition("?")[2]), _LISTED)

    def _pass(self, asker: _Asker, call: Call) -> Mutate:
        """What names no model goes to the provider that the caller names, or to its first."""
        providers = self._policy.providers
        dialect = asker.client.name
        served = [name for name in asker.caller.providers if dialect in providers[name].endpoints]
        wanted = asker.head.headers.get(PROVIDER_HEADER) or next(iter(served), None)
        if wanted is None or wanted not in served:
            named = f" at {wanted}" if wanted is not None else ""
            raise PermissionDenied(f"You may not use {call.operation}{named}.")
        self._check_region(asker, wanted)
        self._redaction.check_unread(asker.caller, asker.head.method)
        query = asker.head.path.partition("?")[2]
        path = providers[wanted].endpoints[dialect].request_path("", query, rest=call.rest)
        return _passed(asker, wanted, path, call.operation)

    def _pass_unknown(self, asker: _Asker) -> Mutate:
        """A path nobody knows, where the operator and the caller's grants let it through."""
        path = asker.head.path.partition("?")[0]
        for route in self._policy.pass_through:
            inside = path == route.prefix or path.startswith(route.prefix.rstrip("/") + "/")
            if inside and route.provider in asker.caller.providers:
                self._check_region(asker, route.provider)
                self._redaction.check_unread(asker.caller, "")
                return _passed(asker, route.provider, asker.head.path, UNKNOWN_PATH)
        raise NotFound(f"No such path here: {path}.")

    def _check_region(self, asker: _Asker, provider: str) -> None:
        demands = find_demands(asker.caller, asker.head.headers)
        check_region(provider, self._policy.providers[provider].region, demands)

    def _admit(
        self, head: RequestHead, raw: bytes, body: Json, found: ClientCall, caller: Caller
    ) -> Mutate | Respond | Pending:
        client, call = found.dialect, cast("Call", found.call)
        name = _model_name(body, client, call)
        client.check_request(body)
        model = find_model(name, caller, self._policy.models)
        treated = self._redaction.apply(call.body, raw, caller, model)
        if treated.body is not raw:
            body = read_body(call.body, treated.body)
        asked = _Asked(
            client=client,
            call=call,
            query=head.path.partition("?")[2],
            media=functools.partial(find_media, raw),
            raw=body,
            said=_said_outside(head, call),
            model=model,
            name=name,
        )
        if caller.roles:
            authorize(caller, _wish(asked, caller))
        choice = self._choose(asked, caller, head, len(raw))
        if choice.order and self._must_estimate(asked, choice.order[0]):
            return self._estimate(asked, choice.order[0])
        choice = self._speakable(asked, choice)
        order = choice.order
        edits = self._edits(asked, order)
        base = next((edit for edit in edits if edit is not None), Json())
        spaces = treated.tell(self._known_spaces(asked, caller, choice, edits, base))
        admitted = Mutate(
            set_headers=_headers(asked),
            body=edit_body(call.body, treated.body, base) or treated.changed,
            metadata=spaces,
            clear_route_cache=True,
        )
        if not self._reserve.counts:
            return admitted
        prices = self._prices(order) if self._reserve.counts_dollars else None
        amounts = amounts_of(body, len(raw) // _BYTES_PER_TOKEN, prices)
        return self._spend(admitted, _Asker(head, client, caller), model.name, amounts)

    def _known_spaces(
        self,
        asked: _Asked,
        caller: Caller,
        choice: Choice,
        edits: list[Json | None],
        base: Json,
    ) -> Shared:
        """As `_spaces`, made once for all requests that only differ in what it does not read."""
        if asked.said or asked.query:
            return self._spaces(asked, caller, choice, edits, base)
        asks = (asked.stream, asked.client.wants_usage(asked.raw), asked.name, caller.name)
        alike = tuple([edit == base for edit in edits])
        key = (id(asked.call), *asks, "stream" in base, alike, *choice.order, *choice[1:])
        known = self._known.get(key)
        if known is None or known[0] is not asked.call:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = asked.call, self._spaces(asked, caller, choice, edits, base)
            self._known[key] = known
        return known[1]

    def _spaces(
        self,
        asked: _Asked,
        caller: Caller,
        choice: Choice,
        edits: list[Json | None],
        base: Json,
    ) -> Shared:
        """All that later stages and Envoy's routes are told."""
        spaces, order = Shared(), choice.order
        plan = self._plan(order, edits, base, asked)
        plan[names.DECISION] = describe_choice(asked.model, choice)
        spaces[names.NAMESPACE] = self._facts(asked, caller) | plan
        spaces[names.PATHS_NAMESPACE] = self._paths(asked, order)
        if order:
            groups = [{"name": target.provider} for target in order]
            spaces[names.ROUTE_NAMESPACE] = {"priority_groups": groups}
            spaces[names.MODELS_NAMESPACE] = {t.provider: t.model for t in reversed(order)}
        return spaces

    def _must_estimate(self, asked: _Asked, target: Target) -> bool:
        """Whether a count is asked for of a model whose provider counts none."""
        return asked.client.operation == COUNT and self._endpoint(asked, target) is None

    def _estimate(self, asked: _Asked, target: Target) -> Respond:
        request = asked.client.decode_request(asked.body)
        profile = self._policy.profile(target.provider, target.model)
        tokens = estimate_tokens(request, profile.token_ratio if profile else None)
        losses = Losses(asked.client.name)
        body = asked.client.encode_response(TokenCount(input_tokens=tokens), losses)
        return _answer(body, "dragoman_estimate", {ESTIMATED_HEADER: "true"})

    def _choose(self, asked: _Asked, caller: Caller, head: RequestHead, size: int) -> Choice:
        def look() -> Content:
            decode = asked.client.decode_request if asked.client.operation == CHAT else None
            return Content(head.headers, asked.body, size, decode)

        demands = find_demands(caller, head.headers)
        return self._chooser.choose(asked.model, asked.name, demands, look)

    def _speakable(self, asked: _Asked, choice: Choice) -> Choice:
        """`choice` without the targets whose dialect cannot say this request.

        Raises what the first of them could not say if none is left.
        """
        refusals: dict[tuple[str, str], DragomanError | None] = {}
        read = functools.cache(lambda: asked.client.decode_request(asked.body))
        left: list[Target] = []
        for target in choice.order:
            key = (target.provider, target.model)
            if key not in refusals:
                refusals[key] = self._refusal(asked, target, read)
            left += [target] if refusals[key] is None else []
        if choice.order and not left:
            raise next(refusal for refusal in refusals.values() if refusal is not None)
        if len(left) == len(choice.order):
            return choice
        return choice.without(
            {t: e.code for t in choice.order if (e := refusals[t.provider, t.model])}
        )

    def _endpoint(self, asked: _Asked, target: Target) -> Endpoint | None:
        return self._policy.providers[target.provider].endpoint_for(asked.client, target.model)

    def _refusal(
        self, asked: _Asked, target: Target, read: Callable[[], Any]
    ) -> DragomanError | None:
        """Why `target` cannot be asked this; None where it can. `read` decodes the body, once."""
        endpoint = self._endpoint(asked, target)
        if endpoint is None:
            return NotOffered(f"{target.provider} offers no {asked.client.operation}.")
        profile = None
        if asked.client.operation == CHAT:
            profile = self._policy.profile(target.provider, target.model)
        try:
            if endpoint.dialect.name == asked.client.name:
                _check_own(asked, target, profile, read)
            else:
                losses = Losses(endpoint.dialect.name, clamp=asked.model.clamp)
                request = msgspec.structs.replace(read(), model=target.model)
                request = fit(request, profile, target.model, losses)
                endpoint.dialect.encode_request(request, losses)
        except Unrepresentable as refusal:
            return refusal
        return None

    def _edits(self, asked: _Asked, order: list[Target]) -> list[Json | None]:
        """What each target of the client's own dialect needs changed; None where it translates."""
        if not order:
            return [_changes(asked.raw, asked.said | asked.client.edits(asked.body))]
        edits: list[Json | None] = []
        for target in order:
            own = self._own_endpoint(asked, target)
            edits.append(own_edits(own, asked.raw, asked.said, target.model) if own else None)
        return edits

    def _own_endpoint(self, asked: _Asked, target: Target) -> Endpoint | None:
        """Where the target is asked in the client's own dialect; None where it translates."""
        found = self._policy.providers[target.provider].endpoint_for(asked.client, target.model)
        return found if found is not None and found.dialect.name == asked.client.name else None

    def _paths(self, asked: _Asked, order: list[Target]) -> dict[str, str]:
        """Where each provider is asked: those of the order, or all where Envoy's routes choose."""
        models = {target.provider: target.model for target in reversed(order)}
        chosen = models or dict.fromkeys(self._policy.providers, asked.name)
        return {
            name: _path(endpoint, asked, model)
            for name, model in chosen.items()
            if (endpoint := self._policy.providers[name].endpoint_for(asked.client, model))
        }

    def _plan(
        self, order: list[Target], edits: list[Json | None], base: Json, asked: _Asked
    ) -> Json:
        """What the attempts need to know: their order, and where translation is skipped."""
        framing = asked.call.framing
        facts: Json = {}
        said = {name: value for name, value in asked.said.items() if value is not None}
        if asked.stream and "stream" in base:
            said["stream"] = True
        if said:
            facts[names.FIELDS] = msgspec.json.encode(said).decode()
        if not order:
            is_usual = asked.client.frames(framing)
            return facts | ({names.KEEP_DIALECT: asked.client.name} if is_usual else {})
        facts |= {
            names.TARGETS: names.encode_order([(t.provider, t.model) for t in order]),
            names.RETRIES: str(max(1, len(order) - 1)),
        }
        for target in order:
            alike = [
                edit == base and other.model == target.model
                for other, edit in zip(order, edits, strict=True)
                if other.provider == target.provider
            ]
            own = self._own_endpoint(asked, target)
            if all(alike) and own is not None and own.dialect.frames(framing):
                facts[names.KEEP + target.provider] = names.FLAG
        return facts

    def _facts(self, asked: _Asked, caller: Caller) -> Json:
        stream = asked.stream
        kind = asked.client.stream_type(StreamOptions())
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
        }
        if asked.call.body != "json":
            facts[names.BODY] = asked.call.body
        if asked.call.framing:
            facts[names.FRAMING] = asked.call.framing
        if asked.model.clamp:
            facts[names.CLAMP] = names.FLAG
        if strip and native.strip_usage:
            facts[names.STRIP_USAGE] = names.FLAG
        uncounted = stream and (bool(asked.call.framing) or kind not in _COUNTED_STREAMS)
        if not native.usage or uncounted or (strip and not native.strip_usage):
            facts[names.RESPOND] = names.FLAG
        return facts


class _Asker(NamedTuple):
    """Who asks, before it is known what."""

    head: RequestHead
    client: AnyDialect
    caller: Caller


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A chat request that was read and found a model."""

    client: AnyDialect
    call: Call
    query: str
    media: Callable[[], frozenset[Modality]]
    """Tells what its bytes may hold (`capabilities.find_media`): a look at all of them."""
    raw: Json
    """The body, read."""
    said: Json
    """Fields that path and headers say beside it."""
    model: Model
    name: str

    @property
    def body(self) -> Json:
        return {**self.raw, **self.said} if self.said else self.raw

    @property
    def stream(self) -> bool:
        return self.call.is_streamed(self.body)


def _wish(asked: _Asked, caller: Caller) -> Wish:
    features: tuple[str, ...] = ("streaming",) if asked.stream else ()
    if asked.client.operation == CHAT and restricts_features(caller):
        request = asked.client.decode_request(asked.body)
        features = features_of(msgspec.structs.replace(request, stream=asked.stream))
    return Wish(asked.call.operation, asked.client.name, asked.name, features)


def own_edits(endpoint: Endpoint, body: Json, said: Json, model: str) -> Json:
    """Top-level fields to change (None: remove) before this provider takes its own dialect.

    `said` is what path and headers say beside the body.
    """
    named = body.get("model") if endpoint.names_model else model
    edits = {**said, "model": named, **endpoint.dialect.edits({**body, **said, "model": model})}
    return _changes(body, edits)


def _changes(body: Json, edits: Json) -> Json:
    """Those of `edits` that change something."""
    return {name: value for name, value in edits.items() if body.get(name) != value}


def _said_outside(head: RequestHead, call: Call) -> Json:
    """Fields of the body that the path says, and lists that a header says."""
    found = {
        field: [word.strip() for word in head.headers[header].split(",")]
        for field, header in call.header_fields.items()
        if head.headers.get(header)
    }
    return {**call.fields, **found}


def _headers(asked: _Asked) -> dict[str, str]:
    """What the body says that the dialect's other providers read in a header."""
    return {
        header: ",".join(map(str, words))
        for field, header in asked.call.header_fields.items()
        if field not in asked.said and (words := as_list(asked.raw.get(field)))
    }


def _path(endpoint: Endpoint, asked: _Asked, model: str) -> str:
    """Path and query to ask for. The client's own query is for paths alike: of its own dialect,
    and with the model in them where it is in the client's."""
    is_own = endpoint.dialect.name == asked.client.name
    is_alike = is_own and endpoint.names_model is (asked.call.model is not None)
    return endpoint.request_path(
        model,
        asked.query if is_alike else "",
        stream=asked.stream,
        framed=is_own and bool(asked.call.framing),
    )


def refuse(error: DragomanError, dialect: AnyDialect) -> Respond:
    """The error in the client's dialect, marked as ours in Envoy's response code details."""
    answer = dialect.encode_error(error)
    headers = answer.headers
    if isinstance(error, QuotaExceeded):
        headers = {**headers, "retry-after": str(ceil(error.retry_after_seconds))}
    return msgspec.structs.replace(answer, headers=headers, details=f"dragoman_{error.code}")


def _answer(body: Json | list[Any], details: str, headers: Mapping[str, str] = {}) -> Respond:
    return Respond(
        status=200,
        headers={"content-type": "application/json", **headers},
        body=msgspec.json.encode(body),
        details=details,
    )


def _check_method(head: RequestHead, call: Call) -> None:
    allowed = ("GET", "HEAD") if call.method == "GET" else (call.method,)
    if call.method and head.method not in allowed:
        path = head.path.partition("?")[0]
        raise MethodNotAllowed(
            f"{path} takes {call.method}, not {head.method}.", allow=", ".join(allowed)
        )


def _check_type(head: RequestHead, kind: BodyKind) -> None:
    wanted = CONTENT_TYPES[kind]
    given = head.headers.get("content-type", wanted).partition(";")[0].strip().lower()
    if given != wanted:
        raise UnsupportedMediaType(f"The body must be {wanted}, not {given}.")
    encoding = head.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"The body must not be compressed, and it is {encoding}.")


def _passed(asker: _Asker, provider: str, path: str, operation: str) -> Mutate:
    """Admits a request whose body nobody reads, to one provider."""
    facts = {
        names.ADMITTED: names.FLAG,
        names.UNREAD: names.FLAG,
        names.CLIENT_DIALECT: asker.client.name,
        names.OPERATION: operation,
        names.CALLER: asker.caller.name,
        names.KEEP + provider: names.FLAG,
    }
    spaces: dict[str, Mapping[str, object]] = {
        names.NAMESPACE: facts,
        names.PATHS_NAMESPACE: {provider: without_key(path)},
        names.ROUTE_NAMESPACE: {"priority_groups": [{"name": provider}]},
    }
    return Mutate(metadata=spaces, clear_route_cache=True)


def without_key(path: str) -> str:
    """`path` without the client's key in its query."""
    path, _, query = path.partition("?")
    kept = "&".join(pair for pair in query.split("&") if not pair.startswith("key="))
    return f"{path}?{kept}" if kept else path


def _model_name(body: Json, client: AnyDialect, call: Call) -> str:
    """The model asked for, by the path or by the body."""
    named = client.model_of(body) if isinstance(client, Unary) else body.get("model")
    model = call.model or named or call.default_model
    if not isinstance(model, str) or not model:
        raise InvalidRequest("$.model", "a model name")
    return model


def _check_own(
    asked: _Asked, target: Target, profile: Profile | None, read: Callable[[], Any]
) -> None:
    """Of a request in the provider's own dialect, its media alone are looked at, and only where
    its bytes may hold one that the model does not take: the provider judges the rest itself, in
    the client's own words. What cannot be decoded goes to it as it is.
    """
    if profile is None or profile.input is None or not refuses_media(profile, asked.media()):
        return
    try:
        request = read()
    except DragomanError:
        return
    check_media(request, profile, target.model)


def _flag(value: bool) -> str:  # noqa: FBT001 - a converter, not a switch
    return "1" if value else "0"
