"""The policy in force: `dragoman.yaml` with every name resolved. Immutable."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, NamedTuple
from urllib.parse import quote

import msgspec

from dragoman.catalog.profiles import Profile, Profiles
from dragoman.config.callouts import (
    FAILED,
    Callee,
    Embedder,
    EventSink,
    Recogniser,
    Scorer,
    embedder_callee,
    event_callee,
    guardrail_callee,
    recogniser_callee,
    scorer_callee,
)
from dragoman.config.governance import Abuse, RequestLimits
from dragoman.config.guardrails import Guardrails
from dragoman.config.healing import Healing
from dragoman.config.leading import Condition, RollbackEntry
from dragoman.config.resilience import (
    CircuitBreaker,
    HealthCheck,
    OutlierDetection,
    Priority,
    Shedding,
)
from dragoman.config.schema import (
    Address,
    FallbackReason,
    Jwks,
    Learning,
    Ledger,
    Limits,
    Listener,
    Mask,
    Native,
    Reward,
    RoleEntry,
    Simulator,
    Statistics,
    Store,
    Strategy,
    Timeouts,
    Transport,
)
from dragoman.config.section import Action, KeySource
from dragoman.dialects import AnyDialect

_SLACK_SECONDS = 5
_BACK_OFF_SECONDS = 2
"""The most that is waited between two attempts, as `retry-after` asks."""
Network = IPv4Network | IPv6Network
SUBJECTS = ("organization", "team", "user", "application")
"""What a caller may belong to."""
Calendar = Literal["second", "minute", "hour", "day", "week", "month"]


def is_within(region: str, allowed: str) -> bool:
    """Whether `region` is `allowed` or a part of it: `eu-west-1` is in `eu`."""
    return region == allowed or region.startswith(f"{allowed}-")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One dialect that a provider serves, and where."""

    dialect: AnyDialect
    path: str
    """Template: `{model}` stands for the model. It may end in a query."""
    stream_path: str | None
    """The same for streamed calls, where it is another."""
    models: re.Pattern[str] | None = None
    """Those it is for; None: all of the provider's."""

    def takes(self, model: str) -> bool:
        """Whether `model`, by the provider's own name, is asked for here."""
        return self.models is None or self.models.fullmatch(model) is not None

    @property
    def names_model(self) -> bool:
        """The path names the model, so that the body need not."""
        return "{model}" in self.path

    def request_path(
        self,
        model: str,
        query: str = "",
        *,
        stream: bool = False,
        rest: str = "",
        framed: bool = False,
    ) -> str:
        """Path and query of one call; `query` is the client's, without its key, and without the
        version that an Azure client names: which one is spoken here is the template's to say.

        A client that wants its stream framed in a way of its own says so in the query, or by what
        it leaves out: then the template's query is left out too (`framed`).
        """
        template = self.stream_path if stream and self.stream_path else self.path
        if "{model}" in template:
            template = template.replace("{model}", quote(model, safe=""))
        path, _, own = template.partition("?")
        path += rest
        own = "" if framed else own
        if not query:
            return f"{path}?{own}" if own else path
        taken = {pair.partition("=")[0] for pair in own.split("&")} | {"key", "api-version"}
        pairs = [pair for pair in query.split("&") if pair.partition("=")[0] not in taken]
        whole = "&".join([*([own] if own else []), *pairs])
        return f"{path}?{whole}" if whole else path


class Signing(msgspec.Struct, frozen=True, kw_only=True):
    """AWS Signature Version 4."""

    service: str
    region: str


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One Envoy cluster: an address, the dialects it speaks, and how its key is sent."""

    name: str
    """Also the name of the Envoy cluster."""
    kind: str
    """Its row in the catalogue."""
    endpoints: Mapping[str, Endpoint]
    """By dialect; the first of an operation is what others are translated to."""
    host: str
    port: int
    tls: bool
    headers: Mapping[str, str]
    key: KeySource | None
    """Where Envoy, never Python, reads the key; None: the provider takes none."""
    key_header: str
    key_prefix: str
    signing: Signing | None
    """How Envoy signs each request; None: it does not."""
    region: str | None = None
    """Where it processes what it is sent; None: not known."""
    circuit_breaker: CircuitBreaker | None = None
    outlier_detection: OutlierDetection | None = None
    health_check: HealthCheck | None = None
    """Its path is the catalogue's where the file gives none."""

    def endpoint_for(self, client: AnyDialect, model: str) -> Endpoint | None:
        """Where a client of the dialect is served `model`, by this provider's name of it: its own
        dialect if it can be, else the first of its operation."""
        own = self.endpoints.get(client.name)
        if own is not None and own.takes(model):
            return own
        alike = (e for e in self.endpoints.values() if e.dialect.operation == client.operation)
        return next((endpoint for endpoint in alike if endpoint.takes(model)), None)

    @property
    def authority(self) -> str:
        """What goes into the host header: the port only where it is not the scheme's own."""
        return self.host if self.port == (443 if self.tls else 80) else f"{self.host}:{self.port}"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A provider and the model to ask it for; `*` in a pattern's target stands for the rest."""

    provider: str
    model: str
    weight: int
    priority: int
    region: str | None = None
    """Its own or its provider's; None: not known."""


RECOGNISER_FAILED = f"recogniser{FAILED}"
"""What is counted where a recogniser did not answer, and the request went on without it."""


class RedactionProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One way to treat texts."""

    name: str
    actions: Mapping[str, Action]
    """By entity, the operator's own included."""
    patterns: tuple[tuple[str, str], ...]
    """The operator's own: entity and RE2 pattern."""
    recogniser: Recogniser | None
    mask: Mask
    answers: bool
    refuses_unread: bool


class Redaction(msgspec.Struct, frozen=True, kw_only=True):
    """All profiles, and what they share."""

    profiles: Mapping[str, RedactionProfile]
    default: RedactionProfile | None
    key: bytes | None
    """None: the one in the run folder."""
    max_map_bytes: int

    def entities(self, *, answers: bool = False) -> tuple[str, ...]:
        """All that any profile may find, in requests or in `answers`."""
        profiles = [p for p in self.profiles.values() if p.answers or not answers]
        found = {entity for profile in profiles for entity in profile.actions}
        failed = (RECOGNISER_FAILED,) if any(p.recogniser for p in profiles) else ()
        return (*sorted(found), *failed)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Where `when` holds, `use` serves; neither leads back."""

    when: Condition
    use: Model


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One side of an experiment."""

    name: str
    weight: int
    use: Model


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """Models compared, and by what requests are told apart (`config.schema.StickyBy`)."""

    name: str
    by: str
    variants: tuple[Variant, ...]


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """`config.leading.CanaryEntry`, its model found."""

    name: str
    by: str
    use: Model
    steps: tuple[float, ...]
    step_seconds: int
    at_least: int
    rollback_on: RollbackEntry
    digest: str
    """Of all this, and of the candidate's targets: another definition begins anew."""


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """`config.leading.ShadowEntry`, its model found."""

    use: Model
    share: float
    when: Condition
    charge_to: str | None
    answers: bool


class Deprecation(msgspec.Struct, frozen=True, kw_only=True):
    """When a model ends, and what then serves in its place; None: it is refused."""

    since: date
    ends: date | None
    use: str | None
    substitute: Model | None


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """When the next target is asked for an answer, by what the answer says, and up to where."""

    reasons: tuple[FallbackReason, ...]
    shorter_than: int | None
    """Characters; None: an answer's length is no reason."""
    scored_below: float | None
    """None: nobody scores it."""
    scorer: str
    """Who does; empty: nobody."""
    within_ms: int | None
    """Since the request was let through."""
    nanodollars: int | None
    """Of all targets asked and the next one. None: no limit, both."""

    @property
    def is_limited(self) -> bool:
        """What is told of it is of one request alone."""
        return self.within_ms is not None or self.nanodollars is not None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A public model. None of targets, rules and experiment: the operator's Envoy routes choose the
    cluster."""

    name: str
    """As in the file; ends in `*` where it is a pattern."""
    targets: tuple[Target, ...]
    clamp: bool
    strategy: Strategy = "weighted"
    learning: Learning | None = None
    """Given for `fastest` and `bandit`."""
    reward: Reward | None = None
    """Given for `bandit`."""
    sticky: str | None = None
    """`conversation`, `user` or `header:NAME`."""
    fit_context: bool = False
    fallback: Fallback | None = None
    """None: an answer's status alone is a reason to ask the next target."""
    has_strategy: bool = False
    """Choosing takes more than priorities and weights."""
    rules: tuple[Rule, ...] = ()
    experiment: Experiment | None = None
    canary: Canary | None = None
    shadow: Shadow | None = None
    deprecated: Deprecation | None = None
    redaction: str | None = None
    """A profile's name, or `off`."""
    guardrails: str | None = None
    """The same."""
    priority: Priority | None = None

    @property
    def all_targets(self) -> tuple[Target, ...]:
        """Its own, and those of every model that may serve in its place while it lasts."""
        variants = self.experiment.variants if self.experiment else ()
        others = [*(rule.use for rule in self.rules), *(variant.use for variant in variants)]
        others += [self.canary.use] if self.canary else []
        further = [target for model in others for target in model.all_targets]
        return tuple(dict.fromkeys((*self.targets, *further)))


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who a key belongs to, and which public models it may use (`*` at an end matches any rest)."""

    name: str
    models: tuple[str, ...]
    providers: tuple[str, ...] = ()
    """Those it may name for what has no model, such as files; the first is asked unless named."""
    residency: tuple[str, ...] = ()
    """Regions its requests may be served in; none: any."""
    redaction: str | None = None
    """A profile's name, or `off`."""
    guardrails: str | None = None
    """The same."""
    belongs: Mapping[str, str] = {}
    """Its organization, team, user and application, as far as it has them."""
    stated: Mapping[str, str] = {}
    """Those that its token or issued key says, and not the policy file."""
    roles: Mapping[str, RoleEntry] = {}
    """By name. None: nothing is restricted by roles."""
    limits: RequestLimits | None = None
    """Its own; its roles may have others."""
    priority: Priority | None = None
    """Likewise."""
    addresses: tuple[Network, ...] = ()
    """Networks it may come from; none: any."""


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tokens are taken, and what their claims mean."""

    name: str
    issuer: str
    audiences: tuple[str, ...]
    jwks: Jwks
    address: tuple[str, int, bool] | None
    """Host and port the keys are fetched from, and whether with TLS; None: they are local."""
    caller_claim: str | None
    callers: Mapping[str, Caller]
    """By value of that claim, in the policy's order."""
    default_caller: Caller | None
    subjects: Mapping[str, str]
    """Claims by what they say: organization, team, user, application."""
    roles_claim: str | None
    roles: Mapping[str, tuple[str, RoleEntry]]
    """Name and role, by value of that claim."""


class Callers(NamedTuple):
    """All that the policy knows."""

    by_digest: Mapping[str, Caller]
    """By SHA-256 digest of a key, hexadecimal."""
    by_name: Mapping[str, Caller]
    """Keys that the store holds are theirs too."""
    issuers: Mapping[str, Issuer] = {}
    """Of tokens, by their names in the policy."""
    by_spiffe: Mapping[str, Caller] = {}
    """By name in the certificate; `*` at an end matches any rest."""
    certificate_proxies: tuple[Network, ...] = ()
    """Those whose `x-forwarded-client-cert` is believed."""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """`config.schema.QuotaEntry`, with its window in a form that can be reckoned with."""

    name: str
    unit: Literal["requests", "tokens", "usd", "concurrency"]
    limit: int
    """Of `usd` in nanodollars."""
    calendar: Calendar | None
    """The calendar window it counts in; None: a rolling one, or none at all."""
    rolling_seconds: int
    """Length of the rolling window; 0: it has none."""
    per: tuple[str, ...]
    callers: tuple[str, ...]
    models: tuple[str, ...]
    providers: tuple[str, ...]
    by_provider: bool
    """It counts what providers serve: nothing else, or each by itself."""
    carry_over: bool
    warn_at: tuple[float, ...]
    allows_without_store: bool


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """`config.schema.Audit`, its key read."""

    key: bytes | None
    keep: int


class Events(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of events, the secret read."""

    sink: EventSink
    secret: bytes | None


class PassThroughRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A path nobody here knows, that the operator lets through to one provider."""

    prefix: str
    provider: str


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the service and the Envoy configuration are made from."""

    source: str
    """The file it was read from, for messages."""
    digest: str
    """SHA-256 of that file, hexadecimal."""
    callers: Callers
    issued_keys: bool
    """The store holds keys too."""
    providers: Mapping[str, Provider]
    models: Mapping[str, Model]
    aliases: Mapping[str, str]
    """Further names of models, and whose they are."""
    profiles: Profiles
    pass_through: tuple[PassThroughRoute, ...]
    quotas: tuple[Quota, ...]
    listener: Listener
    admin: Address
    loaded_providers: tuple[str, ...]
    """Those whose rate limits a model's strategy goes by."""
    run_dir: str
    workers: int
    limits: Limits
    timeouts: Timeouts
    native: Native
    transport: Transport
    decision_header: bool
    redaction: Redaction | None
    guardrails: Guardrails | None
    ledger: Ledger
    audit: Audit | None
    abuse: Abuse | None
    healing: Healing | None
    events: Events | None
    scorers: Mapping[str, Scorer]
    shedding: Shedding | None
    most_urgent: Priority
    """The highest that a request may have."""
    statistics: Statistics
    store: Store
    simulator: Simulator | None
    ca_file: str

    @property
    def silence_seconds(self) -> float:
        """The longest time nothing may move on a request: longer than any attempt's own limit."""
        return max(self.timeouts.first_byte_seconds, self.timeouts.idle_seconds) + _SLACK_SECONDS

    @property
    def has_shadows(self) -> bool:
        """Some model's requests are asked of another too."""
        return any(model.shadow for model in self.models.values())

    def waiting_seconds(self, targets: int) -> float:
        """How long so many targets may be waited for, one after the other, until an answer begins;
        of one target there are two attempts."""
        return max(2, targets) * self.timeouts.first_byte_seconds + _BACK_OFF_SECONDS

    @property
    def callees(self) -> list[Callee]:
        """Who is asked about texts, in whatever profile, and who is told of events."""
        guarded = self.guardrails.callouts() if self.guardrails else ()
        redacting = self.redaction.profiles.values() if self.redaction else ()
        return [
            *(guardrail_callee(name, callout) for name, callout in guarded),
            *(recogniser_callee(p.name, p.recogniser) for p in redacting if p.recogniser),
            *([event_callee(self.events.sink)] if self.events else []),
            *map(embedder_callee, dict.fromkeys(self._embedders())),
            *(scorer_callee(name, scorer) for name, scorer in self.scorers.items()),
        ]

    def _embedders(self) -> Iterator[Embedder]:
        """Those that rules need."""
        for model in self.models.values():
            for rule in model.rules:
                if rule.when.similar_to is not None:
                    yield rule.when.similar_to.by

    def profile(self, provider: str, model: str) -> Profile | None:
        """What is known of a provider's model; None where nothing is."""
        known = self.providers.get(provider)
        return self.profiles.find(provider, known.kind, model) if known else None
