"""Guardrails in the decide stage: what a request is refused for, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from dragoman import ir
from dragoman.actions import Mutate, Respond
from dragoman.config.callouts import Moderation, Service
from dragoman.config.policy import Caller, Model, Policy
from dragoman.dialects import CHAT, BodyKind
from dragoman.dialects.speakers import speaker_of
from dragoman.dialects.texts import edit_texts
from dragoman.errors import DragomanError, GuardrailFailed, PermissionDenied
from dragoman.exchange.asked import Asked, Asker
from dragoman.exchange.bodies import form_texts
from dragoman.exchange.fitting import shape_of
from dragoman.exchange.redaction import ENGINE_FAULTS, HARMLESS
from dragoman.exchange.reserve import Pending
from dragoman.ir import Json, Request
from dragoman.policies.guard.callouts import make_questions
from dragoman.policies.guard.seen import Seen
from dragoman.policies.questions import MAX_TEXTS, About, Fault, Question, Text
from dragoman.policies.route.residency import check_region, find_demands

if TYPE_CHECKING:
    from dragoman.policies.guard.guard import Guard, Guards
    from dragoman.policies.guard.verdicts import Round


_NOTHING = Seen({})
REQUEST_ID = "x-request-id"
"""Request header; Envoy makes it, whatever the client said."""


class Consulting(msgspec.Struct, frozen=True, kw_only=True):
    """A request that waits for callouts: have `questions` answered, each as far as it was, then
    `resume`."""

    questions: tuple[Question, ...]
    resume: Callable[[Sequence[bytes | Fault]], Mutate | Respond | Pending | Consulting]


class RequestGuard:
    """Applies the profile that a request is under. Whatever goes wrong, nothing goes on."""

    def __init__(self, policy: Policy, guards: Guards | None) -> None:
        """Raises `ValueError` where the policy wants guardrails and there are none."""
        if (policy.guardrails is None) != (guards is None):
            raise ValueError("a policy with guardrails needs its guards")
        self._guards = guards
        self._providers = policy.providers

    def check_unread(self, caller: Caller, method: str) -> None:
        """Raises `PermissionDenied` for a body that nobody reads, unless its profile lets it by.

        `method` empty: it may be anything.
        """
        guard = self._guards.choose(caller) if self._guards else None
        if guard and guard.profile.refuses_unread and method not in HARMLESS:
            raise PermissionDenied("Its body is not read here, so no guardrail could look at it.")

    def look(self, kind: BodyKind, raw: bytes, body: Json, caller: Caller, model: Model) -> Seen:
        """What was found in a request that goes on.

        Raises `ContentDenied`, `PromptInjection` or `GuardrailFailed`.
        """
        guard = self._guards.choose(caller, model) if self._guards else None
        if guard is None:
            return _NOTHING
        try:
            return guard.look(raw, body) if kind == "json" else _look_at_form(guard, raw)
        except ENGINE_FAULTS as error:
            raise GuardrailFailed("The request could not be looked at by its guardrail.") from error

    def keeps_json(self, asked: Asked, caller: Caller) -> bool:
        """Whether the answer is to be JSON, and a text would have to be added to it."""
        guard = self._guards.choose(caller, asked.model) if self._guards else None
        if guard is None or guard.profile.disclaimer is None or asked.client.operation != CHAT:
            return False
        try:
            return _wants_json(asked.request)
        except DragomanError:  # what cannot be decoded goes to the provider as it is
            return False

    def must_fit(self, asked: Asked, caller: Caller) -> str:
        """What becomes of an answer that is not the JSON asked for; empty where none is."""
        guard = self._guards.choose(caller, asked.model) if self._guards else None
        schema = guard.profile.schema if guard is not None else None
        if schema is None or asked.client.operation != CHAT:
            return ""
        try:
            return schema.action if shape_of(asked.request) else ""
        except DragomanError:  # what cannot be decoded goes to the provider as it is
            return ""

    def consult(self, asked: Asked, sent: bytes, asker: Asker) -> Round | None:
        """What callouts are asked about a request, of which `sent` will go on: what redaction took
        out, nobody is shown. Raises `ResidencyRefused` where one would be asked elsewhere than the
        request may go."""
        guard = self._guards.choose(asker.caller, asked.model) if self._guards else None
        if self._guards is None or guard is None or not guard.profile.callouts:
            return None
        for callout in guard.profile.callouts_of("answer"):
            self._check_region(callout, asker)
        if not guard.profile.callouts_of("request"):
            return None
        texts = find_texts(sent, asked.raw) if asked.call.body == "json" else _form_texts(sent)
        questions = make_questions(guard.profile, texts, about_of(asker, asked.name))
        for question in questions:
            self._check_region(question.callout, asker)
        return self._guards.verdicts.open(questions) if questions else None

    def _check_region(self, callout: Service, asker: Asker) -> None:
        if isinstance(callout, Moderation):
            name, demands = callout.provider, find_demands(asker.caller, asker.head.headers)
            check_region(name, self._providers[name].region, demands)


def _wants_json(request: Request) -> bool:
    """Whether it says so, or has the model go on with JSON."""
    shape, last = request.response_format, request.messages[-1:]
    if shape is not None and shape.kind != "text":
        return True
    own = [part for turn in last if turn.role == "assistant" for part in turn.parts]
    return any(isinstance(p, ir.Text) and p.content.lstrip()[:1] in ("{", "[") for p in own[-1:])


def about_of(asker: Asker, model: str) -> About:
    """What services are told of a request for `model`."""
    return About(asker.caller.name, model, asker.head.headers.get(REQUEST_ID, ""))


def find_texts(raw: bytes, body: Json) -> list[Text]:
    """Those of a JSON body, which reads as `body`; one more than may be, where it has more."""
    found: list[Text] = []

    def keep(text: str, hint: str, path: Callable[[], str]) -> None:
        del hint
        if len(found) <= MAX_TEXTS and text.strip():
            found.append(Text(where := path(), speaker_of(body, where), text))

    edit_texts(raw, keep)
    return found


def _form_texts(raw: bytes) -> list[Text]:
    return [Text(path, "user", text) for path, text in form_texts(raw) if text.strip()]


def _look_at_form(guard: Guard, raw: bytes) -> Seen:
    return guard.look_at(form_texts(raw))
