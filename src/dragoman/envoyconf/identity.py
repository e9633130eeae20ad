"""Who calls, as far as Envoy finds out: it judges addresses and verifies certificates and tokens;
the decide stage reads what they say.

A token that is not valid passes the filter and is refused by the decide stage, in the client's own
dialect; so a key, which is no token, passes too.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from pathlib import Path

from dragoman.config.policy import Issuer, Policy
from dragoman.config.schema import Listener
from dragoman.envoyconf.clusters import endpoints, tls_context
from dragoman.envoyconf.typed import seconds, typed
from dragoman.ir import Json
from dragoman.metadata import FORWARDED_CERTIFICATE, PEER_ADDRESS, UNVERIFIED

JWT = "dragoman.jwt"
ALLOW, DENY = "dragoman.allow", "dragoman.deny"
_SCHEMES = ("Bearer", "bearer")
"""Envoy heeds the case, RFC 9110 does not; these are what clients write."""
_FETCH_SECONDS = 5
_KEPT_SECONDS = 300
"""How long fetched keys are good for: an issuer shows a new one long before it signs with it."""


def identity_filters(policy: Policy) -> list[Json]:
    """Those in front of the decide stage, as far as the policy has use for them."""
    issuers, listener = policy.callers.issuers, policy.listener
    filters: list[Json] = []
    if listener.deny:
        filters.append(_address_filter(DENY, "DENY", listener.deny))
    if listener.allow:
        filters.append(_address_filter(ALLOW, "ALLOW", listener.allow))
    return [*filters, _jwt_filter(issuers.values())] if issuers else filters


def listener_tls(listener: Listener) -> Json:
    """The transport socket of the filter chain; none for plain text."""
    tls = listener.tls
    if tls is None:
        return {}
    pair = {
        "certificate_chain": {"filename": tls.certificate},
        "private_key": {"filename": tls.key},
    }
    common: Json = {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [pair]}
    if tls.client_ca is not None:
        common["validation_context"] = {"trusted_ca": {"filename": tls.client_ca}}
    socket = typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context=common,
        require_client_certificate=tls.require,
    )
    return {"transport_socket": socket}


def forwarding(policy: Policy) -> Json:
    """What the connection manager believes of proxies in front."""
    found: Json = {}
    if policy.listener.trusted_hops:
        found["xff_num_trusted_hops"] = policy.listener.trusted_hops
    if policy.callers.certificate_proxies:
        found["forward_client_cert_details"] = "ALWAYS_FORWARD_ONLY"
    return found


def proxy_headers(policy: Policy) -> tuple[str, ...]:
    """What the decide stage reads of a proxy that verifies certificates, and no provider sees."""
    return (FORWARDED_CERTIFICATE, PEER_ADDRESS) if policy.callers.certificate_proxies else ()


def peer_attributes(policy: Policy) -> list[str]:
    """What the decide stage asks of who connected: address, and name in the certificate."""
    callers = policy.callers
    bound = policy.issued_keys or any(caller.addresses for caller in callers.by_name.values())
    certificate = ["connection.uri_san_peer_certificate"] if callers.by_spiffe else []
    return [*(["source.address"] if bound else []), *certificate]


def peer_address(policy: Policy) -> list[Json]:
    """Writes down who connected, so that only the named proxies' word is taken."""
    if not policy.callers.certificate_proxies:
        return []
    value = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
    header = {"key": PEER_ADDRESS, "value": value}
    return [{"append": {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD", "header": header}}]


def _address_filter(name: str, action: str, networks: Iterable[str]) -> Json:
    """Judges by the address that `use_remote_address` and `xff_num_trusted_hops` find."""
    principals = [{"remote_ip": _range(network)} for network in networks]
    rule = {"permissions": [{"any": True}], "principals": principals}
    kind = "extensions.filters.http.rbac.v3.RBAC"
    return typed(name, kind, rules={"action": action, "policies": {"listener": rule}})


def _range(network: str) -> Json:
    address, _, length = str(ip_network(network)).partition("/")
    return {"address_prefix": address, "prefix_len": int(length)}


def jwks_clusters(policy: Policy) -> list[Json]:
    """One for each issuer whose keys are fetched."""
    return [
        _jwks_cluster(issuer, issuer.address, policy)
        for issuer in policy.callers.issuers.values()
        if issuer.address is not None
    ]


def _jwt_filter(issuers: Iterable[Issuer]) -> Json:
    """No `jwt_cache_config`: the filter looks there only where a requirement names one provider,
    and with several the reason for a refusal is that of the last one asked; and a token that was
    found there would outlive the key it was signed with."""
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
        "from_headers": [
            {"name": "authorization", "value_prefix": f"{scheme} "} for scheme in _SCHEMES
        ],
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
    if cluster["type"] == "STRICT_DNS":  # one host, whichever of its addresses can be reached
        cluster |= {"type": "LOGICAL_DNS", "dns_lookup_family": "ALL"}
    if tls:
        cluster["transport_socket"] = tls_context(host, policy.ca_file, ("http/1.1",))
    return cluster
