"""The profiles of a policy, compiled, and which of them a request is under."""

from __future__ import annotations

from dragoman.config.policy import Caller, Model, Redaction
from dragoman.config.redaction import OFF
from dragoman.policies.redact.keys import Keys
from dragoman.policies.redact.redactor import Redactor


class Redactors:
    """Made once a worker; shared by all requests."""

    def __init__(self, section: Redaction, secret: bytes) -> None:
        """`secret` is the policy's own key or the run folder's."""
        self.keys = Keys(secret)
        self._default = section.default.name if section.default else OFF
        self._redactors = {
            name: Redactor(profile, self.keys, section.max_map_bytes)
            for name, profile in section.profiles.items()
        }

    def choose(self, caller: Caller, model: Model | None = None) -> Redactor | None:
        """The caller's profile, else the model's, else the default; None where that is `off`."""
        own = caller.redaction or (model.redaction if model else None)
        return self.named(own or self._default)

    def named(self, name: str) -> Redactor | None:
        return self._redactors.get(name)
