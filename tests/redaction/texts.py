"""Texts to measure: clean, full of findings, and made to hurt."""

from __future__ import annotations

import random
import string

SIZE = 100_000

CLEAN = (
    "The quick brown fox jumps over the lazy dog. It was a bright cold day in April, and the clocks"
    " were striking. Please summarise the following paragraph in three bullet points, and keep the"
    " tone friendly: the committee met on Tuesday to discuss the new library opening hours. "
) * 8
CLEAN = CLEAN[:2048]
DENSE = (
    "Please contact Alice at alice.smith@example.com or on +1 415-555-2671 about the payment. She paid"
    " with card 4111 1111 1111 1111 from 192.168.17.43 and gave the IBAN DE89370400440532013000, and"
    " her SSN is 536-90-4399. The report is at https://example.com/reports/2024?id=7 and the key that"
    " opens it is sk-ant-api03-Zk3vQ9xW7yB2nM5pR8tL1cF4gH6jD0sA. "
    "Nothing else in this paragraph is anyone's business, and it goes on for a while so that the text"
    " has the shape of a support ticket: the customer asked twice whether the refund had been sent,"
    " and was told that it would take between three and five working days to arrive. "
) * 3
DENSE = DENSE[:2048]


def _repeat(unit: str) -> str:
    return (unit * (SIZE // len(unit) + 1))[:SIZE]


HOSTILE = {
    f"hostile_{name}": _repeat(unit)
    for name, unit in {
        "at": "a@",
        "digits": "1",
        "card_groups": "4111 ",
        "dots": "1.",
        "letters_and_dots": "a.",
        "dashes": "1-",
        "colons": "a:",
        "hex_colons": "ab:",
        "key_blocks": "-----BEGIN PRIVATE KEY-----",
        "passwords": "password=",
        "calls": "call 1 ",
        "tokens": "eyJaaaaaaaaaaaa.",
        "schemes": "http://",
        "one_letter": "a",
        "quotes": '"\\',
        "mails": "a@b.co ",
        "servers": "server=a;",
        "account_numbers": "DE89 3704 ",
        "streets": "1 A St ",
        "capitals": "Aa ",
        "zeroes": "0 ",
        "cyrillic": "п",
    }.items()
}


def _random(letters: str) -> str:
    return "".join(random.Random(1).choices(letters, k=SIZE))


HOSTILE |= {
    "hostile_random_hex": _random("0123456789abcdef"),
    "hostile_random_base64": _random(string.ascii_letters + string.digits + "+/"),
    "hostile_random_labels": _random("ab1."),
    "hostile_random_numbers": _random("0123456789 .-"),
}
"""What repeats nothing gives the engine new states to build, or leaves it without."""
