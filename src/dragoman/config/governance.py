"""The sections of `dragoman.yaml` on who may use how much, and what is recorded of it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from dragoman.config.section import KeySource, Name

Count = Annotated[int, msgspec.Meta(ge=1, le=2**40)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Audit(_Section, frozen=True, kw_only=True):
    """A record, in the store, of keys issued and changed, policies loaded, requests denied and
    quotas that run out: a chain of hashes, one for all replicas. The store must be one that lasts:
    `store.url` or `store.directory`."""

    key: KeySource | None = None
    """At least 16 bytes, that seal the chain: whoever lacks them cannot make it anew."""
    keep: Annotated[int, msgspec.Meta(ge=1000, le=10**8)] = 100_000
    """Entries that the store keeps, some 500 bytes each; older ones go: export them before."""


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
