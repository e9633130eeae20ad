"""What a worker does with its leases, without a store."""

from __future__ import annotations

import pytest

from dragoman.stores.leases import (
    Counter,
    Demand,
    Exceeded,
    LeaseBook,
    Shortage,
    State,
    Taken,
)


def counter(name: str = "a", limit: int = 100, ends_at: float = 60.0) -> Counter:
    return Counter(name, name, name, "requests", limit, 0, 0, ends_at, 60, False)


def lease(book: LeaseBook, of: Counter, granted: int, needed: int = 1, now: float = 0.0) -> None:
    book.granted(book.want(of, needed, now), Taken(granted, 0, granted, of.limit, 0), now)


def test_nothing_is_reserved_unless_all_of_it_can_be() -> None:
    book = LeaseBook("w")
    lease(book, counter("a"), 5)
    both = (Demand(counter("a"), 1), Demand(counter("b"), 1))
    assert book.reserve(both, 0.0) == Shortage((both[1],))
    lease(book, counter("b"), 1)
    holds = book.reserve(both, 0.0)
    assert [(hold.key, hold.lease, hold.amount) for hold in holds] == [
        ("a", "w-0", 1),
        ("b", "w-1", 1),
    ]
    assert book.reserve(both, 0.0) == Shortage((both[1],))
    assert book.state(counter("a")) == State(100, 99)


def test_a_refusal_stands_until_something_can_come_back() -> None:
    book = LeaseBook("w")
    of = counter()
    want = book.want(of, 1, 10.0)
    book.granted(want, Taken(0, used=100, out=0, limit=100, spare=0), 10.0)
    refused = book.reserve((Demand(of, 1),), 20.0)
    assert isinstance(refused, Exceeded)
    assert refused.retry_after_seconds == 40.0
    assert book.sweep(12.0) == []
    assert isinstance(book.reserve((Demand(of, 1),), 60.5), Shortage)


def test_what_others_may_have_to_spare_is_asked_for_again() -> None:
    book = LeaseBook("w")
    of = counter()
    book.granted(book.want(of, 1, 10.0), Taken(0, used=1, out=99, limit=100, spare=5), 10.0)
    assert isinstance(book.reserve((Demand(of, 1),), 10.01), Shortage)


def test_what_is_in_use_refuses_for_a_moment() -> None:
    book = LeaseBook("w")
    of = counter()
    book.granted(book.want(of, 1, 10.0), Taken(0, used=1, out=99, limit=100, spare=0), 10.0)
    assert book.reserve((Demand(of, 1),), 10.05) == Exceeded(of, 1.0)
    assert isinstance(book.reserve((Demand(of, 1),), 10.2), Shortage)


def test_a_lease_is_as_large_as_what_was_spent_in_a_second() -> None:
    book = LeaseBook("w")
    of = counter(limit=10**6)
    assert book.want(of, 1, 0.0).wanted == 1
    lease(book, of, 50)
    for _ in range(50):
        book.reserve((Demand(of, 1),), 0.4)
    assert book.want(of, 3, 0.5).wanted == 53


@pytest.mark.parametrize(
    ("at", "given_back"), [(0.1, []), (0.5, [("a", "w-0", 9)]), (70.0, [("a", "w-0", 9)])]
)
def test_an_idle_lease_goes_back_with_what_was_not_reserved(at: float, given_back: list) -> None:
    book = LeaseBook("w")
    lease(book, counter(), 10)
    book.reserve((Demand(counter(), 1),), 0.0)
    assert [(r.counter.key, r.lease, r.unspent) for r in book.sweep(at)] == given_back
    assert bool(book.close()) is not bool(given_back)


def test_a_lease_that_is_being_added_to_is_not_given_back() -> None:
    book = LeaseBook("w")
    lease(book, counter(), 10)
    want = book.want(counter(), 20, 0.1)
    assert book.sweep(7.0) == book.release("a") == []
    book.granted(want, Taken(20, 0, 30, 100, 0), 7.0)
    assert [r.unspent for r in book.release("a")] == [30]


def test_two_questions_at_once_are_about_one_lease() -> None:
    book = LeaseBook("w")
    first, second = (book.want(counter(), 1, 10.0) for _ in range(2))
    assert first.lease == second.lease
    book.granted(first, Taken(1, 0, 1, 100, 0), 10.0)
    book.granted(second, Taken(1, 0, 2, 100, 0), 10.0)
    assert [r.unspent for r in book.sweep(11.0)] == [2]


def test_a_lease_the_store_may_have_given_up_is_not_spent() -> None:
    book = LeaseBook("w")
    lease(book, counter(ends_at=1e6), 10)
    assert isinstance(book.reserve((Demand(counter(ends_at=1e6), 1),), 10.5), Shortage)
    assert book.want(counter(ends_at=1e6), 1, 10.5).lease == "w-1"
    assert [(r.lease, r.unspent) for r in book.sweep(10.5)] == [("w-0", 10)]


def test_a_lease_that_is_always_added_to_is_replaced_in_the_end() -> None:
    """What a worker that died was to settle on it is held until it is given back."""
    book = LeaseBook("w")
    of = counter(ends_at=1e6)
    for now in range(0, 66, 3):
        lease(book, of, 1, now=float(now))
        assert isinstance(book.reserve((Demand(of, 1),), float(now)), tuple)
    assert book.want(of, 1, 67.0).lease == "w-1"
    assert [(r.lease, r.unspent) for r in book.sweep(67.0)] == [("w-0", 0)]


def test_what_is_lent_is_on_no_lease_of_the_store() -> None:
    book = LeaseBook("w")
    book.lend(counter(), 2, 0.0)
    (hold,) = book.reserve((Demand(counter(), 2),), 0.0)
    assert hold.lease == "w-lent"
    assert book.want(counter(), 1, 0.0).lease == "w-0"
    assert [r.lease for r in book.close()] == ["w-0"]
