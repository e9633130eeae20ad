"""The decide stage: who calls, what is asked, which upstreams in which order.

One request in, one action out. Everything a client can get wrong is refused here, in the client's
own dialect: later stages only carry out what this one admitted.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from dragoman import metadata as names
from dragoman.actions import Mutate, Respond, amend
from dragoman.catalog.profiles import Prices
from dragoman.config.leading import SimilarTo
from dragoman.config.policy import Caller, Model, Policy, Target
from dragoman.config.resilience import Priority
from dragoman.dialects import CHAT, COUNT, FEEDBACK, MODELS, Call
from dragoman.dialects.registry import ClientCall
from dragoman.errors import DragomanError
from dragoman.exchange.answers import answer, check_method, check_type, deny
from dragoman.exchange.asked import Asked, Asker, headers_said, model_name, said_outside, wish_of
from dragoman.exchange.bodies import edit_body, read_body
from dragoman.exchange.feedback import take_feedback
from dragoman.exchange.guard import Consulting, RequestGuard, about_of
from dragoman.exchange.heads import RequestHead
from dragoman.exchange.limits import check_limits, write_limit
from dragoman.exchange.plan import Plan
from dragoman.exchange.redaction import RequestRedaction, Treated
from dragoman.exchange.reserve import Pending, Quotas, Reserve, Spending, Unlimited
from dragoman.exchange.shadow import NOBODY as NOBODY_PAYS
from dragoman.exchange.shadow import Shadows, read_copy
from dragoman.exchange.unread import UNKNOWN_PATH, Unread
from dragoman.ir import Json, TokenCount
from dragoman.ir.losses import Losses
from dragoman.policies.abuse import Standings, check_standing
from dragoman.policies.authorize import (
    Wish,
    authorize,
    find_model,
    list_models,
)
from dragoman.policies.describe import make_card
from dragoman.policies.estimate import estimate_tokens
from dragoman.policies.guard.callouts import judge
from dragoman.policies.guard.seen import Seen
from dragoman.policies.identify import Issued, identify
from dragoman.policies.lifecycle import find_serving
from dragoman.policies.limits import check_size, limits_of
from dragoman.policies.questions import Fault
from dragoman.policies.quotas import UNREAD_AMOUNTS, amounts_of
from dragoman.policies.route.canary import NOBODY, Shares
from dragoman.policies.route.choose import Choice, Chooser
from dragoman.policies.route.content import Asking, Content
from dragoman.policies.route.lowered import Incidents
from dragoman.policies.route.residency import find_demands
from dragoman.policies.route.similar import Similarity
from dragoman.policies.route.weighted import Chance
from dragoman.policies.urgency import Lateness, find_priority
from dragoman.stores.latencies import Latencies
from dragoman.stores.loads import Loads

if TYPE_CHECKING:
    from dragoman.policies.guard.guard import Guards
    from dragoman.policies.redact.profiles import Redactors

ESTIMATED_HEADER = "x-dragoman-estimated"
"""Response header: `true` where a count of tokens is this service's own estimate."""
_LISTED = "dragoman_models"
_UNNAMED = frozenset({MODELS, FEEDBACK})
"""Operations that ask no model."""
_BYTES_PER_TOKEN = 4
"""Rough, and only for what a provider never counts (`metering: estimated` in the ledger)."""


class Passed(NamedTuple):
    """What is known of a request that goes on, before anything is hidden in it."""

    seen: Seen
    note: tuple[str, ...]
    """For the decision."""
    output_limit: int | None
    """Tokens of the answer; to be written into it."""


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
        guards: Guards | None = None,
        standings: Standings | None = None,
        latencies: Latencies | None = None,
        shares: Shares = NOBODY,
        incidents: Incidents | None = None,
        loads: Loads | None = None,
        hear: Callable[[Model, str], None] | None = None,
        lag: Lateness | None = None,
    ) -> None:
        """`quotas` None: nobody keeps any, and nothing is reserved; `issued` likewise, keys.
        `redactors` and `guards`: the policy's. `standings` None: abuse is not looked for;
        `latencies` and `loads` None: nothing is known of any; `shares` tells how far canaries are;
        `incidents` None: no target is ever lowered; `hear` is told who asks for a model that is to
        end; `lag` None: nothing is turned away."""
        self._policy = policy
        self._lag = lag
        self.most_urgent: Priority = policy.most_urgent
        known = latencies or Latencies(clock)
        self._chooser = Chooser(
            policy, chance, clock, known, shares, incidents=incidents, loads=loads
        )
        self._redaction = RequestRedaction(policy, redactors)
        self._guard = RequestGuard(policy, guards)
        self._issued = issued
        self._standings = standings
        self._hear = hear
        self._chance = chance
        self._plan = Plan(policy, clock)
        self._unread = Unread(policy, self._redaction, self._guard)
        self._shadows = Shadows(policy, chance)
        self._similarity = Similarity(policy)
        self._clock = clock
        limits = policy.quotas if quotas else ()
        self._reserve = Reserve(limits, quotas or Unlimited(), clock)

    def on_request(
        self, head: RequestHead, body: bytes | None, sent_bytes: int | None = None
    ) -> Mutate | Respond | Pending | Consulting:
        """Admit, answer or refuse. `body` is None for a request that has none; `sent_bytes` is the
        size of one whose files went on before it."""
        client, caller = head.client, None
        if names.SHADOW_HEADER in head.headers:
            return self._ask_shadow(head, body or b"", client)
        try:
            caller = identify(head, self._policy.callers, self._issued)
            self._check_standing(caller)
            call = client.call
            if sent_bytes is None:
                self._check_lag(caller, call)
            if call is None:
                asker = Asker(head, client.dialect, caller)
                authorize(caller, Wish(UNKNOWN_PATH, client.dialect.name))
                return self._spend(self._unread.admit_unknown(asker), asker)
            check_method(head, call)
            check_size(caller, len(body or b"") if sent_bytes is None else sent_bytes)
            if call.operation == MODELS:
                return self._list_models(call, body or b"", Asker(head, client.dialect, caller))
            if call.body == "unread":
                asker = Asker(head, client.dialect, caller)
                authorize(caller, Wish(call.operation, client.dialect.name))
                return self._spend(self._unread.admit(asker, call), asker)
            check_type(head, call.body)
            read = read_body(call.body, body or b"")
            if call.operation == FEEDBACK:
                return take_feedback(read, Asker(head, client.dialect, caller))
            client = client.claimed(read)
            is_new = sent_bytes is None
            return self._admit(head, body or b"", read, client, caller, is_new=is_new)
        except DragomanError as error:
            return _deny(error, client, caller)

    def on_form(self, head: RequestHead) -> Respond | None:
        """Refuses a form before it is all there, where its head is enough to."""
        client, caller = head.client, None
        try:
            caller = identify(head, self._policy.callers, self._issued)
            self._check_standing(caller)
            self._check_lag(caller, None)
            if client.call is not None:
                check_method(head, client.call)
                check_type(head, client.call.body)
        except DragomanError as error:
            return _deny(error, client, caller)
        return None

    def _check_standing(self, caller: Caller) -> None:
        standing = self._standings.find(caller.name) if self._standings else None
        if standing is not None:
            check_standing(standing, self._clock(), self._chance)

    def _check_lag(self, caller: Caller, call: Call | None) -> None:
        """Raises where this worker is too late for the caller's requests; of those in which a model
        may have a say, nothing yet."""
        if self._lag is None:
            return
        priority = find_priority(caller, None)
        names_model = call is not None and call.body != "unread" and call.operation not in _UNNAMED
        if priority is not None or not names_model:
            self._lag.check(priority or "normal")

    def _spend(
        self,
        admitted: Mutate,
        asker: Asker,
        model: str = "",
        amounts: Mapping[str, int] = UNREAD_AMOUNTS,
        without: Callable[[frozenset[str]], Mutate] | None = None,
    ) -> Mutate | Respond | Pending:
        """`admitted`, once the caller's quotas allow it. `without` makes it anew for an order that
        some providers are left out of."""
        if not (self._reserve.counts or asker.caller.stated):
            return admitted
        stated = {names.SUBJECT_NAMESPACE: asker.caller.stated} if asker.caller.stated else None

        def offer(spent: frozenset[str]) -> Mutate:
            offered = without(spent) if spent and without else admitted
            if stated is None:
                return offered
            spaces = amend(offered.metadata, stated)
            return msgspec.structs.replace(offered, metadata=spaces)

        def refuse(error: DragomanError) -> Respond:
            operation = cast("str", admitted.metadata[names.NAMESPACE][names.OPERATION])
            return deny(error, asker.client, asker.caller, operation)

        providers = _providers(admitted) if self._reserve.counts_providers else ()
        return self._reserve.admit(
            Spending((asker.caller, model), amounts, offer, refuse), providers
        )

    def _prices(self, order: list[Target]) -> Iterator[Prices | None]:
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        for target in order:
            profile = self._policy.profile(target.provider, target.model)
            yield profile.prices_on(today) if profile else None

    def _list_models(self, call: Call, raw: bytes, asker: Asker) -> Respond:
        models, dialect = self._policy.models, asker.client
        if call.answer is not None:
            return answer(call.answer, _LISTED)
        wanted = call.model
        if wanted is None:
            check_type(asker.head, call.body)
            wanted = model_name(read_body(call.body, raw), dialect, call)
        if wanted:
            wanted = self._own_name(wanted)
            model = find_model(wanted, asker.caller, models)
            return answer(dialect.encode_model(make_card(wanted, model, self._policy)), _LISTED)
        names = list_models(asker.caller, models)
        cards = [make_card(name, models[name], self._policy) for name in names]
        return answer(dialect.encode_models(cards, asker.head.path.partition("?")[2]), _LISTED)

    def _admit(
        self,
        head: RequestHead,
        raw: bytes,
        body: Json,
        found: ClientCall,
        caller: Caller,
        *,
        is_new: bool,
    ) -> Mutate | Respond | Pending | Consulting:
        """`is_new`: nothing of it has gone on."""
        client, call = found.dialect, cast("Call", found.call)
        name = self._own_name(model_name(body, client, call))
        client.check_request(body)
        asked_for = find_model(name, caller, self._policy.models)
        if self._lag is not None and is_new:
            self._lag.check(find_priority(caller, asked_for) or "normal")
        if asked_for.deprecated is not None and self._hear is not None:
            self._hear(asked_for, caller.name)
        model, told, note = find_serving(asked_for, self._clock())
        name = name if model is asked_for else model.name
        asked = Asked(
            client=client,
            call=call,
            query=head.path.partition("?")[2],
            sent=raw,
            raw=body,
            said=said_outside(head, call),
            model=model,
            name=name,
            told=told,
        )
        limit = self._check_rights(asked, caller)
        seen = self._guard.look(call.body, raw, body, caller, model)
        return self._redact(asked, Asker(head, client, caller), Passed(seen, note, limit))

    def _check_rights(self, asked: Asked, caller: Caller) -> int | None:
        """The limit of the answer that is to be written into the request, if one is. Raises where
        the caller may not ask for this: nobody else need be asked about it then."""
        if caller.roles:
            authorize(caller, wish_of(asked, caller))
        limits = limits_of(caller)
        return check_limits(self._policy, limits, asked) if limits else None

    def _redact(
        self, asked: Asked, asker: Asker, passed: Passed
    ) -> Mutate | Respond | Pending | Consulting:
        """What becomes of the request once a recogniser, if there is one, has answered."""
        kind, raw, whose = asked.call.body, asked.sent, (asker.caller, asked.model)
        about = functools.partial(about_of, asker, asked.name)
        waits = self._redaction.survey(kind, raw, asked.raw, about, whose)
        if waits is None:
            return self._treat(asked, asker, self._redaction.apply(kind, raw, *whose), passed)
        recognising = waits

        def resume(
            answers: Sequence[bytes | Fault],
        ) -> Mutate | Respond | Pending | Consulting:
            try:
                redact = functools.partial(recognising.redact, answers)
                treated = self._redaction.apply(kind, raw, *whose, redact)
                return self._treat(asked, asker, treated, passed)
            except DragomanError as error:
                return deny(error, asker.client, asker.caller, asked.call.operation)

        return Consulting(questions=(waits.question,), resume=resume)

    def _treat(
        self, asked: Asked, asker: Asker, treated: Treated, passed: Passed
    ) -> Mutate | Respond | Pending | Consulting:
        """What becomes of the request, of which `treated` goes on."""
        seen, note, limit = passed
        caller, treated = asker.caller, treated.guarded_as(seen)
        if seen.answers and self._guard.keeps_json(asked, caller):
            treated = treated.telling({names.JSON_WANTED: names.FLAG})
            note = (*note, "disclaimer=skipped(json)")
        if treated.body is not asked.sent:
            body = read_body(asked.call.body, treated.body)
            asked = msgspec.structs.replace(asked, raw=body)
        if limit is not None:
            asked, treated = write_limit(limit, asked, treated)
            note = (*note, f"output_tokens={limit}")
        note = (*seen.note, *note)
        wanted = self._chooser.find_wanted(asked.model, self._look(asked, asker))
        if not wanted:
            return self._choose(asked, asker, treated, note)
        return self._compare(asked, asker, treated, note, wanted)

    def _compare(
        self,
        asked: Asked,
        asker: Asker,
        treated: Treated,
        note: tuple[str, ...],
        wanted: Mapping[int, SimilarTo],
    ) -> Mutate | Respond | Pending | Consulting:
        """What becomes of the request once it is known how like it is to what rules name."""
        text = self._look(asked, asker)().content.last_words
        demands = find_demands(asker.caller, asker.head.headers)
        comparing = self._similarity.compare(wanted, text, demands)

        def resume(answers: Sequence[bytes | Fault]) -> Mutate | Respond | Pending | Consulting:
            found = self._similarity.read(comparing, answers)
            try:
                return self._choose(asked, asker, treated, (*note, *found.notes), found.scores)
            except DragomanError as error:
                return deny(error, asker.client, asker.caller, asked.call.operation)

        if not comparing.questions:
            return resume(())
        return Consulting(questions=comparing.questions, resume=resume)

    def _choose(
        self,
        asked: Asked,
        asker: Asker,
        treated: Treated,
        note: tuple[str, ...],
        similar: Mapping[SimilarTo, float] = {},
    ) -> Mutate | Respond | Pending | Consulting:
        """What becomes of the request, of which all is known that rules go by."""
        caller = asker.caller
        demands = find_demands(caller, asker.head.headers)
        look = self._look(asked, asker, similar)
        choice = self._chooser.choose(asked.model, asked.name, demands, look).noting(*note)
        if must_fit := self._guard.must_fit(asked, caller):
            choice = choice._replace(must_fit=must_fit)
        if copy := self._shadows.copy(asked, demands, look):
            treated = treated.telling(copy.facts)
            choice = choice._replace(is_compared=bool(copy.nonce))
        if choice.order and self._must_estimate(asked, choice.order[0]):
            return self._estimate(asked, choice.order[0])
        return self._consult(asked, asker, self._plan.speakable(asked, choice), treated)

    def _consult(
        self, asked: Asked, asker: Asker, choice: Choice, treated: Treated
    ) -> Mutate | Respond | Pending | Consulting:
        """What becomes of the request once its callouts, if any, have answered."""
        consulted = self._guard.consult(asked, treated.body, asker)
        if consulted is None:
            return self._send(asked, asker, choice, treated)

        def resume(answers: Sequence[bytes | Fault]) -> Mutate | Respond | Pending:
            try:
                counts, notes = judge(consulted.all, consulted.fill(answers))
                guarded = {**(treated.guarded or {}), **counts}
                seen = treated._replace(guarded=guarded)
                return self._send(asked, asker, choice.noting(*notes), seen)
            except DragomanError as error:
                return deny(error, asker.client, asker.caller, asked.call.operation)

        questions = consulted.questions
        return Consulting(questions=questions, resume=resume) if questions else resume(())

    def _send(
        self, asked: Asked, asker: Asker, choice: Choice, treated: Treated
    ) -> Mutate | Respond | Pending:
        """How the request goes out, once the quotas allow it."""
        caller = asker.caller

        def without(spent: frozenset[str]) -> Mutate:
            gone = {t: "quota" for t in choice.order if t.provider in spent}
            return self._offer(asked, caller, choice.without(gone), treated)

        admitted = self._offer(asked, caller, choice, treated)
        amounts = UNREAD_AMOUNTS
        if self._reserve.counts:
            prices = self._prices(choice.order) if self._reserve.counts_dollars else None
            amounts = amounts_of(asked.raw, len(asked.sent) // _BYTES_PER_TOKEN, prices)
        return self._spend(admitted, asker, asked.model.name, amounts, without)

    def _offer(self, asked: Asked, caller: Caller, choice: Choice, treated: Treated) -> Mutate:
        """How the request goes out, to the targets of `choice`."""
        edits = self._plan.edits(asked, choice.order)
        base = next((edit for edit in edits if edit is not None), Json())
        return Mutate(
            set_headers=headers_said(asked),
            body=edit_body(asked.call.body, treated.body, base) or treated.changed,
            metadata=treated.tell(self._plan.spaces(asked, caller, choice, edits, base)),
            clear_route_cache=True,
        )

    def _must_estimate(self, asked: Asked, target: Target) -> bool:
        """Whether a count is asked for of a model whose provider counts none."""
        return asked.client.operation == COUNT and self._plan.endpoint(asked, target) is None

    def _estimate(self, asked: Asked, target: Target) -> Respond:
        profile = self._policy.profile(target.provider, target.model)
        tokens = estimate_tokens(asked.request, profile.token_ratio if profile else None)
        losses = Losses(asked.client.name)
        body = asked.client.encode_response(TokenCount(input_tokens=tokens), losses)
        return answer(body, "dragoman_estimate", {ESTIMATED_HEADER: "true"})

    def _own_name(self, name: str) -> str:
        """The model's own name, where it was asked for by an alias."""
        return self._policy.aliases.get(name, name)

    def _look(
        self, asked: Asked, asker: Asker, similar: Mapping[SimilarTo, float] = {}
    ) -> Callable[[], Asking]:
        """What rules and strategies see of the request, where they look at it."""
        headers, caller = asker.head.headers, asker.caller

        def look() -> Asking:
            decode = (lambda: asked.request) if asked.client.operation == CHAT else None
            size = len(asked.sent)
            content = Content(headers, asked.body, size, decode, caller.name, similar=similar)
            client, operation = asked.client.name, asked.call.operation
            return Asking(caller, client, operation, asked.stream, self._clock(), content)

        return look

    def _ask_shadow(
        self, head: RequestHead, raw: bytes, client: ClientCall
    ) -> Mutate | Respond | Pending:
        """How the copy of a request goes out, which was let through and treated before. Nothing is
        learned of it, and no client hears of it."""
        copy = read_copy(head.headers[names.SHADOW_HEADER])
        payer = self._policy.callers.by_name.get(copy.charge_to, NOBODY_PAYS)
        try:
            if self._lag is not None:
                self._lag.check("low")
            read = read_body("json", raw)
            client = client.claimed(read)
            call = cast("Call", client.call)
            asked = Asked(
                client=client.dialect,
                call=call,
                query=head.path.partition("?")[2],
                sent=raw,
                raw=read,
                said=said_outside(head, call),
                model=find_model(copy.model, NOBODY_PAYS, self._policy.models),
                name=copy.model,
            )
            asker = Asker(head, asked.client, payer)
            look = self._look(asked, asker)
            choice = self._chooser.choose(asked.model, asked.name, copy.demands, look)
            choice = choice._replace(latency_key=None, is_compared=bool(copy.nonce))
            choice = self._plan.speakable(asked, choice)
            return self._send(asked, asker, choice, Treated(raw, None, copy.own_facts, {}))
        except DragomanError as error:
            return _deny(error, client, payer)


def _providers(admitted: Mutate) -> list[str]:
    """Those that the request may go to, in their order; none where Envoy's own routes choose."""
    route = admitted.metadata.get(names.ROUTE_NAMESPACE, {})
    groups = cast("list[dict[str, str]]", route.get("priority_groups", []))
    return [group["name"] for group in groups]


def _deny(error: DragomanError, client: ClientCall, caller: Caller | None) -> Respond:
    operation = client.call.operation if client.call else UNKNOWN_PATH
    return deny(error, client.dialect, caller, operation)
