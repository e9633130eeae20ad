"""Attempts find their request, and get the number they had."""

from __future__ import annotations

from dragoman.telemetry.attempts import Attempt, Waiting, place


def attempt(cluster: str) -> Attempt:
    return Attempt(cluster=cluster, started=1.0, duration_ms=1, status=503, flags=(), failure="")


def test_attempts_wait_for_their_request_and_no_longer() -> None:
    waiting = Waiting()
    first, second = attempt("a"), attempt("b")
    waiting.add("x", first)
    waiting.add("y", first)
    waiting.add("x", second)
    assert waiting.take("x") == [first, second]
    assert waiting.take("x") == []
    assert waiting.take("y") == [first]


def test_of_too_many_the_first_are_let_go() -> None:
    waiting = Waiting(most=2)
    for request in ("x", "y", "x", "z"):
        waiting.add(request, attempt("a"))
    assert [len(waiting.take(request)) for request in "xyz"] == [0, 1, 1]


def test_an_attempt_that_is_missing_leaves_its_number_free() -> None:
    order = (("a", "m"), ("b", "n"), ("a", "o"), ("c", "p"))
    placed = list(place([attempt("b"), attempt("c")], 0.5, order, {}))
    assert [(p.attempt, p.model, p.start_ms) for p in placed] == [(2, "n", 500.0), (4, "p", 500.0)]


def test_without_an_order_attempts_are_counted() -> None:
    placed = list(place([attempt("b"), attempt("a")], 1.0, (), {"a": "m"}))
    assert [(p.attempt, p.provider, p.model) for p in placed] == [(1, "b", None), (2, "a", "m")]
