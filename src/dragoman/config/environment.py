"""The environment of the processes this one starts.

Imports next to nothing: the supervisor, which stays small, reads it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dragoman.config.policy import Policy

_PLACEHOLDER = "set"
_SIGNERS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
"""What Envoy signs with."""


def key_names(policy: Policy) -> set[str]:
    """The environment variables that hold the keys of providers and of the operator's services."""
    providers = policy.providers.values()
    keys = [provider.key for provider in providers]
    keys += [getattr(callee.service, "key", None) for callee in policy.callees]
    names = {key.env for key in keys if key and key.env}
    return names | _SIGNERS if any(provider.signing for provider in providers) else names


def without(names: Iterable[str], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """`environment` with each of the variables `names` replaced by a word.

    Only Envoy is given the providers' keys; a worker needs no more than to see that one is there.
    """
    hidden = set(names)
    return {
        name: _PLACEHOLDER if name in hidden and value else value
        for name, value in environment.items()
    }
