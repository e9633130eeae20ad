"""What must be in a text for a family of rules to find anything there.

All rules at once are one automaton with too many states: on random letters or digits it builds a
new one at almost each byte. So a text is searched for these first, which are coarse, count little
and are not in ordinary sentences, and then for the rules of the families whose gate is open.
"""

from __future__ import annotations

_SEVEN_DIGITS = r"\d(?:[^0-9A-Za-z\n]{0,5}\d){6}"
LONG_RUN = r"[^\x{0}-\x{10FFFF}]"
"""The gate of what has fifteen characters that a key may have, and no space. It is looked for by
itself: to count them multiplies the automaton's states. As a pattern it is in no text."""
_RUN = b"x" * 15
_RUNS = bytes(
    ord("x") if chr(byte).isascii() and (chr(byte).isalnum() or byte in b"_./+=~:|$%-") else 0
    for byte in range(256)
)
_HEX = "[0-9A-Fa-f]"

GATES: dict[str, str] = {
    "numbers": _SEVEN_DIGITS,
    "called_numbers": _SEVEN_DIGITS,
    "phones": _SEVEN_DIGITS,
    "letters_and_digits": r"[A-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]|[A-Z]\d{4}[A-Z]|\d{6}[-+A-Y]\d{3}",
    "iban": r"[A-Za-z]\d{2}[ -]?[A-Za-z0-9]{2}",
    "segwit": r"(?i)(?:bc1|tb1|ltc1|addr1|cosmos1|osmo1)[02-9ac-hj-np-z]",
    "keys": LONG_RUN,
    "blocks": r"-----BEGIN|PuTTY-User-Key",
    "passport_mrz": r"P[A-Z<][A-Z]{3}[A-Z<]{10}",
    "named": r"(?i)(?:api|access|auth|secret|private|signing|encryption|account)[ _.-]?key"
    r"|token|secret|passw|passphrase|passcode|pwd|psw|credential|kennwort|contrase|mot de passe"
    r"|senha|wachtwoord|has\x{142}o|parola|curl |mysql |(?:^|[^a-z])(?:pass|pw|pin)|[a-z0-9]pass|[a-z0-9]pw",
    "key_value_connection": r"(?i)(?:password|pwd|accountkey|sharedaccesskey)\s?=",
    "url_with_password": r"://[^\s:/@\"'<>]*:[^\s/@\"'<>]+@",
    "email": r"[^\s@]@[^\s@]",
    "email_spelt": r"(?i)[\[({<] ?at ?[\])}>]",
    "url": r"(?i)(?:https?|ftps?|sftp|wss?|s3|gs|file|ssh|git)://\S",
    "url_www": r"(?i)www\d?\.",
    "url_bare": r"[^\s.]\.(?:[a-z]{2}|COM|ORG|NET)",
    "ipv4": r"\d\.\d{1,3}\.\d{1,3}\.\d",
    "ipv6": rf":{_HEX}{{0,4}}:",
    "mac": rf"{_HEX}{{2}}[:-]{_HEX}{{2}}[:-]{_HEX}{{2}}[:-]|{_HEX}{{4}}\.{_HEX}{{4}}\.{_HEX}{{4}}",
    "addresses": r"\d[A-Za-z]? (?:[A-Z\x{C0}-\x{DE}]|\d{1,3}(?:st|nd|rd|th))|\d(?: ?(?:bis|ter))?,? (?i:rue|avenue|boulevard|place|chemin"
    r"|all\x{E9}e|impasse|quai|cours) |(?i:box \d)|[A-Z]\d[A-Z0-9]? ?\d[A-Z]{2}"
    r"|(?i:stra\x{DF}e|strasse|str\.|weg|allee|platz|gasse|ring|damm|ufer|straat|laan|gracht|plein|kade) \d"
    r"|(?i:\b(?:calle|c/|avenida|avda|plaza|paseo|via|viale|piazza|corso|largo|rua|travessa)\.? )",
    "documents": r"(?i)passport|reisepass|passeport|pasaporte|passaporto|driver|driving|\bplate|[er_ -]plate|registration|kennzeichen"
    r"|immatricul|matr\x{ED}cula|targa|tag number|rego|\bd\.?o\.?b|birth|\bborn|gebo|gebu|geb\.|\bn\x{E9}|naissance|nacid"
    r"|nacimiento|\bnat[oa]|nascita|nascimento",
}  # fmt: skip


def has_long_run(text: bytes) -> bool:
    """Whether `LONG_RUN` is in `text`."""
    return _RUN in text.translate(_RUNS)
