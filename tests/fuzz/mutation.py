"""Changes to JSON, to streams of frames and to bytes that stay close to what is meant to be read."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

WILD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1e308, -0.0, 0.5, "", "x", "\u0000", "é𝄞",
    [], {}, [[]], [None], [{}], {"": None}, {"type": "text"}, "null", "{}", "{", "data:,", "9" * 400,
    "https://example.com/x.png", "data:image/png;base64,AAAA", "a" * 5000,
)  # fmt: skip
MAX_DEPTH = 60
_FRAME_END = re.compile(rb"(\r?\n\r?\n)")
_LINE_END = re.compile(rb"(\r?\n)")


class Vocabulary:
    """Names, and what was seen under each, in well-formed inputs."""

    def __init__(self, seeds: Iterable[bytes]) -> None:
        self.values: dict[str, list[Any]] = {"": list(WILD)}
        for seed in seeds:
            for value in _values_in(seed):
                self._learn(value)
        self.names = sorted(self.values)

    def _learn(self, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                seen = self.values.setdefault(name, [])
                if len(seen) < 40 and inner not in seen:
                    seen.append(inner)
                self._learn(inner)
        elif isinstance(value, list):
            for inner in value:
                self._learn(inner)

    def value(self, random: Random, name: str) -> Any:
        """One that fits the name, or one that fits another, or none at all."""
        if random.random() < 0.3:
            return random.choice(WILD)
        if random.random() < 0.3 or name not in self.values:
            name = random.choice(self.names)
        return random.choice(self.values[name])


def _values_in(data: bytes) -> Iterable[Any]:
    """The JSON values of an input: itself, or those of its lines."""
    try:
        yield json.loads(data)
    except (ValueError, RecursionError):
        for line in [payload for _, payload in split_messages(data)] or data.split(b"\n"):
            start = line.find(b"{")
            try:
                yield json.loads(line[start:]) if start >= 0 else None
            except (ValueError, RecursionError):
                continue


def mutate(data: bytes, random: Random, known: Vocabulary) -> bytes:
    """`data` with one or a few changes of the kind its form suggests."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = _mutate_once(data, random, known)
    return data


def _mutate_once(data: bytes, random: Random, known: Vocabulary) -> bytes:
    if random.random() < 0.1:
        return _mutate_bytes(data, random)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _mutate_frames(data, random, known)
    return _dumped(mutate_value(value, random, known))


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


# --- JSON -------------------------------------------------------------------------------------


def mutate_value(value: Any, random: Random, known: Vocabulary, name: str = "") -> Any:
    """A change somewhere inside, each level as likely to be the one as to be passed through."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        chosen = random.choice(list(value))
        if random.random() < 0.75:
            return {**value, chosen: mutate_value(value[chosen], random, known, chosen)}
        return _change_object(value, chosen, random, known)
    if isinstance(value, list) and value and random.random() < 0.9:
        i = random.randrange(len(value))
        if random.random() < 0.75:
            return [*value[:i], mutate_value(value[i], random, known, name), *value[i + 1 :]]
        return _change_list(value, i, random)
    if isinstance(value, str) and len(value) > 1 and random.random() < 0.7:
        return _mutate_text(value, random, known)
    if isinstance(value, int | float) and random.random() < 0.4:
        return random.choice(
            (value + 1, -value, value * 1000, float(value) if abs(value) < 1e9 else 0)
        )
    return known.value(random, name)


def _change_object(value: dict[str, Any], chosen: str, random: Random, known: Vocabulary) -> Any:
    match random.randrange(4):
        case 0:
            return {name: inner for name, inner in value.items() if name != chosen}
        case 1:
            added = random.choice(known.names)
            return {**value, added: known.value(random, added)}
        case 2:
            renamed = random.choice(known.names)
            return {renamed if name == chosen else name: inner for name, inner in value.items()}
        case _:
            return {**value, chosen: known.value(random, chosen)}


def _change_list(value: list[Any], i: int, random: Random) -> list[Any]:
    match random.randrange(4):
        case 0:
            return [*value[:i], *value[i + 1 :]]
        case 1:
            return [*value[: i + 1], *value[i:]]
        case 2:
            return random.sample(value, len(value))
        case _:
            return (value * random.choice((2, 20)))[:200]


def _mutate_text(text: str, random: Random, known: Vocabulary) -> str:
    """What a string holds may have a form of its own: JSON, or a whole stream."""
    if text.lstrip()[:1] in "{[" or "\n" in text:
        inner = _mutate_once(text.encode("utf-8", "surrogatepass"), random, known)
        return inner.decode("utf-8", "replace")
    at = random.randrange(len(text))
    return random.choice(
        (text[:at], text[at:], text[:at] + "\ufffd" + text[at:], text * 2, text.upper())
    )


# --- frames -----------------------------------------------------------------------------------


def _mutate_frames(data: bytes, random: Random, known: Vocabulary) -> bytes:
    if messages := split_messages(data):
        return _mutate_messages(messages, random, known)
    end = _FRAME_END if _FRAME_END.search(data) else _LINE_END
    pieces = end.split(data)
    if len(pieces) < 3:
        return _mutate_bytes(data, random)
    i = random.randrange(0, len(pieces), 2)
    frame = pieces[i]
    start = frame.find(b"{")
    if start >= 0 and random.random() < 0.75:
        try:
            value = mutate_value(json.loads(frame[start:]), random, known)
            return b"".join([*pieces[:i], frame[:start] + _dumped(value), *pieces[i + 1 :]])
        except (ValueError, RecursionError):
            pass
    return b"".join(_move_frames(pieces, i, random))


def _move_frames(pieces: list[bytes], i: int, random: Random) -> list[bytes]:
    ended = pieces[i : i + 2]
    match random.randrange(5):
        case 0:
            return pieces[:i] + pieces[i + 2 :]
        case 1:
            return pieces[:i] + ended * random.choice((2, 2, 30)) + pieces[i + 2 :]
        case 2:
            j = random.randrange(0, len(pieces), 2)
            return pieces[:j] + ended + pieces[j:]
        case 3:
            return pieces[: i + 1]
        case _:
            return [*pieces[:i], _mutate_bytes(pieces[i], random), *pieces[i + 1 :]]


# --- AWS event stream messages: lengths and checksums stay right, or no decoder would look inside


def split_messages(data: bytes) -> list[tuple[bytes, bytes]]:
    """Headers and payload of each message; empty where the data is no event stream."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(data):
        prelude = data[at : at + 8]
        size, headers = int.from_bytes(prelude[:4], "big"), int.from_bytes(prelude[4:], "big")
        checksum = data[at + 8 : at + 12]
        if size < 16 + headers or at + size > len(data) or checksum != _checksum(prelude):
            return []
        start = at + 12 + headers
        found.append((data[at + 12 : start], data[start : at + size - 4]))
        at += size
    return found


def join_messages(messages: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The inverse."""
    return b"".join(_message(headers, payload) for headers, payload in messages)


def _message(headers: bytes, payload: bytes) -> bytes:
    size = 16 + len(headers) + len(payload)
    prelude = size.to_bytes(4, "big") + len(headers).to_bytes(4, "big")
    whole = prelude + _checksum(prelude) + headers + payload
    return whole + _checksum(whole)


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big")


def _mutate_messages(
    messages: list[tuple[bytes, bytes]], random: Random, known: Vocabulary
) -> bytes:
    i = random.randrange(len(messages))
    headers, payload = messages[i]
    match random.randrange(8):
        case 0:
            left = messages[:i] + messages[i + 1 :]
        case 1:
            left = messages[: i + 1] + messages[i:]
        case 2:
            left = [*messages[:i], (_mutate_bytes(headers, random), payload), *messages[i + 1 :]]
        case 3:
            return _mutate_bytes(join_messages(messages), random)
        case _:
            changed = _mutate_once(payload, random, known)
            left = [*messages[:i], (headers, changed), *messages[i + 1 :]]
    return join_messages(left)


# --- bytes ------------------------------------------------------------------------------------

_PIECES = (
    b"",
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\n",
    b"\r",
    b"\n\n",
    b":",
    b"data: ",
    b"{",
    b"]",
)


def _mutate_bytes(data: bytes, random: Random) -> bytes:
    if not data:
        return random.choice(_PIECES)
    a, b = sorted((random.randrange(len(data)), random.randrange(len(data))))
    changes: tuple[Callable[[], bytes], ...] = (
        lambda: data[:a] + data[b:],
        lambda: data[:b] + data[a:],
        lambda: data[:a],
        lambda: data[:a] + random.choice(_PIECES) + data[a:],
        lambda: data[:a] + bytes([data[a] ^ (1 << random.randrange(8))]) + data[a + 1 :],
    )
    return random.choice(changes)()
