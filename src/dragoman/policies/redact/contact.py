"""Rules for where a person is reached or found: addresses of every kind, and days of birth."""

from __future__ import annotations

import re

from dragoman.policies.redact.checks import (
    check_domain,
    check_email,
    check_ipv4,
    check_ipv6,
    check_mac,
    check_url,
    digits_of,
    luhn,
    stands_alone,
)
from dragoman.policies.redact.rules import Check, Rule, Span, after, words

_LETTERS = r"A-Za-z0-9\x{C0}-\x{24F}"
_LABEL = rf"[{_LETTERS}](?:[{_LETTERS}-]{{0,61}}[{_LETTERS}])?"
_CYRILLIC = r"\x{400}-\x{4FF}"
_MAIL = (
    Rule(
        name="email",
        gate="email",
        entity="email",
        pattern=rf"[{_LETTERS}{_CYRILLIC}_][{_LETTERS}{_CYRILLIC}._%+'&/=~-]*@"
        rf"(?:(?:{_LABEL}\.){{1,8}}(?:[A-Za-z]{{2,24}}|xn--[a-z0-9-]{{2,59}})|\[[0-9.]{{7,15}}\])",
        priority=62,
        check=check_email,
    ),
    Rule(
        name="email_spelt",
        gate="email_spelt",
        entity="email",
        pattern=r"(?i)\b[a-z0-9][a-z0-9._+-]* ?[\[({<] ?at ?[\])}>] ?[a-z0-9-]{1,63}"
        r"(?: ?(?:[\[({<] ?dot ?[\])}>]|\.) ?[a-z0-9-]{2,24}){1,4}\b",
        priority=62,
    ),
)
_PATH = (
    r"[^\s<>\"\x{60}{}|\\^\x00-\x1f\x{AB}\x{BB}\x{2018}-\x{201F}\x{2026}\x{2039}\x{203A}"
    r"\x{3000}-\x{303F}\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF20}\x{FF3B}-\x{FF40}\x{FF5B}-\x{FF65}]"
)
"""Quotation marks and the punctuation of Chinese and Japanese end an address, with no space."""
_TOP_LEVEL = (
    "com|org|net|edu|gov|mil|info|biz|io|dev|app|ai|xyz|online|cloud|shop|tech|site|store|co|tv|eu|us|uk|de|fr"
    "|es|nl|ch|se|dk|fi|pt|ru|cn|jp|kr|br|ca|au|nz|cz|sk|hu|ro|gr|tr|ua|ie|il|za|mx|cl|sg|hk|tw|ae|lu|lv|ee|bg|hr|eus"
)
_WORDLIKE = "it|at|be|no|me|in|is|to|pl|lt|pro|blog|news|live|world|agency|museum"
"""Top-level domains that are words of some language, or the end of a file's name."""
_SAID = re.compile(
    rb"(?i)(?:site|domain|visit|url|home ?page|web|page|sito|sitio|go to|log ?in|check(?: out)?)\w{0,4}\W"
)
_VARIABLES = words(
    "self this that cls console logger log window document request req res response ctx context props kwargs args"
    " params options opts obj node spec sys builtins event err error config settings process module v e"
)
_CAMEL = re.compile(rb"[a-z][A-Z]")
_COMMON = words("com org net COM ORG NET")
_REVERSED = words("com org net io edu gov dev app de fr uk jp cn eu")
_ENDS = words(_WORDLIKE.replace("|", " "))
_VERSION = re.compile(rb"[ @]v\d")
_SHORT = 2
_MAX_HOST = 253
_NEAR = 24


def _check_bare(text: bytes, start: int, end: int) -> Span | None:
    """A name of a host by itself: no file, no attribute of a program's and no package of Java's."""
    host = re.split(rb"[:/?#]", text[start:end], maxsplit=1)[0]
    first, _, rest = host.partition(b".")
    last = host.rpartition(b".")[2]
    if len(host) > _MAX_HOST or b".." in host:
        return None
    if b"." in rest and first in _REVERSED:
        return None
    if last not in _COMMON and (first in _VARIABLES or _CAMEL.search(host)):
        return None
    if _VERSION.match(text, end):
        return None
    is_word = last in _ENDS and start + len(host) == end
    if is_word and not _SAID.search(text, max(0, start - _NEAR), start):
        is_name = len(first) > _SHORT and (b"-" in host or b"." in rest) and host.islower()
        return check_domain(text, start, end) if is_name else None
    return check_domain(text, start, end)


_ADDRESSES = (
    Rule(
        name="url",
        gate="url",
        entity="url",
        pattern=r"(?i)\b(?:https?|ftps?|sftp|wss?|s3|gs|file|ssh|git)://" + _PATH + "+",
        priority=55,
        check=check_url,
    ),
    Rule(
        name="url_www",
        gate="url_www",
        entity="url",
        pattern=r"(?i)\bwww\d?\.(?:[a-z0-9\x{C0}-\x{24F}-]{1,63}\.){1,6}[a-z]{2,24}(?::\d{2,5})?(?:[/?#]"
        + _PATH + "*)?",
        priority=55,
        check=check_url,
    ),
    Rule(
        name="url_bare",
        gate="url_bare",
        entity="url",
        pattern=rf"(?:\A|[^{_LETTERS}_@./\\$%-])"
        rf"([{_LETTERS}](?:[{_LETTERS}.-]*[{_LETTERS}])?\.(?:{_TOP_LEVEL}|COM|ORG|NET|{_WORDLIKE})\b"
        r"(?::\d{2,5})?(?:[/?#]" + _PATH + "*)?)",
        priority=54,
        check=_check_bare,
    ),
)  # fmt: skip
_NOT_AN_ADDRESS = words(
    "v ver version versions release released releases build builds firmware driver sdk oid chapter"
    " section sect clause paragraph upgrade upgraded assembly assemblyversion fileversion changelog"
    " patch kernel chrome package downgraded figure table requires require jdk rv objectidentifier rfc"
)
_AN_ADDRESS = words(
    "ip ips ipv address addresses addr host hosts server gateway router subnet src dst client ping"
)
_NETWORK = (
    Rule(
        name="ipv4",
        gate="ipv4",
        entity="ip",
        pattern=r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
        priority=58,
        unless=_NOT_AN_ADDRESS,
        despite=_AN_ADDRESS,
        check=check_ipv4,
    ),
    Rule(
        name="ipv6",
        gate="ipv6",
        entity="ip",
        pattern=r"(?:[0-9A-Fa-f]{1,4}:|::)[0-9A-Fa-f:]{1,39}(?:(?:\d{1,3}\.){3}\d{1,3})?",
        priority=58,
        check=check_ipv6,
    ),
    Rule(
        name="mac",
        gate="mac",
        entity="mac",
        pattern=r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b"
        r"|\b[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\b",
        priority=60,
        check=check_mac,
    ),
)

# --- telephone --------------------------------------------------------------------------------

_CALLED = (
    r"(?:tele?)?phones?|tel\b|telef[a-z]*|t\x{E9}l(?:\x{E9}phone)?|cell(?:phone)?|mobile|mob\b|fax|call(?:ed|ing|s)?"
    r"|whats ?app|sms|texts?\b|contact(?:s|ed)?|dial(?:led|ed)?|ring\b|reach(?:ed)?|hotline|handy\b|rufnummer"
    r"|portable|m\x{F3}vil|celular|cellulare|telefoon|mobiel|landline|voicemail|pager|helpline|toll[ -]free|hot ?line"
    r"|(?:my|your|his|her|our|their|old|new|current|previous) (?:new |old |current )?number|(?:mon|ton|son|notre|votre|mio|tuo|suo|mi|tu|su|meu|seu) n(?:um\x{E9}ro|[u\x{FA}]mero)|appel[a-z]{0,4}|ll\x{E1}ma[a-z]{0,3}|llamar|rufen|anruf\w*|chiama\w*|ligue|zadzwo\x{144}|bel\b|support line"
    r"|\x{96FB}\x{8A71}(?:\x{756A}\x{53F7})?|\x{7535}\x{8BDD}|\x{624B}\x{673A}|\x{C804}\x{D654}|\x{43D}\x{43E}\x{43C}\x{435}\x{440}|\x{442}\x{435}\x{43B}"
)
_NOT_A_PHONE = words(
    "isbn isbns issn order orders invoice invoices tracking sku serial ean upc gtin part parts ticket"
    " tickets version timestamp epoch sha commit uuid guid doi arxiv model lot batch imei vin lat lng"
    " lon latitude longitude coordinates account iban ssn social passport policy case ref reference id"
    " zip barcode seed pid bytes bsn nhs license licence routing"
)
_A_PHONE = words(
    "phone phones telephone tel telefon mobile cell fax call called calls calling whatsapp sms text contact"
    " dial ring reach hotline handy voicemail"
)
_DATE = re.compile(rb"(?<!\d)(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ](?:[0-2]?\d|3[01])(?!\d)|"
                   rb"(?<!\d)(?:[0-2]?\d|3[01])[-./ ](?:[0-2]?\d|3[01])[-./ ](?:19|20)\d\d(?!\d)")  # fmt: skip
_YEAR = re.compile(rb"\((?:19|20)\d\d\)")
_YEARS = re.compile(rb"(?:1\d|20)\d\d(?: ?[-\xe2\x80\x93]+ ?|\s)(?:1\d|20)\d\d")


_OPENS = ord("(")
_EXTENDED = re.compile(rb"[xe#]")
_MAX_DIGITS = 17


def _check_phone(text: bytes, start: int, end: int) -> Span | None:
    """As many digits as a telephone number has, and no date or part of something longer."""
    if text[start] == _OPENS and text.count(b"(", start, end) > text.count(b")", start, end):
        start += 1
    digits = digits_of(_EXTENDED.split(text[start:end], 1)[0])
    before, after = text[max(0, start - 2) : start], text[end : end + 2]
    if not 7 <= len(digits) <= _MAX_DIGITS or len(set(digits)) < 2:
        return None
    if before[-1:].isalnum() or before[-1:] in (b"-", b"_", b"#", b"$", b".", b"\\"):
        return None
    if before[:1].isdigit() and before[-1:] in b" /,:":
        return None
    if after and (
        after[:1].isalnum() or after[:1] in b"_%" or (after[:1] == b"-" and after[1:].isalnum())
    ):
        return None
    if after[:1] in (b".", b",", b"/", b":") and after[1:].isdigit():
        return None
    value = text[start:end]
    if value.startswith(b"+"):
        return start, end
    is_time = _DATE.search(value) or _YEARS.fullmatch(value) or _YEAR.search(value)
    return None if is_time else (start, end)


def _check_loose(text: bytes, start: int, end: int) -> Span | None:
    """A number that only its context makes a telephone number."""
    if _IMEI.fullmatch(text, start, end):
        return None
    digits = digits_of(text[start:end])
    if len(digits) in (13, 15, 16) and luhn(digits):
        return None
    return _check_phone(text, start, end)


_IMEI = re.compile(rb"\d{2}-\d{6}-\d{6}-\d")
_EXTENSION = r"(?:[ ,]{0,2}(?:x|ext\.?|extension|#) ?\d{1,6})?"


def _check_international(text: bytes, start: int, end: int) -> Span | None:
    """Zeroes in front are also what fills up other numbers."""
    if text[start : start + 1] == b"0":
        value = text[start:end]
        if len(digits_of(value)) < _INTERNATIONAL or _NO_COUNTRY.match(value):
            return None
        if _BOUGHT.search(text, max(0, start - _NEAR), start):
            return None
    return _check_phone(text, start, end)


def _check_domestic(text: bytes, start: int, end: int) -> Span | None:
    """A number that begins with the 0 of its country's trunk lines."""
    value = text[start:end]
    if len(digits_of(value)) < _DOMESTIC or _ZIP.fullmatch(value):
        return None
    return _check_phone(text, start, end)


_BOUGHT = re.compile(rb"(?i)isbn|order|invoice|tracking")
_NO_COUNTRY = re.compile(rb"\d{4}(?: \d{4})+\Z|00[2-689]\D")
"""Columns of four digits, or a code of one digit that no country has."""
_ZIP = re.compile(rb"\d{5}-\d{4}")
_INTERNATIONAL = 10
_DOMESTIC = 8
"""Digits at least, the zeroes in front counted."""


_NUMBER = re.compile(rb"[(+]?\d")


def _phone(
    name: str,
    pattern: str,
    check: Check = _check_phone,
    begins: re.Pattern[bytes] | None = None,
) -> Rule:
    return Rule(
        name=name,
        gate="phones",
        entity="phone",
        pattern=pattern,
        priority=40,
        unless=_NOT_A_PHONE,
        despite=_A_PHONE,
        check=check,
        begins=begins,
        again=True,
    )


_PHONES = (
    Rule(
        name="phone_international",
        gate="phones",
        entity="phone",
        pattern=r"(?:\(?\+|\b00|\b011[ .-])[1-9]\d{0,3}\)?(?:[ .\x{A0}-]{0,2}(?:\(\d{1,5}\)|/)?[ .\x{A0}/-]{0,2}\d{1,5}){1,6}"
        + _EXTENSION,
        priority=40,
        check=_check_international,
        again=True,
    ),
    _phone(
        "phone_north_america",
        r"(?:\A|[^\d ./()+-]|[^\d][ ./()-])(?:1[ .-]?)?(?:\(\d{3}\)[ .-]?|\b\d{3}[.\x{2010}-\x{2013}/-]|\b[2-9]\d{2} )\d{3}[ .\x{2010}-\x{2013}-]\d{4}"
        + _EXTENSION,
        begins=_NUMBER,
    ),
    _phone("phone_exchange", r"\b\d{3}-\d{7}\b" + _EXTENSION),
    _phone(
        "phone_europe",
        r"\(?\b0[1-9]\d{0,4}\)?(?: ?[/. -] ?\d{2,8}){1,4}|\b07\d{9}",
        _check_domestic,
    ),
    _phone(
        "phone_parentheses",
        r"(?:\b\d{1,3}[ .-]?)?\(\d{2,5}\)[ .]?\d{2,10}(?:[ .-]\d{2,7}){0,4}" + _EXTENSION,
    ),
    _phone("phone_asia", r"\b1[3-9]\d[ -]\d{4}[ -]\d{4}\b|\b0\d{1,3}-\d{3,4}-\d{4}\b"),
    Rule(
        name="phone_in_context",
        gate="called_numbers",
        entity="phone",
        pattern=rf"(?:^|[^A-Za-z])(?i:{_CALLED})\D{{0,40}}?[(+]?\d{{1,5}}\)?"
        r"(?:[ .\x{A0}/-]{0,2}(?:\(\d{1,5}\))?[ .\x{A0}/-]{0,2}\d{1,6}){1,6}" + _EXTENSION,
        priority=40,
        unless=_NOT_A_PHONE | words("commande pedido"),
        despite=_A_PHONE,
        begins=_NUMBER,
        check=_check_loose,
    ),
)

# --- where and when ---------------------------------------------------------------------------

_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Drive|Dr|Lane|Ln|Court|Ct|Circle|Cir|Place|Pl"
    r"|Square|Sq|Terrace|Ter|Parkway|Pkwy|Highway|Hwy|Way|Trail|Trl|Crescent|Cres|Close|Row|Mews|Gardens"
    r"|Grove|Alley|Plaza|Loop|Pike|Turnpike|Crossing|Ridge|View|Walk|Green|Quay|Hill|Manor|Heights)"
)
_WORD = r"[A-Z\x{C0}-\x{DE}][A-Za-z\x{C0}-\x{24F}'.-]{0,24}"
_UNIT = r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Floor|Fl|Room|Flat|Bldg|#)\.? ?[A-Za-z0-9-]{1,6})?"
_UK_CODE = r"[A-Z]{1,2}\d[A-Z0-9]? ?\d[A-Z]{2}"
_TOWN = (
    rf"(?:,?[ \n]{{1,2}}{_WORD}(?: {_WORD}){{0,2}}"
    rf"(?:,? (?:[A-Z]{{2}}|{_WORD})?,? ?(?:\d{{5}}(?:-\d{{4}})?|{_UK_CODE}|\d{{4}}|[A-Z]\d[A-Z] ?\d[A-Z]\d)\b))?"
)
_ADDRESS = (
    Rule(
        name="address_english",
        gate="addresses",
        entity="address",
        pattern=rf"\b\d{{1,6}}[A-Za-z]?(?:-\d{{1,4}})? (?:[NSEW]\.? |North |South |East |West )?"
        rf"(?:{_WORD} |\d{{1,3}}(?:st|nd|rd|th) ){{1,4}}{_STREET}\b\.?(?: [NSEW]{{1,2}}\b)?{_UNIT}{_TOWN}",
        priority=45,
    ),
    Rule(
        name="address_po_box",
        gate="addresses",
        entity="address",
        pattern=r"(?i)\bP\.? ?O\.? ?Box \d{1,7}\b",
        priority=45,
    ),
    Rule(
        name="address_uk_postcode",
        gate="addresses",
        entity="address",
        pattern=after("post ?code|address|live[sd]? (?:at|in)|road|street|lane", rf"\b{_UK_CODE}\b", "."),
        priority=30,
        check=stands_alone,
    ),
    Rule(
        name="address_german",
        gate="addresses",
        entity="address",
        pattern=r"\b(?:(?:Am|An der|Auf der|Im|In der|Zur|Zum|Unter den) )?[A-Z\x{C4}\x{D6}\x{DC}][A-Za-z\x{C0}-\x{24F}.-]{1,30}"
        r"(?:stra(?:\x{DF}|ss)e|str\.|weg|allee|platz|gasse|ring|damm|ufer|straat|laan|gracht|plein|kade"
        r"|[ -](?:Stra(?:\x{DF}|ss)e|Str\.|Weg|Allee|Platz|Gasse|Ring|Damm|Ufer)) \d{1,4} ?[a-z]?\b"
        r"(?:,? \d{4,5}(?: [A-Z]{2})? [A-Z\x{C4}\x{D6}\x{DC}][A-Za-z\x{C0}-\x{24F}-]{1,30}(?: (?:am|an der|im) [A-Z][a-z]+)?)?",
        priority=45,
    ),
    Rule(
        name="address_romance",
        gate="addresses",
        entity="address",
        pattern=r"(?i)\b(?:\d{1,4}(?: ?(?:bis|ter))?,? (?:rue|avenue|boulevard|place|chemin|all\x{E9}e|impasse|quai|cours)"
        r" [\p{L}'. -]{2,40}?(?:,? \d{5} [\p{L}-]{2,30})"
        r"|(?:calle|c/|avenida|avda\.?|plaza|paseo|via|viale|piazza|corso|largo|rua|travessa)"
        r" [\p{L}'. -]{2,40}?,? (?:n\.?[\x{BA}\x{B0}]? ?)?\d{1,4}\b(?:,? \d{4,5}(?:-\d{3})? [\p{L}-]{2,30})?)",
        priority=45,
    ),
)  # fmt: skip
_MONTH = (
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|January|February|March|April|June|July|August"
    r"|September|October|November|December|Januar|Februar|M\x{E4}rz|Mai|Juni|Juli|Oktober|Dezember|janvier"
    r"|f\x{E9}vrier|mars|avril|juin|juillet|ao\x{FB}t|septembre|octobre|novembre|d\x{E9}cembre|enero|febrero"
    r"|marzo|abril|mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre)\.?"
)
_DAY = (
    r"(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:\d{4}|\d{2})"
    rf"|\d{{1,2}}(?:st|nd|rd|th|\.)? (?:of |de )?{_MONTH},? (?:de )?\d{{4}}"
    rf"|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|\d{{1,2}}-{_MONTH}-\d{{2,4}})"
)
_BORN = (
    Rule(
        name="date_of_birth",
        gate="documents",
        entity="date_of_birth",
        pattern=r"(?i)\b(?:d\.?o\.?b\.?|(?:date|day) of birth|birth[ _-]?(?:date|day)|born|geboren|geb\.|geburtsdatum"
        r"|n\x{E9}e?|date de naissance|naissance|nacid[oa]|fecha de nacimiento|nat[oa]|data di nascita|nascimento"
        r"|geboortedatum|date_of_birth|dateofbirth|birthdate)"
        r"(?:[\"' :=(|\t-]{0,6}|[\"' :=(-]{0,3}\b(?:is|was|on|am|le|el|il|the|in [A-Z][a-z]+ on|on the)\b[\"' :]{0,3})"
        rf"({_DAY})\b",
        priority=46,
    ),
)  # fmt: skip
_DOCUMENTS = (
    Rule(
        name="passport",
        gate="documents",
        entity="passport",
        pattern=r"(?i)\b(?:passports?|reisepass\w*|passeport|pasaporte|passaporto)\b"
        r"(?:[ _-]?(?:no|nr|number|num|#|id)\b)?[^A-Za-z0-9\n]{0,6}(?:(?:is|was|of|n\x{BA}|no|nr|number|num|nummer|num\x{E9}ro)\b[^A-Za-z0-9\n]{0,4}){0,2}"
        r"([A-Z]{0,3}\d{5,9}[A-Z0-9]{0,3})\b",
        priority=71,
    ),
    Rule(
        name="passport_mrz",
        gate="passport_mrz",
        entity="passport",
        pattern=r"\bP[A-Z<][A-Z]{3}[A-Z<]{30,39}(?:\s{1,2}[A-Z0-9<]{44})?",
        priority=71,
    ),
    Rule(
        name="drivers_licence",
        gate="documents",
        entity="national_id",
        pattern=r"(?i)\b(?:driver'?s?|driving)[ _-]?licen[cs]e\b(?:[ _-]?(?:no|nr|number|num|#|id)\b)?[^A-Za-z0-9\n]{0,6}"
        r"(?:(?:is|was|number|no)\b[^A-Za-z0-9\n]{0,4}){0,2}([A-Z]{0,5}[0-9][A-Z0-9-]{4,17})\b",
        priority=71,
    ),
    Rule(
        name="licence_plate",
        gate="documents",
        entity="licence_plate",
        pattern=r"(?i:\b(?:licen[cs]e[ _-]?plates?|number[ _-]?plates?|plates?|vehicle registration|car registration|registration plate"
        r"|kennzeichen|immatriculation|matr\x{ED}cula|targa|tag number|rego)\b)(?i:[ _-]?(?:no|nr|number|num|#)\b)?[^A-Za-z0-9\n]{0,6}"
        r"(?i:(?:is|was|number|no|reads?|of)\b[^A-Za-z0-9\n]{0,4}){0,2}"
        r"([A-Z0-9\x{C4}\x{D6}\x{DC}]{1,4}(?:[ -][A-Z0-9]{1,4}){1,3}|[A-Z]{1,4}[0-9][A-Z0-9]{2,6}|[0-9]{1,4}[A-Z][A-Z0-9]{1,6})\b",
        priority=44,
        check=lambda text, start, end: (
            (start, end) if any(48 <= b <= 57 for b in text[start:end]) else None
        ),
    ),
)  # fmt: skip
CONTACT = (*_MAIL, *_ADDRESSES, *_NETWORK, *_PHONES, *_ADDRESS, *_BORN, *_DOCUMENTS)
