"""Requests whose body nobody reads: files, batches, and paths that only the operator knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from dragoman import metadata as names
from dragoman.actions import Mutate
from dragoman.config.policy import Policy
from dragoman.dialects import Call
from dragoman.dialects.registry import SUCCESSORS
from dragoman.errors import NotFound, PermissionDenied
from dragoman.exchange.asked import CLIMB, Asker
from dragoman.exchange.guard import RequestGuard
from dragoman.exchange.redaction import RequestRedaction
from dragoman.policies.route.residency import check_region, find_demands

PROVIDER_HEADER = "dragoman-provider"
"""Names the provider of a request that names no model."""
_SEPARATOR = re.compile(r"[/\\]")
UNKNOWN_PATH = "pass_through"
"""The operation of a path that nobody here knows."""


class Unread:
    """Admits such requests under one policy."""

    def __init__(self, policy: Policy, redaction: RequestRedaction, guard: RequestGuard) -> None:
        self._policy = policy
        self._redaction = redaction
        self._guard = guard

    def admit(self, asker: Asker, call: Call) -> Mutate:
        """What names no model goes to the provider that the caller names, or to its first."""
        providers = self._policy.providers
        dialect = asker.client.name
        served = [name for name in asker.caller.providers if dialect in providers[name].endpoints]
        wanted = asker.head.headers.get(PROVIDER_HEADER) or next(iter(served), None)
        if wanted is None or wanted not in served:
            named = f" at {wanted}" if wanted is not None else ""
            raise PermissionDenied(f"You may not use {call.operation}{named}.")
        self._check_region(asker, wanted)
        self._redaction.check_unread(asker.caller, asker.head.method)
        self._guard.check_unread(asker.caller, asker.head.method)
        asked, _, query = asker.head.path.partition("?")
        _check_path(asked)
        path = providers[wanted].endpoints[dialect].request_path("", query, rest=call.rest)
        return _passed(asker, wanted, path, call.operation)

    def admit_unknown(self, asker: Asker) -> Mutate:
        """A path nobody knows, where the operator and the caller's grants let it through."""
        path = asker.head.path.partition("?")[0]
        for route in self._policy.pass_through:
            inside = path == route.prefix or path.startswith(route.prefix.rstrip("/") + "/")
            if inside and route.provider in asker.caller.providers:
                _check_path(path)
                self._check_region(asker, route.provider)
                self._redaction.check_unread(asker.caller, "")
                self._guard.check_unread(asker.caller, "")
                return _passed(asker, route.provider, asker.head.path, UNKNOWN_PATH)
        hint = f" Use {SUCCESSORS[path]}." if path in SUCCESSORS else ""
        raise NotFound(f"No such path here: {path}.{hint}")

    def _check_region(self, asker: Asker, provider: str) -> None:
        demands = find_demands(asker.caller, asker.head.headers)
        check_region(provider, self._policy.providers[provider].region, demands)


def _check_path(path: str) -> None:
    """Raises `NotFound` for a path that leads out of where it begins, for a server that unescapes
    it before it resolves it: Envoy has resolved what was not escaped."""
    if CLIMB in _SEPARATOR.split(unquote(path)):
        raise NotFound(f"No such path here: {path}.")


def _passed(asker: Asker, provider: str, path: str, operation: str) -> Mutate:
    """Admits a request whose body nobody reads, to one provider."""
    facts = {
        names.ADMITTED: names.FLAG,
        names.UNREAD: names.FLAG,
        names.CLIENT_DIALECT: asker.client.name,
        names.OPERATION: operation,
        names.CALLER: asker.caller.name,
        names.KEEP + provider: names.FLAG,
    }
    spaces: dict[str, Mapping[str, object]] = {
        names.NAMESPACE: facts,
        names.PATHS_NAMESPACE: {provider: without_key(path)},
        names.ROUTE_NAMESPACE: {"priority_groups": [{"name": provider}]},
    }
    return Mutate(metadata=spaces, clear_route_cache=True)


def without_key(path: str) -> str:
    """`path` without the client's key in its query."""
    path, _, query = path.partition("?")
    kept = "&".join(pair for pair in query.split("&") if not pair.startswith("key="))
    return f"{path}?{kept}" if kept else path
