"""Read a policy file, check it whole, resolve its names; or refuse it with file and path."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import yaml

from dragoman.catalog import ProviderRow, provider_rows
from dragoman.catalog.costs import NANODOLLARS
from dragoman.catalog.profiles import Override, Prices, Profile, Profiles, find_table
from dragoman.config import led_to
from dragoman.config.addresses import is_host
from dragoman.config.callers import resolve_callers
from dragoman.config.callouts import CalloutChecks, Embedder, EventSink
from dragoman.config.cores import available_cores
from dragoman.config.documents import read_yaml
from dragoman.config.faults import find_fault
from dragoman.config.governance import QuotaEntry
from dragoman.config.guardrails import Guardrails, check_guarded, read_guardrails
from dragoman.config.listener import check_listener
from dragoman.config.models import find_loaded, resolve_models
from dragoman.config.policy import (
    Audit,
    Calendar,
    Endpoint,
    Events,
    PassThroughRoute,
    Policy,
    Provider,
    Quota,
    Redaction,
    Signing,
)
from dragoman.config.redaction import check_name, read_redaction
from dragoman.config.resilience import CircuitBreaker, HealthCheck, Priority
from dragoman.config.schema import FallbackMeasure, File, ProviderEntry, ServedEntry
from dragoman.config.secrets import read_secret, signing_key
from dragoman.config.section import KeySource
from dragoman.dialects import AnyDialect
from dragoman.dialects.registry import provider_dialect
from dragoman.errors import ConfigError, InvalidRequest

DEFAULT_RUN_DIR = "/run/dragoman"
_DEFAULTS = "default.yaml"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_PLACEHOLDER = re.compile(r"\{(?!model\})(\w+)\}")


def load(path: str | None, environment: Mapping[str, str] = os.environ) -> Policy:
    """The policy at `path`, or the embedded defaults. Raises `ConfigError`."""
    if path is None:
        text = Path(__file__).with_name(_DEFAULTS).read_text(encoding="utf-8")
        return parse(text, f"embedded {_DEFAULTS}", environment)
    return parse(read_text(path), path, environment)


def read_text(path: str) -> str:
    """What a policy file says, as it is. Raises `ConfigError`."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(path, "$", f"cannot be read: {problem}") from error


def parse(text: str, source: str, environment: Mapping[str, str] = os.environ) -> Policy:
    """The policy that `text` says. `environment` is only asked which keys are there."""
    file = _read(text, source)
    policy = _Resolver(source, environment).policy(file)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return msgspec.structs.replace(policy, digest=digest)


def _read(text: str, source: str) -> File:
    document: object = None
    try:
        document = read_yaml(text)
        return msgspec.convert(document, File)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "$"
        problem = getattr(error, "problem", None) or "characters that it may not have"
        if problem.startswith("but"):
            problem = f"{getattr(error, 'context', None) or ''}, {problem}"
        raise ConfigError(source, where, f"is not YAML: {problem}") from error
    except (msgspec.ValidationError, RecursionError) as error:
        problem, _, path = str(error).partition(" - at `")
        path = path.removeprefix("key` in `").rstrip("`")
        if isinstance(error, msgspec.ValidationError):
            whole, allowed = find_fault(document, File)
            path = whole if path.count("[...]") else path
            problem += f"; allowed: {allowed}" if allowed else ""
        raise ConfigError(source, path or "$", problem) from error


def _quota(entry: QuotaEntry, *, rolls: bool) -> Quota:
    window = entry.window or ""
    return Quota(
        name=entry.name,
        unit=entry.unit,
        limit=round(entry.limit * NANODOLLARS) if entry.unit == "usd" else int(entry.limit),
        calendar=cast("Calendar", window) if window and not rolls else None,
        rolling_seconds=int(window[:-1]) * _SECONDS[window[-1]] if rolls else 0,
        per=entry.per,
        callers=entry.callers,
        models=entry.models,
        providers=entry.providers,
        by_provider="provider" in entry.per or "*" not in entry.providers,
        carry_over=entry.carry_over,
        warn_at=tuple(sorted(set(entry.warn_at))),
        allows_without_store=entry.on_store_failure == "allow",
    )


def _embedders(file: File) -> Iterator[tuple[str, Embedder]]:
    """Those that rules need, each with its place."""
    for name, model in file.models.items():
        for i, rule in enumerate(model.rules):
            if rule.when.similar_to is not None:
                path = f"$.models.{name}.rules[{i}].when.similar_to.by"
                yield path, rule.when.similar_to.by


class _Resolver:
    """Turns a `File` into a `Policy`; every complaint carries the path it is about."""

    def __init__(self, source: str, environment: Mapping[str, str]) -> None:
        self._source = source
        self._environment = environment
        self._left_out: set[str] = set()

    def policy(self, file: File) -> Policy:
        redaction = read_redaction(file.redaction, self._environment, self._refuse)
        guardrails = read_guardrails(file.guardrails, self._refuse)
        self._check_profiles(file, redaction, guardrails)
        providers = self._providers(file.providers)
        self._check_callouts(file, providers, guardrails, redaction)
        self._check_lasting(file)
        self._check_shadows(file)
        callers = resolve_callers(file, providers, self._refuse)
        check_listener(file.listener, self._refuse)
        models = resolve_models(
            file.models, providers, functools.partial(self._is_served, providers), self._refuse
        )
        return Policy(
            source=self._source,
            digest="",
            callers=callers,
            issued_keys=file.issued_keys,
            pass_through=self._pass_through(file, providers),
            quotas=self._quotas(file),
            providers=providers,
            models=models.by_name,
            aliases=models.aliases,
            profiles=self._profiles(file, providers),
            listener=file.listener,
            admin=file.admin,
            loaded_providers=find_loaded(models.by_name),
            run_dir=file.run_dir or DEFAULT_RUN_DIR,
            workers=available_cores() if file.workers == "auto" else file.workers,
            limits=file.limits,
            timeouts=file.timeouts,
            native=file.native,
            transport=file.transport,
            decision_header=file.decision_header,
            redaction=redaction,
            guardrails=guardrails,
            ledger=file.ledger,
            audit=self._audit(file),
            abuse=file.abuse,
            healing=file.healing,
            events=self._events(file.events),
            scorers=file.scorers,
            shedding=file.shedding,
            most_urgent=self._most_urgent(file),
            statistics=file.statistics,
            store=file.store,
            simulator=file.simulator,
            ca_file=file.ca_file,
        )

    def _refuse(self, path: str, problem: str) -> ConfigError:
        return ConfigError(self._source, path, problem)

    def _check_profiles(
        self, file: File, redaction: Redaction | None, guardrails: Guardrails | None
    ) -> None:
        """Raises where a caller or a model names one that is not there."""
        for place, entries in (("callers", file.callers), ("models", file.models)):
            for name, entry in entries.items():
                where = f"$.{place}.{name}"
                check_name(entry.redaction, redaction, f"{where}.redaction", self._refuse)
                check_guarded(entry.guardrails, guardrails, f"{where}.guardrails", self._refuse)
        led_to.check_profiles(file, self._refuse)

    def _most_urgent(self, file: File) -> Priority:
        """Raises where priorities are given to no purpose, or in the wrong order."""
        rule = file.shedding
        if rule is not None and not rule.lag_of("low") <= rule.lag_ms <= rule.lag_of("high"):
            problem = "low_lag_ms is at most lag_ms, and that at most high_lag_ms"
            raise self._refuse("$.shedding", problem)
        said: set[Priority | None] = set()
        for place, entries in (
            ("callers", file.callers),
            ("roles", file.roles),
            ("models", file.models),
        ):
            for name, entry in entries.items():
                said.add(entry.priority)
                if entry.priority is not None and rule is None:
                    path = f"$.{place}.{name}.priority"
                    raise self._refuse(path, "has no effect without shedding")
        return "high" if "high" in said else "normal"

    def _check_callouts(
        self,
        file: File,
        providers: Mapping[str, Provider],
        guardrails: Guardrails | None,
        redaction: Redaction | None,
    ) -> None:
        """Raises where whoever is asked about texts, or told of events, cannot be."""
        longest = file.timeouts.service_seconds
        checks = CalloutChecks(providers, longest, self._is_there, self._refuse)
        checks.run(guardrails, redaction, file.events)
        for path, embedder in _embedders(file):
            checks.embedder(embedder, path)
        self._check_scored(file, checks)

    def _check_lasting(self, file: File) -> None:
        """Raises where what must outlast the gateway would not."""
        for name in ("issued_keys", "audit"):
            if getattr(file, name) and not (file.store.url or file.store.directory):
                raise self._refuse(f"$.{name}", "needs store.url or store.directory")

    def _check_shadows(self, file: File) -> None:
        """Raises where a caller is to pay who is not there."""
        for name, entry in file.models.items():
            payer = entry.shadow.charge_to if entry.shadow else None
            if payer is not None and payer not in file.callers:
                raise self._refuse(f"$.models.{name}.shadow.charge_to", f"no caller {payer}")

    def _check_scored(self, file: File, checks: CalloutChecks) -> None:
        """Raises where a model goes by scores that nobody gives, or could."""
        checks.check_scorers(file.scorers, file.timeouts.first_byte_seconds)
        for name, entry in file.models.items():
            for i, given in enumerate(entry.fallback_on):
                by = given.by if isinstance(given, FallbackMeasure) else None
                if by is not None and by not in file.scorers:
                    where = f"$.models.{name}.fallback_on[{i}].by"
                    raise self._refuse(where, f"no {by} in $.scorers")

    def _audit(self, file: File) -> Audit | None:
        if file.audit is None:
            return None
        key = read_secret(file.audit.key, "$.audit.key", self._environment, self._refuse)
        return Audit(key=key, keep=file.audit.keep)

    def _events(self, sink: EventSink | None) -> Events | None:
        if sink is None:
            return None
        secret = read_secret(sink.secret, "$.events.secret", self._environment, self._refuse)
        try:
            return Events(sink=sink, secret=signing_key(secret))
        except ValueError as error:
            raise self._refuse("$.events.secret", "is no base64 behind whsec_") from error

    def _pass_through(
        self, file: File, providers: Mapping[str, Provider]
    ) -> tuple[PassThroughRoute, ...]:
        return tuple(
            PassThroughRoute(prefix=entry.prefix, provider=entry.provider)
            for i, entry in enumerate(file.pass_through)
            if self._is_served(providers, entry.provider, f"$.pass_through[{i}].provider")
        )

    def _profiles(self, file: File, providers: Mapping[str, Provider]) -> Profiles:
        found: dict[tuple[str, str], Override] = {}
        for i, entry in enumerate(file.profiles):
            path = f"$.profiles[{i}]"
            if "*" in entry.model[:-1]:
                raise self._refuse(f"{path}.model", "a `*` may stand at the end only")
            if entry.like is not None and find_table(entry.like) is None:
                raise self._refuse(f"{path}.like", "no such table in catalog/models.toml")
            if isinstance(entry.prices, tuple):
                self._check_prices(entry.prices, f"{path}.prices")
            if (entry.provider, entry.model) in found:
                raise self._refuse(path, "another entry is about the same model")
            if self._is_served(providers, entry.provider, f"{path}.provider"):
                facts = {name: getattr(entry, name) for name in Profile.__struct_fields__}
                found[entry.provider, entry.model] = Override(
                    provider=entry.provider,
                    model=entry.model,
                    like=entry.like,
                    facts=Profile(**facts),
                )
        return Profiles(found.values())

    def _check_prices(self, prices: tuple[Prices, ...], path: str) -> None:
        for i, first in enumerate(prices):
            if any(first.since == other.since for other in prices[:i]):
                raise self._refuse(f"{path}[{i}].since", "others begin on the same day")

    def _quotas(self, file: File) -> tuple[Quota, ...]:
        quotas: list[Quota] = []
        for i, entry in enumerate(file.quotas):
            path = f"$.quotas[{i}]"
            if any(entry.name == other.name for other in quotas):
                raise self._refuse(f"{path}.name", f"there is a quota {entry.name} already")
            if (entry.window is None) != (entry.unit == "concurrency"):
                problem = "concurrency has no window" if entry.window else "give one"
                raise self._refuse(f"{path}.window", problem)
            if entry.unit != "usd" and entry.limit != int(entry.limit):
                raise self._refuse(f"{path}.limit", "a whole number")
            rolls = entry.window is not None and entry.window[0].isdigit()
            if entry.carry_over and (rolls or entry.window is None):
                raise self._refuse(
                    f"{path}.carry_over", "only a calendar window leaves anything over"
                )
            if entry.warn_at and entry.unit == "concurrency":
                raise self._refuse(f"{path}.warn_at", "concurrency is not used up")
            quotas.append(_quota(entry, rolls=rolls))
        return tuple(quotas)

    def _providers(self, entries: dict[str, ProviderEntry]) -> dict[str, Provider]:
        providers: dict[str, Provider] = {}
        for name, entry in entries.items():
            provider = self._provider(name, entry)
            if provider is None:
                self._left_out.add(name)
            else:
                providers[name] = provider
        return providers

    def _provider(self, name: str, entry: ProviderEntry) -> Provider | None:
        path = f"$.providers.{name}"
        row = provider_rows().get(entry.kind or name)
        if row is None:
            known = ", ".join(provider_rows())
            raise self._refuse(f"{path}.kind", f"no such provider; the catalogue has {known}")
        key = self._key(entry, row, path)
        if key is not None and not self._is_there(key):
            if entry.optional:
                return None
            missing = f"variable {key.env} is not set" if key.env else f"no file {key.file}"
            raise self._refuse(f"{path}.key", missing)
        params = row.params | entry.params
        host, port, tls = self._address(entry.url or row.url, params, path)
        return Provider(
            name=name,
            kind=entry.kind or name,
            endpoints=self._endpoints(entry, row, params, path),
            host=host,
            port=port,
            tls=tls,
            headers=row.headers,
            key=key,
            key_header=row.key_header,
            key_prefix=row.key_prefix,
            signing=self._signing(row, params),
            region=entry.region,
            circuit_breaker=self._circuit_breaker(entry.circuit_breaker, path),
            outlier_detection=entry.outlier_detection,
            health_check=self._health_check(entry.health_check, row, path),
        )

    def _circuit_breaker(self, given: CircuitBreaker | None, path: str) -> CircuitBreaker | None:
        if given is not None and given.max_pending_requests and not given.max_connections:
            where = f"{path}.circuit_breaker.max_pending_requests"
            raise self._refuse(where, "needs max_connections: without it nothing waits")
        return given

    def _health_check(
        self, given: HealthCheck | None, row: ProviderRow, path: str
    ) -> HealthCheck | None:
        if given is None:
            return None
        if given.timeout_seconds > given.interval_seconds:
            problem = f"is longer than the interval, {given.interval_seconds:g}"
            raise self._refuse(f"{path}.health_check.timeout_seconds", problem)
        return msgspec.structs.replace(given, path=given.path or row.health)

    def _endpoints(
        self, entry: ProviderEntry, row: ProviderRow, params: Mapping[str, str], path: str
    ) -> dict[str, Endpoint]:
        endpoints: dict[str, Endpoint] = {}
        for name in {**row.serves, **entry.serves}:
            given, known = entry.serves.get(name, ServedEntry()), row.serves.get(name)
            where = f"{path}.serves.{name}"
            served = given.path or (known.path if known else None)
            if served is None:
                raise self._refuse(f"{where}.path", "the catalogue's row has none: give one")
            streamed = given.stream_path or (known.stream_path if known else None)
            quirks = given.quirks if given.quirks is not None else known.quirks if known else {}
            endpoints[name] = Endpoint(
                dialect=self._dialect(name, quirks, where),
                path=self._filled(served, params, where),
                stream_path=streamed and self._filled(streamed, params, where),
                models=self._models(given.models or (known.models if known else None), where),
            )
        return endpoints

    def _models(self, pattern: str | None, path: str) -> re.Pattern[str] | None:
        try:
            return None if pattern is None else re.compile(pattern)
        except re.error as error:
            problem = f"is no regular expression: {error}"
            raise self._refuse(f"{path}.models", problem) from error

    def _dialect(self, name: str, quirks: dict[str, Any], path: str) -> AnyDialect:
        try:
            return provider_dialect(name, quirks)
        except InvalidRequest as error:
            raise self._refuse(path, error.message) from error

    def _filled(self, template: str, params: Mapping[str, str], path: str) -> str:
        """`template` with its placeholders replaced, all but the model's."""
        for name in _PLACEHOLDER.findall(template):
            if not params.get(name):
                raise self._refuse(path, f"params.{name} is needed for {template}")
            template = template.replace(f"{{{name}}}", params[name])
        return template

    def _signing(self, row: ProviderRow, params: Mapping[str, str]) -> Signing | None:
        if row.signer is None:
            return None
        return Signing(service=params["service"], region=params["region"])

    def _key(self, entry: ProviderEntry, row: ProviderRow, path: str) -> KeySource | None:
        if entry.key is None:
            return KeySource(env=row.key_env) if row.key_env else None
        if (entry.key.env is None) == (entry.key.file is None):
            raise self._refuse(f"{path}.key", "give either env or file")
        return entry.key

    def _is_there(self, key: KeySource) -> bool:
        if key.env is not None:
            return bool(self._environment.get(key.env))
        return Path(cast("str", key.file)).is_file()

    def _address(
        self, url: str | None, params: Mapping[str, str], path: str
    ) -> tuple[str, int, bool]:
        """Host, port and whether TLS is spoken."""
        if url is None:
            raise self._refuse(f"{path}.url", "this provider has no address of its own: give one")
        url = self._filled(url, params, f"{path}.url")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise self._refuse(f"{path}.url", f"is not a URL: {error}") from error
        is_alone = "@" not in parts.netloc and not (parts.query or parts.fragment)
        is_whole = is_alone and parts.path in ("", "/") and port != 0
        if parts.scheme not in ("http", "https") or not is_host(parts.hostname) or not is_whole:
            raise self._refuse(f"{path}.url", "expected http(s)://host[:port] and nothing more")
        tls = parts.scheme == "https"
        return parts.hostname or "", port or (443 if tls else 80), tls

    def _is_served(self, providers: Mapping[str, Provider], provider: str, path: str) -> bool:
        if provider not in providers and provider not in self._left_out:
            raise self._refuse(path, f"no provider {provider} in this file")
        return provider in providers
