"""The sections of `dragoman.yaml` on who may use how much, and what is recorded of it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dragoman.config.section import KeySource, Name

Count = Annotated[int, msgspec.Meta(ge=1, le=2**40)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Audit(_Section, frozen=True, kw_only=True):
    """A record, in the store, of keys issued and changed, policies loaded, requests and answers
    denied, and quotas that run out: a chain of hashes, one for all replicas. The store must be one
    that lasts: `store.url` or `store.directory`."""

    key: KeySource | None = None
    """At least 16 bytes, that seal the chain: whoever lacks them cannot make it anew."""
    keep: Annotated[int, msgspec.Meta(ge=1000, le=10**8)] = 100_000
    """Entries that the store keeps, some 500 bytes each; older ones go: export them before."""


Score = Annotated[float, msgspec.Meta(ge=1)]


class Signal(_Section, frozen=True, kw_only=True):
    """How much of something in one window is unusual: more than `times` what the caller used to do
    in a window in which it did anything, and more than `at_least`."""

    times: Annotated[float, msgspec.Meta(ge=1, le=10**6)]
    at_least: Annotated[float, msgspec.Meta(gt=0, le=10**12)]


class Signals(_Section, frozen=True, kw_only=True):
    """What is looked at."""

    requests: Signal = Signal(times=10, at_least=600)
    usd: Signal = Signal(times=10, at_least=10)
    errors: Signal = Signal(times=5, at_least=60)
    """Answers with a status from 400 to 499 other than 429: refusals, and what cannot be read."""
    addresses: Signal = Signal(times=3, at_least=20)
    """Different ones that its requests come from, counted to some percent."""
    guardrails: Signal = Signal(times=5, at_least=10)
    """Requests in which guardrails found something."""


SIGNALS = Signals.__struct_fields__


class Abuse(_Section, frozen=True, kw_only=True):
    """What follows when a caller does far more of something than it used to.

    Its score is how many times over what is allowed the worst signal is. The three actions say from
    which score on they are taken; None: never. They end by themselves, or by `dragoman abuse lift`.
    """

    window_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60
    half_life_seconds: Annotated[int, msgspec.Meta(ge=60, le=10**8)] = 86_400
    """After so long in windows of its own a change of habit is half of what is usual."""
    signals: Signals = Signals()
    alert: Score | None = 1
    """An event alone."""
    throttle: Score | None = None
    """So many requests are answered 429 that the rest is about what is allowed."""
    suspend: Score | None = None
    """All are answered 403."""
    lasts_seconds: Annotated[int, msgspec.Meta(ge=1, le=10**7)] = 600
    """How long an action stands after it was last called for."""

    @property
    def decay(self) -> float:
        """What a window leaves of those before it."""
        return float(0.5 ** (self.window_seconds / self.half_life_seconds))


class RequestLimits(_Section, frozen=True, kw_only=True):
    """How large a request may be; None: as large as the others let it. The least holds."""

    body_bytes: Count | None = None
    """Above it 413. A form counts with its files; bodies that nobody reads (`/files`, batches,
    `pass_through`) do not."""
    input_tokens: Count | None = None
    """By an estimate; above it 400."""
    output_tokens: Count | None = None
    """The most an answer may be asked to have; above it 400. Where the client says nothing, this is
    written into the request, and the decision says so."""


class QuotaEntry(_Section, frozen=True, kw_only=True):
    """So much of one thing in so much time, for each caller, model, or both together, or for all.

    Tokens are reserved before the call, by an estimate, and settled to what was used after it.
    """

    name: Name
    unit: Literal["requests", "tokens", "usd", "concurrency"]
    limit: Annotated[float, msgspec.Meta(gt=0, le=10**12)]
    """Of `usd` up to nine decimals, by the prices of the models' profiles; a model whose price is
    not known is refused. Of anything else a whole number."""
    window: (
        Annotated[
            str, msgspec.Meta(pattern=r"^(second|minute|hour|day|week|month|[1-9]\d{0,4}[smhd])$")
        ]
        | None
    ) = None
    """A calendar window in UTC by its name, or a rolling one, such as `24h`; None for concurrency
    alone, which has none."""
    per: tuple[
        Literal["caller", "model", "organization", "team", "user", "application", "provider"], ...
    ] = ("caller",)
    """A counter for each; none: one counter for all that it covers. It does not cover callers
    that have no such thing, and by `provider` nothing that Envoy's own routes send somewhere."""
    callers: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ("*",)
    """Whom and what it covers, by public name; `*` at the end matches any rest."""
    providers: tuple[str, ...] = ("*",)
    """What it covers by who serves it. One whose quota is spent is not asked, if others are left;
    use counts at the one that served."""
    carry_over: bool = False
    """What a calendar window leaves over is added to the next one, once."""
    warn_at: tuple[Annotated[float, msgspec.Meta(gt=0, le=1)], ...] = ()
    """Parts of the limit, such as 0.8: an event when what was used reaches one, once for each
    window and subject over all replicas. Of a rolling window again after it was below."""
    on_store_failure: Literal["allow", "deny"] = "deny"
    """Without the store: `allow` goes on and counts when it is back, `deny` answers 503."""
