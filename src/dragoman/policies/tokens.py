"""Whose a token is: what its verified claims mean under the policy.

Envoy's `jwt_authn` verifies signature, issuer, audience and times. What it found comes in the
metadata of that filter's own namespace, which no client can write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import msgspec

from dragoman.config.policy import Caller, Issuer
from dragoman.config.schema import RoleEntry
from dragoman.errors import InvalidToken, PermissionDenied, ServiceUnavailable
from dragoman.ir import Json
from dragoman.metadata import UNVERIFIED

_MAX_VALUE = 256
"""Longest claim value that names somebody: it stands in the store and in the ledger."""
_NO_KEYS = 40
"""Envoy's code where it could not fetch the issuer's keys."""


def read_token(found: Json, issuers: Mapping[str, Issuer]) -> Caller | None:
    """Whose the token is that Envoy verified; None where it verified none.

    Raises `PermissionDenied` where the policy has no place for what it says.
    """
    for name, issuer in issuers.items():
        payload = found.get(name)
        if isinstance(payload, dict):
            return find_caller(cast("Json", payload), issuer)
    return None


def check_failure(found: Json) -> None:
    """Raises why Envoy refused a token, if it did: `ServiceUnavailable` where that is not its
    fault, else `InvalidToken`. The words are Envoy's and never repeat what was sent."""
    failure = found.get(UNVERIFIED)
    if not isinstance(failure, dict):
        return
    said = cast("Json", failure)
    if said.get("code") == _NO_KEYS:
        raise ServiceUnavailable("The token cannot be verified now: its issuer does not answer.")
    raise InvalidToken(f"The token given is refused: {said.get('message')}.")


def find_caller(payload: Json, issuer: Issuer) -> Caller:
    """The caller that the claims name, with what else they say of it. Raises `PermissionDenied`."""
    caller = _named(payload, issuer) or issuer.default_caller
    if caller is None:
        raise PermissionDenied("The token given names no caller of this gateway.")
    stated = dict(_stated(payload, issuer, caller))
    return msgspec.structs.replace(
        caller,
        belongs={**caller.belongs, **stated},
        stated=stated,
        roles=_roles(payload, issuer, caller),
    )


def find_claim(payload: object, path: str) -> object:
    """The value at `path`; None where there is none. Of `a.b`, the claim named `a.b` comes first,
    then `b` in `a`."""
    if isinstance(payload, list):
        head, _, rest = path.partition(".")
        items = cast("list[object]", payload)
        item = items[int(head)] if head.isdecimal() and int(head) < len(items) else None
        return find_claim(item, rest) if rest else item
    if not isinstance(payload, dict):
        return None
    claims = cast("Json", payload)
    if path in claims:
        return claims[path]
    dots = (i for i, letter in enumerate(path) if letter == ".")
    inner = (find_claim(claims[path[:i]], path[i + 1 :]) for i in dots if path[:i] in claims)
    return next((value for value in inner if value is not None), None)


def _named(payload: Json, issuer: Issuer) -> Caller | None:
    """The first caller, in the policy's order, that the claim names."""
    if issuer.caller_claim is None:
        return None
    values = set(_values(find_claim(payload, issuer.caller_claim)))
    if len(values) == 1:
        return issuer.callers.get(values.pop())
    return next((caller for value, caller in issuer.callers.items() if value in values), None)


def _stated(payload: Json, issuer: Issuer, caller: Caller) -> Iterator[tuple[str, str]]:
    for subject, claim in issuer.subjects.items():
        value = next(_values(find_claim(payload, claim)), "")
        if len(value) > _MAX_VALUE:
            raise PermissionDenied(f"The token's claim {claim} is longer than {_MAX_VALUE}.")
        if value:
            yield subject, value
        elif subject not in caller.belongs:
            raise PermissionDenied(f"The token given lacks the claim {claim}, its {subject}.")


def _roles(payload: Json, issuer: Issuer, caller: Caller) -> Mapping[str, RoleEntry]:
    if issuer.roles_claim is None:
        return caller.roles
    values = _values(find_claim(payload, issuer.roles_claim))
    roles = {**caller.roles, **dict(issuer.roles[v] for v in values if v in issuer.roles)}
    if not roles:
        raise PermissionDenied("The token given has no role of this gateway.")
    return roles


def _values(claim: object) -> Iterator[str]:
    """The texts that a claim consists of: itself, or the items of its list. Others say nothing."""
    items = cast("list[object]", claim) if isinstance(claim, list) else [claim]
    for item in items:
        if isinstance(item, str):
            yield item
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield f"{item:.17g}"
