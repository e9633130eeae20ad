"""One conversation, one upstream: so that its prompt cache hits.

Weighted rendezvous hashing: each target gets a score from a hash of the conversation and of its own
name, and the highest wins. Of many conversations each target gets its weight's share; one that is
added takes its share evenly from all others, and no conversation moves between those.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

from dragoman.config.policy import Target
from dragoman.ir import Blob, File, Part, Request, Text, Uri
from dragoman.policies.route.content import Content

_BITS = 53
"""Of a hash, as many as a float holds exactly."""
HEADER = "header:"
"""Followed by the header's name."""


def find_key(by: str, content: Content) -> bytes | None:
    """What the same conversation has in common, as a digest; None where the request lacks it.

    `by` is `conversation` (its texts and media up to the user's first turn), `user` (the field, or
    Anthropic's `metadata.user_id`), `caller` or `header:NAME`.
    """
    if by.startswith(HEADER):
        said = content.headers.get(by.removeprefix(HEADER))
        return _digest(said) if said else None
    if by == "caller":
        return _digest(content.caller)
    request = content.request
    if request is None:
        return None
    if by == "user":
        return _digest(request.user) if request.user else None
    return _digest(*_opening(request))


def rank_sticky(targets: list[Target], key: bytes) -> list[Target]:
    """All of `targets`, the one that `key` belongs to first; each next is the former's heir."""
    return sorted(
        targets,
        key=lambda target: score(f"{target.provider}\0{target.model}", target.weight, key),
        reverse=True,
    )


def score(name: str, weight: int, key: bytes) -> float:
    """How much `key` belongs to `name`: of many keys, as many have the highest there as its weight
    says, and one more name takes its share from each of the others."""
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8, key=key).digest()
    point = ((int.from_bytes(digest) >> (64 - _BITS)) + 0.5) / (1 << _BITS)
    return -weight / math.log(point)


def _digest(*words: str) -> bytes:
    found = hashlib.blake2b(digest_size=32)
    for word in words:
        data = word.encode("utf-8", "replace")
        found.update(len(data).to_bytes(8))
        found.update(data)
    return found.digest()


def _opening(request: Request) -> Iterator[str]:
    """What stays as the conversation grows. Marks and residues do not: clients move them on."""
    for message in request.messages:
        yield message.role
        for part in message.parts:
            yield from _words(part)
        if message.role == "user":
            return


def _words(part: Part) -> Iterator[str]:
    match part:
        case Text() | Blob():
            yield part.content
        case Uri():
            yield part.uri
        case File():
            yield part.file_id
        case _:
            return
