"""Fields of a `multipart/form-data` body, found and replaced in place.

Source: https://www.rfc-editor.org/rfc/rfc7578. Files in the body are passed over, not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from dragoman.errors import InvalidRequest

MAX_BOUNDARY = 72
_DISPOSITION = re.compile(
    rb'content-disposition:[^\r\n]*;\s*name="?([^";\r\n]*)"?[^\r\n]*', re.IGNORECASE
)
_IS_FILE = re.compile(rb";\s*filename\*?=", re.IGNORECASE)


def is_file(head: bytes) -> bool:
    """Whether a part's headers say that it is a file."""
    found = _DISPOSITION.search(head)
    return found is not None and _IS_FILE.search(found[0]) is not None


def find_fields(body: bytes, names: tuple[str, ...]) -> dict[str, slice]:
    """Where the values of the fields `names` stand. Raises `InvalidRequest` on no such body."""
    return {name: value for name, _, value in _parts(body) if name in names}


def text_parts(body: bytes) -> list[tuple[str, slice]]:
    """Name and place of each part that is no file. Raises as `find_fields` does."""
    return [(name, value) for name, is_file, value in _parts(body) if not is_file]


def _first_line(body: bytes) -> bytes:
    """Two hyphens and the boundary; empty where there is none. A body may be its end alone."""
    end = body.find(b"\r\n", 0, MAX_BOUNDARY + 4)
    line = body[: max(end, 0)]
    is_end = len(line) + 2 == len(body) and line.endswith(b"--")
    return line[:-2] if is_end else line


def _parts(body: bytes) -> Iterator[tuple[str, bool, slice]]:
    """Name, whether it is a file, and place of the value of each part that has a name."""
    line = _first_line(body)
    if not line.startswith(b"--"):
        raise InvalidRequest("$", "a multipart/form-data body that begins with its boundary")
    if body == line + b"--\r\n":
        return
    at = len(line) + 2
    while (end := body.find(b"\r\n" + line, at)) >= 0:
        start = body.find(b"\r\n\r\n", at, end + 2)
        header = _DISPOSITION.search(body, at, start) if start >= 0 else None
        if header:
            name = header[1].decode("utf-8", "replace")
            yield name, _IS_FILE.search(header[0]) is not None, slice(start + 4, end)
        at = end + 2 + len(line)
        if body[at : at + 2] == b"--":
            return
        at += 2
    raise InvalidRequest("$", "a multipart/form-data body that ends with its boundary")


def replace_field(body: bytes, name: str, value: str) -> bytes:
    """`body` with another value of the field `name`, which it gets if it has none."""
    found = find_fields(body, (name,)).get(name)
    if found is not None:
        return b"".join((body[: found.start], value.encode(), body[found.stop :]))
    line = _first_line(body)
    head = b'%b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n' % (line, name.encode())
    return b"".join((head, value.encode(), b"\r\n", body))
