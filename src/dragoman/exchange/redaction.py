"""Redaction in the decide stage: what of a request goes on, and what later stages must know."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from dragoman import metadata as names
from dragoman.actions import Metadata, amend
from dragoman.config.policy import Caller, Model, Policy
from dragoman.dialects import BodyKind
from dragoman.errors import PermissionDenied, RedactionFailed
from dragoman.exchange.bodies import edit_form
from dragoman.ir import Json
from dragoman.policies.guard.seen import Seen

if TYPE_CHECKING:
    from dragoman.exchange.recognising import Recognising
    from dragoman.policies.questions import About
    from dragoman.policies.redact.profiles import Redactors
    from dragoman.policies.redact.redactor import Redacted, Redactor

ENGINE_FAULTS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    msgspec.MsgspecError,
)
"""What an engine may raise that was not made to: whatever it is, the request does not go on."""
_FAILED = "The request could not be redacted."
HARMLESS = ("GET", "HEAD", "DELETE")


class Treated(NamedTuple):
    """A request's body after redaction, and what is said of it and of its answer in metadata."""

    body: bytes
    """What goes on."""
    changed: bytes | None
    """The same, None where it is what came."""
    facts: Json
    counts: Json
    guarded: Json | None = None
    """What guardrails found and let through."""

    def guarded_as(self, seen: Seen) -> Treated:
        """With what guardrails saw in the request before."""
        if not seen.answers:
            return self._replace(guarded=seen.counts) if seen.counts else self
        facts = {**self.facts, names.GUARDRAILS: seen.answers, names.RESPOND: names.FLAG}
        return self._replace(guarded=seen.counts, facts=facts)

    def telling(self, facts: Json) -> Treated:
        """With more that later stages must know."""
        return self._replace(facts={**self.facts, **facts})

    def tell(self, spaces: Metadata) -> Metadata:
        """`spaces`, with what this request alone has to say."""
        told = {names.NAMESPACE: self.facts, names.REDACTION_NAMESPACE: self.counts}
        told[names.GUARDRAILS_NAMESPACE] = self.guarded or {}
        told = {name: fields for name, fields in told.items() if fields}
        return amend(spaces, told) if told else spaces


class RequestRedaction:
    """Applies the profile that a request is under. Whatever goes wrong, nothing goes on."""

    def __init__(self, policy: Policy, redactors: Redactors | None) -> None:
        """Raises `ValueError` where the policy wants redaction and nothing is there to do it."""
        if (policy.redaction is None) != (redactors is None):
            raise ValueError("a policy with redaction needs its redactors")
        self._redactors = redactors

    def check_unread(self, caller: Caller, method: str) -> None:
        """Raises `PermissionDenied` for a body that nobody reads, unless its profile lets it by.

        `method` empty: it may be anything.
        """
        redactor = self._redactors.choose(caller) if self._redactors else None
        if redactor and redactor.profile.refuses_unread and method not in HARMLESS:
            raise PermissionDenied("Its body is not read here, so nothing could be redacted in it.")

    def survey(
        self,
        kind: BodyKind,
        raw: bytes,
        body: Json,
        about: Callable[[], About],
        asks: tuple[Caller, Model],
    ) -> Recognising | None:
        """What a recogniser has to be asked first, where the profile has one and there is a text.

        `raw` reads as `body`. Raises as `apply`.
        """
        caller, model = asks
        redactor = self._redactors.choose(caller, model) if self._redactors else None
        recogniser = redactor.profile.recogniser if redactor else None
        if redactor is None or recogniser is None:
            return None
        from dragoman.exchange.recognising import Recognising  # noqa: PLC0415 - seldom wanted

        try:
            found = Recognising(redactor, recogniser, (kind, raw, body), about())
        except ENGINE_FAULTS as error:
            raise RedactionFailed(_FAILED) from error
        return found if found.texts else None

    def apply(
        self,
        kind: BodyKind,
        raw: bytes,
        caller: Caller,
        model: Model,
        redact: Callable[[], Redacted] | None = None,
    ) -> Treated:
        """`redact` where a recogniser was asked. Raises `ContentBlocked`, `ContentTooSensitive` or
        `RedactionFailed`."""
        redactor = self._redactors.choose(caller, model) if self._redactors else None
        if self._redactors is None or redactor is None:
            return Treated(raw, None, {}, {})
        try:
            redacted = redact() if redact else _redact(redactor, kind, raw, caller.name)
            facts: Json = {}
            if redacted.originals:
                facts[names.SEALED] = self._redactors.keys.seal(redacted.originals, caller.name)
                facts[names.RESPOND] = names.FLAG
        except ENGINE_FAULTS as error:
            raise RedactionFailed(_FAILED) from error
        if redacted.body is None and not redacted.counts and not redactor.profile.answers:
            return Treated(raw, None, {}, {})
        if redactor.profile.answers:
            facts[names.REDACTION] = redactor.profile.name
            facts[names.RESPOND] = names.FLAG
        counts: Json = {entity: float(count) for entity, count in redacted.counts.items()}
        body = raw if redacted.body is None else redacted.body
        return Treated(body, redacted.body, facts, counts)


def _redact(redactor: Redactor, kind: BodyKind, raw: bytes, caller: str) -> Redacted:
    return redactor.redact(raw, caller) if kind == "json" else _redact_form(redactor, raw, caller)


def _redact_form(redactor: Redactor, raw: bytes, caller: str) -> Redacted:
    """The fields of a form; its files are not read."""
    found = redactor.survey(raw, edit_form)
    return redactor.redact_surveyed(raw, edit_form, caller, found, [()] * len(found))
