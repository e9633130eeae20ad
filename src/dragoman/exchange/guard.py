"""Guardrails in the decide stage: what a request is refused for, and what is said of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dragoman.config.policy import Caller, Model, Policy
from dragoman.dialects import BodyKind
from dragoman.errors import GuardrailFailed, InvalidRequest, PermissionDenied
from dragoman.exchange.redaction import ENGINE_FAULTS, HARMLESS
from dragoman.ir import Json
from dragoman.wire.multipart import text_parts

if TYPE_CHECKING:
    from dragoman.policies.guard.guard import Guard, Guards


class RequestGuard:
    """Applies the profile that a request is under. Whatever goes wrong, nothing goes on."""

    def __init__(self, policy: Policy, guards: Guards | None) -> None:
        """Raises `ValueError` where the policy wants guardrails and there are none."""
        if (policy.guardrails is None) != (guards is None):
            raise ValueError("a policy with guardrails needs its guards")
        self._guards = guards

    def check_unread(self, caller: Caller, method: str) -> None:
        """Raises `PermissionDenied` for a body that nobody reads, unless its profile lets it by.

        `method` empty: it may be anything.
        """
        guard = self._guards.choose(caller) if self._guards else None
        if guard and guard.profile.refuses_unread and method not in HARMLESS:
            raise PermissionDenied("Its body is not read here, so no guardrail could look at it.")

    def look(
        self, kind: BodyKind, raw: bytes, body: Json, caller: Caller, model: Model
    ) -> tuple[Json, tuple[str, ...]]:
        """What was found in a request that goes on, for its metadata and for its decision.

        Raises `ContentDenied`, `PromptInjection` or `GuardrailFailed`.
        """
        guard = self._guards.choose(caller, model) if self._guards else None
        if guard is None:
            return {}, ()
        try:
            return guard.look(raw, body) if kind == "json" else _look_at_form(guard, raw)
        except ENGINE_FAULTS as error:
            raise GuardrailFailed("The request could not be looked at by its guardrail.") from error


def _look_at_form(guard: Guard, raw: bytes) -> tuple[Json, tuple[str, ...]]:
    """The fields of a form; its files are not read."""
    texts: list[tuple[str, str]] = []
    for name, part in text_parts(raw):
        try:
            texts.append((f"$.{name}", raw[part].decode()))
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"$.{name}", "UTF-8 text") from error
    return guard.look_at(texts)
