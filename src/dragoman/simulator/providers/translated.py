"""Providers of the other chat dialects, spoken with the gateway's own codecs.

They answer as the hand-written providers do, but judge a request only by whether its dialect can
read it: what they prove is routing, paths, framing and metering, not the dialect itself.
"""

from collections.abc import Iterator
from itertools import takewhile

import msgspec

from dragoman.dialects import ChatDialect, StreamOptions
from dragoman.dialects.anthropic_messages import INVOKE
from dragoman.dialects.registry import client_dialect
from dragoman.errors import DragomanError, UpstreamError
from dragoman.ir import (
    Blob,
    Choice,
    FinishReason,
    Part,
    Reasoning,
    Refusal,
    Request,
    Response,
    Text,
    Tool,
    ToolCall,
    ToolCallResponse,
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
from dragoman.ir.losses import Losses
from dragoman.simulator.answers import Answer, Prompt, compose_answer
from dragoman.simulator.answers import Tool as OfferedTool
from dragoman.simulator.messages import (
    JsonObject,
    ProviderError,
    ReceivedRequest,
    Reply,
    encode_json,
)
from dragoman.simulator.providers.protocol import Context, Endpoint
from dragoman.simulator.tokens import count_tokens, split_words

_FINISH: dict[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_call",
    "filtered": "content_filter",
    "refusal": "content_filter",
}


class TranslatedProvider:
    """One dialect; `key_header` is where its key must be, `framing` how it frames its streams."""

    def __init__(self, name: str, key_header: str, framing: str = "") -> None:
        self.name = name
        self._key_header = key_header
        self._framing = framing
        self.dialect: ChatDialect = client_dialect(name, framing)

    def check_access(self, request: ReceivedRequest, *, keyless: bool) -> None:
        """Any key will do."""
        if not keyless and not request.header(self._key_header):
            raise ProviderError(401, "API key not valid. Please pass a valid API key.")

    def render_error(self, error: ProviderError) -> Reply:
        """The error in the dialect's shape."""
        answer = self.dialect.encode_error(UpstreamError(error.message, status=error.status))
        headers = tuple((k, v) for k, v in answer.headers.items() if k != "content-type")
        return Reply(status=error.status, headers=headers, pieces=(answer.body,))

    def render_stream_error(self, error: ProviderError) -> bytes:
        """The error as the end of a stream."""
        options = StreamOptions(include_usage=True, framing=self._framing)
        encoder = self.dialect.stream_encoder(options)
        return encoder.fail(UpstreamError(error.message, status=error.status))

    def handle(self, request: ReceivedRequest, body: JsonObject, context: Context) -> Reply:
        """An answer to a request that the dialect can read."""
        try:
            self.dialect.check_request(body)
            model, framing, asked = self._read(request, body)
        except DragomanError as error:
            raise ProviderError(400, error.message) from error
        answer = compose_answer(_prompt(asked, context))
        parts = tuple(_parts(answer, context.number))
        usage = Usage(
            input_tokens=sum(_tokens(part) for m in asked.messages for part in m.parts),
            output_tokens=answer.output_tokens,
            reasoning_tokens=answer.reasoning_tokens,
        )
        choice = Choice(parts=parts, finish_reason=_FINISH.get(answer.finish, "stop"))
        response = Response(
            id=f"sim{context.number}",
            model=model,
            choices=(choice,),
            usage=usage,
            created=context.created,
        )
        if not asked.stream:
            encoded = self.dialect.encode_response(response, Losses(self.name))
            return Reply(pieces=(encode_json(encoded),))
        return self._stream(response, framing)

    def _read(self, request: ReceivedRequest, body: JsonObject) -> tuple[str, str, Request]:
        path, _, query = request.target.partition("?")
        call = self.dialect.match(path, query, dict(request.headers))
        asked = self.dialect.decode_request(body)
        if call is not None and call.stream is not None:
            asked = msgspec.structs.replace(asked, stream=call.stream)
        model = call.model if call is not None and call.model else asked.model
        return model, call.framing if call is not None else "", asked

    def _stream(self, response: Response, framing: str) -> Reply:
        options = StreamOptions(include_usage=True, framing=framing)
        encoder = self.dialect.stream_encoder(options)
        pieces = [encoder.feed(event) for event in _events(response)]
        pieces.append(encoder.close())
        kind = self.dialect.stream_type(options)
        whole = tuple(piece for piece in pieces if piece)
        return Reply(content_type=kind, pieces=whole, streamed=True)


def _prompt(asked: Request, context: Context) -> Prompt:
    parts = _closing_parts(asked)
    said = [part for m in asked.messages if m.role == "user" for part in m.parts]
    choice = asked.tool_choice
    shape = asked.response_format
    mode = choice.mode if choice else "auto"
    return Prompt(
        last_text=next((p.content for p in reversed(said) if isinstance(p, Text)), ""),
        tool_results=tuple(_result(p) for p in parts if isinstance(p, ToolCallResponse)),
        tools=tuple(
            OfferedTool(tool.name, tool.parameters or {})
            for tool in asked.tools
            if isinstance(tool, Tool)
        ),
        tool_choice=mode if mode != "tool" else "required",
        forced_tool=choice.name if choice else None,
        parallel=asked.parallel_tool_calls is not False,
        images=sum(isinstance(p, Uri | Blob) and p.modality == "image" for p in said),
        schema=(shape.schema or {}) if shape is not None and shape.kind != "text" else None,
        reasoning=asked.reasoning is not None and asked.reasoning.effort != "none",
        stop=asked.stop_sequences,
        max_tokens=asked.max_tokens,
        switches=context.directives.switches,
    )


def _closing_parts(asked: Request) -> list[Part]:
    """Of the last turn: a dialect may have one message a tool's result."""
    backwards = takewhile(lambda message: message.role == "tool", reversed(asked.messages))
    closing = list(backwards)[::-1] or asked.messages[-1:]
    return [part for message in closing for part in message.parts]


def _result(part: ToolCallResponse) -> str:
    return "\n".join(inner.content for inner in part.parts if isinstance(inner, Text))


def _tokens(part: Part) -> int:
    match part:
        case Text() | Refusal() | Reasoning():
            return count_tokens(part.content)
        case ToolCallResponse():
            return count_tokens(_result(part))
        case _:
            return 1


def _parts(answer: Answer, number: int) -> Iterator[Part]:
    if answer.reasoning is not None:
        yield Reasoning(content=answer.reasoning)
    if answer.finish == "refusal":
        yield Refusal(content=answer.text)
    elif answer.text:
        yield Text(content=answer.text)
    for index, call in enumerate(answer.calls):
        arguments = encode_json(call.arguments).decode()
        yield ToolCall(id=f"call_sim{number}_{index}", name=call.name, arguments=arguments)


def _events(response: Response) -> Iterator[Event]:
    yield Start(id=response.id, model=response.model, created=response.created)
    for part in response.choices[0].parts:
        match part:
            case ToolCall():
                yield PartStart(kind="tool_call", id=part.id, name=part.name)
                yield Delta(content=part.arguments)
            case Reasoning():
                yield PartStart(kind="reasoning")
                yield from (Delta(content=word) for word in split_words(part.content))
            case Text() | Refusal():
                yield PartStart(kind="text" if isinstance(part, Text) else "refusal")
                yield from (Delta(content=word) for word in split_words(part.content))
            case _:
                continue
        yield PartEnd()
    yield UsageUpdate(usage=response.usage or Usage())
    yield ChoiceEnd(reason=response.choices[0].finish_reason)
    yield Finish()


RESPONSES = TranslatedProvider("openai_responses", "authorization")
GEMINI = TranslatedProvider("gemini_generate", "x-goog-api-key")
VERTEX = TranslatedProvider("gemini_generate", "authorization")
"""As Vertex AI serves it."""
BEDROCK = TranslatedProvider("bedrock_converse", "authorization")
COHERE = TranslatedProvider("cohere_chat", "authorization")
OLLAMA = TranslatedProvider("ollama_chat", "authorization")
VERTEX_ANTHROPIC = TranslatedProvider("anthropic_messages", "authorization")
"""As Vertex AI's rawPredict serves it."""
BEDROCK_ANTHROPIC = TranslatedProvider("anthropic_messages", "authorization", INVOKE)
"""As Bedrock's InvokeModel does."""
COMPLETIONS = TranslatedProvider("openai_completions", "authorization")
TGI = TranslatedProvider("tgi_generate", "authorization")
ENDPOINTS = (
    *(
        Endpoint(provider=TGI, method="POST", suffix=end, handle=TGI.handle)
        for end in ("/generate", "/generate_stream")
    ),
    Endpoint(
        provider=COMPLETIONS, method="POST", suffix="/v1/completions", handle=COMPLETIONS.handle
    ),
    Endpoint(provider=BEDROCK, method="POST", suffix="/converse", handle=BEDROCK.handle),
    Endpoint(provider=BEDROCK, method="POST", suffix="/converse-stream", handle=BEDROCK.handle),
    *(
        Endpoint(provider=provider, method="POST", suffix=end, word=word, handle=provider.handle)
        for provider, end, word in (
            (BEDROCK_ANTHROPIC, "/invoke", "anthropic."),
            (BEDROCK_ANTHROPIC, "/invoke-with-response-stream", ""),
            (VERTEX_ANTHROPIC, ":rawPredict", ""),
            (VERTEX_ANTHROPIC, ":streamRawPredict", ""),
        )
    ),
    Endpoint(provider=COHERE, method="POST", suffix="/v2/chat", handle=COHERE.handle),
    Endpoint(provider=OLLAMA, method="POST", suffix="/api/chat", handle=OLLAMA.handle),
    Endpoint(provider=RESPONSES, method="POST", suffix="/responses", handle=RESPONSES.handle),
    *(
        Endpoint(provider=provider, method="POST", suffix=end, word=word, handle=provider.handle)
        for provider, word in ((GEMINI, ""), (VERTEX, "/publishers/google/"))
        for end in (":generateContent", ":streamGenerateContent")
    ),
)
