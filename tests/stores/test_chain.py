"""The audit chain: whatever is done to it is found and named, and nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.stores.chain import START, Event, Head, Verifier, chain

KEY = b"0123456789abcdef"


def events(count: int) -> list[Event]:
    return [
        Event(event="key.issue", time=f"2026-11-25T00:00:{i:02}.000000Z", who="root@host")
        if i % 2
        else Event(
            event="request.denied",
            time="2026-11-25T00:00:00.000000Z",
            who=None,
            what={"status": 403, "path": "$.a"},
            why="héhé \n",
            before={"disabled": False},
        )
        for i in range(count)
    ]


def lines(count: int = 9, key: bytes | None = None, head: Head = START) -> list[bytes]:
    return [line + b"\n" for line in chain(head, events(count), key)[1]]


def faults(given: list[bytes], *, key: bytes | None = None, anchor: str | None = None) -> list[str]:
    verifier = Verifier(key, anchor)
    found = [verifier.feed(line) for line in given]
    return [fault for fault in (*found, verifier.close()) if fault is not None]


@pytest.mark.parametrize("key", [None, KEY])
def test_a_chain_holds_together_wherever_it_was_parted(key: bytes | None) -> None:
    head, first = chain(START, events(4), key)
    end, second = chain(head, events(5), key)
    verifier = Verifier(key)
    assert [verifier.feed(line) for line in first + second] == [None] * 9
    assert verifier.close(end) is None
    assert (verifier.first, verifier.head, verifier.count) == (1, end, 9)
    assert faults(second, key=key) == []


def edited(line: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(line) | fields, separators=(",", ":"), sort_keys=True).encode()


def test_a_changed_entry_is_named() -> None:
    given = lines()
    for change in (
        {"who": "nobody"},
        {"why": "x"},
        {"what": {"a": 1}},
        {"time": "x"},
        {"hash": "f" * 64},
    ):
        changed = [*given[:3], edited(given[3], **change), *given[4:]]
        assert faults(changed)[0] == "entry 4: changed, or sealed with another key"


def test_a_changed_entry_with_a_new_hash_is_found_in_the_next() -> None:
    given = lines()
    before = Head(3, json.loads(given[2])["hash"])
    forged = chain(before, [Event(event="key.issue", time="x", who="mallory")])[1]
    assert faults([*given[:3], *forged, *given[4:]]) == [
        "entry 5: does not follow entry 4 as it is"
    ]


def test_an_entry_that_only_looks_otherwise_is_named() -> None:
    given = lines()
    given[3] = b" " + given[3]
    assert faults(given) == ["entry 4: changed, though it means the same"]


def test_missing_entries_are_named() -> None:
    given = lines()
    assert faults([*given[:3], *given[4:]]) == ["entry 5: entry 4 is missing before it"]
    assert faults([*given[:3], *given[6:]]) == ["entry 7: entries 4 to 6 are missing before it"]


def test_entries_out_of_order_or_twice_are_named() -> None:
    given = lines()
    swapped = [*given[:3], given[4], given[3], *given[5:]]
    assert faults(swapped) == [
        "entry 5: entry 4 is missing before it",
        "entry 4: out of order or repeated, after entry 5",
        "entry 6: entry 5 is missing before it",
    ]
    assert faults([*given[:4], given[3], *given[4:]]) == [
        "entry 4: out of order or repeated, after entry 4"
    ]


def test_a_cut_entry_is_named_and_the_rest_is_still_proved() -> None:
    given = lines()
    given[4] = given[4][:40] + b"\n"
    assert faults(given) == [
        "line 5, after entry 4: cut or no entry at all",
        "entry 6: entry 5 is missing before it",
    ]


def test_a_cut_end_is_found_by_whoever_noted_it() -> None:
    given = lines()
    last = json.loads(given[-1])["hash"]
    assert faults(given, anchor=last) == []
    assert faults(given[:-2], anchor=last) == [
        f"no entry has the hash {last}: the end was cut off or made anew"
    ]
    verifier = Verifier()
    assert [verifier.feed(line) for line in given[:-2]] == [None] * 7
    assert verifier.close(Head(9, last)) == "the chain ends at entry 7, and not at 9"


def test_a_chain_made_anew_without_the_key_holds_nowhere() -> None:
    assert len(faults(lines(), key=KEY)) == 9
    assert len(faults(lines(key=b"another key of his"), key=KEY)) == 9
    assert faults(lines(key=KEY), key=KEY) == []


@given(st.integers(0, 8), st.data())
def test_no_changed_byte_goes_unseen(at: int, data: st.DataObject) -> None:
    given = lines()
    line = bytearray(given[at])
    place = data.draw(st.integers(0, len(line) - 2))
    line[place] ^= data.draw(st.integers(1, 255))
    given[at] = bytes(line)
    assert faults(given)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_only_a_run_of_the_chain_holds(order: list[int]) -> None:
    given = lines()
    is_run = order == list(range(order[0], order[0] + len(order)))
    assert (faults([given[i] for i in order]) == []) == is_run
