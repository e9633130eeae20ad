"""The decide stage's step that holds a request to the limits of whoever asks."""

from __future__ import annotations

import msgspec

from dragoman.config.governance import RequestLimits
from dragoman.config.policy import Policy
from dragoman.dialects import CHAT
from dragoman.exchange.asked import Asked
from dragoman.exchange.bodies import edit_body
from dragoman.exchange.redaction import Treated
from dragoman.policies.estimate import BYTES_PER_TOKEN, estimate_tokens
from dragoman.policies.limits import check_input, limit_output
from dragoman.policies.route.weighted import name_targets


class Held:
    """A request that its limits let through."""

    def __init__(
        self, policy: Policy, limits: RequestLimits, asked: Asked, treated: Treated
    ) -> None:
        """Raises `LimitExceeded`, or what is wrong with a body that has to be read for it."""
        self.asked = asked
        """As it goes on."""
        self.treated = treated
        self.note: tuple[str, ...] = ()
        """What was written into it."""
        if limits.input_tokens is not None:
            check_input(_estimate(policy, asked), limits.input_tokens)
        if limits.output_tokens is not None and asked.client.operation == CHAT:
            self._limit_output(limits.output_tokens)

    def _limit_output(self, limit: int) -> None:
        asked = self.asked
        edits = limit_output(asked.client.name, asked.raw, asked.request.max_tokens, limit)
        if not edits:
            return
        body = edit_body(asked.call.body, self.treated.body, edits) or self.treated.body
        self.treated = self.treated._replace(body=body, changed=body)
        self.asked = msgspec.structs.replace(asked, raw={**asked.raw, **edits})
        self.note = (f"output_tokens={limit}",)


def _estimate(policy: Policy, asked: Asked) -> int:
    """Tokens of the input, for the target that counts most."""
    if asked.client.operation != CHAT:
        return len(asked.sent) // BYTES_PER_TOKEN
    profiles = [
        policy.profile(target.provider, target.model)
        for target in name_targets(asked.model, asked.name)
    ]
    ratios = [profile.token_ratio or 1.0 for profile in profiles if profile is not None]
    return estimate_tokens(asked.request, max(ratios, default=None))
