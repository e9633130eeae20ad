"""What the pretended model says: a function of the prompt, the same for every provider."""

import json
import re

import msgspec

from dragoman.simulator.messages import JsonObject
from dragoman.simulator.schemas import accepts_keys, make_instance
from dragoman.simulator.tokens import count_tokens, split_words

MAX_ECHO_CHARACTERS = 8000
REFUSAL = "I'm sorry, but I can't help with that."

_ASKS_FOR_TOOL = re.compile(r"\b(tools?|functions?|call)\b", re.IGNORECASE)
_ASKS_FOR_ALL = re.compile(r"\b(tools|functions|both|all|parallel)\b", re.IGNORECASE)
_ASKS_TO_REFUSE = re.compile(r"\bplease refuse\b|\bTRIGGER_REFUSAL", re.IGNORECASE)


class Tool(msgspec.Struct, frozen=True):
    """A tool on offer."""

    name: str
    schema: JsonObject


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer depends on, read from any provider's request."""

    last_text: str = ""
    """Text of the last user turn."""
    tool_results: tuple[str, ...] = ()
    """Texts of the tool results that end the conversation."""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """`auto`, `none` or `required`."""
    forced_tool: str | None = None
    parallel: bool = True
    images: int = 0
    files: int = 0
    audios: int = 0
    schema: JsonObject | None = None
    """The answer's JSON Schema; `{}` for any JSON object."""
    reasoning: bool = False
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    prefill: str = ""
    """Start of the answer, given by the client."""
    switches: frozenset[str] = frozenset()


class Call(msgspec.Struct, frozen=True):
    """A tool call."""

    name: str
    arguments: JsonObject


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says."""

    reasoning: str | None = None
    text: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = "stop"
    """`stop`, `stop_sequence`, `length`, `tool_calls`, `refusal` or `filtered`."""
    stop_sequence: str | None = None
    """The one that ended the text."""

    @property
    def reasoning_tokens(self) -> int:
        """Tokens spent on reasoning."""
        return count_tokens(self.reasoning or "")

    @property
    def output_tokens(self) -> int:
        """All tokens of the answer, reasoning included."""
        arguments = sum(1 + count_tokens(json.dumps(call.arguments)) for call in self.calls)
        return self.reasoning_tokens + count_tokens(self.text) + arguments


def compose_answer(prompt: Prompt) -> Answer:
    """Answer a prompt."""
    if "refuse" in prompt.switches or _ASKS_TO_REFUSE.search(prompt.last_text):
        return Answer(text=REFUSAL, finish="refusal")
    reasoning = None
    if prompt.reasoning or "think" in prompt.switches:
        reasoning = f"Let me think about it. The user said: {_echo(prompt.last_text)}"
    calls = _choose_calls(prompt)
    if calls:
        return Answer(reasoning=reasoning, calls=calls, finish="tool_calls")
    return _limit(prompt, reasoning, _say(prompt))


def _choose_calls(prompt: Prompt) -> tuple[Call, ...]:
    tools = _wanted_tools(prompt)
    given = _objects_in(prompt.last_text)
    if given and len(tools) == 1 and prompt.parallel:
        tools *= len(given)
    if not prompt.parallel:
        tools = tools[:1]
    calls: list[Call] = []
    for tool in tools:
        arguments = next((g for g in given if accepts_keys(tool.schema, g)), None)
        if arguments is None:
            arguments = dict(make_instance({"type": "object", **tool.schema}))
        else:
            given.remove(arguments)
        calls.append(Call(tool.name, arguments))
    return tuple(calls)


def _wanted_tools(prompt: Prompt) -> tuple[Tool, ...]:
    """Those forced or asked for: by name, `all tools`, `in parallel`, or just `a tool`."""
    if not prompt.tools or prompt.tool_choice == "none":
        return ()
    if prompt.forced_tool:
        return tuple(tool for tool in prompt.tools if tool.name == prompt.forced_tool)
    named = tuple(tool for tool in prompt.tools if tool.name in prompt.last_text)
    if prompt.tool_results and prompt.tool_choice == "auto":
        return ()
    if named:
        return named
    asked = _ASKS_FOR_TOOL.search(prompt.last_text) or "tools" in prompt.switches
    if not asked and prompt.tool_choice == "auto":
        return ()
    every = _ASKS_FOR_ALL.search(prompt.last_text) or "tools" in prompt.switches
    return prompt.tools if every else prompt.tools[:1]


def _objects_in(text: str) -> list[JsonObject]:
    """JSON objects written out in a text: the arguments that the user wants."""
    decoder = json.JSONDecoder()
    found: list[JsonObject] = []
    at = text.find("{")
    for _ in range(16):
        if at < 0:
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found.append(value)
        at = text.find("{", end)
    return found


def _say(prompt: Prompt) -> str:
    if prompt.schema is not None:
        return _say_json(prompt, prompt.schema)
    text = f"You said: {_echo(prompt.last_text)}"
    if prompt.tool_results:
        text = f"The tools said: {_echo('; '.join(prompt.tool_results))}"
    for count, noun in ((prompt.images, "image"), (prompt.files, "file"), (prompt.audios, "audio")):
        if count:
            text += f" I received {count} {noun}{'s' if count > 1 and noun != 'audio' else ''}."
    return text


def _say_json(prompt: Prompt, schema: JsonObject) -> str:
    given = [value for value in _objects_in(prompt.last_text) if accepts_keys(schema, value)]
    if given:
        value: object = given[0]
    elif schema:
        value = make_instance(schema, "answer")
    else:
        value = {"answer": f"You said: {_echo(prompt.last_text)}"}
    text = json.dumps(value, ensure_ascii=False)
    return text.removeprefix(prompt.prefill) if prompt.prefill else text


def _echo(text: str) -> str:
    return text if len(text) <= MAX_ECHO_CHARACTERS else text[:MAX_ECHO_CHARACTERS] + "…"


def _limit(prompt: Prompt, reasoning: str | None, text: str) -> Answer:
    """End the text at the first stop sequence or at the most tokens, whichever comes first."""
    finish, stopped_by = "stop", None
    hits = [(text.index(stop), stop) for stop in prompt.stop if stop in text]
    if hits:
        at, stopped_by = min(hits)
        text, finish = text[:at], "stop_sequence"
    words = split_words(text)
    most = 1 if "length" in prompt.switches else prompt.max_tokens
    if most is not None and len(words) > most:
        text, finish, stopped_by = "".join(words[:most]), "length", None
    if "filter" in prompt.switches:
        finish = "filtered"
    return Answer(reasoning=reasoning, text=text, finish=finish, stop_sequence=stopped_by)
