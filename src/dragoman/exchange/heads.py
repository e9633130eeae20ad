"""What a stage is told of a request beside its body, already out of protobuf."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from dragoman import metadata as names
from dragoman.actions import Action
from dragoman.dialects import AnyDialect, StreamOptions
from dragoman.dialects.registry import ClientCall, client_call, client_dialect
from dragoman.ir import Json

if TYPE_CHECKING:
    from dragoman.policies.questions import Fault, Question


class RequestHead(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The client's request, as the decide stage sees it. Header names are lower case."""

    method: str
    path: str
    """With its query."""
    headers: Mapping[str, str] = {}
    address: str = ""
    """Of the client, `IP:PORT`; given where the policy asks for it."""
    token: Json = {}
    """What Envoy's `jwt_authn` found: a verified payload by its issuer's name, or a failure."""
    certificate: str = ""
    """The URI SAN of the client's certificate, which Envoy verified; empty: it showed none."""

    @functools.cached_property
    def client(self) -> ClientCall:
        """Whose client calls, and what for; the body may tell otherwise."""
        return client_call(self.path, self.headers)


class AttemptHead(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at one upstream, as the translate stage sees it."""

    cluster: str
    attempt: int = 1
    """From 1."""
    provider: str = ""
    """From the cluster's own metadata; empty: the cluster's name."""
    model: str = ""
    """From the cluster's own metadata: overrides the client's where no target names one."""
    metadata: Mapping[str, str] = {}
    """The `dragoman` namespace that the decide stage wrote, the strings in it."""
    request_id: str = ""
    """Envoy's; empty where its file does not tell."""


def client_of(metadata: Mapping[str, str]) -> AnyDialect:
    """The client's dialect, as the decide stage noted it in the `dragoman` namespace."""
    return client_dialect(metadata.get(names.CLIENT_DIALECT, ""), metadata.get(names.FRAMING, ""))


def stream_options(metadata: Mapping[str, str]) -> StreamOptions:
    """What the decide stage noted of the stream the client wants."""
    asked = metadata.get(names.INCLUDE_USAGE) == names.FLAG
    return StreamOptions(include_usage=asked, framing=metadata.get(names.FRAMING, ""))


class Asking(NamedTuple):
    """An answer that waits for callouts: have `questions` answered, each as far as it was, then
    `resume`."""

    questions: tuple[Question, ...]
    resume: Callable[[Sequence[bytes | Fault]], Steps]


Steps = list[Action] | Asking
"""What is to be sent on, or has to be known first."""


class ResponseEditor(Protocol):
    """Edits one answer on its way to the client.

    Each call returns what to send on, in order: at most one `Mutate` in all (the headers), which
    comes before the first `Chunk`. An empty list holds back what came; nothing is lost by it.
    """

    def on_headers(self, headers: Mapping[str, str], *, end_of_stream: bool) -> list[Action]: ...
    def on_body(self, data: bytes, *, end_of_stream: bool) -> list[Action]: ...
    def on_trailers(self) -> list[Action]:
        """The body ended with trailers: as `on_body(b"", end_of_stream=True)`, but the last chunk
        does not end the stream, the trailers that follow do."""
        ...
