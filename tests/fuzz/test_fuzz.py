"""Replays what fuzzing found, and does a little of it each time; `make fuzz` does it in earnest."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.findings import CORPUS, minimise, run, signature
from tests.fuzz.mutation import Vocabulary, join_messages, mutate, split_messages
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
RUNS = 150


def _assert_nothing(target: str, data: bytes) -> None:
    error = run(target, data)
    if error is not None:
        raise AssertionError(f"{signature(error)}: {data[:2000]!r}") from error


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_is_mended(path) -> None:
    _assert_nothing(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_well_formed_input_passes(target: str) -> None:
    found = seeds(target)
    assert found
    for seed in found:
        _assert_nothing(target, seed)


@pytest.mark.parametrize("target", TARGETS)
def test_changed_input_is_answered_or_refused(target: str) -> None:
    found, random = seeds(target), Random(target)
    known = Vocabulary(found)
    for _ in range(RUNS):
        head, newline, rest = random.choice(found).partition(b"\n")
        _assert_nothing(target, head + newline + mutate(rest if newline else head, random, known))


def test_a_finding_is_cut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(data: bytes) -> None:
        if b'"b"' in data:
            raise ValueError

    monkeypatch.setitem(TARGETS, "request", fails)
    error = run("request", b'{"a": [1, 2], "c": {"b": "long text"}}')
    assert error is not None
    small = minimise("request", b'{"a": [1, 2], "c": {"b": "long text"}}', signature(error))
    assert b'"b"' in small
    assert len(small) < 25


def test_messages_of_an_event_stream_stay_whole_while_their_words_change() -> None:
    messages = [(b"\x01h\x07\x00\x01v", b'{"a": 1}'), (b"", b"")]
    wire = join_messages(messages)
    assert split_messages(wire) == messages
    assert split_messages(wire[:-1]) == []
    random, known = Random(0), Vocabulary([b'{"a": 1}'])
    changed = [mutate(wire, random, known) for _ in range(50)]
    assert sum(bool(split_messages(one)) for one in changed) > 25
    assert len(set(changed)) > 25
