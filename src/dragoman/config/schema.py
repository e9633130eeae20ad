"""The shape of `dragoman.yaml`, exactly as written. An unknown key is refused.

The resolved form that the rest of the program uses is `config.policy`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from dragoman.catalog.profiles import Profile
from dragoman.config.callouts import EventSink, Recogniser, Scorer
from dragoman.config.governance import Abuse, Audit, QuotaEntry, RequestLimits
from dragoman.config.guardrails import GuardrailSection
from dragoman.config.healing import Healing
from dragoman.config.leading import (
    CanaryEntry,
    DeprecationEntry,
    ExperimentEntry,
    Feature,
    RuleEntry,
    ShadowEntry,
    StickyBy,
)
from dragoman.config.resilience import (
    CircuitBreaker,
    HealthCheck,
    OutlierDetection,
    Priority,
    Shedding,
)
from dragoman.config.section import Action, EntityName, KeySource, Name

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
"""Such as `eu` or `eu-west-1`, which is in `eu`."""
SpiffeId = Annotated[str, msgspec.Meta(pattern=r"^spiffe://[a-z0-9._-]+/[^*]*\*?$")]
Digest = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9a-f]{64}$",
        description="the SHA-256 of a key, as `dragoman digest` prints it",
    ),
]


Entity = Literal[
    "address", "api_key", "card", "connection_string", "crypto", "date_of_birth", "email", "iban",
    "ip", "jwt", "licence_plate", "mac", "national_id", "passport", "password", "phone",
    "private_key", "ssn", "url",
]  # fmt: skip
"""What redaction can find."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Address(_Section, frozen=True, kw_only=True):
    """Where a listener binds."""

    port: Port
    address: str = "127.0.0.1"


class Tls(_Section, frozen=True, kw_only=True):
    """TLS for clients; PEM files, which are read again when they are renewed."""

    certificate: str
    """With the chain behind it."""
    key: str
    client_ca: str | None = None
    """Roots that clients' own certificates are verified against (mutual TLS). None: clients show
    none."""
    require: bool = False
    """Without a certificate no request is heard. Needs `client_ca`."""


class Listener(Address, frozen=True, kw_only=True):
    """Where clients connect, and from where they may."""

    port: Port = 10000
    tls: Tls | None = None
    """None: plain text."""
    allow: tuple[str, ...] = ()
    """Networks such as `10.0.0.0/8`, outside of which nobody is answered; none: all may ask."""
    deny: tuple[str, ...] = ()
    """Networks that are not answered, whatever `allow` says."""
    trusted_hops: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    """How many proxies in front add to `x-forwarded-for`, where the client's address then stands.
    0: the client is whoever connects, and the header is nobody's."""


class Limits(_Section, frozen=True, kw_only=True):
    """Sizes above which a body is refused: requests with 413, upstream answers with 502."""

    request_body_bytes: Annotated[int, msgspec.Meta(ge=1024, le=2**30)] = 32 * 2**20
    response_body_bytes: Annotated[int, msgspec.Meta(ge=1024, le=2**30)] = 32 * 2**20


class Timeouts(_Section, frozen=True, kw_only=True):
    """All in seconds."""

    connect_seconds: Seconds = 5
    first_byte_seconds: Seconds = 120
    """One attempt's limit until its first byte; then the next target is tried."""
    idle_seconds: Seconds = 300
    """Longest silence inside an answer that has begun."""
    service_seconds: Seconds = 10
    """How long Envoy waits for one reply of the Python service."""
    drain_seconds: Seconds = 30
    """How long open requests may finish after SIGTERM."""


class Native(_Section, frozen=True, kw_only=True):
    """Envoy features marked alpha or slow to arrive in older builds; off = Python does the work."""

    usage: bool = True
    strip_usage: bool = True


Transport = Literal["lean", "grpc"]
"""Who speaks gRPC with Envoy: our own code, or grpcio, slower and the reference to compare with."""


class Ledger(_Section, frozen=True, kw_only=True):
    """Where the entry a request goes, one JSON line each. `-` is standard error."""

    path: str = "-"


class Statistics(_Section, frozen=True, kw_only=True):
    """What Envoy's statistics tell beside requests and tokens."""

    cost: bool = False
    """What calls cost, by the prices of the day: prices travel with each request for it."""


class Simulator(_Section, frozen=True, kw_only=True):
    """The built-in provider simulator, started by `dragoman up` on the loopback."""

    port: Port = 10900


class Store(_Section, frozen=True, kw_only=True):
    """Shared state. No `url`: the supervisor starts an embedded server in `directory`."""

    url: str | None = None
    cluster: bool = False
    """`url` is a node of a cluster."""
    directory: str | None = None
    """Where the embedded server keeps its append-only file; None: beside the sockets."""


class ServedEntry(_Section, frozen=True, kw_only=True):
    """A dialect the provider serves. What is not said comes from the catalogue's row."""

    path: str | None = None
    stream_path: str | None = None
    models: str | None = None
    """Regular expression of the models it is for, by the provider's own name."""
    quirks: dict[str, Any] | None = None


class ProviderEntry(_Section, frozen=True, kw_only=True):
    """A provider in use. What is not said comes from the catalogue's row."""

    kind: str | None = None
    """The catalogue row; None: the row of the same name."""
    url: str | None = None
    params: dict[str, str] = {}
    """Values of the placeholders in the row's url and paths (project, region, ...)."""
    serves: dict[str, ServedEntry] = {}
    """By dialect: overrides the row's, or adds one."""
    region: Region | None = None
    """Where it processes what it is sent, for `residency`."""
    circuit_breaker: CircuitBreaker | None = None
    outlier_detection: OutlierDetection | None = None
    health_check: HealthCheck | None = None
    key: KeySource | None = None
    optional: bool = False
    """Left out, with the targets on it, when its key is not there; otherwise that is an error."""


class TargetEntry(_Section, frozen=True, kw_only=True):
    """One place a model may be served. Targets of one priority share by weight."""

    provider: Name
    model: str
    weight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    """Lower is tried first. None: its position, so that a plain list is an ordered fallback."""
    region: Region | None = None
    """None: the provider's."""


class PatternEntry(_Section, frozen=True, kw_only=True):
    """What an operator's own pattern finds; `name` is its entity."""

    name: EntityName
    pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    """RE2 syntax."""
    action: Action


class WordsEntry(_Section, frozen=True, kw_only=True):
    """A list of words, in any case; `name` is its entity."""

    name: EntityName
    words: tuple[Annotated[str, msgspec.Meta(min_length=2, max_length=256)], ...] = ()
    file: str | None = None
    """Further words, one a line."""
    action: Action


class Mask(_Section, frozen=True, kw_only=True):
    """How `mask` hides: all of it, or all but the last letters and digits."""

    keep_last: Annotated[int, msgspec.Meta(ge=0, le=8)] = 0
    """Left readable, of findings at least three times as long."""


class RedactionEntry(_Section, frozen=True, kw_only=True):
    """One way to treat texts. What no action is named for is not looked for."""

    entities: dict[Entity | Literal["personal", "secret"], Action] = {}
    """`secret`: keys, tokens and passwords; `personal`: all else. An entity's own action wins."""
    patterns: tuple[PatternEntry, ...] = ()
    words: tuple[WordsEntry, ...] = ()
    recogniser: Recogniser | None = None
    """Who finds what takes more than patterns, beside them."""
    mask: Mask = Mask()
    answers: bool = False
    """Also what the model writes is treated; `replace` hides it for good there."""
    unread: Literal["refuse", "pass"] = "refuse"
    """Bodies that nobody reads (files, batches, `pass_through`) cannot be treated."""


class RedactionSection(_Section, frozen=True, kw_only=True):
    """Personal data and secrets in requests and answers, by named profiles."""

    profiles: Annotated[dict[Name, RedactionEntry], msgspec.Meta(min_length=1)]
    default: Name | None = None
    """For models and callers that name none; `off` is the name of no profile."""
    key: KeySource | None = None
    """At least 16 bytes. None: one is made for each `run_dir`. Several sidecars that serve one
    conversation need the same, or its placeholders change."""
    max_map_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1_000_000)] = 64 * 1024
    """Of what one request's placeholders stand for; a request with more is refused."""


FallbackReason = Literal[
    "context_length", "content_filter", "refusal", "empty", "invalid", "schema", "truncated"
]
"""The prompt is longer than the model takes; what it says, or is asked, is filtered; it says no in
the words its dialect has for that; nothing is said; what is said is no answer, or not the JSON that
was asked for; it does not fit the schema that was; it ends at a limit of tokens that nobody asked
for."""


class FallbackMeasure(_Section, frozen=True, kw_only=True):
    """A reason with a number: one of the two."""

    shorter_than: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    """Characters, of an answer that is text alone."""
    scored_below: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    by: Name | None = None
    """Who scores: one of `scorers`."""


class FallbackLimits(_Section, frozen=True, kw_only=True):
    """Beyond them an answer is the client's, whatever it says."""

    within_ms: Annotated[int, msgspec.Meta(ge=1, le=3_600_000)] | None = None
    """Since the request was let through."""
    usd: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    """Of all targets asked and the next one, by an estimate."""


class Learning(_Section, frozen=True, kw_only=True):
    """How a strategy learns from what became of earlier requests."""

    half_life_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 300
    """After it, what was seen counts for half."""
    explore: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    """The share of requests that are drawn by weight, so that every target is seen."""


_Weight = Annotated[float, msgspec.Meta(ge=0, le=1000)]


class Reward(_Section, frozen=True, kw_only=True):
    """What an answer is worth: the mean, by these weights, of parts from 0 to 1.

    A failure gets 0.
    """

    latency: _Weight = 0
    """Of exp(-milliseconds to the end of the answer / `latency_scale_ms`)."""
    cost: _Weight = 0
    """Of exp(-US dollars / `cost_scale_usd`); 0 where the cost is not known."""
    error: _Weight = 0
    """Of 1, for being no error."""
    feedback: _Weight = 0
    """Of the score that the client gave; of what nobody scored, as much as the target's others."""
    latency_scale_ms: Annotated[float, msgspec.Meta(gt=0, le=3_600_000)] | None = None
    cost_scale_usd: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None


Strategy = Literal["weighted", "cheapest", "fastest", "bandit", "least_loaded"]


class ModelEntry(_Section, frozen=True, kw_only=True):
    """A public model: its targets, or `route: envoy` where the operator's own routes choose.

    A model that `rules`, an experiment or a deprecation names has targets of its own or, for rules,
    an experiment: none leads back.
    """

    targets: list[TargetEntry] = []
    route: Literal["policy", "envoy"] = "policy"
    strategy: Strategy = "weighted"
    """How targets of one priority are ordered: drawn by weight; or by price times estimated tokens,
    what has no known price last; or drawn by weight and by how fast they lately answered, or by the
    rewards that they lately got; or by the requests they have in flight."""
    learning: Learning | None = None
    """For `fastest` and `bandit`; None: as `Learning` has it."""
    reward: Reward | None = None
    """For `bandit`, which needs one."""
    sticky: StickyBy | None = None
    """What keeps its target instead of drawing one each time: a conversation (its system prompt and
    first user turn), a `user`, a `caller`, or the value of a header. Weights hold over many."""
    fit_context: bool = False
    """Targets whose limits a request is above, by an estimate, are left out unless all are."""
    fallback_on: tuple[FallbackReason | FallbackMeasure, ...] = ()
    """For what an answer says the next target is asked, beside its status. Answers in one piece
    are then read by the service; of streams, only what is answered instead of one."""
    fallback_limits: FallbackLimits | None = None
    """Beyond which `fallback_on` asks nobody else."""
    redaction: Name | None = None
    """A profile, or `off`."""
    guardrails: Name | None = None
    """The same."""
    priority: Priority | None = None
    """Which requests are turned away first where `shedding` has to; None: `normal`."""
    clamp: bool = False
    """Values out of an upstream's range are moved to the nearest bound and reported."""
    rules: tuple[RuleEntry, ...] = ()
    """The first that holds says which model serves; where none does, this one's own targets."""
    experiment: ExperimentEntry | None = None
    """In place of targets."""
    canary: CanaryEntry | None = None
    """A growing share of what its own targets would serve goes to another model."""
    shadow: ShadowEntry | None = None
    """Another model that is asked too, and compared."""
    aliases: tuple[str, ...] = ()
    """Further names it may be asked for by. It is listed, counted and granted under its own."""
    deprecated: DeprecationEntry | None = None


class Grant(_Section, frozen=True, kw_only=True):
    """What a role allows: all of it, where it says nothing. `*` at an end matches any rest."""

    models: tuple[str, ...] = ("*",)
    operations: tuple[str, ...] = ("*",)
    """`chat`, `embeddings`, `count_tokens`, `files`, ...: as the ledger names them."""
    dialects: tuple[str, ...] = ("*",)
    """Of the client."""
    features: tuple[Feature | Literal["*"], ...] = ("*",)


class Denial(_Section, frozen=True, kw_only=True):
    """What a role denies: nothing, where it says nothing. It wins over whatever any role allows."""

    models: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    features: tuple[Feature | Literal["*"], ...] = ()


class RoleEntry(_Section, frozen=True, kw_only=True):
    """A set of permissions that callers share."""

    allow: Grant = Grant()
    deny: Denial = Denial()
    limits: RequestLimits | None = None
    priority: Priority | None = None
    """Wins over the model's; of several roles', the highest."""


class CallerEntry(_Section, frozen=True, kw_only=True):
    """Who may call. `models` are public names; `*` at the end matches any rest."""

    keys: list[Digest] = []
    """SHA-256 digests of the keys, in hexadecimal (`dragoman digest` prints one). Others may be
    issued by `dragoman keys`."""
    spiffe: tuple[SpiffeId, ...] = ()
    """Names in the certificates (URI SANs) that are the caller's; `*` at the end matches any
    rest."""
    organization: Name | None = None
    team: Name | None = None
    user: Name | None = None
    application: Name | None = None
    """Whom the caller belongs to: quotas may count by these, and the ledger names them."""
    roles: tuple[Name, ...] = ()
    """None: everything is allowed that the other settings here allow."""
    addresses: tuple[str, ...] = ()
    """Networks the caller may come from, such as `10.0.0.0/8`; none: from anywhere."""
    models: tuple[str, ...] = ("*",)
    residency: tuple[Region, ...] = ()
    """Where its requests may be served; whatever has no upstream there is refused."""
    limits: RequestLimits | None = None
    redaction: Name | None = None
    """A profile, or `off`; wins over the model's."""
    guardrails: Name | None = None
    """The same."""
    priority: Priority | None = None
    """Wins over its roles' and the model's."""
    providers: tuple[Name, ...] = ()
    """Providers it may use for what names no model (files, batches, `pass_through` paths)."""


Claim = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
"""Where in a token's payload: `sub`, `realm_access.roles`, `groups.0`. A claim whose own name has
dots in it is taken first."""


class Jwks(_Section, frozen=True, kw_only=True):
    """An issuer's public keys (a JSON Web Key Set). Exactly one of these is given."""

    uri: str | None = None
    """Envoy fetches it, and again every few minutes."""
    file: str | None = None
    """Envoy reads it, and again when it changes."""
    inline: str | None = None


class Claims(_Section, frozen=True, kw_only=True):
    """Which claims say who calls."""

    caller: Claim | None = None
    """One value or a list of them; `JwtEntry.callers` says whose they are."""
    organization: Claim | None = None
    team: Claim | None = None
    user: Claim | None = None
    application: Claim | None = None
    """Each wins over the caller's own. A token without the claim is refused where the caller has
    none either, or it would escape the quotas that count by it."""
    roles: Claim | None = None
    """One value or a list of them, added to the caller's own. A token that ends up without any role
    is refused, since no roles would mean no restriction."""


class JwtEntry(_Section, frozen=True, kw_only=True):
    """An issuer whose tokens (JWT, RFC 7519) are taken in `authorization: Bearer`."""

    issuer: Annotated[str, msgspec.Meta(min_length=1)]
    """The claim `iss`, letter by letter."""
    audiences: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """One of them must be in the claim `aud`: tokens for others are refused."""
    jwks: Jwks
    claims: Claims = Claims()
    callers: dict[str, Name] = {}
    """Callers of this file by values of `claims.caller`; of several the first one here is meant.
    None: the values are the callers' names."""
    default_caller: Name | None = None
    """Whose a token is that names no caller here. None: it is refused."""
    roles: dict[str, Name] = {}
    """Roles of this file by values of `claims.roles`; other values say nothing. None: the values
    are the roles' names."""


class Identity(_Section, frozen=True, kw_only=True):
    """Who calls, beside keys."""

    jwt: dict[Name, JwtEntry] = {}
    forwarded_client_cert: tuple[str, ...] = ()
    """Networks of proxies (a mesh's sidecars) that verify clients' certificates and say so in
    `x-forwarded-client-cert`. Nobody else's is believed."""


class PassThroughEntry(_Section, frozen=True, kw_only=True):
    """Paths that go to one provider unread: `prefix` and all below it."""

    prefix: Annotated[str, msgspec.Meta(pattern=r"^/[A-Za-z0-9._~/-]+$")]
    provider: Name


class ProfileEntry(Profile, frozen=True, kw_only=True):
    """What an operator knows of a model, over what `catalog/models.toml` says of it.

    The facts are those of `models.toml`, which explains each.
    """

    provider: Name
    """A provider of this file."""
    model: Annotated[str, msgspec.Meta(min_length=1)]
    """The provider's name for the model, as in a target; `*` at the end matches any rest."""
    like: str | None = None
    """A table of `models.toml`: its facts hold where this entry says nothing. For deployments and
    fine-tuned models, whose names say nothing."""


class File(_Section, frozen=True, kw_only=True):
    """The whole file."""

    callers: dict[Name, CallerEntry]
    issued_keys: bool = False
    """Callers may also have keys that `dragoman keys` put into the store, which must then be one
    that lasts: `store.url` or `store.directory`."""
    identity: Identity = Identity()
    roles: dict[Name, RoleEntry] = {}
    providers: dict[Name, ProviderEntry]
    models: dict[str, ModelEntry]
    pass_through: list[PassThroughEntry] = []
    profiles: list[ProfileEntry] = []
    """Facts on models that the catalogue lacks or has otherwise."""
    quotas: list[QuotaEntry] = []
    listener: Listener = Listener()
    admin: Address = Address(port=9901)
    run_dir: str | None = None
    """Folder of the sockets. None: a fresh one a start."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] | Literal["auto"] = 1
    """Python processes, and threads of Envoy. `auto`: one for each core this process may use."""
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    native: Native = Native()
    transport: Transport = "lean"
    decision_header: bool = True
    """Answers say in `x-dragoman-decision` which upstreams were chosen and why."""
    redaction: RedactionSection | None = None
    guardrails: GuardrailSection | None = None
    ledger: Ledger = Ledger()
    audit: Audit | None = None
    abuse: Abuse | None = None
    healing: Healing | None = None
    events: EventSink | None = None
    """Who is told of what happens beside requests: levels of quotas, abuse, canaries, targets."""
    scorers: dict[Name, Scorer] = {}
    """Who says what an answer is worth (`fallback_on`)."""
    shedding: Shedding | None = None
    """None: nothing is turned away, however late a worker is."""
    statistics: Statistics = Statistics()
    store: Store = Store()
    simulator: Simulator | None = None
    ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    """Roots that providers' certificates are verified against, PEM."""
