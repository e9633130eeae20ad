"""Token counts of the pretended providers: one token a word, so that a test can predict them."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

IMAGE_TOKENS = 85
FILE_TOKENS = 100
TOOL_TOKENS = 10

_WORDS = re.compile(r"\s*\S+|\s+\Z")


def count_tokens(text: str) -> int:
    """Words of a text."""
    return len(text.split())


def split_words(text: str) -> list[str]:
    """The words of a text with the space before each; joined they are the text again."""
    return _WORDS.findall(text)


def split_evenly(text: str, size: int = 7) -> list[str]:
    """Pieces of `size` characters, as tool arguments are streamed."""
    return [text[i : i + size] for i in range(0, len(text), size)]


class Segment(msgspec.Struct, frozen=True):
    """A stretch of the prompt."""

    text: str
    tokens: int
    marked: bool = False
    """The client asked that the prompt be cached up to here."""


class Prefix(msgspec.Struct, frozen=True):
    """The start of a prompt."""

    digest: bytes
    tokens: int


def prefixes(scope: str, segments: Sequence[Segment]) -> list[Prefix]:
    """The prompt up to each of its segments, shortest first; prompts of two scopes never match."""
    digest = hashlib.sha256(scope.encode())
    tokens = 0
    found: list[Prefix] = []
    for segment in segments:
        text = segment.text.encode("utf-8", "surrogatepass")
        digest.update(len(text).to_bytes(8, "big") + text)
        tokens += segment.tokens
        found.append(Prefix(digest.digest(), tokens))
    return found


class PrefixCache:
    """The prompt cache of a pretended provider: remembers prompt starts it has seen."""

    def __init__(self, max_entries: int = 4096) -> None:
        """The oldest entries go first."""
        self._entries: OrderedDict[bytes, None] = OrderedDict()
        self._max_entries = max_entries

    def longest_seen(self, candidates: Sequence[Prefix]) -> int:
        """Tokens of the longest of these prefixes that was seen before."""
        seen = (prefix.tokens for prefix in candidates if prefix.digest in self._entries)
        return max(seen, default=0)

    def remember(self, seen: Sequence[Prefix]) -> None:
        """Count these prefixes as seen from now on."""
        for prefix in seen:
            self._entries[prefix.digest] = None
            self._entries.move_to_end(prefix.digest)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
