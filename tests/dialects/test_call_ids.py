"""Ids for calls that come without one."""

from __future__ import annotations

import json
import re

import pytest

from dragoman.dialects import ChatDialect
from dragoman.dialects.call_ids import CallIds
from dragoman.dialects.registry import CHAT_NAMES, client_dialect
from dragoman.errors import UpstreamProtocolError
from dragoman.ir import ToolCall
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    fold,
)
from dragoman.ir.losses import Losses
from dragoman.wire.eventstream import EventStreamDecoder, encode_eventstream
from tests import sdk
from tests.properties.cases import decode_stream, encode_stream


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


# --- answers whose calls have no id ---------------------------------------------------------------

CALL = ToolCall(id="call-to-remove", name="weather", arguments='{"city":"Graz"}')
AGAIN = ToolCall(id="other-to-remove", name="clock", arguments='{"city":"Linz"}')
ID = re.compile("(call|other)-to-remove")
CALLING = [name for name in CHAT_NAMES if not sdk.says_only_text(name)]


def _events(*calls: ToolCall) -> list[Event]:
    events: list[Event] = [Start(id="r1", model="m")]
    for call in calls:
        opened = PartStart(kind="tool_call", id=call.id, name=call.name)
        events += [opened, Delta(content=call.arguments), PartEnd()]
    return [*events, ChoiceEnd(reason="tool_call"), Finish()]


def _edited(dialect: ChatDialect, wire: bytes, word: re.Pattern[str]) -> bytes:
    """`wire` without what `word` matches; AWS's frames are measured anew."""
    if dialect.name != "bedrock_converse":
        return word.sub("", wire.decode()).encode()
    frames = list(EventStreamDecoder().feed(wire))
    return b"".join(
        encode_eventstream(frame.headers, word.sub("", frame.payload.decode()).encode())
        for frame in frames
    )


@pytest.mark.parametrize("name", CALLING)
def test_calls_without_an_id_get_the_same_one_in_a_stream_as_in_a_body(name: str) -> None:
    dialect = client_dialect(name)
    events = _events(CALL, AGAIN)
    body = json.dumps(dialect.encode_response(fold(events), Losses(name)))
    whole = dialect.decode_response(json.loads(ID.sub("", body))).choices[0].parts
    wire = _edited(dialect, encode_stream(dialect, events), ID)
    streamed = fold(decode_stream(dialect, [wire])).choices[0].parts

    ids = [part.id for part in whole if isinstance(part, ToolCall)]
    assert ids == [part.id for part in streamed if isinstance(part, ToolCall)]
    assert len({*ids}) == 2
    assert all(ident.startswith("call_") for ident in ids)


@pytest.mark.parametrize("name", [n for n in CALLING if n not in ("openai_chat", "ollama_chat")])
def test_a_streamed_call_of_nothing_is_refused(name: str) -> None:
    dialect = client_dialect(name)
    named = re.compile(',"name":"weather"|"name":"weather",')
    wire = _edited(dialect, encode_stream(dialect, _events(CALL)), named)

    with pytest.raises(UpstreamProtocolError, match="name|string"):
        decode_stream(dialect, [wire])
