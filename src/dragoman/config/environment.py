"""The environment of the processes this one starts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dragoman.config.policy import Policy

_PLACEHOLDER = "set"
_SIGNERS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
"""What Envoy signs with."""


def without_keys(policy: Policy, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environment` with each provider's key replaced by a word.

    Only Envoy is given the keys; the Python processes need no more than to see that one is there.
    """
    providers = policy.providers.values()
    keys = {provider.key.env for provider in providers if provider.key}
    if any(provider.signing for provider in providers):
        keys |= _SIGNERS
    return {
        name: _PLACEHOLDER if name in keys and value else value
        for name, value in environment.items()
    }
