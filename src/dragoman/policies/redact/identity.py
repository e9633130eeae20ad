"""Rules for what a state, a bank or an issuer gives to one person."""

from __future__ import annotations

import re

from dragoman.policies.redact import numbers
from dragoman.policies.redact.checks import (
    alone,
    both,
    check_base58,
    check_bech32,
    check_iban,
    is_card,
    no_group_after,
    no_group_before,
    passes,
    passes_text,
    stands_alone,
)
from dragoman.policies.redact.rules import Check, Rule, after, words

_NO_NUMBER = words(
    "isbn issn ean upc gtin sku barcode order orders invoice tracking ticket parcel shipment"
    " transaction part serial batch lot imei version seed"
)
"""Words that say that the number beside them is some other number."""
_NO_CARD = _NO_NUMBER - {b"transaction"}
_A_CARD = words(
    "card cards credit debit creditcard visa mastercard amex american maestro discover diners jcb karte"
    " kreditkarte carte carta tarjeta pan cc paid pay charge charged"
)
_DASH = "[-\u2010\u2011\u2013]"


def _number(name: str, pattern: str, check: Check, near: str = "", gate: str = "") -> Rule:
    """One country's number; one that is too plain to stand by itself comes after words `near`."""
    return Rule(
        name=name,
        gate=gate or ("called_numbers" if near else "numbers"),
        entity="national_id",
        pattern=after(near, pattern) if near else pattern,
        priority=70,
        unless=frozenset() if near else _NO_NUMBER,
        check=check,
        again=not near,
    )


_CARDS = Rule(
    name="card",
    gate="numbers",
    entity="card",
    pattern=(
        r"\b(?:[02-8]\d{3}[ .-]\d{4}[ .-]\d{4}(?:[ .-]\d{1,5}(?:[ .-]\d{1,4})?)?|[2-8]\d{3}[ .-]\d{6}[ .-]\d{4,5}"
        r"|[4-6]\d{3}(?:[ .-]\d{3}){3}|[4-6]\d{3}[ .-]\d{4}[ .-]\d{5}|(?:1800|2131)[ .-]\d{4}[ .-]\d{4}[ .-]\d{3}|[4-6]\d{5}[ .-]\d{10,13}"
        r"|(?:4\d{12}|[2-6]\d{15}|8[12]\d{14}|9792\d{12}|9792(?:[ .-]\d{4}){3}|3[47]\d{13}|3[0689]\d{12}|(?:2131|1800)\d{11}"
        r"|4\d{18}|6[0-9]\d{14,17}|(?:50|5[6-8]|6[037]|0604)\d{8,17}))\b"
    ),
    priority=75,
    unless=_NO_CARD,
    despite=_A_CARD,
    check=both(no_group_before, alone(is_card)),
    again=True,
)
_IBANS = Rule(
    name="iban",
    gate="iban",
    entity="iban",
    pattern=r"(?i)\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b",
    priority=80,
    check=check_iban,
    again=True,
)
_SSN = "ssns?|social[ _]?security|social sec|ss ?#|(?:my|your|his|her|their) social|social (?:is|number|no|#)"
_UNITED_STATES = (
    Rule(
        name="ssn",
        gate="numbers",
        entity="ssn",
        pattern=rf"\b\d{{3}}(?:{_DASH}\d{{2}}{_DASH}| \d{{2}} )\d{{4}}\b",
        priority=72,
        unless=words("part sku order invoice tracking ticket serial isbn model"),
        check=alone(numbers.is_ssn),
        again=True,
    ),
    Rule(
        name="ssn_solid",
        gate="called_numbers",
        entity="ssn",
        pattern=rf"(?:^|[^A-Za-z])(?i:{_SSN})(?:\D{{0,40}}?\b\d{{3}}[. ]?\d{{2}}[. ]?\d{{4}}|\D{{0,9}}#\d{{3}}-\d{{2}}-\d{{4}})\b",
        begins=re.compile(rb"\d"),
        priority=72,
        check=passes(numbers.is_ssn),
    ),
    _number("us_itin", r"\b9\d{2}[- ]\d{2}[- ]\d{4}\b", alone(numbers.is_itin)),
)  # fmt: skip
_EUROPE = (
    _number(
        "uk_nino",
        r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
        both(stands_alone, passes_text(numbers.is_nino)),
        gate="letters_and_digits",
    ),
    _number("uk_nhs", r"\b\d{3}[ -]?\d{3}[ -]?\d{4}\b", alone(numbers.is_nhs), "nhs"),
    _number(
        "de_steuer_id",
        r"\b\d{2} ?\d{3} ?\d{3} ?\d{3}\b",
        alone(numbers.is_steuer_id),
        "steuer\\w*|idnr|id-nr|identifikationsnummer|tax|tin",
    ),
    _number(
        "fr_nir",
        r"\b[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}\b",
        both(stands_alone, passes_text(numbers.is_nir)),
    ),
    _number(
        "es_dni",
        r"\b(?:\d{8}|\d{2}\.\d{3}\.\d{3}|[XYZ]-?\d{7})[- ]?[A-HJ-NP-TV-Z]\b",
        both(stands_alone, passes_text(numbers.is_dni)),
    ),
    _number(
        "it_codice_fiscale",
        r"(?i)\b[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]\b",
        both(stands_alone, passes_text(numbers.is_codice_fiscale)),
        gate="keys",
    ),
    _number(
        "nl_bsn",
        r"\b\d{9}\b|\b\d{4}\.\d{2}\.\d{3}\b",
        alone(numbers.is_bsn),
        "bsn|burgerservicenummer|sofi\\w*",
    ),
    _number(
        "pl_pesel", r"\b\d{11}\b", alone(numbers.is_pesel), "pesel"
    ),
    _number(
        "se_personnummer", r"\b(?:\d{2})?\d{6}[-+]\d{4}\b", alone(numbers.is_personnummer)
    ),
    _number(
        "fi_hetu",
        r"\b\d{6}[-+ABCDEFUVWXY]\d{3}[0-9A-FHJ-NPR-Y]\b",
        both(stands_alone, passes_text(numbers.is_hetu)),
        gate="letters_and_digits",
    ),
    _number(
        "dk_cpr", r"\b\d{6}-?\d{4}\b", alone(numbers.is_cpr), "cpr|personnummer|cpr-nr"
    ),
    _number(
        "no_fodselsnummer",
        r"\b\d{6} ?\d{5}\b",
        alone(numbers.is_fodselsnummer),
        "f\u00f8dselsnummer|fodselsnummer|personnummer|national id\\w*|d-nummer",
    ),
    _number("ch_ahv", r"\b756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}\b", alone(numbers.is_ahv)),
    _number("be_nrn", r"\b\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}\b", alone(numbers.is_belgian)),
    _number(
        "pt_nif", r"\b[1-35689]\d{2} ?\d{3} ?\d{3}\b", alone(numbers.is_nif),
        "nif|contribuinte|fiscal",
    ),
)  # fmt: skip
_ELSEWHERE = (
    _number("br_cpf", r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b", alone(numbers.is_cpf)),
    _number("br_cpf_solid", r"\b\d{11}\b", alone(numbers.is_cpf), "cpf"),
    _number(
        "in_aadhaar",
        r"\b([2-9]\d{3}[ -]\d{4}[ -]\d{4})(?:[ -]?\z|[ -]?[^\d -])",
        both(both(no_group_before, no_group_after), alone(numbers.is_aadhaar)),
    ),
    _number(
        "in_aadhaar_solid",
        r"\b[2-9]\d{11}\b",
        alone(numbers.is_aadhaar),
        "aadhaa?r|adhaar|uidai|uid",
    ),
    _number(
        "in_pan",
        r"\b[A-Z]{3}[PCHFATBLJG][A-Z]\d{4}[A-Z]\b",
        stands_alone,
        gate="letters_and_digits",
    ),
    _number(
        "ca_sin",
        r"\b\d{3}[- ]?\d{3}[- ]?\d{3}\b",
        alone(numbers.is_sin),
        "sin|social insurance",
    ),
    _number("au_tfn", r"\b\d{3} ?\d{3} ?\d{3}\b", alone(numbers.is_tfn), "tfn|tax file"),
    _number(
        "au_medicare", r"\b\d{4} ?\d{5} ?\d\b", alone(numbers.is_medicare), "medicare"
    ),
    _number(
        "mx_curp",
        r"\b[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{2}[B-DF-HJ-NP-TV-Z]{3}[A-Z0-9]\d\b",
        both(stands_alone, passes_text(numbers.is_curp)),
        gate="keys",
    ),
    _number(
        "sg_nric", r"\b[STFGM]\d{7}[A-Z]\b", both(stands_alone, passes_text(numbers.is_nric))
    ),
    _number("kr_rrn", r"\b\d{6}-[1-8]\d{6}\b", alone(numbers.is_rrn)),
    _number(
        "cn_id",
        r"\b[1-9]\d{5}(?:19|20)\d{9}[0-9X]\b",
        both(stands_alone, passes_text(numbers.is_chinese)),
    ),
    _number(
        "jp_my_number",
        r"\b\d{4}[- ]?\d{4}[- ]?\d{4}\b",
        alone(numbers.is_my_number),
        "my number|mynumber|individual number",
    ),
    _number(
        "za_id",
        r"\b\d{6} ?\d{4} ?\d{3}\b",
        alone(numbers.is_south_african),
        "id|identity|id number|south africa\\w*|rsa",
    ),
    _number("tr_kimlik", r"\b[1-9]\d{10}\b", alone(numbers.is_turkish), "kimlik|tckn|tc"),
)  # fmt: skip
_CRYPTO = (
    Rule(
        name="bitcoin",
        gate="keys",
        entity="crypto",
        pattern=r"\b(?:[13LMDATr9][1-9A-HJ-NP-Za-km-z]{25,34})\b",
        check=check_base58,
        priority=65,
    ),
    Rule(
        name="segwit",
        gate="segwit",
        entity="crypto",
        pattern=r"(?i)\b(?:bc1|tb1|ltc1|addr1|cosmos1|osmo1)[02-9ac-hj-np-z]{11,110}\b",
        check=check_bech32,
        priority=65,
    ),
    Rule(
        name="ethereum",
        gate="keys",
        entity="crypto",
        pattern=r"\b0x[0-9a-fA-F]{40}\b",
        unless=words("commit sha hash checksum digest"),
        check=stands_alone,
        priority=65,
    ),
    Rule(
        name="monero",
        gate="keys",
        entity="crypto",
        pattern=r"\b[48][0-9AB][1-9A-HJ-NP-Za-km-z]{93}\b",
        check=stands_alone,
        priority=65,
    ),
    Rule(
        name="solana",
        gate="keys",
        entity="crypto",
        pattern=after("sol|solana|wallet|phantom", r"\b[1-9A-HJ-NP-Za-km-z]{43,44}\b", r"(?s:.)"),
        check=stands_alone,
        priority=60,
    ),
)
IDENTITY = (_CARDS, _IBANS, *_UNITED_STATES, *_EUROPE, *_ELSEWHERE, *_CRYPTO)
