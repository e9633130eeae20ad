"""Shadow traffic: which requests are asked of a second model too, and what comes back of them.

Envoy copies the request as the decide stage left it, and brings the copy to a listener of its own,
where nobody else comes. What goes with it is told here: headers of the request are all it has.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from secrets import token_hex
from typing import TYPE_CHECKING

import msgspec

from dragoman import metadata as names
from dragoman.config.leading import Condition
from dragoman.config.policy import Caller, Policy, Rule
from dragoman.dialects import CHAT, EMBEDDINGS, RERANK
from dragoman.exchange.asked import Asked
from dragoman.ir import Json
from dragoman.policies.route.content import Asking
from dragoman.policies.route.residency import Demands
from dragoman.policies.route.weighted import Chance

if TYPE_CHECKING:
    from dragoman.policies.route.rules import Rules

NOBODY = Caller(name="", models=("*",))
"""Whose quotas copies count in that are charged to nobody."""
_OPERATIONS = (CHAT, EMBEDDINGS, RERANK)
"""Those that are asked of a model, whole, in one message."""

_NONCE_BYTES = 8


class Copy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a copy's decision needs beside the copy."""

    model: str
    """The shadow."""
    demands: Demands = ()
    """Regions, as the caller's policy and the request's own header had them."""
    charge_to: str = ""
    nonce: str = ""
    """Given where the answers are to be compared."""

    @property
    def facts(self) -> Json:
        """Of the request: for Envoy, which writes them into its copy's headers, for the ledger, and
        for the later stages."""
        encoded = b64encode(msgspec.json.encode(self)).decode()
        return {names.SHADOW: encoded, names.SHADOW_MODEL: self.model, **self.own_facts}

    @property
    def own_facts(self) -> Json:
        """Of the copy itself, for the later stages."""
        return {names.NONCE: self.nonce} if self.nonce else {}


def read_copy(header: str) -> Copy:
    """What `Copy.facts` has under `SHADOW`, as it came back."""
    return msgspec.json.decode(b64decode(header), type=Copy)


class Shadows:
    """Of the models of one policy; holds nothing of a request."""

    def __init__(self, policy: Policy, chance: Chance) -> None:
        self._chance = chance
        self._rules = _rules(policy)

    def copy(self, asked: Asked, demands: Demands, look: Callable[[], Asking]) -> Copy | None:
        """What is told of the request's copy; None where it has none."""
        shadow = asked.model.shadow
        if shadow is None or asked.client.operation not in _OPERATIONS:
            return None
        rules = self._rules.get(asked.model.name)
        if self._chance() >= shadow.share or (rules and rules.find(look()) is None):
            return None
        compares = shadow.answers and asked.client.operation == CHAT
        nonce = token_hex(_NONCE_BYTES) if compares else ""
        return Copy(shadow.use.name, demands, shadow.charge_to or "", nonce)


def _rules(policy: Policy) -> dict[str, Rules]:
    """Of the models whose shadow is not for all; what they need is loaded only then."""
    shadows = {name: model.shadow for name, model in policy.models.items() if model.shadow}
    limited = {name: shadow for name, shadow in shadows.items() if shadow.when != Condition()}
    if not limited:
        return {}
    from dragoman.policies.route.rules import Rules  # noqa: PLC0415 - knows languages and zones

    return {name: Rules([Rule(when=it.when, use=it.use)]) for name, it in limited.items()}
