"""Whose a client's certificate is (mutual TLS): by its URI SAN, a SPIFFE id.

Envoy verified it, or a proxy in front that the policy believes did, and says so in the header
`x-forwarded-client-cert` (XFCC). Its last element is that proxy's own; those before it may be
anybody's.

Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Protocol

from dragoman.config.policy import Caller, Callers
from dragoman.metadata import FORWARDED_CERTIFICATE, PEER_ADDRESS
from dragoman.policies.authorize import matches

_PAIR = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)([,;]|$)')


class Peer(Protocol):
    """What tells of the client's certificate."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def certificate(self) -> str: ...


def find_peer(head: Peer, callers: Callers) -> Caller | None:
    """The caller whose certificate the client showed; None where it showed none of a caller's."""
    name = head.certificate
    if _is_proxy(head.headers.get(PEER_ADDRESS, ""), callers):
        name = read_forwarded(head.headers.get(FORWARDED_CERTIFICATE, ""))
    if not name:
        return None
    exact = callers.by_spiffe.get(name)
    if exact is not None:
        return exact
    fitting = [pattern for pattern in callers.by_spiffe if matches(pattern, name)]
    return callers.by_spiffe[max(fitting, key=len)] if fitting else None


def read_forwarded(header: str) -> str:
    """The one URI of the last element; empty where it has none, several, or cannot be read."""
    uris: list[str] = []
    at = 0
    while at < len(header):
        pair = _PAIR.match(header, at)
        if pair is None:
            return ""
        name, value, end = pair.groups()
        if name.lower() == "uri":
            uris.append(value.strip('"'))
        at = pair.end()
        if end == ",":
            uris = []
    return uris[0] if len(uris) == 1 else ""


def _is_proxy(address: str, callers: Callers) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in callers.certificate_proxies)
