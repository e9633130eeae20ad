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


def check_limits(policy: Policy, limits: RequestLimits, asked: Asked) -> int | None:
    """The tokens of an answer that are to be written into the request; None where it says so
    itself, or nothing limits them.

    Raises `LimitExceeded`, or what is wrong with a body that has to be read for it.
    """
    if limits.input_tokens is not None:
        check_input(_estimate(policy, asked), limits.input_tokens)
    limit = limits.output_tokens
    if limit is None or asked.client.operation != CHAT:
        return None
    edits = limit_output(asked.client.name, asked.raw, asked.request.max_tokens, limit)
    return limit if edits else None


def write_limit(limit: int, asked: Asked, treated: Treated) -> tuple[Asked, Treated]:
    """Both with `limit` in them, which `check_limits` found to be missing."""
    edits = limit_output(asked.client.name, asked.raw, None, limit)
    body = edit_body(asked.call.body, treated.body, edits) or treated.body
    asked = msgspec.structs.replace(asked, raw={**asked.raw, **edits})
    return asked, treated._replace(body=body, changed=body)


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
