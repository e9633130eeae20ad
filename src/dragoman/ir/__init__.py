"""What a chat request and its response *mean*, whatever the wire format.

Names follow OpenTelemetry's GenAI message schema. Every node may carry a `Residue`: the wire
fields its decoder had no name for. An encoder of the same dialect writes them back, any other
reports them as lost. Request nodes carry `at`, the JSON path in the client's own body, so that an
error or a loss found while encoding another dialect names the place the client can look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Json = dict[str, Any]
Role = Literal["system", "developer", "user", "assistant", "tool"]
Modality = Literal["image", "audio", "video", "document"]
FinishReason = Literal["stop", "length", "tool_call", "content_filter", "error"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Residue(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of one wire object that have no place of their own here."""

    dialect: str
    fields: Json
    form: tuple[str, ...] = ()
    """Which of its dialect's spellings the object came in (a string or an array of one, a field's
    older name). Only its own decoder and encoder read these words; they carry no content."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What every part, message and tool has."""

    at: str = ""
    """JSON path in the client's body; empty in a response."""
    residue: Residue | None = None


class Markable(Node, frozen=True, kw_only=True):
    """A node a prompt-cache mark can stand on."""

    cache_control: Json | None = None
    """The mark as sent, `{"type": "ephemeral", ...}`: the dialects that have one agree on it."""
    mark_at: str = ""
    """Its JSON path, where it does not stand in the object itself."""

    @property
    def mark_path(self) -> str:
        """JSON path of the mark in the client's body."""
        return self.mark_at or f"{self.at}.cache_control"


class Text(Markable, frozen=True, kw_only=True):
    """Plain text."""

    content: str


class Refusal(Node, frozen=True, kw_only=True):
    """The model's words when it declines."""

    content: str


class Reasoning(Node, frozen=True, kw_only=True):
    """Thinking. Its residue holds what only the author can read (signatures, encrypted state)."""

    content: str


class ToolCall(Markable, frozen=True, kw_only=True):
    """`arguments` is JSON text just as the model wrote it, perhaps malformed; empty means `{}`."""

    id: str
    name: str
    arguments: str


class Uri(Markable, frozen=True, kw_only=True):
    """Media by http(s) address. `mime_type` is None where the dialect does not say."""

    modality: Modality
    uri: str
    mime_type: str | None = None


class Blob(Markable, frozen=True, kw_only=True):
    """Media inline. `content` is base64 text, kept as the client wrote it and never decoded."""

    modality: Modality
    mime_type: str
    content: str
    filename: str | None = None
    filename_at: str = ""
    """JSON path of `filename` in the client's body."""


class File(Markable, frozen=True, kw_only=True):
    """Media by a provider's file id; only that provider knows it."""

    modality: Modality
    file_id: str


class Opaque(Node, frozen=True, kw_only=True):
    """A part only `dialect` can say (server tools, their results): `value` is the whole object."""

    dialect: str
    kind: str
    """The part's wire type, for error texts."""
    value: Json


class ToolCallResponse(Markable, frozen=True, kw_only=True):
    """What a tool answered to the call with the same `id`."""

    id: str
    parts: tuple[Text | Uri | Blob | File | Opaque, ...]
    is_error: bool | None = None
    error_at: str = ""
    """JSON path of what says `is_error` in the client's body."""


Part = Text | Refusal | Reasoning | ToolCall | ToolCallResponse | Uri | Blob | File | Opaque


class Message(Node, frozen=True, kw_only=True):
    """One turn. `name` is the participant's, where the dialect has one."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    continued_at: str = ""
    """JSON path of what says that the answer goes on with this turn; empty where nothing does."""


class Tool(Markable, frozen=True, kw_only=True):
    """A function the model may call; `parameters` is its JSON schema, None where none was given."""

    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None
    strict_at: str = ""
    """JSON path of `strict` in the client's body."""
    parameters_at: str = ""
    """JSON path of `parameters` in the client's body."""


class OpaqueTool(Node, frozen=True, kw_only=True):
    """A tool the provider runs itself; `value` is the whole wire object."""

    dialect: str
    kind: str
    value: Json


class OutputModalities(OpaqueTool, frozen=True, kw_only=True):
    """What the answer is to be made of. A dialect that cannot ask for it refuses it, as it does the
    tools of other dialects."""

    wanted: tuple[str, ...]
    """In small letters."""

    @property
    def is_of_images(self) -> bool:
        """Whether it is images, or text and images: what more than one dialect asks for."""
        return "image" in self.wanted and {*self.wanted} <= {"image", "text"}


class ToolChoice(Node, frozen=True, kw_only=True):
    """`mode="tool"` forces the tool `name`."""

    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None


class ResponseFormat(Node, frozen=True, kw_only=True):
    """`json_schema` fills the other fields; `schema` may be None only for the other kinds."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: Json | None = None
    strict: bool | None = None
    fields_at: str = ""
    """JSON path of the object that `name`, `strict` and the like stand in."""
    schema_at: str = ""
    """JSON path of `schema` in the client's body."""
    schema_words: Mapping[str, str] = {}
    """Keywords of `schema` that the client spells otherwise: its spelling, by the keyword."""


class ReasoningConfig(Node, frozen=True, kw_only=True):
    """How much to think: by `effort`, by `budget_tokens`, or `adaptive` (the model decides)."""

    effort: Effort | None = None
    budget_tokens: int | None = None
    adaptive: bool = False


class ReasoningStyle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model takes a wish to think."""

    ways: tuple[Literal["effort", "budget", "adaptive"], ...]
    """The preferred first. By its levels, by a number of tokens, or as much as it sees fit."""
    efforts: tuple[Effort, ...] = ()
    """The levels it takes; empty where they are not known."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One chat request. None always means "the client did not say"."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool | OpaqueTool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    choice_count: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    reasoning: ReasoningConfig | None = None
    reasoning_style: ReasoningStyle | None = None
    """How the model asked takes `reasoning`: no word of the client's but of the model's profile,
    filled in before the request is encoded; None where it is not known."""
    user: str | None = None
    service_tier: str | None = None
    stream: bool = False
    include_usage: bool | None = None
    """The client asked for a usage chunk at the end of a stream."""
    paths: Mapping[str, str] = {}
    """Where a field above stands in the client's body, by its name here."""
    root: str = "$"
    """Where the request itself stands in the client's body, in which its paths begin with `$`."""
    residue: Residue | None = None

    def path(self, field: str) -> str:
        """The JSON path of `field` in the client's body."""
        return self.paths.get(field, f"$.{field}")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Token totals. `input_tokens` includes both cache figures, `output_tokens` the reasoning.

    Its residue is accounting that another dialect has no place for: nobody asked for it, so nobody
    is told that it is missing.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_creation_1h_input_tokens: int = 0
    """Of those written to the cache, those that are kept there for an hour."""
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    residue: Residue | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate answer."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason
    stop_sequence: str | None = None
    """The stop sequence that ended it, where the provider tells."""
    logprobs: Json | None = None
    residue: Residue | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `created` is Unix seconds, None where the dialect has no such field."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    usage: Usage | None = None
    created: int | None = None
    residue: Residue | None = None


class TokenCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens a request would hold. Counting them uses none: `usage` is always None."""

    input_tokens: int
    usage: None = None
    residue: Residue | None = None
