"""Hypothesis strategies for JSON and for the intermediate representation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

from dragoman.ir import (
    Blob,
    Choice,
    Message,
    Part,
    Reasoning,
    ReasoningConfig,
    Request,
    Response,
    ResponseFormat,
    Text,
    Tool,
    ToolCall,
    ToolCallResponse,
    ToolChoice,
    Uri,
    Usage,
)
from dragoman.ir.events import (
    ChoiceEnd,
    Delta,
    Event,
    Finish,
    PartEnd,
    PartStart,
    Start,
    UsageUpdate,
)
from tests.json_schemas import SCHEMAS

# --- JSON -------------------------------------------------------------------------------------

prose = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
word = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | prose
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(prose, inner, max_size=3),
    max_leaves=8,
)
json_objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(prose, json_values, max_size=5)
arguments = st.dictionaries(word, scalars, max_size=3).map(
    lambda value: msgspec.json.encode(value).decode()
)

# --- responses --------------------------------------------------------------------------------

texts = prose.map(lambda content: Text(content=content))
reasonings = prose.map(lambda content: Reasoning(content=content))
calls = st.builds(ToolCall, id=word, name=word, arguments=arguments)
finish_reasons = st.sampled_from(["stop", "length", "tool_call", "content_filter"])


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Cache figures lie within the input, reasoning within the output."""
    read, written, fresh = (draw(st.integers(0, 99)) for _ in range(3))
    output = draw(st.integers(0, 99))
    return Usage(
        input_tokens=fresh + read + written,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        output_tokens=output,
        reasoning_tokens=draw(st.integers(0, output)),
    )


@st.composite
def canonical_parts(draw: st.DrawFn) -> tuple[Part, ...]:
    """One reasoning, one text, then calls: the order every dialect can say."""
    parts: list[Part] = [
        *draw(st.lists(reasonings, max_size=1)),
        *draw(st.lists(texts, max_size=1)),
        *draw(st.lists(calls, max_size=3, unique_by=lambda call: call.id)),
    ]
    return tuple(parts) or (draw(texts),)


def _differ(parts: list[Part]) -> bool:
    """Neighbours of one kind would read as one part in some dialects."""
    return all(isinstance(a, ToolCall) or type(a) is not type(b) for a, b in pairwise(parts))


@st.composite
def responses(draw: st.DrawFn) -> Response:
    choice = Choice(parts=draw(canonical_parts()), finish_reason=draw(finish_reasons))
    return Response(id=draw(word), model=draw(word), choices=(choice,), usage=draw(usages()))


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    """The events of a streamed answer, its pieces cut anywhere."""
    parts = draw(
        canonical_parts() | st.lists(texts | reasonings | calls, max_size=5).filter(_differ)
    )
    events: list[Event] = [Start(id=draw(word), model=draw(word))]
    for part in parts:
        events += draw(_part_events(part))
    events.append(UsageUpdate(usage=draw(usages())))
    return [*events, ChoiceEnd(reason=draw(finish_reasons)), Finish()]


@st.composite
def _part_events(draw: st.DrawFn, part: Part) -> list[Event]:
    match part:
        case Text(content=content):
            opened = PartStart(kind="text")
        case Reasoning(content=content):
            opened = PartStart(kind="reasoning")
        case ToolCall(arguments=content):
            opened = PartStart(kind="tool_call", id=part.id, name=part.name)
        case _:
            raise AssertionError(part)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(content) - 1)), max_size=3)))
    edges = [0, *(cut for cut in cuts if cut < len(content)), len(content)]
    deltas = [Delta(content=content[a:b]) for a, b in pairwise(edges) if a < b]
    return [opened, *deltas, PartEnd()]


# --- requests ---------------------------------------------------------------------------------

schemas = st.dictionaries(word, word, max_size=2).map(
    lambda more: {"type": "object", "properties": {"a": {"type": "string"}}, **more}
)
cache_marks = st.none() | st.just({"type": "ephemeral"})
media = st.builds(
    Uri, modality=st.just("image"), uri=word.map(lambda name: f"https://example.com/{name}")
) | st.builds(
    Blob,
    modality=st.just("image"),
    mime_type=st.sampled_from(["image/png", "image/jpeg"]),
    content=st.binary(min_size=3, max_size=9).map(lambda data: data.hex() + "=="),
)
tools = st.builds(
    Tool,
    name=word,
    description=st.none() | prose,
    parameters=schemas,
    strict=st.none() | st.booleans(),
    cache_control=cache_marks,
)


@st.composite
def _turns(draw: st.DrawFn) -> list[Message]:
    """A user's message, and perhaps the model's answer with the results of its calls."""
    said = st.lists(
        st.builds(Text, content=prose, cache_control=cache_marks) | media, min_size=1, max_size=3
    )
    turns = [Message(role="user", parts=tuple(draw(said)))]
    if draw(st.booleans()):
        parts = draw(canonical_parts())
        turns.append(Message(role="assistant", parts=parts))
        turns += [
            Message(role="tool", parts=(ToolCallResponse(id=part.id, parts=(draw(texts),)),))
            for part in parts
            if isinstance(part, ToolCall)
        ]
    return turns


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A request most of which every dialect can say; what it cannot is lost aloud or refused."""
    maybe = lambda strategy: draw(st.none() | strategy)  # noqa: E731 - reads as a word below
    messages = [Message(role="system", parts=(draw(texts),))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 2))):
        messages += draw(_turns())
    offered = tuple(draw(st.lists(tools, max_size=2, unique_by=lambda tool: tool.name)))
    return Request(
        model=draw(word),
        messages=tuple(messages),
        tools=offered,
        tool_choice=draw(_tool_choices(offered)),
        parallel_tool_calls=maybe(st.booleans()) if offered else None,
        max_tokens=draw(st.integers(1, 4096)),
        temperature=maybe(st.sampled_from([0.0, 0.5, 1.0, 1.5])),
        top_p=maybe(st.sampled_from([0.25, 1.0])),
        top_k=maybe(st.integers(1, 9)),
        stop_sequences=tuple(draw(st.lists(word, max_size=2, unique=True))),
        seed=maybe(st.integers(0, 9)),
        frequency_penalty=maybe(st.sampled_from([-1.0, 0.5])),
        choice_count=maybe(st.integers(1, 2)),
        response_format=maybe(_response_formats),
        reasoning=maybe(st.builds(ReasoningConfig, effort=st.sampled_from(["low", "high"]))),
        user=maybe(word),
        stream=draw(st.booleans()),
    )


_response_formats = st.builds(
    ResponseFormat,
    kind=st.just("json_schema"),
    name=word,
    schema=schemas | SCHEMAS,
    strict=st.just(True),
) | st.builds(ResponseFormat, kind=st.sampled_from(["text", "json_object"]))


def _tool_choices(offered: tuple[Tool, ...]) -> st.SearchStrategy[ToolChoice | None]:
    if not offered:
        return st.none()
    modes = st.sampled_from(["auto", "none", "required"])
    named = st.sampled_from([tool.name for tool in offered])
    return (
        st.none()
        | st.builds(ToolChoice, mode=modes)
        | st.builds(ToolChoice, mode=st.just("tool"), name=named)
    )
