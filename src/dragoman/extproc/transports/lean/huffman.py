"""HPACK's Huffman code for strings. Source: RFC 7541, section 5.2 and appendix B.

The code is canonical, so the lengths of its words say all of it. Reading goes four bits at a time
through a table of the code's inner nodes, 256 rows made when the first such string comes.
"""

from __future__ import annotations

import functools

_LENGTHS = (
    "isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhfibcccccccccccccccccccc"
    "ccdcdioijbkabababbbaccbbbabcbaabccccckgjixprpprrrsrssssststtrstssssqrsrsstrqprrssqsrrt"
    "qrssqqrqsrssprrrsrrsvvporsruvvvwwvtuoqvwwvwtqqvvxwwwptpqrqqsrruuttvsvwvvwwwwwxwwwwwvz"
)
"""Bits in the code word of each byte and, last, of the end: `a` is 5, `z` is 30."""
_SHORTEST = 5
_END = 256
_MOST_PADDING = 7
_NOTHING = -1

_Row = list[tuple[int, int] | None]
"""By the next four bits: the next row and the byte they complete, or `_NOTHING`; None: no code."""


class InvalidHuffman(ValueError):
    """Bits that are no text: the code of the end, or padding that is not its beginning."""


def decode(data: bytes) -> bytes:
    """The text that `data` encodes. Raises `InvalidHuffman`."""
    rows, ends = _machine()
    out = bytearray()
    at = 0
    for byte in data:
        for bits in (byte >> 4, byte & 15):
            step = rows[at][bits]
            if step is None:
                raise InvalidHuffman
            at, symbol = step
            if symbol != _NOTHING:
                out.append(symbol)
    if at not in ends:
        raise InvalidHuffman
    return bytes(out)


@functools.cache
def _machine() -> tuple[list[_Row], frozenset[int]]:
    """The rows, the first one first, and those at which a text may end."""
    children = _tree()
    rows = [[_walk(children, node, bits) for bits in range(16)] for node in range(len(children))]
    ends, node = [0], 0
    for _ in range(_MOST_PADDING):
        node = children[node][1]
        ends.append(node)
    return rows, frozenset(ends)


def _tree() -> list[list[int]]:
    """Inner nodes by number, the root first: the child for bit 0 and for bit 1.

    A child is another node's number, or `~symbol`.
    """
    children: list[list[int]] = [[0, 0]]
    code = length = 0
    words = sorted((ord(c) - ord("a") + _SHORTEST, symbol) for symbol, c in enumerate(_LENGTHS))
    for bits, symbol in words:
        code <<= bits - length
        length = bits
        node = 0
        for place in range(length - 1, 0, -1):
            bit = code >> place & 1
            if not children[node][bit]:
                children.append([0, 0])
                children[node][bit] = len(children) - 1
            node = children[node][bit]
        children[node][code & 1] = ~symbol
        code += 1
    return children


def _walk(children: list[list[int]], node: int, bits: int) -> tuple[int, int] | None:
    symbol = _NOTHING
    for place in (3, 2, 1, 0):
        node = children[node][bits >> place & 1]
        if node == ~_END:
            return None
        if node < 0:
            node, symbol = 0, ~node
    return node, symbol
