"""Sketches of texts: alike where the texts are, and of no use without the key."""

from __future__ import annotations

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.telemetry.answers import (
    Answer,
    decode_answer,
    digest_names,
    draw_sketch,
    encode_answer,
    likeness,
)

KEY = b"a key"


@given(st.text(st.characters(codec=None), max_size=300))
def test_a_text_is_like_itself_and_any_text_can_be_sketched(text: str) -> None:
    sketch = draw_sketch(text, KEY)
    assert likeness(sketch, sketch) in {None, 1.0}
    assert draw_sketch(text.lower().upper(), KEY).isascii()
    answer = Answer("stop", len(text), sketch=sketch)
    assert decode_answer(encode_answer(answer)) == answer


def words(numbers: range) -> str:
    return " ".join(f"w{number}" for number in numbers)


@pytest.mark.parametrize(("shared", "of"), [(0, 100), (50, 150), (100, 100), (180, 200)])
def test_the_part_that_texts_share_is_estimated(shared: int, of: int) -> None:
    """Of pairs of words: those of the first text, of the second, and in both."""
    own = (of - shared) // 2
    luck, found = random.Random(7), []
    for _ in range(60):
        one = luck.randrange(10**9)
        common = range(one, one + shared + (shared > 0))
        texts = [f"{words(common)} {words(range(i, i + own))}" for i in (2 * 10**9, 3 * 10**9)]
        key = luck.randbytes(8)
        estimate = likeness(*(draw_sketch(text, key) for text in texts))
        assert estimate is not None
        found.append(estimate)
    assert statistics.fmean(found) == pytest.approx(shared / of, abs=0.05)
    assert statistics.pstdev(found) < 0.09


def test_scripts_without_spaces_are_read_by_character() -> None:
    one, other = (draw_sketch(t, KEY) for t in ("今日は天気がいいですね", "今日は天気が悪いですね"))
    found = likeness(one, other)
    assert found is not None
    assert 0.3 < found < 0.95


def test_case_and_spaces_tell_nothing() -> None:
    assert draw_sketch("The  Fox\nJumps!", KEY) == draw_sketch("the fox, jumps", KEY)


def test_no_words_are_like_no_words_only() -> None:
    assert likeness("", "") is None
    assert likeness("", draw_sketch("x", KEY)) == 0.0
    assert draw_sketch(" …!", KEY) == ""


def test_another_key_draws_another_sketch() -> None:
    text = words(range(100))
    found = likeness(draw_sketch(text, KEY), draw_sketch(text, b"other"))
    assert found is not None
    assert found < 0.1
    assert digest_names(["a"], KEY) != digest_names(["a"], b"other")
    assert digest_names(["b", "a", "a"], KEY) == digest_names(["a", "b"], KEY)
    assert digest_names([], KEY) == ""
