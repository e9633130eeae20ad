"""Validators: checksums, ranges and shapes that tell an identifier from other digits.

Each takes the candidate's text and byte offsets and gives the span that is meant, or None. Sources:
ISO/IEC 7812 (cards), ISO 13616 (IBAN), ISO 7064, the issuers' own publications for national
numbers, BIP 173 and base58check for addresses of crypto currencies.
"""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
import math
import re
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import date

from dragoman.policies.redact.rules import Check, Span

_DIGITS = frozenset(b"0123456789")
_NO_DIGITS = bytes(sorted(set(range(256)) - _DIGITS))
_TOUCHES = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_JOINS_BEFORE = _TOUCHES | frozenset(b"-#$")
_DECIMAL = frozenset(b".,/")
_SPACES = re.compile(r"[ -]+")
_WORD = re.compile(rb"[A-Za-z0-9_]")


def digits_of(text: bytes) -> str:
    """The digits in `text`, alone."""
    return text.translate(None, _NO_DIGITS).decode()


def passes(test: Callable[[str], bool]) -> Check:
    """A check of the candidate's digits alone."""

    def check(text: bytes, start: int, end: int) -> Span | None:
        return (start, end) if test(digits_of(text[start:end])) else None

    return check


def passes_text(test: Callable[[str], bool]) -> Check:
    """A check of the candidate's letters and digits, upper case, without separators."""

    def check(text: bytes, start: int, end: int) -> Span | None:
        if not text[start:end].isascii():
            return None
        plain = re.sub(rb"[^A-Za-z0-9]+", b"", text[start:end]).decode().upper()
        return (start, end) if test(plain) else None

    return check


def stands_alone(text: bytes, start: int, end: int) -> Span | None:
    """Not a piece of something longer: no letter, digit, dash or decimal point touches it."""
    if start:
        before = text[start - 1]
        if before in _JOINS_BEFORE:
            return None
        if before in _DECIMAL and start > 1 and text[start - 2] in _DIGITS:
            return None
    rest = text[end : end + 2]
    if rest and rest[0] in _TOUCHES:
        return None
    if len(rest) > 1 and rest[0] in _DECIMAL and rest[1] in _DIGITS:
        return None
    if len(rest) > 1 and rest[:1] == b"-" and rest[1] in _TOUCHES:
        return None
    return start, end


_GROUP_AFTER = re.compile(rb"[ .-]\d{2,4}\b")
_GROUP_BEFORE = re.compile(rb"\b\d{4}[ .-]$")


def no_group_after(text: bytes, start: int, end: int) -> Span | None:
    """Not the first groups of a number that has more."""
    return None if _GROUP_AFTER.match(text, end) else (start, end)


def no_group_before(text: bytes, start: int, end: int) -> Span | None:
    """Not the last groups of a number that has more; one in one piece has none."""
    if text[start:end].isdigit():
        return start, end
    return None if _GROUP_BEFORE.search(text, max(0, start - 6), start) else (start, end)


def both(first: Check, second: Check) -> Check:
    """One check after the other."""

    def check(text: bytes, start: int, end: int) -> Span | None:
        span = first(text, start, end)
        return second(text, *span) if span else None

    return check


def alone(test: Callable[[str], bool]) -> Check:
    """`passes`, and not a piece of something longer."""

    def check(text: bytes, start: int, end: int) -> Span | None:
        if stands_alone(text, start, end) is None or not test(digits_of(text[start:end])):
            return None
        return start, end

    return check


# --- checksums --------------------------------------------------------------------------------


_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    raw = digits.encode()
    plain, doubled = raw[-1::-2], raw[-2::-2].translate(_DOUBLED)
    return (sum(plain) + sum(doubled) - 48 * len(raw)) % 10 == 0


def weighted(digits: str, weights: Iterable[int]) -> int:
    """Sum of each digit times its weight."""
    return sum(int(d) * w for d, w in zip(digits, weights, strict=False))


_D = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_P = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901",
      "2793806415", "7046913258")  # fmt: skip


def verhoeff(digits: str) -> bool:
    """The dihedral checksum of Aadhaar numbers."""
    state = 0
    for i, digit in enumerate(reversed(digits)):
        state = _D[state][int(_P[i % 8][int(digit)])]
    return state == 0


def mod_11_10(digits: str) -> bool:
    """ISO 7064, MOD 11,10."""
    state = 10
    for digit in digits[:-1]:
        state = (state + int(digit)) % 10 or 10
        state = state * 2 % 11
    return (11 - state) % 10 == int(digits[-1])


def is_date(year: int, month: int, day: int) -> bool:
    """Whether there is such a day; year 0 is a leap year of any century."""
    try:
        date(year or 2000, month, day)
    except ValueError:
        return False
    return True


def is_short_date(digits: str) -> bool:
    """YYMMDD, of either century."""
    year, month, day = int(digits[:2]), int(digits[2:4]), int(digits[4:6])
    return is_date(2000 + year, month, day) or is_date(1900 + year, month, day)


# --- money ------------------------------------------------------------------------------------

_BRANDS = (
    ("4", (13, 16, 19)),
    ("5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", (16,)),
    ("3[47]", (15,)),
    ("6011|64[4-9]|65|62|81|82", (16, 17, 18, 19)),
    ("30[0-5]|3095|3[689]", (14, 16)),
    ("35", (16, 17, 18, 19)),
    ("2131|1800", (15,)),
    ("50|5[6-8]|60|63|67", (16, 17, 18, 19)),
    ("50(?:18|20|38)|5[6-8]|6304|6390|67(?:59|6[1-3])|0604", (12, 13, 14, 15)),
    ("220[0-4]|9792", (16,)),
    ("(?:6011|64[4-9]\\d|65\\d\\d)62", (20,)),
)
"""Issuer prefixes and the lengths of their numbers; the last is one that samples have, and no card."""
_ISSUED = {
    size: re.compile("|".join(prefix for prefix, sizes in _BRANDS if size in sizes))
    for size in range(12, 21)
}


def is_card(digits: str) -> bool:
    """A number some issuer gives out, with a right check digit."""
    issued = _ISSUED.get(len(digits))
    if issued is None or not issued.match(digits):
        return False
    return luhn(digits) and len(set(digits)) > 1


IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22,
    "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27,
    "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32,
    "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19,
    "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24,
    "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31,
    "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
"""Characters of an account number, by country. Source: the SWIFT IBAN registry."""


_NUMBERED = {ord("A") + i: str(10 + i) for i in range(26)}


def check_iban(text: bytes, start: int, end: int) -> Span | None:
    """As long as its country says, and MOD 97-10 right: what follows it is left out."""
    value = text[start:end].decode().upper()
    if not value.isascii():
        return None
    wanted = IBAN_LENGTHS.get(value[:2], 0)
    plain, at = value[:wanted], start + wanted
    if not plain.isalnum():
        plain, at = _SPACES.sub("", value)[:wanted], start
        for _ in plain:
            at += 1 + (text[at : at + 1] in b" -")
    if len(plain) == wanted and not _WORD.match(text[at : at + 1]) and _is_mod_97(plain):
        return start, at
    return _check_iban_alike(text, start, end)


def _check_iban_alike(text: bytes, start: int, end: int) -> Span | None:
    """In one piece, and MOD 97-10 right: as long as an older registry or a generator of samples
    has it, or of a country that has none yet, where it is called one."""
    plain = text[start:end]
    if not plain.isalnum() or not plain.isupper() or not _is_mod_97(plain.decode()):
        return None
    is_known = plain[:2].decode() in IBAN_LENGTHS
    is_called = b"iban" in text[max(0, start - 24) : start].lower()
    return (start, end) if is_known or is_called else None


def _is_mod_97(plain: str) -> bool:
    """ISO 7064, of which the first four characters stand last."""
    return int((plain[4:] + plain[:4]).translate(_NUMBERED)) % 97 == 1


# --- network ----------------------------------------------------------------------------------

_RANGE = re.compile(rb"-\d{1,3}\.\d")
_ZERO = ord("0")
_SECTION = "\u00a7".encode()
_SLICE = re.compile(rb"[\w)\]]\[\d{0,3}::\d{1,3}\]")
_OUTLINE = re.compile(rb" [A-Z][a-z]")


def check_ipv4(text: bytes, start: int, end: int) -> Span | None:
    """Four octets that are no part of a longer dotted number, a product's version or a heading."""
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if before and (before[-1] in _TOUCHES or before[-1:] in b".+"):
        return None
    if (before[-1:] in (b"/", b"-") and before[:1].isalpha()) or before == _SECTION:
        return None
    if after and (after[0] in _TOUCHES or (after[:1] in (b".", b"+") and after[1:].isalnum())):
        return None
    if after[:1] == b"-" and after[1:].isalnum() and not _RANGE.match(text, end):
        return None
    parts = text[start:end].split(b".")
    octets = [int(part) for part in parts]
    if max(octets) > 255 or any(part[0] == _ZERO and len(part) > 1 for part in parts):
        return None
    starts_line = start == 0 or text[start - 1 : start] == b"\n"
    if starts_line and octets[0] and max(octets) < 20 and _OUTLINE.match(text, end):
        return None
    return start, end


def check_ipv6(text: bytes, start: int, end: int) -> Span | None:
    """What `ipaddress` reads, and no C++ name, time or part of a longer run."""
    while end > start and text[end - 1 : end] in (b".", b":") and text[end - 2 : end] != b"::":
        end -= 1
    if start and (_WORD.match(text[start - 1 : start]) or text[start - 1 : start] in b":."):
        return None
    if _WORD.match(text[end : end + 1]) or _SLICE.match(text, max(0, start - 2)):
        return None
    value = text[start:end].decode()
    groups = [group for group in value.split(":") if group]
    if not any(c.isdigit() for c in value) or (len(groups) < 2 and value != "::1"):
        return None
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return None
    return start, end


def check_mac(text: bytes, start: int, end: int) -> Span | None:
    """Six pairs, and no piece of a longer fingerprint."""
    if start and (_WORD.match(text[start - 1 : start]) or text[start - 1 : start] in b":-."):
        return None
    after = text[end : end + 2]
    if _WORD.match(after[:1]) or (after[:1] in (b":", b"-") and after[1:].isalnum()):
        return None
    value = text[start:end]
    if b"." in value:
        return None if after[:1] == b"." and after[1:].isalnum() else (start, end)
    return None if len({value[i : i + 1] for i in range(2, len(value), 3)}) > 1 else (start, end)


_FILES = re.compile(rb"(?i)\.(?:png|jpe?g|gif|svg|webp|css|jsx?|tsx?|html?|json|ya?ml|toml|exe)$")
_CLOSES = {b")": b"(", b"]": b"[", b"}": b"{"}
_SENTENCE = frozenset(bytes([c]) for c in b".,;:!?'\"*_~`|\\")
_MAX_PUNCTUATION = 8


_MAX_LOCAL_PART = 64
"""Source: RFC 5321, 4.5.3.1.1."""
_LED = re.compile(rb"[^@]*[/&](?:[A-Za-z_-]+=)?|[A-Za-z_-]+='?")
"""What is a path or a parameter's name, not an address."""
_CONTINUES = 0x80
"""A byte inside a character."""
_NOT_FIRST = tuple(bytes([c]) for c in b".%+'&/=~-")


def check_email(text: bytes, start: int, end: int) -> Span | None:
    """No file name with an `@`, no Git remote. Of what stands before the `@` no more than may: a
    pattern that counts it takes the engine many times as long."""
    start = max(start, text.index(b"@", start, end) - _MAX_LOCAL_PART)
    led = _LED.match(text, start, end)
    start = led.end() if led else start
    while text[start : start + 1] in _NOT_FIRST or text[start] & 0xC0 == _CONTINUES:
        start += 1
    value = text[start:end]
    if _FILES.search(value) or b".." in value:
        return None
    if value.startswith(b"git@") and text[end : end + 1] == b":":
        return None
    if text[end : end + 1] == b"-" or text[end : end + 2] in (b"()", b'("'):
        return None
    return start, end


def check_url(text: bytes, start: int, end: int) -> Span | None:
    """Without the punctuation of the sentence around it."""
    for _ in range(_MAX_PUNCTUATION):
        last = text[end - 1 : end]
        if last in _CLOSES:
            if text.count(_CLOSES[last], start, end) >= text.count(last, start, end):
                break
        elif last not in _SENTENCE:
            break
        end -= 1
    return start, end


def check_domain(text: bytes, start: int, end: int) -> Span | None:
    """A bare name that is no part of an address, a path or a program."""
    before, after = text[start - 1 : start] if start else b"", text[end : end + 1]
    if before and (_WORD.match(before) or before in b"@./\\-$%"):
        return None
    if after and (_WORD.match(after) or after in b"(@=["):
        return None
    if after == b"." and _WORD.match(text[end + 1 : end + 2]):
        return None
    return check_url(text, start, end)


# --- crypto currencies ------------------------------------------------------------------------

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_RIPPLE = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def check_base58(text: bytes, start: int, end: int) -> Span | None:
    """Base58 with four bytes of double SHA-256 at its end, of 25 bytes in all."""
    value = text[start:end].decode()
    alphabet = _RIPPLE if value[0] == "r" else _BASE58
    number = 0
    for character in value:
        at = alphabet.find(character)
        if at < 0:
            return None
        number = number * 58 + at
    if number >= 1 << 200:
        return None
    raw = number.to_bytes(25, "big")
    digest = hashlib.sha256(hashlib.sha256(raw[:-4]).digest()).digest()
    return (start, end) if digest[:4] == raw[-4:] else None


def check_bech32(text: bytes, start: int, end: int) -> Span | None:
    """BIP 173 and BIP 350."""
    prefix, _, data = text[start:end].decode().lower().rpartition("1")
    values = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    values += [_BECH32.find(c) for c in data]
    if -1 in values:
        return None
    state = 1
    for value in values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for i, generator in enumerate(_GENERATORS):
            state ^= generator if top >> i & 1 else 0
    return (start, end) if state in (1, 0x2BC830A3) else None


# --- secrets ----------------------------------------------------------------------------------


def entropy(text: bytes) -> float:
    """Bits a character, by how often each occurs in `text`."""
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)


_MIN_ENTROPY = 2.8
_SAMPLE = re.compile(
    rb"xxxxxx|\*\*\*|\.\.\.|your[-_]|my[-_]|the[-_]|some[-_]|insert[-_]|placeholder[-_]|redacted"
)
"""Each begins with letters: what only may, costs four times as much."""


def is_sample(value: bytes) -> bool:
    """Whether it says itself that it stands for something."""
    return _SAMPLE.search(value.lower()) is not None


def check_key(text: bytes, start: int, end: int) -> Span | None:
    """Looks like chance, not like words or a sample; what ends a sentence is left out."""
    while text[end - 1 : end] in (b".", b"-"):
        end -= 1
    value = text[start:end]
    if is_sample(value) or (len(set(value)) < 16 and entropy(value) < _MIN_ENTROPY):
        return None
    return start, end


def check_token(text: bytes, start: int, end: int) -> Span | None:
    """`check_key`, and with at least one digit: without any, it is words."""
    if not any(48 <= byte <= 57 for byte in text[start:end]):
        return None
    return check_key(text, start, end)


def check_jwt(text: bytes, start: int, end: int) -> Span | None:
    """Three parts of which the first is JSON."""
    head = text[start:end].partition(b".")[0]
    try:
        decoded = urlsafe_b64decode(head + b"=" * (-len(head) % 4))
    except (binascii.Error, ValueError):
        return None
    return (start, end) if decoded.lstrip().startswith(b"{") else None
