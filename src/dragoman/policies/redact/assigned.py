"""Whether what a name is given is a secret: a password, a token, a key; by the value and the name."""

from __future__ import annotations

import re

from dragoman.policies.redact.checks import entropy, is_sample
from dragoman.policies.redact.rules import Span

_NO_SECRET = re.compile(
    rb"(?i)(?:string|str|text|bool(?:ean)?|int(?:eger)?|none|null|nil|true|false|undefined|empty|"
    rb"required|optional|secret|password|passwd|token|bearer|basic|hidden|example|sample|test|todo|"
    rb"default|value|input|self|this|field|form|data|env|process|os|config|settings|args|params|"
    rb"options|request|req|vault|file|any|object|sha\d+|hash|type|key|varchar|char|not|and|or|"
    rb"is|was|the|your|my|a|an|for|to|in|of|at|on|with|has|must|should|will|can|cannot|"
    rb"may|reset|expired|incorrect|wrong|invalid|missing|protected|manager|policy|change_?me|"
    rb"change|changed|strength|length|authentication|field|fields|page|username|email|user)"
)
_REFERENCE = re.compile(
    rb"\$\{|\{\{|\$\(|^\$[A-Za-z_]|^%[A-Za-z_]|^<[^>]*>?$|[(\[]|^@|^#\{|^!|^&[a-z]"
    rb"|^[A-Za-z_]+(?:\.[A-Za-z_]+)+$|\benv\b|^[*x.-]+$|^\.\.\.|^[a-z]{2,6}://|^/[a-z0-9_.-]*(?:/|$)|^\.{1,2}/|^~/"
    rb"|^\{|\]$|^0x[0-9A-Fa-f]+$|^\*\w+\*$|\|$|^\$(?:2[aby]|argon2|[156y]|pbkdf2)"
)
"""What stands for a secret or is made of one: a variable, a file, an address, a digest."""
_ABOUT = re.compile(
    rb"(?i)[_.-](?:hash|ur[il]|file|path|name|id|length|len|size|min|max|count|expir\w*|ttl|type|field|policy|method|"
    rb"endpoint|limit|timeout|algorithm|ref|hint|label|reset|version|env|format|prefix|regex|status|at|date|days)"
    rb"[\\\"'`\])]{0,4}\s*[=:?!|>]{1,4}>?[\s\\\"'`]*\Z"
)
"""A name that says something about a secret."""
_QUOTES = (b'"', b"'", b"`")
_BEFORE = 48
_MAX_SECRET = 256
_NEXT_PARAMETER = re.compile(rb"&[A-Za-z_][\w.-]*=")
_BARE_ENDS = re.compile(rb"[\s\"'`,;<>]|\Z")
_IDENTIFIER = re.compile(rb"_*[A-Za-z]+\d{0,2}(?:[._][A-Za-z]+\d{0,2})+")
_DASHED = re.compile(rb"[a-z]+(?:[-_'][a-z]+){1,2}")


def _whole(text: bytes, start: int, end: int) -> int:
    """Where a value ends: with its quotation mark, or before what parts it from what follows."""
    quote = text[start - 1 : start]
    if quote in _QUOTES:
        closes = text.find(quote, start, start + _MAX_SECRET)
        if closes >= end and not re.search(rb"\s", text[start:closes]):
            end = closes
    elif text[end : end + 1] == b"&" and not _NEXT_PARAMETER.match(text, end):
        ends = _BARE_ENDS.search(text, end, start + _MAX_SECRET)
        end = ends.start() if ends else end
    elif text[end - 1 : end] == b"}" and b"{" not in text[start:end]:
        end -= 1
    while end > start and text[end - 1 : end] in (b".", b",", b";", b":", b")", b"\\"):
        end -= 1
    return end


def _is_meant(text: bytes, start: int, end: int) -> bool:
    """No type, no variable, no sample, no word; and what a tag begins, another ends."""
    value = text[start:end]
    if len(value) < 4 or _NO_SECRET.fullmatch(value) or _REFERENCE.search(value):
        return False
    if is_sample(value) or len(set(value)) < 3 or _DASHED.fullmatch(value):
        return False
    if text[start - 1 : start] not in _QUOTES and _IDENTIFIER.fullmatch(value):
        return False
    if text[start - 1 : start] == b">" and text[end : end + 2] != b"</":
        return False
    return not _ABOUT.search(text, max(0, start - _BEFORE), start)


def _kinds(value: bytes) -> int:
    return sum(bool(re.search(kind, value)) for kind in (rb"[0-9]", rb"[A-Za-z]", rb"[^\w]"))


_MIN_DIGITS = 6
_MIN_QUOTED = 6


def check_password(text: bytes, start: int, end: int) -> Span | None:
    """A literal, not a type, a variable or a word of the sentence."""
    end = _whole(text, start, end)
    if not _is_meant(text, start, end):
        return None
    value = text[start:end]
    if text[start - 1 : start] in _QUOTES and b" " not in value and len(value) >= _MIN_QUOTED:
        return start, end
    is_number = value.isdigit() and len(value) >= _MIN_DIGITS
    return (start, end) if is_number or _kinds(value) >= 2 else None


def check_assigned(text: bytes, start: int, end: int) -> Span | None:
    """`check_password` for what programs call by such names too: of two kinds of letters."""
    end = _whole(text, start, end)
    return (start, end) if _is_meant(text, start, end) and _kinds(text[start:end]) >= 2 else None


def check_random_password(text: bytes, start: int, end: int) -> Span | None:
    """A word with digits and signs that nobody writes in a sentence."""
    end = _whole(text, start, end)
    value = text[start:end]
    is_odd = re.search(rb"[0-9]", value) and re.search(rb"[A-Za-z]", value)
    return (
        (start, end)
        if is_odd and len(value) >= _MIN_QUOTED and _is_meant(text, start, end)
        else None
    )


_MIN_RANDOM = 16
_WORDS = re.compile(rb"(?:[A-Za-z]?[a-z]*\d{0,2}|[A-Z]+\d{0,2}|\d+)(?:[/._=+~-]+|\Z)")
_ATTRIBUTE = re.compile(rb"[A-Za-z]+\d{0,4}[a-z]*(?:[._][A-Za-z]+\d{0,4}[a-z]*)+")
_UUID = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_NO_SECRET_KEY = re.compile(
    rb"(?i)(?:public|primary|foreign|sort|partition|cache|idempotency|row|index|hash|group|dedup\w*|object|s3|"
    rb"routing|storage|message|session|request|trace|commit|object|host|known)[ _.-]?keys?\W"
)
_MIN_RANDOM_DIGITS = 2
_MIN_RANDOM_ENTROPY = 3.0


def check_random(text: bytes, start: int, end: int) -> Span | None:
    """Chance, not words, whatever it is called: what is called a key is mostly none."""
    end = _whole(text, start, end)
    value = text[start:end]
    digits = sum(48 <= byte <= 57 for byte in value)
    if not _MIN_RANDOM_DIGITS <= digits < len(value) or len(value) < _MIN_RANDOM:
        return None
    if _UUID.fullmatch(value) or _WORDS.sub(b"", value) == b"" or _ATTRIBUTE.fullmatch(value):
        return None
    if entropy(value) < _MIN_RANDOM_ENTROPY:
        return None
    if _NO_SECRET_KEY.search(text, max(0, start - _BEFORE), start):
        return None
    return (start, end) if _is_meant(text, start, end) else None
