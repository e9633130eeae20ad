"""JSON values one a line (NDJSON), framing only.

Source: https://github.com/ndjson/ndjson-spec

Feeding n bytes costs O(n) however they are cut: an incomplete line is appended to and never
searched again.
"""

from __future__ import annotations

from dragoman.errors import UpstreamProtocolError

MAX_LINE_BYTES = 16 * 2**20
"""Where nobody sets another: more than any chunk of text, less than a worker's memory."""


class NdjsonDecoder:
    """`feed` bytes cut anywhere, get the lines that are now complete, blank ones left out.

    Raises `UpstreamProtocolError` when a line grows past `max_line_bytes`.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._line = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends."""
        first, *rest = data.split(b"\n")
        self._keep(first)
        lines: list[bytes] = []
        for piece in rest:
            self._end(lines)
            self._keep(piece)
        return lines

    def close(self) -> list[bytes]:
        """End of input. Lenient: the last line needs no line feed."""
        lines: list[bytes] = []
        self._end(lines)
        return lines

    def _keep(self, piece: bytes) -> None:
        if len(self._line) + len(piece) > self._max_line_bytes:
            raise UpstreamProtocolError(
                f"The upstream sent a line of more than {self._max_line_bytes} bytes."
            )
        self._line += piece

    def _end(self, lines: list[bytes]) -> None:
        if line := bytes(self._line).strip():
            lines.append(line)
        self._line.clear()


_BREAKS = {
    "\x85".encode(): rb"\u0085",
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
}


def encode_ndjson(data: bytes) -> bytes:
    """One line of compact JSON.

    Clients that read lines of text (Ollama's Python SDK among them) also break them at Unicode's
    own line breaks. In JSON those stand in strings only, where an escape says the same.
    """
    for character, escape in _BREAKS.items():
        data = data.replace(character, escape)
    return data + b"\n"
