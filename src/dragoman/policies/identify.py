"""Who calls: the owner of the key a request carries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Protocol
from urllib.parse import unquote

import msgspec

from dragoman.config.policy import Caller, Callers, Network
from dragoman.errors import InvalidToken, PermissionDenied, Unauthenticated
from dragoman.ir import Json
from dragoman.policies.certificates import find_peer
from dragoman.policies.tokens import check_failure, read_token
from dragoman.stores.keys import IssuedKey

_BEARER = "bearer "
_NO_KEYS = ("", "mtls")
"""What a client sends that is known by its certificate; the word is for SDKs that insist on one."""
_DOTS = 2
"""In a token, between header, payload and signature."""
_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")


class Head(Protocol):
    """What identifies a caller: the request's headers, and the path with its query."""

    @property
    def path(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def address(self) -> str: ...
    @property
    def certificate(self) -> str: ...
    @property
    def token(self) -> Json: ...


class Issued(Protocol):
    """The keys that the store holds."""

    def find(self, digest: str) -> IssuedKey | None:
        """The valid key that has this digest.

        Raises `StoreUnavailable` where that was never known.
        """
        ...


def identify(head: Head, callers: Callers, issued: Issued | None) -> Caller:
    """The caller whose token Envoy verified in `authorization` (Bearer), else whose key stands
    there, in another dialect's header for it (`x-api-key`, `api-key`, `x-goog-api-key`) or in the
    query's `key`; without a key, whose certificate the client showed.

    Keys are known by their SHA-256 digests, so that neither policy nor store holds one; a worker's
    memory does, among the heads of requests that it read last. Raises `Unauthenticated`, whose
    words never repeat what was sent, and
    `PermissionDenied` where the caller may not come from where it comes from, or the policy has no
    place for its token.
    """
    caller = read_token(head.token, callers.issuers) if head.token else None
    if caller is None:
        caller = _key_owner(head, callers, issued)
    if caller.addresses and not _comes_from(head.address, caller.addresses):
        raise PermissionDenied("You may not call from your address.")
    return caller


def _key_owner(head: Head, callers: Callers, issued: Issued | None) -> Caller:
    key = _key(head)
    if callers.by_spiffe and key in _NO_KEYS:
        peer = find_peer(head, callers)
        if peer is not None:
            return peer
    if not key:
        message = "No API key given: send it as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'."
        raise Unauthenticated(message)
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
    caller = callers.by_digest.get(digest)
    if caller is None and issued is not None:
        caller = _issued_to(issued.find(digest), head, callers)
    if caller is None:
        check_failure(head.token)
        if callers.issuers and key.count(".") == _DOTS:
            raise InvalidToken("The token given is none, or its issuer is not known here.")
        raise Unauthenticated("The API key given is not known here.")
    return caller


def _issued_to(key: IssuedKey | None, head: Head, callers: Callers) -> Caller | None:
    """The caller of a key from the store, with whom the key is given to."""
    caller = callers.by_name.get(key.caller) if key is not None else None
    if key is None or caller is None:
        return None
    if key.addresses and not _comes_from(head.address, map(_network, key.addresses)):
        raise PermissionDenied("This key may not be used from your address.")
    told = {"user": key.user, "application": key.application}
    stated = {who: name for who, name in told.items() if name and who not in caller.belongs}
    if not stated:
        return caller
    belongs = {**caller.belongs, **stated}
    return msgspec.structs.replace(caller, belongs=belongs, stated=stated)


_network = lru_cache(1024)(ip_network)


def _comes_from(address: str, networks: Iterable[Network]) -> bool:
    """Whether `address`, `IP:PORT` as Envoy gives it, is in one of `networks`."""
    try:
        ip = ip_address(address.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return any(ip in network for network in networks)


def _key(head: Head) -> str:
    authorization = head.headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    for name in _HEADERS:
        if key := head.headers.get(name, "").strip():
            return key
    pairs = head.path.partition("?")[2].split("&")
    return next((unquote(pair[4:]) for pair in pairs if pair.startswith("key=")), "")
