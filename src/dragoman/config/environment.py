"""The environment of the processes this one starts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from dragoman.config.policy import Policy

_PLACEHOLDER = "set"


def without_keys(policy: Policy, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environment` with each provider's key replaced by a word.

    Only Envoy is given the keys; the Python processes need no more than to see that one is there.
    """
    keys = {provider.key.env for provider in policy.providers.values() if provider.key}
    return {
        name: _PLACEHOLDER if name in keys and value else value
        for name, value in environment.items()
    }
