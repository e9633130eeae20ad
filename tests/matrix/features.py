"""What is tried of each pair of dialects: a request, an answer, or both."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from dragoman.ir import (
    Choice,
    FinishReason,
    Part,
    Reasoning,
    Response,
    Text,
    ToolCall,
    Usage,
)

Way = Literal["", "body", "stream", "stream without usage", "error"]
USAGE = Usage(input_tokens=30, output_tokens=12)
_ANSWERED = ToolCall(id="call_1", name="weather", arguments='{"city":"Graz"}')
_AGAIN = ToolCall(id="call_2", name="clock", arguments='{"city":"Linz"}')
_LOGPROBS = {"content": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}]}


def answer(*parts: Part, finish: FinishReason = "stop", count: int = 1) -> Response:
    choice = Choice(parts=parts, finish_reason=finish)
    return Response(id="r1", model="the-model", choices=(choice,) * count, usage=USAGE)


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the legend."""

    name: str
    letter: str = ""
    asked: tuple[str, ...] = ("text",)
    """Names of conversations; all must pass."""
    base: str = ""
    """The plain request, of which a hint's leaves out the same as of any; empty: it leaves none."""
    answer: Any = answer(Text(content="Hello"))
    ways: tuple[Way, ...] = ()
    """In which ways the answer is tried besides."""
    is_hint: bool = False
    """It may be left out, and is then reported; anything else is refused."""


_BOTH: tuple[Way, ...] = ("body", "stream")
_ROWS: tuple[Feature, ...] = (
    Feature(name="text", asked=("text", "several turns"), ways=("body",)),
    Feature(name="system prompt", asked=("system",)),
    Feature(
        name="tools",
        asked=("tools", "a tool's result"),
        answer=answer(_ANSWERED, finish="tool_call"),
        ways=_BOTH,
    ),
    Feature(
        name="parallel tool calls",
        asked=("parallel tools", "one tool twice"),
        answer=answer(Text(content="Wait."), _ANSWERED, _AGAIN, finish="tool_call"),
        ways=_BOTH,
    ),
    Feature(
        name="tool choice",
        asked=(
            "tool choice auto",
            "tool choice none",
            "tool choice required",
            "tool choice named",
        ),
    ),
    Feature(name="image by address", asked=("image by address",)),
    Feature(name="image inline", asked=("image inline",)),
    Feature(name="document inline", asked=("document",)),
    Feature(name="audio inline", asked=("audio",)),
    Feature(name="answer by JSON schema", asked=("json schema",)),
    Feature(name="answer as any JSON", asked=("json object",)),
    Feature(
        name="reasoning",
        asked=("reasoning",),
        answer=answer(Reasoning(content="Let me think."), Text(content="Hello")),
        ways=_BOTH,
        is_hint=True,
    ),
    Feature(
        name="several answers",
        asked=("two answers",),
        answer=answer(Text(content="Hello"), count=2),
        ways=("body",),
    ),
    Feature(
        name="log probabilities",
        asked=("log probabilities",),
        answer=msgspec.structs.replace(
            answer(Text(content="Hi")),
            choices=(
                Choice(parts=(Text(content="Hi"),), finish_reason="stop", logprobs=_LOGPROBS),
            ),
        ),
        ways=("body",),
    ),
    Feature(name="stop sequences", asked=("stop",)),
    Feature(name="seed", asked=("seed",), is_hint=True),
    Feature(name="streaming", asked=("streamed",), ways=("stream without usage",)),
    Feature(name="usage in a stream", asked=("streamed with usage",), ways=("stream",)),
    Feature(name="prompt-cache marks", asked=("cache marks",), is_hint=True),
    Feature(name="errors", ways=("error",)),
)


def lettered(*rows: Feature) -> tuple[Feature, ...]:
    """The rows with letters, from A."""
    return tuple(
        msgspec.structs.replace(feature, letter=chr(ord("A") + i)) for i, feature in enumerate(rows)
    )


FEATURES = lettered(*_ROWS)
