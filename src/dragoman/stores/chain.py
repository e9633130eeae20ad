"""The audit trail's chain: each entry holds the hash of the one before it, and its own.

Sans-IO. An entry is one line of JSON, its keys sorted:

    {"after": …, "before": …, "event": …, "hash": …, "previous": …, "sequence": …, "time": …,
     "what": …, "who": …, "why": …}

`hash` is the SHA-256 of the entry without it, or its HMAC under the policy's key: then nobody who
lacks the key can make a chain that holds together. `previous` is the hash of entry `sequence` - 1.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

GENESIS = "0" * 64
"""What the first entry names as the hash before it."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. Never a prompt, never a key."""

    event: str
    """Such as `key.issue`."""
    time: str
    """RFC 3339, UTC."""
    who: str | None
    """A caller, an operator as USER@HOST, a worker; None: nobody that is known."""
    what: Mapping[str, str | int | None] = {}
    why: str = ""
    before: Mapping[str, str | int | bool | None] | None = None
    after: Mapping[str, str | int | bool | None] | None = None


class _Entry(Event, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sequence: int
    previous: str
    hash: str


class Head(NamedTuple):
    """The end of a chain."""

    sequence: int
    hash: str


START = Head(0, GENESIS)


def chain(
    head: Head, events: Iterable[Event], key: bytes | None = None
) -> tuple[Head, list[bytes]]:
    """The entries that carry `events` on from `head`, and where the chain ends then."""
    lines: list[bytes] = []
    for event in events:
        sequence, previous = head.sequence + 1, head.hash
        fields = msgspec.structs.asdict(event) | {"sequence": sequence, "previous": previous}
        head = Head(sequence, _digest(fields, key))
        lines.append(_encode(fields | {"hash": head.hash}))
    return head, lines


class Verifier:
    """Reads entries in order and names what is wrong. After a fault it goes on from there, so that
    each is named once."""

    def __init__(self, key: bytes | None = None, anchor: str | None = None) -> None:
        """`anchor` is the hash of an entry that must be there, noted when it was the last."""
        self._key = key
        self._anchor = anchor
        self.first: int | None = None
        self.head = START
        self.count = 0

    def feed(self, line: bytes) -> str | None:
        """What is wrong with the entry that `line` holds, or with its place."""
        self.count += 1
        try:
            entry = msgspec.json.decode(line, type=_Entry)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return f"line {self.count}, after entry {self.head.sequence}: cut or no entry at all"
        fault = self._fault(entry, line)
        if self.first is None:
            self.first = entry.sequence
        self.head = Head(entry.sequence, entry.hash)
        if entry.hash == self._anchor:
            self._anchor = None
        return fault

    def _fault(self, entry: _Entry, line: bytes) -> str | None:
        name, expected = f"entry {entry.sequence}", self.head.sequence + 1
        fields = msgspec.structs.asdict(entry)
        del fields["hash"]
        if not hmac.compare_digest(_digest(fields, self._key), entry.hash):
            return f"{name}: changed, or sealed with another key"
        if _encode(fields | {"hash": entry.hash}) != line.rstrip(b"\n"):
            return f"{name}: changed, though it means the same"
        if self.first is None:
            return None
        if entry.sequence > expected:
            gap = f"{expected} to {entry.sequence - 1}" if entry.sequence > expected + 1 else ""
            return (
                f"{name}: entries {gap} are missing before it"
                if gap
                else (f"{name}: entry {expected} is missing before it")
            )
        if entry.sequence < expected:
            return f"{name}: out of order or repeated, after entry {self.head.sequence}"
        if entry.previous != self.head.hash:
            return f"{name}: does not follow entry {self.head.sequence} as it is"
        return None

    def close(self, head: Head | None = None) -> str | None:
        """What is missing at the end: `head` is where the chain is known to end."""
        if head is not None and head != self.head:
            return f"the chain ends at entry {self.head.sequence}, and not at {head.sequence}"
        if self._anchor is not None:
            return f"no entry has the hash {self._anchor}: the end was cut off or made anew"
        return None


def _digest(fields: Mapping[str, object], key: bytes | None) -> str:
    raw = _encode(fields)
    if key is None:
        return hashlib.sha256(raw).hexdigest()
    return hmac.digest(key, raw, "sha256").hex()


def _encode(fields: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(fields, order="sorted")
