"""Files in base64 that are text: a table, a page, a program, sent beside what is said."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from codecs import getincrementaldecoder
from typing import NamedTuple

_LEAD = re.compile(r"(?:data:[\w.+/;=-]{0,128};base64,)?")
_MEDIUM = re.compile(r"data:(?:image/(?!svg)|audio/|video/)")
_LETTERS = re.compile(r"[A-Za-z0-9+/_-]*+={0,2}")
_SPACES = str.maketrans("", "", "\r\n\t ")
_FROM_URL, _TO_URL = str.maketrans("-_", "+/"), str.maketrans("+/", "-_")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_HEAD = 1024
"""Characters of base64 that tell nearly every file from text, however long it is."""
_SURELY = 48
"""Bytes from which on letters beyond ASCII are no accident."""
_ASCII = range(128)
_Utf8 = getincrementaldecoder("utf-8")


class TextFile(NamedTuple):
    """A file that was read."""

    text: str
    lead: str
    """`data:…;base64,`, or nothing."""
    is_url_safe: bool

    def write(self, text: str) -> str:
        """The file with another text, in the alphabet it came in."""
        said = b64encode(text.encode()).decode()
        return self.lead + (said.translate(_TO_URL) if self.is_url_safe else said)


def read_text_file(value: str) -> TextFile | None:
    """The text in UTF-8 that `value` is in base64, or as a `data:` URL; None where it is none. A
    few bytes that are mostly beyond ASCII are taken for a word or a number that is no base64."""
    if _MEDIUM.match(value):
        return None
    lead = _LEAD.match(value)
    start = lead.end() if lead else 0
    head = value[start : start + _HEAD].translate(_SPACES)
    if _decode(head[: len(head) // 4 * 4], is_whole=False) is None:
        return None
    coded = value[start:].translate(_SPACES)
    text = _decode(coded, is_whole=True)
    if not text:
        return None
    return TextFile(text, value[:start], "-" in coded or "_" in coded)


def _decode(coded: str, *, is_whole: bool) -> str | None:
    """Nothing but letters, signs and white space; None for anything else."""
    if _LETTERS.fullmatch(coded) is None:
        return None
    plain = coded.translate(_FROM_URL).rstrip("=")
    try:
        raw = b64decode(plain + "=" * (-len(plain) % 4))
        text = _Utf8().decode(raw, final=is_whole)
    except (binascii.Error, UnicodeDecodeError):
        return None
    if len(raw) < _SURELY and 2 * sum(map(_ASCII.__contains__, raw)) < len(raw):
        return None
    return None if _CONTROLS.search(text) else text
