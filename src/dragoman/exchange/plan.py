"""How an admitted request goes out: to whom it can be said, what changes, and what each later stage
and Envoy's routes are told.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from datetime import UTC, date, datetime

import msgspec

from dragoman import metadata as names
from dragoman.actions import Shared
from dragoman.catalog.costs import encode_prices
from dragoman.catalog.profiles import Profile
from dragoman.config.policy import Caller, Endpoint, Fallback, Policy, Target
from dragoman.dialects import CHAT, Call, StreamOptions
from dragoman.errors import DragomanError, NotOffered, Unrepresentable
from dragoman.exchange.asked import Asked, changes, own_edits
from dragoman.ir import Json
from dragoman.ir.losses import Losses
from dragoman.policies.capabilities import check_media, fit, refuses_media
from dragoman.policies.quotas import amounts_of
from dragoman.policies.route.choose import Choice
from dragoman.policies.route.decision import describe_choice

_MOST_KNOWN = 1024
_BYTES_PER_TOKEN = 4
_COUNTED_STREAMS = ("text/event-stream", "application/vnd.amazon.eventstream")
"""Content types of streams that Envoy's own filters count in, where they are framed as usual."""


class Plan:
    """Plans requests under one policy; remembers what it told of requests alike."""

    def __init__(self, policy: Policy, clock: Callable[[], float]) -> None:
        """`clock` tells Unix seconds."""
        self._policy = policy
        self._clock = clock
        self._known: dict[Hashable, tuple[Call, Shared]] = {}
        """What was told of earlier requests, and the call it was told of."""

    def spaces(
        self,
        asked: Asked,
        caller: Caller,
        choice: Choice,
        edits: list[Json | None],
        base: Json,
    ) -> Shared:
        """All that later stages and Envoy's routes are told; made once for all requests that differ
        only in what it does not hang on."""
        fallback = choice.fallback
        if (
            asked.said
            or asked.query
            or asked.borrows
            or (fallback is not None and fallback.is_limited)
        ):
            return self._spaces(asked, caller, choice, edits, base)
        asks = (asked.stream, asked.client.wants_usage(asked.raw), asked.name, caller.name)
        alike = tuple([edit == base for edit in edits])
        day = self._today() if self._policy.statistics.cost else None
        key = (id(asked.call), *asks, "stream" in base, alike, day, *choice.order, *choice[1:])
        known = self._known.get(key)
        if known is None or known[0] is not asked.call:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = asked.call, self._spaces(asked, caller, choice, edits, base)
            self._known[key] = known
        return known[1]

    def _spaces(
        self,
        asked: Asked,
        caller: Caller,
        choice: Choice,
        edits: list[Json | None],
        base: Json,
    ) -> Shared:
        """As `spaces`, made anew."""
        spaces, order = Shared(), choice.order
        plan = self._plan(choice, edits, base, asked)
        plan |= dict(asked.told)
        plan[names.DECISION] = describe_choice(choice)
        if choice.canary is not None:
            plan[names.CANARY] = choice.canary
        if choice.latency_key is not None:
            plan[names.LATENCY_KEY] = choice.latency_key
        spaces[names.NAMESPACE] = self._facts(asked, caller, choice) | plan
        spaces[names.PATHS_NAMESPACE] = self._paths(asked, order)
        if order:
            groups = [{"name": target.provider} for target in order]
            spaces[names.ROUTE_NAMESPACE] = {"priority_groups": groups}
            spaces[names.MODELS_NAMESPACE] = {t.provider: t.model for t in reversed(order)}
        if self._policy.statistics.cost:
            spaces[names.PRICES_NAMESPACE] = self._prices(order)
        return spaces

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock(), UTC).date()

    def _prices(self, order: list[Target]) -> dict[str, object]:
        """What each provider's model costs today, as far as it is known."""
        today, found = self._today(), dict[str, object]()
        for target in reversed(order):
            profile = self._policy.profile(target.provider, target.model)
            prices = profile and profile.prices_on(today)
            found[target.provider] = prices and encode_prices(prices)
        return {provider: prices for provider, prices in found.items() if prices is not None}

    def speakable(self, asked: Asked, choice: Choice) -> Choice:
        """`choice` without the targets whose dialect cannot say this request.

        Raises what the first of them could not say if none is left.
        """
        refusals: dict[tuple[str, str], DragomanError | None] = {}
        left: list[Target] = []
        for target in choice.order:
            key = (target.provider, target.model)
            if key not in refusals:
                refusals[key] = self._refusal(asked, target, clamp=choice.clamp)
            left += [target] if refusals[key] is None else []
        if choice.order and not left:
            raise next(refusal for refusal in refusals.values() if refusal is not None)
        if len(left) == len(choice.order):
            return choice
        return choice.without(
            {t: e.code for t in choice.order if (e := refusals[t.provider, t.model])}
        )

    def endpoint(self, asked: Asked, target: Target) -> Endpoint | None:
        """Where `target` is asked; None where its provider has no such operation."""
        return self._policy.providers[target.provider].endpoint_for(asked.client, target.model)

    def _refusal(self, asked: Asked, target: Target, *, clamp: bool) -> DragomanError | None:
        """Why `target` cannot be asked this; None where it can."""
        endpoint = self.endpoint(asked, target)
        if endpoint is None:
            return NotOffered(f"{target.provider} offers no {asked.client.operation}.")
        profile = None
        if asked.client.operation == CHAT:
            profile = self._policy.profile(target.provider, target.model)
        try:
            if endpoint.dialect.name == asked.client.name:
                _check_own(asked, target, profile)
            else:
                losses = Losses(endpoint.dialect.name, clamp=clamp)
                request = msgspec.structs.replace(asked.request, model=target.model)
                request = fit(request, profile, target.model, losses)
                endpoint.dialect.encode_request(request, losses)
        except Unrepresentable as refusal:
            return refusal
        return None

    def edits(self, asked: Asked, order: list[Target]) -> list[Json | None]:
        """What each target of the client's own dialect needs changed; None where it translates."""
        if not order:
            return [changes(asked.raw, asked.said | asked.client.edits(asked.body))]
        edits: list[Json | None] = []
        for target in order:
            own = self._own_endpoint(asked, target)
            edits.append(own_edits(own, asked.raw, asked.said, target.model) if own else None)
        return edits

    def _own_endpoint(self, asked: Asked, target: Target) -> Endpoint | None:
        """Where the target is asked in the client's own dialect; None where it translates."""
        found = self._policy.providers[target.provider].endpoint_for(asked.client, target.model)
        return found if found is not None and found.dialect.name == asked.client.name else None

    def _paths(self, asked: Asked, order: list[Target]) -> dict[str, str]:
        """Where each provider is asked: those of the order, or all where Envoy's routes choose."""
        models = {target.provider: target.model for target in reversed(order)}
        chosen = models or dict.fromkeys(self._policy.providers, asked.name)
        return {
            name: _path(endpoint, asked, model)
            for name, model in chosen.items()
            if (endpoint := self._policy.providers[name].endpoint_for(asked.client, model))
        }

    def _plan(self, choice: Choice, edits: list[Json | None], base: Json, asked: Asked) -> Json:
        """What the attempts need to know: their order, and where translation is skipped."""
        order, framing = choice.order, asked.call.framing
        facts: Json = {}
        said = {name: value for name, value in asked.said.items() if value is not None}
        if asked.stream and "stream" in base:
            said["stream"] = True
        if said:
            facts[names.FIELDS] = msgspec.json.encode(said).decode()
        if choice.must_fit:
            facts[names.MUST_FIT] = choice.must_fit
        if not order:
            is_usual = asked.client.frames(framing) and not (choice.must_fit or asked.borrows)
            return facts | ({names.KEEP_DIALECT: asked.client.name} if is_usual else {})
        facts |= {
            names.TARGETS: names.encode_order([(t.provider, t.model) for t in order]),
            names.RETRIES: str(max(1, len(order) - 1)),
        }
        if self._policy.waiting_seconds(len(order)) > self._policy.silence_seconds:
            facts[names.PATIENT] = names.FLAG
        if choice.fallback is not None and order[1:] and asked.call.operation == CHAT:
            facts[names.FALLBACK_ON] = ",".join(self._reasons(choice.fallback, order, asked))
            if choice.fallback.scorer:
                facts[names.SCORER] = choice.fallback.scorer
        for target in order:
            alike = [
                edit == base and other.model == target.model
                for other, edit in zip(order, edits, strict=True)
                if other.provider == target.provider
            ]
            watched = names.FALLBACK_ON in facts and target not in order[-1:]
            watched = watched or bool(choice.must_fit) or choice.is_compared or asked.borrows
            if all(alike) and self._passes(asked, target) and not watched:
                facts[names.KEEP + target.provider] = names.FLAG
        return facts

    def _reasons(self, fallback: Fallback, order: list[Target], asked: Asked) -> Iterator[str]:
        """To ask the next target, and the limits as they are for this request."""
        yield from fallback.reasons
        if fallback.shorter_than is not None:
            yield f"{names.SHORTER_THAN}:{fallback.shorter_than}"
        if fallback.scored_below is not None:
            yield f"{names.SCORED_BELOW}:{fallback.scored_below}"
        if fallback.within_ms is not None:
            yield f"{names.UNTIL}:{int(self._clock() * 1000) + fallback.within_ms}"
        if fallback.nanodollars is not None:
            yield f"{names.ATTEMPTS}:{self._affordable(fallback.nanodollars, order, asked)}"

    def _affordable(self, most: int, order: list[Target], asked: Asked) -> int:
        """How many of `order` may be asked for `most` nanodollars together, the first in any case.
        What has no known price may cost more."""
        today, spent = self._today(), 0
        for number, target in enumerate(order):
            profile = self._policy.profile(target.provider, target.model)
            prices = profile.prices_on(today) if profile else None
            tokens = len(asked.sent) // _BYTES_PER_TOKEN
            spent += amounts_of(asked.raw, tokens, (prices,)).get("usd", most + 1)
            if spent > most:
                return max(1, number)
        return len(order)

    def _facts(self, asked: Asked, caller: Caller, choice: Choice) -> Json:
        stream = asked.stream
        kind = asked.client.stream_type(StreamOptions())
        wants_usage = asked.call.wants_usage or asked.client.wants_usage(asked.body)
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
        if choice.clamp:
            facts[names.CLAMP] = names.FLAG
        if strip and native.strip_usage:
            facts[names.STRIP_USAGE] = names.FLAG
        uncounted = stream and (bool(asked.call.framing) or kind not in _COUNTED_STREAMS)
        edits = not native.usage or uncounted or (strip and not native.strip_usage)
        order = choice.order
        if edits and (not order or any(self._passes(asked, target) for target in order)):
            facts[names.RESPOND] = names.FLAG
        return facts

    def _passes(self, asked: Asked, target: Target) -> bool:
        """Whether the target's answer reaches the client as it is: no stage has read its usage."""
        own = self._own_endpoint(asked, target)
        return own is not None and own.dialect.frames(asked.call.framing)


def _path(endpoint: Endpoint, asked: Asked, model: str) -> str:
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


def _check_own(asked: Asked, target: Target, profile: Profile | None) -> None:
    """Of a request in the provider's own dialect, its media alone are looked at, and only where
    its bytes may hold one that the model does not take: the provider judges the rest itself, in
    the client's own words. What cannot be decoded goes to it as it is.
    """
    if profile is None or profile.input is None or not refuses_media(profile, asked.media):
        return
    try:
        request = asked.request
    except DragomanError:
        return
    check_media(request, profile, target.model)


def _flag(value: bool) -> str:  # noqa: FBT001 - a converter, not a switch
    return "1" if value else "0"
