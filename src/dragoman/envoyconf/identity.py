"""Who calls, as far as Envoy finds out: it verifies tokens; the decide stage reads what they say.

A token that is not valid passes the filter and is refused by the decide stage, in the client's own
dialect; so a key, which is no token, passes too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dragoman.config.policy import Issuer, Policy
from dragoman.envoyconf.clusters import endpoints, tls_context
from dragoman.envoyconf.typed import seconds, typed
from dragoman.ir import Json
from dragoman.metadata import UNVERIFIED

JWT = "dragoman.jwt"
_FETCH_SECONDS = 5
_KEPT_SECONDS = 300
"""How long fetched keys are good for: an issuer shows a new one long before it signs with it."""


def identity_filters(policy: Policy) -> list[Json]:
    """Those in front of the decide stage; none where keys are all that callers have."""
    issuers = policy.callers.issuers
    return [_jwt_filter(issuers.values())] if issuers else []


def jwks_clusters(policy: Policy) -> list[Json]:
    """One for each issuer whose keys are fetched."""
    return [
        _jwks_cluster(issuer, issuer.address, policy)
        for issuer in policy.callers.issuers.values()
        if issuer.address is not None
    ]


def _jwt_filter(issuers: Iterable[Issuer]) -> Json:
    all_pass: Json = {"match": {"prefix": "/"}, "requires": {"allow_missing_or_failed": {}}}
    return typed(
        JWT,
        "extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={issuer.name: {**provider_rules(issuer), **_keys(issuer)} for issuer in issuers},
        rules=[all_pass],
    )


def provider_rules(issuer: Issuer) -> Json:
    """What is asked of an issuer's tokens, and where the filter writes what it finds."""
    return {
        "issuer": issuer.issuer,
        "audiences": list(issuer.audiences),
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "forward": True,
        "require_expiration": True,
        "payload_in_metadata": issuer.name,
        "failed_status_in_metadata": UNVERIFIED,
    }


def _keys(issuer: Issuer) -> Json:
    jwks = issuer.jwks
    if jwks.uri is not None:
        uri = {
            "uri": jwks.uri,
            "cluster": _cluster_name(issuer),
            "timeout": seconds(_FETCH_SECONDS),
        }
        fetch = {"http_uri": uri, "cache_duration": seconds(_KEPT_SECONDS)}
        return {"remote_jwks": {**fetch, "async_fetch": {"fast_listener": True}}}
    if jwks.file is not None:
        watched = {"path": str(Path(jwks.file).parent)}
        return {"local_jwks": {"filename": jwks.file, "watched_directory": watched}}
    return {"local_jwks": {"inline_string": jwks.inline}}


def _cluster_name(issuer: Issuer) -> str:
    return f"dragoman_jwks_{issuer.name}"


def _jwks_cluster(issuer: Issuer, address: tuple[str, int, bool], policy: Policy) -> Json:
    host, port, tls = address
    name = _cluster_name(issuer)
    endpoint = {"address": {"socket_address": {"address": host, "port_value": port}}}
    cluster: Json = {
        "name": name,
        "connect_timeout": seconds(policy.timeouts.connect_seconds),
        **endpoints(name, endpoint, host),
    }
    if tls:
        cluster["transport_socket"] = tls_context(host, policy.ca_file, ("http/1.1",))
    return cluster
