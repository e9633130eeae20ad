"""What is asked, at which load, and how each kind of system names it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

_WORDS = "The quick brown fox jumps over the lazy dog. "
_KEEP, _TRANSLATE, _STRIP = "pass-through", "translated", "usage-stripped"
_POLICIES, _FASTEST = "policies", "fastest"
"""OpenAI chat in, and out: OpenAI chat · Anthropic · OpenAI chat, less the usage nobody asked for ·
OpenAI chat under quotas and redaction · OpenAI chat from the fastest of three."""


@dataclass(frozen=True)
class Case:
    """One request, sent over and over."""

    name: str
    directive: str
    """What the simulated provider answers, as it stands in a model's name."""
    request_bytes: int = 2_000
    stream: bool = False
    connections: tuple[int, ...] = (16,)
    rate: float | None = None
    """Requests a second; None: a closed loop."""
    seconds: float = 1.0
    """Of the length that a measured stretch has unless told otherwise."""
    kinds: tuple[str, ...] = (_KEEP, _TRANSLATE)

    def body(self, model: str, kind: str) -> bytes:
        """The request of a client that speaks OpenAI chat."""
        text = _WORDS * (self.request_bytes // len(_WORDS))
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        body: dict[str, object] = {"model": model, "messages": turns, "max_tokens": 256}
        if self.stream:
            body["stream"] = True
            if kind != _STRIP:
                body["stream_options"] = {"include_usage": True}
        return json.dumps(body).encode()


_Stream = partial(Case, stream=True, kinds=(_KEEP, _STRIP, _TRANSLATE))

CASES = (
    Case(
        "json-2k",
        "bytes-2000",
        connections=(1, 16, 64),
        kinds=(_KEEP, _POLICIES, _FASTEST, _TRANSLATE),
    ),
    Case("json-400k", "bytes-2000", request_bytes=400_000),
    _Stream("stream-20-paced", "chunks-20+pause-1", connections=(1,)),
    _Stream("stream-100", "chunks-100+pause-0"),
    _Stream("stream-1000", "chunks-1000+pause-0", seconds=2),
    Case("json-2k-200rps", "bytes-2000", connections=(64,), rate=200, seconds=2),
    _Stream("stream-1000-paced", "chunks-1000+pause-1", connections=(64,), rate=5, seconds=2),
)
"""`pause-0` writes every chunk by itself as fast as it can, `pause-1` one a millisecond: far apart
enough that none is merged with its neighbour, so that each costs what a slow model's chunk costs.
Over one connection nothing waits for others: there the first event shows how soon a token comes."""
