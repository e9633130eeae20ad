"""Fields of a `multipart/form-data` body, found and replaced in place.

Source: https://www.rfc-editor.org/rfc/rfc7578. Files in the body are passed over, not read.
"""

from __future__ import annotations

import re

from dragoman.errors import InvalidRequest

_MAX_BOUNDARY = 72
_DISPOSITION = re.compile(rb'content-disposition:[^\r\n]*;\s*name="?([^";\r\n]*)"?', re.IGNORECASE)


def find_fields(body: bytes, names: tuple[str, ...]) -> dict[str, slice]:
    """Where the values of the fields `names` stand. Raises `InvalidRequest` on no such body."""
    line, found, _ = body.partition(b"\r\n")
    if not found or not line.startswith(b"--") or len(line) > _MAX_BOUNDARY:
        raise InvalidRequest("$", "a multipart/form-data body that begins with its boundary")
    values: dict[str, slice] = {}
    at = len(line) + 2
    while (end := body.find(b"\r\n" + line, at)) >= 0:
        start = body.find(b"\r\n\r\n", at, end + 2)
        header = _DISPOSITION.search(body, at, start) if start >= 0 else None
        if header and (name := header[1].decode("utf-8", "replace")) in names:
            values[name] = slice(start + 4, end)
        at = end + 2 + len(line)
        if body[at : at + 2] == b"--":
            return values
        at += 2
    raise InvalidRequest("$", "a multipart/form-data body that ends with its boundary")


def replace_field(body: bytes, name: str, value: str) -> bytes:
    """`body` with another value of the field `name`, which it gets if it has none."""
    found = find_fields(body, (name,)).get(name)
    if found is not None:
        return b"".join((body[: found.start], value.encode(), body[found.stop :]))
    line = body.partition(b"\r\n")[0]
    head = b'%b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n' % (line, name.encode())
    return b"".join((head, value.encode(), b"\r\n", body))
