"""Ids for calls that come without one."""

from __future__ import annotations

from dragoman.dialects.call_ids import CallIds


def test_answers_find_their_calls_by_id_then_by_name_then_by_order() -> None:
    ids = CallIds()
    assert [ids.of_call(None, "f"), ids.of_call("x", "g"), ids.of_call(None, "f")] == [
        "call_0",
        "x",
        "call_2",
    ]
    assert ids.of_answer("x", None) == ("x", "g")
    assert ids.of_answer("x", None) == ("x", None)
    assert ids.of_answer(None, "g") == ("call_g", None)
    assert ids.of_answer(None, "f") == ("call_0", "f")
    assert ids.of_answer(None, None) == ("call_2", "f")
    assert ids.of_answer(None, None) == ("call_unknown", None)


def test_many_calls_answered_from_the_last_cost_no_more_each() -> None:
    """Done in a moment, or, were each look-up a search, in minutes."""
    ids = CallIds()
    many = 100_000
    for number in range(many):
        ids.of_call(f"id{number}", f"tool{number % 7}")
    for number in reversed(range(0, many, 2)):
        assert ids.of_answer(f"id{number}", None)[1] is not None
    for number in range(1, many, 2):
        assert ids.of_answer(None, f"tool{number % 7}")[1] is not None
    assert ids.of_answer(None, None)[1] is None
