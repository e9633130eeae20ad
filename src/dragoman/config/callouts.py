"""Callouts: whom else a request is shown before it goes on, and how Envoy reaches them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from dragoman.config.addresses import is_host
from dragoman.config.section import Action, EntityName, KeySource, Name
from dragoman.dialects.speakers import Speaker

if TYPE_CHECKING:
    from dragoman.config.guardrails import Guardrails
    from dragoman.config.patterns import Refuse
    from dragoman.config.policy import Provider, Redaction

MODERATIONS = "openai_moderations"
"""The dialect a provider is asked in."""
SOCKET = "callouts.sock"
"""In `run_dir`: where Envoy takes callouts from the workers."""
FAILED = ":failed"
"""Behind a callout's name: under what its failures are counted, which are nobody's doing."""
_UNIX = "unix:"
_PATH = re.compile(r"/[!-\[\]-~]*")
"""No backslash: it is what Envoy puts in the place of the path a worker asks for."""
Limit = Annotated[float, msgspec.Meta(gt=0, le=1)]


Side = Literal["request", "answer"]
OnFailure = Literal["block", "allow"]
"""What becomes of a request when no answer comes, or none that can be read."""
_PROTOBUF = "application/x-protobuf"
"""Envoy makes a gRPC call of it."""


class Service(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is asked, and how long."""

    DIALECT: ClassVar[str] = ""
    """That a provider is asked in; empty: it is none."""
    METHOD: ClassVar[str] = ""
    """Of gRPC, as a path; empty: it is no gRPC."""
    CONTENT_TYPE: ClassVar[str] = "application/json"
    """Of what it is sent."""

    timeout_ms: Annotated[int, msgspec.Meta(ge=1)] = 500
    """For the whole of it, a wait for other requests' callouts included."""

    @property
    def timeout_seconds(self) -> float:
        return self.timeout_ms / 1000


class _Callout(Service, frozen=True, kw_only=True, tag_field="kind"):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    on_failure: OnFailure = "block"
    action: Literal["block", "report"] = "block"
    speakers: tuple[Speaker, ...] = msgspec.field(default=(), name="in")
    """Whose texts of a request are shown; none: everybody's."""
    applies_to: Annotated[tuple[Side, ...], msgspec.Meta(min_length=1)] = ("request",)
    remember_seconds: Annotated[int, msgspec.Meta(ge=0, le=86_400)] = 0
    """For which what it said of the same texts is not asked again; 0: it always is."""


class Moderation(_Callout, frozen=True, kw_only=True, tag="moderation"):
    """A provider's moderations operation, as OpenAI has it. Exactly one of threshold and categories
    is given."""

    DIALECT: ClassVar[str] = MODERATIONS

    provider: Name
    model: Annotated[str, msgspec.Meta(min_length=1)] = "omni-moderation-latest"
    threshold: Limit | None = None
    """Of any category."""
    categories: dict[str, Limit] = {}
    """Those that count, and from which score."""


class Embedder(Service, frozen=True, kw_only=True):
    """A provider's embeddings operation, as OpenAI has it."""

    DIALECT: ClassVar[str] = "openai_embeddings"

    provider: Name
    model: Annotated[str, msgspec.Meta(min_length=1)]


class Webhook(_Callout, frozen=True, kw_only=True, tag="webhook"):
    """A service of the operator's that is sent JSON."""

    url: str
    """`http(s)://HOST[:PORT]/PATH`, or `unix:/PATH/OF/SOCKET`, which is asked for `/`."""
    key: KeySource | None = None
    """Sent as a bearer token, by Envoy; never read by a worker."""


class Judge(_Callout, frozen=True, kw_only=True, tag="grpc"):
    """A service of the operator's that speaks gRPC (`proto/callouts.proto`)."""

    METHOD: ClassVar[str] = "/dragoman.callouts.v1.Judge/Judge"
    CONTENT_TYPE: ClassVar[str] = _PROTOBUF

    url: str
    """`http(s)://HOST[:PORT]` or `unix:/PATH/OF/SOCKET`."""
    key: KeySource | None = None
    """As a webhook's."""


class Recogniser(Service, frozen=True, kw_only=True):
    """A service of the operator's that finds entities for redaction, over gRPC
    (`proto/callouts.proto`)."""

    METHOD: ClassVar[str] = "/dragoman.callouts.v1.Recogniser/Recognise"
    CONTENT_TYPE: ClassVar[str] = _PROTOBUF

    on_failure: OnFailure = "block"

    url: str
    """As a judge's."""
    key: KeySource | None = None
    """As a webhook's."""
    entities: Annotated[dict[EntityName, Action], msgspec.Meta(min_length=1)]
    """Those it may find, beside ours, and what becomes of them; others are left alone."""
    min_score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0
    """What it is less sure of is left alone."""


class EventSink(Service, frozen=True, kw_only=True):
    """A service of the operator's that is told of events, each as a CloudEvent in JSON."""

    CONTENT_TYPE: ClassVar[str] = "application/cloudevents+json"

    url: str
    """As a webhook's."""
    key: KeySource | None = None
    """The same."""
    secret: KeySource | None = None
    """At least 16 bytes, or `whsec_` and as many in base64: signs what is sent."""
    timeout_ms: Annotated[int, msgspec.Meta(ge=1)] = 5000
    """Of one delivery, before it is tried again."""


class _Scorer(Service, frozen=True, kw_only=True, tag_field="kind"):
    url: str
    key: KeySource | None = None
    """As a webhook's."""
    on_failure: Literal["keep", "next"] = "keep"
    """What becomes of an answer without a score: it is the client's, or the next target is
    asked."""


class ScoreHook(_Scorer, frozen=True, kw_only=True, tag="webhook"):
    """A service of the operator's that is sent JSON and scores an answer."""


class ScoreCall(_Scorer, frozen=True, kw_only=True, tag="grpc"):
    """The same over gRPC (`proto/callouts.proto`)."""

    METHOD: ClassVar[str] = "/dragoman.callouts.v1.Scorer/Score"
    CONTENT_TYPE: ClassVar[str] = _PROTOBUF


Scorer = ScoreHook | ScoreCall
Provided = Moderation | Embedder
"""Who is asked is a provider."""
Callout = Moderation | Webhook | Judge
Own = Webhook | Judge | Recogniser | EventSink | ScoreHook | ScoreCall
"""Services of the operator's own."""


class Callee(NamedTuple):
    """Somebody who is asked through Envoy."""

    route: str
    """The path that the workers ask Envoy for."""
    cluster: str
    """Of Envoy."""
    service: Callout | Recogniser | EventSink | Embedder | Scorer


class Place(NamedTuple):
    """Where a webhook is."""

    host: str
    port: int
    """0: `host` is the path of a Unix socket."""
    tls: bool
    path: str

    @property
    def authority(self) -> str:
        """What goes into the host header."""
        if not self.port:
            return "localhost"
        return self.host if self.port == (443 if self.tls else 80) else f"{self.host}:{self.port}"


def find_place(url: str, method: str = "") -> Place:
    """Where `url` leads; for gRPC, whose path is the `method`'s, it has none. Raises
    `ValueError`."""
    if url.startswith(_UNIX):
        socket = url.removeprefix(_UNIX)
        if not socket.startswith("/"):
            raise ValueError(url)
        return Place(socket, 0, False, method or "/")  # noqa: FBT003 - a field
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    known = parts.scheme in ("http", "https") and is_host(parts.hostname) and parts.port != 0
    if not known or "@" in parts.netloc or parts.fragment or not _PATH.fullmatch(path):
        raise ValueError(url)
    if method and path != "/":
        raise ValueError(url)
    tls = parts.scheme == "https"
    return Place(parts.hostname or "", parts.port or (443 if tls else 80), tls, method or path)


def guardrail_callee(profile: str, callout: Callout) -> Callee:
    """How one of a profile is reached: on another way, where what is asked is another."""
    tag, name = callout.__struct_config__.tag, callout.name
    return Callee(f"/{profile}/{tag}/{name}", f"dragoman_callout.{profile}.{name}", callout)


def recogniser_callee(profile: str, recogniser: Recogniser) -> Callee:
    """How that of a redaction profile is reached."""
    return Callee(f"/{profile}/recogniser", f"dragoman_recogniser.{profile}", recogniser)


def embedder_callee(embedder: Embedder) -> Callee:
    """How one is reached: by a way of its own for each time limit."""
    provider, model = embedder.provider, quote(embedder.model, safe="")
    route = f"/embeddings/{provider}/{model}/{embedder.timeout_ms}"
    return Callee(route, provider, embedder)


def event_callee(sink: EventSink) -> Callee:
    """How whoever is told of events is reached."""
    return Callee("/events", "dragoman_events", sink)


def scorer_callee(name: str, scorer: Scorer) -> Callee:
    """How one that scores answers is reached."""
    tag = scorer.__struct_config__.tag
    return Callee(f"/scorers/{tag}/{name}/score", f"dragoman_scorer.{name}", scorer)


class CalloutChecks(NamedTuple):
    """What callouts are checked against."""

    providers: Mapping[str, Provider]
    service_seconds: float
    """Envoy waits so long for the whole stage."""
    is_there: Callable[[KeySource], bool]
    """Tells of a key."""
    refuse: Refuse

    def run(
        self,
        guardrails: Guardrails | None,
        redaction: Redaction | None,
        events: EventSink | None,
    ) -> None:
        """Raises where a callout of any profile cannot be made, or nobody told of events."""
        if events is not None:
            self._own(events, "$.events")
        self._guardrails(guardrails)
        self._redaction(redaction)

    def check_scorers(self, scorers: Mapping[str, Scorer], most_seconds: float) -> None:
        """Raises as `run`; of the seconds an attempt has, no scorer may take more."""
        for name, scorer in scorers.items():
            path = f"$.scorers.{name}"
            if scorer.timeout_seconds > most_seconds:
                problem = "is more than timeouts.first_byte_seconds"
                raise self.refuse(f"{path}.timeout_ms", problem)
            self._own(scorer, path)

    def _guardrails(self, section: Guardrails | None) -> None:
        for name, profile in section.profiles.items() if section else ():
            for i, callout in enumerate(profile.callouts):
                path = f"$.guardrails.profiles.{name}.callouts[{i}]"
                self._time(callout, 2, "half", path)
                if isinstance(callout, Moderation):
                    self._moderation(callout, path)
                else:
                    self._own(callout, path)

    def _redaction(self, section: Redaction | None) -> None:
        for name, profile in section.profiles.items() if section else ():
            if profile.recogniser is not None:
                path = f"$.redaction.profiles.{name}.recogniser"
                self._time(profile.recogniser, 4, "a quarter", path)
                self._own(profile.recogniser, path)

    def embedder(self, embedder: Embedder, path: str) -> None:
        """Raises where it cannot be asked."""
        self._time(embedder, 4, "a quarter", path)
        endpoint = self._provider(embedder, path).endpoints[embedder.DIALECT]
        if not endpoint.takes(embedder.model):
            raise self.refuse(f"{path}.model", f"is no model of {embedder.provider} for this")

    def _time(self, service: Service, part: int, called: str, path: str) -> None:
        """One is asked after the other, and both in the time of the stage."""
        if service.timeout_seconds > self.service_seconds / part:
            problem = f"is more than {called} of timeouts.service_seconds"
            raise self.refuse(f"{path}.timeout_ms", problem)

    def _moderation(self, callout: Moderation, path: str) -> None:
        if (callout.threshold is None) != bool(callout.categories):
            raise self.refuse(path, "give one of threshold and categories")
        self._provider(callout, path)

    def _provider(self, asked: Provided, path: str) -> Provider:
        provider = self.providers.get(asked.provider)
        if provider is None:
            problem = f"no provider {asked.provider} in this file, or none with a key"
            raise self.refuse(f"{path}.provider", problem)
        if asked.DIALECT not in provider.endpoints:
            raise self.refuse(f"{path}.provider", f"{provider.name} does not serve {asked.DIALECT}")
        return provider

    def _own(self, service: Own, path: str) -> None:
        try:
            find_place(service.url, service.METHOD)
        except ValueError as error:
            rest = "" if service.METHOD else "/PATH"
            problem = f"expected http(s)://HOST[:PORT]{rest} or unix:/PATH/OF/SOCKET"
            raise self.refuse(f"{path}.url", problem) from error
        key = service.key
        if key is not None and (key.env is None) == (key.file is None):
            raise self.refuse(f"{path}.key", "give either env or file")
        if key is not None and not self.is_there(key):
            missing = f"variable {key.env} is not set" if key.env else f"no file {key.file}"
            raise self.refuse(f"{path}.key", missing)
