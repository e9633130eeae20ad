"""The policy in force: `dragoman.yaml` with every name resolved. Immutable."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from dragoman.config.schema import (
    Address,
    KeySource,
    Ledger,
    Limits,
    Native,
    Simulator,
    Store,
    Timeouts,
)
from dragoman.dialects import AnyDialect


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """One Envoy cluster: an address, the dialect it speaks, and how its key is sent."""

    name: str
    """Also the name of the Envoy cluster."""
    dialect: AnyDialect
    host: str
    port: int
    tls: bool
    path: str
    headers: Mapping[str, str]
    key: KeySource | None
    """Where Envoy, never Python, reads the key; None: the provider takes none."""
    key_header: str
    key_prefix: str
    include_usage: bool
    """It takes `stream_options.include_usage`; where it does not, it reports usage unasked."""

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


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A public model. No targets: the operator's Envoy routes choose the cluster."""

    name: str
    """As in the file; ends in `*` where it is a pattern."""
    targets: tuple[Target, ...]
    clamp: bool


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who a key belongs to, and which public models it may use (`*` at an end matches any rest)."""

    name: str
    models: tuple[str, ...]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the service and the Envoy configuration are made from."""

    source: str
    """The file it was read from, for messages."""
    callers: Mapping[str, Caller]
    """By SHA-256 digest of a key, hexadecimal."""
    providers: Mapping[str, Provider]
    models: Mapping[str, Model]
    listener: Address
    admin: Address
    run_dir: str
    workers: int
    limits: Limits
    timeouts: Timeouts
    native: Native
    ledger: Ledger
    store: Store
    simulator: Simulator | None
    ca_file: str
