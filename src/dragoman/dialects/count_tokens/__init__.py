"""Counting the tokens of a chat request without asking its model.

Each dialect's body is its chat request with less, perhaps wrapped; the answer is a number. So every
client's count goes to any provider that counts.

Sources: https://docs.anthropic.com/en/api/messages-count-tokens,
https://platform.openai.com/docs/api-reference/responses/input-tokens,
https://ai.google.dev/api/tokens, https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/count-tokens,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html,
https://docs.vllm.ai/en/latest/serving/openai_compatible_server/,
https://huggingface.github.io/text-generation-inference/, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import msgspec

from dragoman.dialects import COUNT, Call, ChatDialect
from dragoman.dialects.count_tokens.envelopes import Envelope
from dragoman.dialects.unary import Unary
from dragoman.errors import DragomanError, UpstreamProtocolError
from dragoman.ir import Json, Request, Residue, TokenCount
from dragoman.ir.losses import Losses
from dragoman.wire.fields import as_list

_LENT: Mapping[str, Json] = {"anthropic_messages": {"max_tokens": 1}}
"""What a chat dialect's requests need and a count's do not have."""
_UNCOUNTED = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "choice_count",
    "logprobs",
    "top_logprobs",
    "user",
    "service_tier",
)
"""What shapes the answer, and is no part of what is counted."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One way of asking for a count, as data."""

    name: str
    chat: str
    """The dialect of the request that is counted."""
    path: str = ""
    """Regular expression of the client's path; its group, if any: `model`. Empty: no client calls
    it, for its answer is the tokens themselves, which nobody else gives."""
    fields: frozenset[str]
    """Fields of a chat request that it takes."""
    unsaid: tuple[str, ...] = ()
    """Fields of `ir.Request` beside those that never count that it does not take."""
    optional: Json = {}
    """Fields that a chat request needs and a count does without, with a value each might have."""
    count: str
    """Field of the answer: the count, or a list of the tokens."""
    constant: Json = {}
    """What else stands in an answer of ours."""


class CountTokens(Unary):
    """One row, of requests that `chat` reads and writes."""

    operation = COUNT

    def __init__(self, row: Row, chat: ChatDialect, envelope: Envelope) -> None:
        super().__init__(row.name, chat)
        self._row = row
        self._path = re.compile(row.path) if row.path else None
        self._chat = chat
        self._envelope = envelope

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query, headers
        found = self._path and self._path.fullmatch(path)
        if not found:
            return None
        model = unquote(found.groupdict().get("model") or "") or None
        return Call(operation=COUNT, model=model)

    def check_request(self, body: Json) -> None:
        opened = self._envelope.open(body, self._chat)
        given = {name: value for name, value in opened.body.items() if value is not None}
        with _within(opened.root):
            opened.chat.check_request({**self._row.optional, **given})

    def decode_request(self, body: Json) -> Request:
        opened = self._envelope.open(body, self._chat)
        inner = opened.body
        lent = {n: v for n, v in _LENT.get(opened.chat.name, {}).items() if n not in inner}
        with _within(opened.root):
            request = opened.chat.decode_request({**inner, **lent})
        kept = dict.fromkeys(lent)
        model = opened.model or request.model
        return msgspec.structs.replace(request, root=opened.root, model=model, **kept)

    def encode_request(self, request: Request, losses: Losses) -> Json:
        chat = self._envelope.chat_for(request, self._chat)
        told = Losses(chat.name, clamp=losses.clamp)
        residue = request.residue
        alike = residue is not None and residue.dialect == chat.name
        with _within(request.root):
            if alike and request.root in self._envelope.roots:
                inner = chat.encode_request(request, told)
                lent = _LENT.get(chat.name, {}) if request.max_tokens is None else {}
                inner = {name: value for name, value in inner.items() if name not in lent}
            else:
                asked = _only_counted(request, self._row.unsaid, told)
                inner = chat.encode_request(asked, told)
                if chat is self._chat:
                    inner = self._taken(request, inner, told)
        losses.paths += [request.root + path.removeprefix("$") for path in told.paths]
        return self._envelope.close(request, inner)

    def _taken(self, request: Request, inner: Json, losses: Losses) -> Json:
        """What of a chat request this takes; what the client said beside it is reported."""
        fields = self._row.fields
        own = request.residue.fields if request.residue is not None else {}
        losses.paths += [f"$.{name}" for name in inner if name not in fields and name in own]
        edits = self._chat.edits(inner)
        named = {"model": request.model} if "model" in fields else {}
        whole = {**inner, **edits, **named}
        return {n: v for n, v in whole.items() if n in fields and v is not None}

    def decode_response(self, body: Json) -> TokenCount:
        left = dict(body)
        found = left.pop(self._row.count, None)
        if isinstance(found, list):
            found = len(as_list(found))
        if not isinstance(found, int) or isinstance(found, bool):
            raise UpstreamProtocolError(f"the upstream's answer has no {self._row.count}")
        for name, value in self._row.constant.items():
            if left.get(name) == value:
                del left[name]
        residue = Residue(dialect=self.name, fields=left) if left else None
        return TokenCount(input_tokens=found, residue=residue)

    def encode_response(self, response: TokenCount, losses: Losses) -> Json:
        rest = losses.residue(response.residue, "$")
        return {**self._row.constant, self._row.count: response.input_tokens, **rest}

    def edits(self, body: Json) -> dict[str, Any]:
        """See `Dialect.edits`. The model stands in the body also where chat has it in the path."""
        named = body.get("model")
        edits = self._envelope.edits(body, named if isinstance(named, str) else None)
        chat = self._chat.edits(body)
        return {name: value for name, value in chat.items() if name != "model"} | edits


@contextmanager
def _within(root: str) -> Generator[None]:
    """What goes wrong inside is about a request that stands at `root`."""
    try:
        yield
    except DragomanError as error:
        error.move(root)
        raise


def _only_counted(request: Request, unsaid: tuple[str, ...], losses: Losses) -> Request:
    """`request` without what is no part of the count, which is reported."""
    given = [name for name in (*_UNCOUNTED, *unsaid) if getattr(request, name) not in (None, ())]
    losses.paths += [request.path(name) for name in given]
    empty: dict[str, Any] = {name: () if name == "stop_sequences" else None for name in given}
    return msgspec.structs.replace(request, stream=False, **empty)
