"""What real providers received and answered, through the translation and the other side's SDK."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from dragoman.dialects import ChatDialect
from dragoman.dialects.registry import NAMES, client_dialect
from dragoman.errors import DragomanError, Unrepresentable, UpstreamProtocolError
from dragoman.ir.losses import Losses
from dragoman.wire.json import decode
from tests import sdk
from tests.leaves import unaccounted
from tests.properties.cases import (
    cut,
    decode_stream,
    each_byte,
    translate_stream,
)
from tests.properties.grammar import check
from tests.recordings.exchanges import FOLDER, Exchange, load

EXCHANGES = load()
pytestmark = pytest.mark.skipif(
    not EXCHANGES, reason=f"no recorded exchanges in {FOLDER} (set RECORDINGS to their folder)"
)
ANSWERS = [exchange for exchange in EXCHANGES if exchange.wire.status < 400]
ERRORS = [exchange for exchange in EXCHANGES if exchange.wire.status >= 400]
STREAMS = [exchange for exchange in ANSWERS if exchange.is_stream]
CUTS_EACH = 60
"""Cuts in two a stream; the byte by byte feed passes through every other."""


REPAIRED = {
    "gemini.jsonl:125": "its tool call has no id: one is made up, for the next turn needs it",
    "openrouter.jsonl:17": "it says stop beside its tool calls: the answer says tool_calls",
}
UNREADABLE = {
    "openrouter.jsonl:21": "the SDK cannot read the original: its annotations have no index",
    "mistral.jsonl:2": "the SDK cannot read the original: its content is a list in a stream",
}
"""Exchanges that differ or cannot be compared, each with its reason."""


def _allow(exchange: Exchange, *reasons: dict[str, str]) -> None:
    for known in reasons:
        if exchange.id in known:
            pytest.skip(known[exchange.id])


def _name(exchange: Exchange) -> str:
    return exchange.id


def _others(exchange: Exchange) -> list[ChatDialect]:
    return [client_dialect(name) for name in NAMES if name != exchange.dialect]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=_name)
def test_a_request_survives_its_own_dialect(exchange: Exchange) -> None:
    dialect, losses = client_dialect(exchange.dialect), Losses(exchange.dialect)

    assert (
        dialect.encode_request(dialect.decode_request(exchange.request), losses) == exchange.request
    )
    assert losses.paths == []


@pytest.mark.parametrize("exchange", EXCHANGES, ids=_name)
def test_a_request_loses_nothing_in_silence(exchange: Exchange) -> None:
    for other in _others(exchange):
        losses = Losses(other.name)
        try:
            request = client_dialect(exchange.dialect).decode_request(exchange.request)
            output = other.encode_request(request, losses)
        except Unrepresentable as refusal:
            assert refusal.path
            assert refusal.path.startswith("$")
            continue
        assert unaccounted(exchange.request, output, losses.paths) == []


@pytest.mark.parametrize("exchange", ANSWERS, ids=_name)
def test_an_answer_survives_its_own_dialect(exchange: Exchange) -> None:
    _allow(exchange, REPAIRED, UNREADABLE)
    dialect, losses = client_dialect(exchange.dialect), Losses(exchange.dialect)
    if exchange.is_stream:
        wire = sdk.stream(dialect.name, translate_stream(dialect, dialect, [exchange.wire.body]))
        assert sdk.read(exchange.dialect, wire) == sdk.read(exchange.dialect, exchange.wire)
        return
    body = decode(exchange.wire.body)

    assert dialect.encode_response(dialect.decode_response(body), losses) == body
    assert losses.paths == []


@pytest.mark.parametrize("exchange", ANSWERS, ids=_name)
def test_the_other_sdk_reads_the_same(exchange: Exchange) -> None:
    _allow(exchange, REPAIRED, UNREADABLE)
    said = sdk.read(exchange.dialect, exchange.wire)
    for other in _others(exchange):
        try:
            translated = _translate(exchange, other)
        except Unrepresentable as refusal:
            assert refusal.path is not None
            continue
        assert sdk.read(other.name, translated) == said


@pytest.mark.parametrize("exchange", STREAMS, ids=_name)
def test_every_cut_gives_the_same_output(exchange: Exchange) -> None:
    source, data = client_dialect(exchange.dialect), exchange.wire.body
    step = max(1, len(data) // CUTS_EACH)
    for name in NAMES:
        target = client_dialect(name)
        try:
            whole = translate_stream(source, target, [data])
        except Unrepresentable:
            continue
        assert translate_stream(source, target, each_byte(data)) == whole
        for at in range(1, len(data), step):
            assert translate_stream(source, target, cut(data, [at])) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=_name)
def test_a_stream_keeps_the_grammar_and_has_an_end(exchange: Exchange) -> None:
    dialect, data = client_dialect(exchange.dialect), exchange.wire.body
    whole = decode_stream(dialect, [data])
    check(whole)

    step = max(1, len(data) // CUTS_EACH)
    for end in range(0, len(data), step):
        try:
            events = decode_stream(dialect, [data[:end]])
        except UpstreamProtocolError:
            continue
        assert events == whole


@pytest.mark.parametrize("exchange", ERRORS, ids=_name)
def test_an_error_keeps_its_status_and_words(exchange: Exchange) -> None:
    source, wire = client_dialect(exchange.dialect), exchange.wire
    error = source.decode_error(wire.status, wire.body)
    assert error.message
    assert error.message in json.dumps(json.loads(wire.body), ensure_ascii=False).replace(
        '\\"', '"'
    )

    for name in NAMES:
        answer = client_dialect(name).encode_error(error)
        status, message = sdk.read_error(name, sdk.Wire(answer.body, status=answer.status))
        assert status == wire.status
        assert error.message in message


def _translate(exchange: Exchange, target: ChatDialect) -> sdk.Wire:
    source = client_dialect(exchange.dialect)
    if exchange.is_stream:
        return sdk.stream(target.name, translate_stream(source, target, [exchange.wire.body]))
    response = source.decode_response(decode(exchange.wire.body))
    return sdk.Wire(json.dumps(target.encode_response(response, Losses(target.name))).encode())


# --- the counts -------------------------------------------------------------------------------


def test_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints exchanges and results; each way an exchange did not pass is stated with its reason."""
    totals: Counter[tuple[str, str]] = Counter()
    passed: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()
    for exchange in EXCHANGES:
        row = (exchange.provider, exchange.endpoint)
        totals[row] += 1
        stated = list(_refusals(exchange))
        passed[row] += not stated
        reasons.update(f"{exchange.provider} {exchange.endpoint}: {reason}" for reason in stated)
    with capsys.disabled():
        print(_table(totals, passed, reasons))

    assert sum(passed.values()) > 0


def _refusals(exchange: Exchange) -> Iterator[str]:
    """Why this exchange cannot be translated, request and answer."""
    source = client_dialect(exchange.dialect)
    for other in _others(exchange):
        try:
            other.encode_request(source.decode_request(exchange.request), Losses(other.name))
        except DragomanError as refusal:
            yield f"request refused: {refusal.message}"
            continue
        try:
            if exchange.wire.status < 400:
                _translate(exchange, other)
        except DragomanError as refusal:
            yield f"answer refused: {refusal.message}"


def _table(
    totals: Counter[tuple[str, str]], passed: Counter[tuple[str, str]], reasons: Counter[str]
) -> str:
    head = f"\n{'provider':<14}{'endpoint':<20}{'exchanges':>10}{'translated':>12}{'refused':>9}\n"
    rows = [
        f"{row[0]:<14}{row[1]:<20}{total:>10}{passed[row]:>12}{total - passed[row]:>9}"
        for row, total in sorted(totals.items())
    ]
    stated = [f"{count:>4}  {reason}" for reason, count in sorted(reasons.items())]
    return head + "\n".join([*rows, "refused, with the reason:", *stated])
