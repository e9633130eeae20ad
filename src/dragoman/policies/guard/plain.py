"""A text as a model reads it: what is invisible, made visible; what is encoded, decoded."""

from __future__ import annotations

import binascii
import re
import unicodedata
from base64 import b64decode
from collections.abc import Iterator

_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,12}\U000e007f")
"""Of a region, such as Scotland's: the one good use of tag characters."""
_TAGS = {0xE0000 + letter: letter for letter in range(0x20, 0x7F)}
_FORCED = re.compile("[\u202d\u202e]")
"""Bidirectional overrides: what is read is not what is written."""
_INVISIBLE = re.compile(
    "[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
_SPLIT_WORD = re.compile("[A-Za-z][\u00ad\u200b-\u200d\u2060\ufeff]+(?=[A-Za-z])")
_MANY = 3
"""Letters kept apart by nothing: one or two are an editor's leavings."""
_RUN = re.compile(r"[A-Za-z0-9+/_-]{24,}")
_HEXADECIMAL = re.compile(r"(?:[0-9a-fA-F]{2})+")
_MAX_RUN = 16 * 1024
"""Longer ones are files."""


def read(text: str) -> tuple[str, bool]:
    """`text` without what is invisible, compatibility forms as plain ones, tags as the letters they
    stand for; and whether something in it was hidden."""
    if text.isascii():
        return text, False
    bare = _FLAG.sub("", text) if "\U000e007f" in text else text
    tagged = bare.translate(_TAGS)
    hides = tagged != bare or _FORCED.search(bare) is not None
    hides = hides or sum(1 for _ in _SPLIT_WORD.finditer(bare)) >= _MANY
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", tagged)), hides


def is_seen(letter: str) -> bool:
    """Whether `read` may leave a letter of it; of a mark it makes one with the letter before."""
    return _INVISIBLE.match(letter) is None and not unicodedata.combining(letter)


def decoded(text: str) -> Iterator[str]:
    """What base64 and hexadecimal in `text` say, where that is text."""
    for run in _RUN.findall(text):
        if len(run) > _MAX_RUN:
            continue
        if _HEXADECIMAL.fullmatch(run):
            raw = bytes.fromhex(run)
        else:
            try:
                whole = run[: len(run) - (len(run) % 4 == 1)].replace("-", "+").replace("_", "/")
                raw = b64decode(whole + "=" * (-len(whole) % 4))
            except binascii.Error:
                continue
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            continue
