"""What a pretended provider is to the rest of the simulator."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from dragoman.simulator.messages import JsonObject, ProviderError, ReceivedRequest, Reply
from dragoman.simulator.script import Directives
from dragoman.simulator.tokens import PrefixCache


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint may use besides the request."""

    number: int
    """Of the request; ids are made from it."""
    directives: Directives
    prefix_cache: PrefixCache
    created: int
    """Unix seconds."""


class Provider(Protocol):
    """One dialect as its provider speaks it."""

    name: str

    def check_access(self, request: ReceivedRequest, *, keyless: bool) -> None:
        """Raise `ProviderError` when the key, or another header it insists on, is absent."""
        ...

    def render_error(self, error: ProviderError) -> Reply:
        """The error in this provider's shape."""
        ...

    def render_stream_error(self, error: ProviderError) -> bytes:
        """The error as an event in the middle of a stream."""
        ...


Handler = Callable[[ReceivedRequest, JsonObject, Context], Reply]
"""The request, its JSON body (`{}` for GET) and the context give the answer."""
BenchReplies = tuple[Reply, Reply, Reply]
"""The precomputed body, stream, and stream with usage."""
BenchMaker = Callable[[str, int, int], BenchReplies]
"""Model, words and bytes of each word give the precomputed answers."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a provider."""

    provider: Provider
    method: str
    suffix: str
    """End of the path, after any prefix."""
    handle: Handler
    make_bench: BenchMaker | None = None
    word: str = ""
    """Must stand in the path, too."""
    in_path: bool = False
    """The suffix is followed by one more segment, an id."""

    def fits(self, path: str) -> bool:
        """Whether the path ends as this operation's does."""
        end = path.rpartition("/")[0] if self.in_path else path
        return end.endswith(self.suffix) and self.word in path

    @property
    def narrowness(self) -> int:
        """Of two that fit, the one that says more of the path is meant."""
        return len(self.suffix) + len(self.word)
