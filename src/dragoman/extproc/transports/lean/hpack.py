"""Header compression. Source: RFC 7541.

The reader knows the whole of it, with a limit on everything. A peer such as Envoy sends the same
block for each call once its table has settled, so blocks that were read are kept by their bytes
until the table changes: reading one again is a look-up.

The writer keeps no state: it takes from the static table and indexes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from dragoman.extproc.transports.lean.huffman import InvalidHuffman
from dragoman.extproc.transports.lean.huffman import decode as decode_huffman

Header = tuple[bytes, bytes]
Headers = tuple[Header, ...]

TABLE_BYTES = 4096
"""Size of a dynamic table until the settings say another."""
EMPTY_TABLE = b"\x20"
"""Begins the first block of a stateless writer: its table holds nothing from now on."""
_ENTRY_OVERHEAD = 32
_KEPT_BLOCKS = 64
_KEPT_BLOCK_BYTES = 1024
_MAX_SHIFT = 28
"""An integer has at most five bytes behind its prefix."""

_STATIC_TEXT = (
    ":authority; :method=GET; :method=POST; :path=/; :path=/index.html; :scheme=http; "
    ":scheme=https; :status=200; :status=204; :status=206; :status=304; :status=400; :status=404; "
    ":status=500; accept-charset; accept-encoding=gzip, deflate; accept-language; accept-ranges; "
    "accept; access-control-allow-origin; age; allow; authorization; cache-control; "
    "content-disposition; content-encoding; content-language; content-length; content-location; "
    "content-range; content-type; cookie; date; etag; expect; expires; from; host; if-match; "
    "if-modified-since; if-none-match; if-range; if-unmodified-since; last-modified; link; "
    "location; max-forwards; proxy-authenticate; proxy-authorization; range; referer; refresh; "
    "retry-after; server; set-cookie; strict-transport-security; transfer-encoding; user-agent; "
    "vary; via; www-authenticate"
)
"""Appendix A; its numbers begin at 1."""


def _pair(text: str) -> Header:
    name, _, value = text.partition("=")
    return name.encode(), value.encode()


_STATIC: Headers = tuple(map(_pair, _STATIC_TEXT.split("; ")))
_FIELDS = {field: number for number, field in reversed(tuple(enumerate(_STATIC, 1)))}
_NAMES = {name: number for number, (name, _) in reversed(tuple(enumerate(_STATIC, 1)))}


class InvalidBlock(ValueError):
    """Not a header block. The table is lost with it, and so is the connection."""


class HeadersTooLarge(ValueError):
    """More than the limits allow. The block was read to its end: the table is as the peer's."""


class Decoder:
    """Reads one connection's header blocks, in their order."""

    def __init__(self, max_list_bytes: int, max_headers: int) -> None:
        """`max_list_bytes` counts 32 bytes a header besides its text, as the settings do."""
        self._max_list_bytes = max_list_bytes
        self._max_headers = max_headers
        self._table: deque[Header] = deque()
        """The newest first."""
        self._table_bytes = 0
        self._max_table_bytes = TABLE_BYTES
        self._kept: dict[bytes, Headers] = {}
        self._changed = False

    def decode(self, block: bytes) -> Headers:
        """The headers in `block`. Raises `InvalidBlock`, or `HeadersTooLarge` once it is read."""
        kept = self._kept.get(block)
        if kept is not None:
            return kept
        self._changed = False
        try:
            headers = self._read(block)
        except (IndexError, InvalidHuffman) as error:
            raise InvalidBlock from error
        if not self._changed and len(block) <= _KEPT_BLOCK_BYTES:
            if len(self._kept) >= _KEPT_BLOCKS:
                self._kept.clear()
            self._kept[block] = headers
        return headers

    def _read(self, block: bytes) -> Headers:
        headers: list[Header] = []
        size = at = 0
        while at < len(block):
            first = block[at]
            if first & 0xE0 == EMPTY_TABLE[0]:
                if headers:
                    raise InvalidBlock
                at = self._resize(block, at)
                continue
            header, at = self._field(block, at, first)
            size += len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD
            if size <= self._max_list_bytes and len(headers) <= self._max_headers:
                headers.append(header)
        if size > self._max_list_bytes or len(headers) > self._max_headers:
            raise HeadersTooLarge
        return tuple(headers)

    def _field(self, block: bytes, at: int, first: int) -> tuple[Header, int]:
        if first & 0x80:
            number, at = _integer(block, at, 7)
            return self._entry(number), at
        indexed = bool(first & 0x40)
        number, at = _integer(block, at, 6 if indexed else 4)
        if number:
            name = self._entry(number)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        if indexed:
            self._add(name, value)
        return (name, value), at

    def _entry(self, number: int) -> Header:
        if number == 0:
            raise InvalidBlock
        if number <= len(_STATIC):
            return _STATIC[number - 1]
        return self._table[number - len(_STATIC) - 1]

    def _resize(self, block: bytes, at: int) -> int:
        size, at = _integer(block, at, 5)
        if size > TABLE_BYTES:
            raise InvalidBlock
        self._change()
        self._max_table_bytes = size
        self._evict(0)
        return at

    def _add(self, name: bytes, value: bytes) -> None:
        """One entry more; one larger than the table leaves it empty."""
        self._change()
        size = len(name) + len(value) + _ENTRY_OVERHEAD
        self._evict(size)
        if size <= self._max_table_bytes:
            self._table.appendleft((name, value))
            self._table_bytes += size

    def _evict(self, coming_bytes: int) -> None:
        while self._table and self._table_bytes + coming_bytes > self._max_table_bytes:
            name, value = self._table.pop()
            self._table_bytes -= len(name) + len(value) + _ENTRY_OVERHEAD

    def _change(self) -> None:
        self._changed = True
        self._kept.clear()


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """The integer at `at` with a prefix of `bits`, and where it ends."""
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says whether another follows
            return value, at
        shift += 7
        if shift > _MAX_SHIFT:
            raise InvalidBlock


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """The string at `at`, and where it ends."""
    is_huffman = bool(block[at] & 0x80)
    length, at = _integer(block, at, 7)
    end = at + length
    if end > len(block):
        raise InvalidBlock
    raw = block[at:end]
    return (decode_huffman(raw) if is_huffman else raw), end


def encode(headers: Iterable[Header]) -> bytes:
    """A block that means `headers` whatever the state of the peer's table."""
    block = bytearray()
    for name, value in headers:
        number = _FIELDS.get((name, value))
        if number is not None:
            _write_integer(block, 0x80, 7, number)
            continue
        number = _NAMES.get(name, 0)
        _write_integer(block, 0, 4, number)
        for text in (value,) if number else (name, value):
            _write_integer(block, 0, 7, len(text))
            block += text
    return bytes(block)


def _write_integer(block: bytearray, flags: int, bits: int, value: int) -> None:
    most = (1 << bits) - 1
    if value < most:
        block.append(flags | value)
        return
    block.append(flags | most)
    value -= most
    while value >= 0x80:  # noqa: PLR2004 - the bit that says whether another follows
        block.append(value & 0x7F | 0x80)
        value >>= 7
    block.append(value)
