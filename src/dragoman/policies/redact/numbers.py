"""Check digits of the numbers that states give to people. Digits and letters only, upper case."""

from __future__ import annotations

import re

from dragoman.policies.redact.checks import (
    is_date,
    is_short_date,
    luhn,
    mod_11_10,
    verhoeff,
    weighted,
)


def is_ssn(digits: str) -> bool:
    """United States: no number of an area, group or serial that is never given."""
    return digits[:3] not in ("000", "666") and digits[0] != "9" and _has_parts(digits)


def is_itin(digits: str) -> bool:
    """United States, of those who pay taxes and have no SSN."""
    group = int(digits[3:5])
    in_use = 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99
    return digits[0] == "9" and in_use and digits[5:] != "0000"


def _has_parts(digits: str) -> bool:
    return digits[3:5] != "00" and digits[5:] != "0000" and len(set(digits)) > 1


def is_nino(text: str) -> bool:
    """United Kingdom, national insurance."""
    return text[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


def is_nhs(digits: str) -> bool:
    """England and Wales, health."""
    check = 11 - weighted(digits[:9], range(10, 1, -1)) % 11
    return check % 11 == int(digits[9]) and check != 10 and len(set(digits)) > 1


def is_steuer_id(digits: str) -> bool:
    """Germany, tax: of the first ten digits one comes twice or three times, or two are missing."""
    most = max(digits[:10].count(digit) for digit in set(digits[:10]))
    return digits[0] != "0" and 2 <= most <= 3 and mod_11_10(digits)


def is_nir(text: str) -> bool:
    """France, social security; Corsican departments are counted as numbers."""
    number = text.replace("2A", "19").replace("2B", "18")
    return number.isdigit() and 97 - int(number[:13]) % 97 == int(number[13:])


_SPANISH = "TRWAGMYFPDXBNJZSQVHLCKE"


def is_dni(text: str) -> bool:
    """Spain, of citizens and (X, Y, Z) of foreigners."""
    digits = text[:-1].translate(str.maketrans("XYZ", "012"))
    return digits.isdigit() and _SPANISH[int(digits) % 23] == text[-1]


_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23)  # fmt: skip


def is_codice_fiscale(text: str) -> bool:
    """Italy, tax."""
    values = [int(c) if c.isdigit() else ord(c) - 65 for c in text[:15]]
    total = sum(_ODD[v] if i % 2 == 0 else v for i, v in enumerate(values))
    return chr(65 + total % 26) == text[15]


def is_bsn(digits: str) -> bool:
    """The Netherlands."""
    return weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and len(set(digits)) > 1


def is_cpf(digits: str) -> bool:
    """Brazil."""
    if len(set(digits)) == 1:
        return False
    first = weighted(digits[:9], range(10, 1, -1)) * 10 % 11 % 10
    second = weighted(digits[:10], range(11, 1, -1)) * 10 % 11 % 10
    return digits[9:] == f"{first}{second}"


def is_aadhaar(digits: str) -> bool:
    """India."""
    return digits[0] not in "01" and verhoeff(digits) and digits != digits[::-1]


def is_sin(digits: str) -> bool:
    """Canada."""
    return digits[0] not in "08" and luhn(digits)


def is_tfn(digits: str) -> bool:
    """Australia, tax."""
    return weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0 and len(set(digits)) > 1


def is_medicare(digits: str) -> bool:
    """Australia, health."""
    check = weighted(digits[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10
    return digits[0] in "23456" and check == int(digits[8])


def is_pesel(digits: str) -> bool:
    """Poland; the century is added to the month."""
    month = int(digits[2:4]) % 20
    check = weighted(digits[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3))
    return is_short_date(f"{digits[:2]}{month:02}{digits[4:6]}") and (10 - check % 10) % 10 == int(
        digits[10]
    )


def is_personnummer(digits: str) -> bool:
    """Sweden; of a coordination number 60 is added to the day."""
    short = digits[-10:]
    day = int(short[4:6]) % 60
    return is_short_date(f"{short[:4]}{day:02}") and luhn(short)


_FINNISH = "0123456789ABCDEFHJKLMNPRSTUVWXY"


def is_hetu(text: str) -> bool:
    """Finland; the letter of the century, if it is one, stands at seven."""
    if len(text) == 11:
        text = text[:6] + text[7:]
    if not text[:9].isdigit() or not is_short_date(text[4:6] + text[2:4] + text[:2]):
        return False
    return _FINNISH[int(text[:9]) % 31] == text[9]


def is_cpr(digits: str) -> bool:
    """Denmark: a day and a number; its check digit is no longer kept to."""
    return is_short_date(digits[4:6] + digits[2:4] + digits[:2])


def is_fodselsnummer(digits: str) -> bool:
    """Norway."""
    day = int(digits[:2]) % 40
    if not is_short_date(f"{digits[4:6]}{digits[2:4]}{day:02}"):
        return False
    first = weighted(digits[:10], (3, 7, 6, 1, 8, 9, 4, 5, 2, 1))
    second = weighted(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))
    return first % 11 == 0 and second % 11 == 0


def is_ahv(digits: str) -> bool:
    """Switzerland: an EAN-13 that begins with the country."""
    return (10 - weighted(digits[:12], (1, 3) * 6) % 10) % 10 == int(digits[12])


def is_belgian(digits: str) -> bool:
    """Belgium; those born from 2000 are counted with a 2 in front."""
    check = int(digits[9:])
    return check in (97 - int(digits[:9]) % 97, 97 - int("2" + digits[:9]) % 97)


_SINGAPOREAN = {"S": (0, "JZIHGFEDCBA"), "T": (4, "JZIHGFEDCBA"), "F": (0, "XWUTRQPNMLK"),
                "G": (4, "XWUTRQPNMLK"), "M": (3, "XWUTRQPNJLK")}  # fmt: skip


def is_nric(text: str) -> bool:
    """Singapore."""
    offset, letters = _SINGAPOREAN[text[0]]
    return letters[(weighted(text[1:8], (2, 7, 6, 5, 4, 3, 2)) + offset) % 11] == text[8]


def is_rrn(digits: str) -> bool:
    """Korea: a day and a sex; numbers given since 2020 have no check digit."""
    return is_short_date(digits[:6])


def is_chinese(text: str) -> bool:
    """China: ISO 7064, MOD 11-2, and a day of birth."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    year, month, day = int(text[6:10]), int(text[10:12]), int(text[12:14])
    right = "10X98765432"[weighted(text[:17], weights) % 11] == text[17]
    return right and 1900 <= year <= 2100 and is_date(year, month, day)


def is_my_number(digits: str) -> bool:
    """Japan."""
    rest = weighted(digits[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if rest <= 1 else 11 - rest) == int(digits[11])


def is_south_african(digits: str) -> bool:
    """South Africa: a day of birth, citizen or not, and Luhn."""
    return is_short_date(digits[:6]) and digits[10] in "012" and luhn(digits)


def is_turkish(digits: str) -> bool:
    """Turkey."""
    odd, even = sum(map(int, digits[:9:2])), sum(map(int, digits[1:8:2]))
    right = (odd * 7 - even) % 10 == int(digits[9])
    return digits[0] != "0" and right and sum(map(int, digits[:10])) % 10 == int(digits[10])


def is_curp(text: str) -> bool:
    """Mexico: a day of birth in the middle."""
    return is_short_date(re.sub(r"\D", "", text[4:10]).ljust(6, "0"))


def is_nif(digits: str) -> bool:
    """Portugal, tax."""
    check = 11 - weighted(digits[:8], range(9, 1, -1)) % 11
    return (0 if check >= 10 else check) == int(digits[8])
