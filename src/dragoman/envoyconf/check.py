"""Whether an Envoy file, anybody's, does what a policy needs; each finding names its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import yaml

from dragoman import metadata as names
from dragoman.config.callouts import SOCKET
from dragoman.config.policy import Policy, Provider
from dragoman.config.resilience import MAX_CONCURRENT
from dragoman.envoyconf.callouts import callout_listeners
from dragoman.envoyconf.check_stages import answer_stages
from dragoman.envoyconf.clusters import needs_secret
from dragoman.envoyconf.filters import DECIDE, HEAD, HEAD_ATTRIBUTE, REQUEST_ID
from dragoman.envoyconf.identity import (
    ALLOW,
    DENY,
    JWT,
    forwarding,
    peer_attributes,
    provider_rules,
    proxy_headers,
)
from dragoman.envoyconf.inspection import (
    Finding,
    Inspection,
    Node,
    config_of,
    filters_of,
    is_a,
    seconds_of,
    walk,
)
from dragoman.envoyconf.render import UNTRUSTED_PREFIXES
from dragoman.envoyconf.resilience import ENVOY_LIMITS, NOBODY, breakers, detection
from dragoman.envoyconf.shadow import LISTENER as SHADOW
from dragoman.envoyconf.shadow import SOCKET as SHADOW_SOCKET
from dragoman.envoyconf.shadow import mirror_policy
from dragoman.errors import ConfigError
from dragoman.ir import Json

_EXT_PROC = "ext_proc.v3.ExternalProcessor"
FLOW_CONTROL = "envoy.reloadable_features.grpc_side_stream_flow_control"
_JWT_AUTHN = "jwt_authn.v3.JwtAuthentication"
_OAUTH2 = "oauth2.v3.OAuth2"
_DOWNSTREAM_TLS = "tls.v3.DownstreamTlsContext"
_BUFFER = "buffer.v3.Buffer"
_AGGREGATES = ("envoy.clusters.aggregate", "envoy.clusters.composite")


def check(policy: Policy, file: str) -> list[Finding]:
    """All findings on the Envoy configuration in `file`. Raises `ConfigError` on no such file."""
    try:
        document: object = yaml.load(
            Path(file).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(file, "$", f"cannot be read as YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(file, "$", "is not an Envoy bootstrap")
    return check_document(policy, cast("Json", document), file)


def check_document(policy: Policy, document: Json, file: str) -> list[Finding]:
    """All findings on a configuration already read."""
    inspection = Inspection(policy, document, file)
    for rule in _RULES:
        rule(inspection)
    return inspection.findings


def _reaches_provider(route: Json) -> bool:
    action = route.get("route", {})
    return bool(action) and not str(action.get("cluster", "")).startswith("dragoman_")


def _decide_filter(at: Inspection) -> None:
    """The decide stage: one message in, headers held by the filter right after it."""
    for manager in at.managers:
        filters = filters_of(manager)
        position = next(
            (i for i, (_, item) in enumerate(filters) if item.get("name") == DECIDE), None
        )
        if position is None:
            at.report(
                f"{manager[0]}.http_filters", f"has no {DECIDE}", "Add it as the first filter"
            )
            continue
        where, before = f"{manager[0]}.http_filters", [i.get("name") for _, i in filters[:position]]
        if REQUEST_ID not in before:
            remedy = f"Put {REQUEST_ID} in front of {DECIDE}"
            at.report(where, "names no requests: the ledger has no ids", remedy, "warning")
        path, item = filters[position]
        if HEAD not in before or HEAD_ATTRIBUTE not in config_of(item).get(
            "request_attributes", []
        ):
            remedy = f"Put {HEAD} in front of {DECIDE}, and {HEAD_ATTRIBUTE} into its attributes"
            at.report(where, f"tells {DECIDE} neither method nor path", remedy)
        _decide_modes(at, path, config_of(item))
        follower = filters[position + 1][1] if position + 1 < len(filters) else {}
        if not is_a(config_of(follower), _BUFFER):
            remedy = "Put envoy.filters.http.buffer right behind it"
            at.report(path, "nothing holds the headers while it decides", remedy)


def _decide_modes(at: Inspection, path: str, config: Json) -> None:
    mode = config.get("processing_mode", {})
    wanted = {"request_header_mode": "SKIP", "request_body_mode": "BUFFERED"}
    for name, value in wanted.items():
        if mode.get(name) != value:
            at.report(
                f"{path}.typed_config.processing_mode.{name}", f"is not {value}", f"Set {value}"
            )
    if config.get("failure_mode_allow"):
        at.report(
            f"{path}.typed_config.failure_mode_allow", "lets requests pass undecided", "Remove it"
        )
    spaces = config.get("metadata_options", {}).get("receiving_namespaces", {}).get("untyped", [])
    wanted_spaces = [names.NAMESPACE, names.ROUTE_NAMESPACE, names.MODELS_NAMESPACE]
    wanted_spaces.append(names.PATHS_NAMESPACE)
    if at.policy.quotas:
        wanted_spaces.append(names.RATE_LIMIT_NAMESPACE)
    if at.policy.statistics.cost:
        wanted_spaces.append(names.PRICES_NAMESPACE)
    if at.policy.redaction is not None:
        wanted_spaces.append(names.REDACTION_NAMESPACE)
    if at.policy.guardrails is not None:
        wanted_spaces.append(names.GUARDRAILS_NAMESPACE)
    if at.policy.callers.issuers or at.policy.issued_keys:
        wanted_spaces.append(names.SUBJECT_NAMESPACE)
    for name in wanted_spaces:
        if name not in spaces:
            where = f"{path}.typed_config.metadata_options.receiving_namespaces.untyped"
            at.report(where, f"lacks {name}", "Add it, or the stages learn nothing of each other")


def _tokens(at: Inspection) -> None:
    """What the decide stage believes of a token, a filter in front of it verified as the policy
    says."""
    if not at.policy.callers.issuers:
        return
    for manager in at.managers:
        before: list[Node] = []
        for path, item in filters_of(manager):
            if item.get("name") == DECIDE:
                _token_forwarding(at, f"{path}.typed_config", config_of(item))
                break
            if is_a(config_of(item), _JWT_AUTHN):
                before.append((f"{path}.typed_config", config_of(item)))
        if not before:
            where = f"{manager[0]}.http_filters"
            at.report(where, "verifies no tokens", f"Put {JWT} in front of {DECIDE}")
        for path, config in before:
            _token_rules(at, path, config)


def _token_forwarding(at: Inspection, path: str, config: Json) -> None:
    spaces = config.get("metadata_options", {}).get("forwarding_namespaces", {})
    if names.JWT_NAMESPACE not in spaces.get("untyped", []):
        where = f"{path}.metadata_options.forwarding_namespaces.untyped"
        at.report(where, f"lacks {names.JWT_NAMESPACE}", "Add it, or no token is known")


def _token_rules(at: Inspection, path: str, config: Json) -> None:
    providers: Json = config.get("providers", {})
    for name, issuer in at.policy.callers.issuers.items():
        here, provider = f"{path}.providers.{name}", providers.get(name)
        if provider is None:
            at.report(f"{path}.providers", f"has no {name}", "Add it; `dragoman envoy` prints it")
            continue
        for key, wanted in provider_rules(issuer).items():
            if provider.get(key) != wanted:
                at.report(f"{here}.{key}", "is not as the policy has it", f"Set {wanted}")
    if "allow_missing_or_failed" not in msgspec.json.encode(config.get("rules", [])).decode():
        problem = "refuses keys, and tokens in words of no client's dialect"
        at.report(f"{path}.rules", problem, "Require allow_missing_or_failed", "warning")


def _sign_in(at: Inspection) -> None:
    """Whom browsers sign in as is known by the token that this puts into `authorization`."""
    for manager in at.managers:
        kinds = [str(config_of(item).get("@type")) for _, item in filters_of(manager)]
        verifier = next((i for i, kind in enumerate(kinds) if kind.endswith(_JWT_AUTHN)), -1)
        for i, (path, item) in enumerate(filters_of(manager)):
            config = config_of(item)
            if not is_a(config, _OAUTH2):
                continue
            if not config.get("config", {}).get("forward_bearer_token"):
                where = f"{path}.typed_config.config.forward_bearer_token"
                at.report(where, "is off: nobody is known who signed in", "Set true")
            if i > verifier:
                at.report(path, "stands behind what verifies tokens", f"Put it in front of {JWT}")


def _certificates(at: Inspection) -> None:
    """Clients are asked for certificates, and those are verified, where the policy goes by them."""
    tls = at.policy.listener.tls
    for path, listener in at.listeners if tls is not None else ():
        for i, chain in enumerate(listener.get("filter_chains", [])):
            where = f"{path}.filter_chains[{i}].transport_socket"
            context = config_of(chain.get("transport_socket", {}))
            common = msgspec.json.encode(context.get("common_tls_context", {})).decode()
            if not is_a(context, _DOWNSTREAM_TLS):
                at.report(where, "speaks no TLS", "Add DownstreamTlsContext")
            elif tls is not None and tls.client_ca and "validation_context" not in common:
                at.report(where, "verifies no client's certificate", "Add a validation_context")
            elif tls is not None and tls.require and not context.get("require_client_certificate"):
                at.report(where, "requires no certificate", "Set require_client_certificate: true")
    for manager in at.managers:
        for path, item in filters_of(manager):
            asked = config_of(item).get("request_attributes", [])
            for name in peer_attributes(at.policy) if item.get("name") == DECIDE else ():
                if name not in asked:
                    where = f"{path}.typed_config.request_attributes"
                    at.report(where, f"lacks {name}", "Add it, or nobody is known by it")


def _addresses(at: Inspection) -> None:
    """Which address is the client's, who may say so, and who is let in."""
    listener = at.policy.listener
    lists = [name for name, given in ((DENY, listener.deny), (ALLOW, listener.allow)) if given]
    for path, manager in at.managers:
        for key, wanted in forwarding(at.policy).items():
            if manager.get(key) != wanted:
                at.report(f"{path}.{key}", "is not as the policy has it", f"Set {wanted}")
        early = msgspec.json.encode(manager.get("early_header_mutation_extensions", [])).decode()
        for name in proxy_headers(at.policy)[1:]:
            if f'"key":"{name}"' not in early:
                where = f"{path}.early_header_mutation_extensions"
                at.report(where, f"does not write {name}", "Copy dragoman.untrusted")
        before = [item.get("name") for item in manager.get("http_filters", [])]
        before = before[: before.index(DECIDE)] if DECIDE in before else before
        for name in lists:
            if name not in before:
                at.report(f"{path}.http_filters", f"has no {name}", f"Put it in front of {DECIDE}")


def _message_timeouts(at: Inspection) -> None:
    """Envoy's default of 200 ms is too short for a large body."""
    nodes = [node for manager in at.managers for node in walk(manager[1], manager[0])]
    nodes += [node for cluster in at.clusters.values() for node in walk(cluster[1], cluster[0])]
    for path, node in nodes:
        if is_a(node, _EXT_PROC) and seconds_of(node.get("message_timeout", "0.2s")) < 1:
            remedy = f"Set {at.policy.timeouts.service_seconds:g}s"
            at.report(f"{path}.message_timeout", "is under a second", remedy)


def _provider_clusters(at: Inspection) -> None:
    """A cluster for each provider, that says who it is and can translate and authenticate."""
    for provider in at.policy.providers.values():
        if provider.name not in at.clusters:
            remedy = "Add it; `dragoman envoy` prints it"
            at.report("$.static_resources.clusters", f"has no cluster {provider.name}", remedy)
            continue
        path, cluster = at.clusters[provider.name]
        said = cluster.get("metadata", {}).get("filter_metadata", {}).get("dragoman", {})
        if said.get("provider", provider.name) not in at.policy.providers:
            where = f"{path}.metadata.filter_metadata.dragoman.provider"
            at.report(where, "names no provider of the policy", f"Set {provider.name}")
        text = msgspec.json.encode(cluster).decode()
        if _EXT_PROC not in text:
            at.report(path, "has no translate filter", "Add it to the cluster's http_filters")
        elif "SkipFilter" not in text:
            remedy = "Wrap it in ExtensionWithMatcher, or same-dialect answers pass through Python"
            at.report(path, "never skips translation", remedy, "warning")
        if _EXT_PROC in text and names.REQUEST_ID_ATTRIBUTE not in text:
            problem = "does not tell which request it is: answers without an id get none"
            remedy = f"Add {names.REQUEST_ID_ATTRIBUTE} to its request_attributes"
            at.report(path, problem, remedy, "warning")
        if needs_secret(provider) and "CredentialInjector" not in text:
            at.report(path, "sends no key", "Add credential_injector with overwrite: true")
        _breakers(at, path, cluster, provider)
        _unhealthy(at, path, cluster, provider)


def _aggregates(at: Inspection) -> None:
    """Envoy 1.40.0 runs the filters of the cluster that a route names, none of its members'."""
    for path, cluster in at.clusters.values():
        kind = cluster.get("cluster_type", {})
        members: list[Json | str] = kind.get("typed_config", {}).get("clusters", [])
        found = {one if isinstance(one, str) else one["name"] for one in members}
        if kind.get("name") in _AGGREGATES and at.policy.providers.keys() & found:
            problem = "asks providers without their filters: no translation, and no key of theirs"
            remedy = "Name them in a route's weighted_clusters, or as targets of a model"
            at.report(f"{path}.cluster_type.typed_config.clusters", problem, remedy)


def _breakers(at: Inspection, path: str, cluster: Json, provider: Provider) -> None:
    """What a breaker stops is never sent to the next target, retries least of all."""
    thresholds: list[Json] = cluster.get("circuit_breakers", {}).get("thresholds", [])
    given = next((t for t in thresholds if t.get("priority", "DEFAULT") == "DEFAULT"), None)
    (wanted,) = breakers(provider.circuit_breaker)["thresholds"]
    if given is None:
        problem = "is missing: above 3 retries or 1024 requests at once no next target is asked"
        at.report(f"{path}.circuit_breakers", problem, f"Set {wanted}", "warning")
        return
    for name, default in ENVOY_LIMITS.items():
        limit = given.get(name, default)
        if limit < wanted[name] and not (name == "max_retries" and "retry_budget" in given):
            problem = f"is {limit}: what is above gets 503, and no next target is asked"
        elif limit > wanted[name] != MAX_CONCURRENT:
            problem = f"is {limit}, above the policy's"
        else:
            continue
        where = f"{path}.circuit_breakers.thresholds[{thresholds.index(given)}].{name}"
        at.report(where, problem, f"Set {wanted[name]}", "warning")


def _unhealthy(at: Inspection, path: str, cluster: Json, provider: Provider) -> None:
    """How a provider is left out, and that the next target is then asked."""
    for name, wanted in detection(provider).items():
        if cluster.get(name) != wanted:
            remedy = "Copy it; `dragoman envoy` prints it"
            at.report(f"{path}.{name}", "is not as the policy has it", remedy, "warning")
    panic = cluster.get("common_lb_config", {}).get("healthy_panic_threshold", {})
    groups = cluster.get("load_assignment", {}).get("endpoints", [])
    if panic and not panic.get("value") and not groups[1:]:
        problem = "is 0: without a healthy host it answers 503, and no next target is asked"
        remedy = f"Remove it, or add a host that refuses: {NOBODY}"
        where = f"{path}.common_lb_config.healthy_panic_threshold"
        at.report(where, problem, remedy, "warning")


def _stage_clusters(at: Inspection) -> None:
    for stage in ("decide", "translate", "ledger"):
        if f"dragoman_{stage}" not in at.clusters:
            remedy = "Add it, with the workers' sockets as endpoints"
            at.report("$.static_resources.clusters", f"has no cluster dragoman_{stage}", remedy)


def _routes(at: Inspection) -> None:
    """Only what was admitted reaches a provider; nothing is cut short; the next target is asked."""
    for path, route in at.routes:
        if not _reaches_provider(route):
            continue
        keys = [
            step["key"]
            for matcher in route["match"].get("dynamic_metadata", [])
            if matcher.get("filter") == names.NAMESPACE
            for step in matcher.get("path", [])
        ]
        if names.ADMITTED not in keys:
            remedy = "Match dynamic_metadata dragoman admitted = 1"
            at.report(f"{path}.match", "reaches a provider without a decision", remedy)
        _route_action(at, f"{path}.route", route["route"])
        _mirrors(at, f"{path}.route", route["route"])
        if names.UNREAD in keys:
            continue  # what is not held cannot be sent twice
        _fallback(at, f"{path}.route", route["route"])
        size = route.get("request_body_buffer_limit", 0)
        if size < at.policy.limits.request_body_bytes:
            remedy = f"Set {at.policy.limits.request_body_bytes}"
            problem = "is below the policy's limit: larger bodies are never retried"
            at.report(f"{path}.request_body_buffer_limit", problem, remedy, "warning")


def _route_action(at: Inspection, path: str, action: Json) -> None:
    if seconds_of(action.get("timeout", "15s")) != 0:
        at.report(f"{path}.timeout", "cuts long answers (Envoy's default is 15s)", "Set 0s")
    if not action.get("auto_host_rewrite") and "host_rewrite_literal" not in action:
        at.report(f"{path}.auto_host_rewrite", "is off: providers see your host", "Set true")


def _mirrors(at: Inspection, path: str, action: Json) -> None:
    """A copy of a request goes out without its metadata: not known are its dialect and model."""
    for i, mirror in enumerate(action.get("request_mirror_policies", [])):
        if mirror.get("cluster") in at.policy.providers:
            problem = (
                "gets copies that its filters know nothing of: not their dialect nor their path"
            )
            remedy = "Send them to the listener again: see operator-traffic.yaml"
            at.report(f"{path}.request_mirror_policies[{i}].cluster", problem, remedy)


def _hedges(at: Inspection) -> None:
    """Envoy 1.40.0 hedges within the cluster of the first attempt, whatever the order says, and the
    first attempt is never given up for the next target."""
    for manager in at.managers:
        for path, node in walk(manager[1], manager[0]):
            if node.get("hedge_policy", {}).get("hedge_on_per_try_timeout"):
                where = f"{path}.hedge_policy.hedge_on_per_try_timeout"
                problem = "asks the same provider twice, and the next target never once it has"
                at.report(where, problem, "Remove it where a model has a next target", "warning")


def _fallback(at: Inspection, path: str, action: Json) -> None:
    """A route that names its cluster has no other one to try."""
    retries = action.get("retry_policy", {})
    if not retries:
        at.report(f"{path}.retry_policy", "is missing: no fallback", "Copy it", "warning")
    elif "cluster" not in action and not retries.get("refresh_cluster_on_retry"):
        remedy = "Set true"
        problem = "is off: a retry stays at the provider that failed"
        at.report(f"{path}.retry_policy.refresh_cluster_on_retry", problem, remedy, "warning")


def _connection_managers(at: Inspection) -> None:
    for path, manager in at.managers:
        if not manager.get("use_remote_address"):
            problem = "is off: clients choose their own address and request id"
            at.report(f"{path}.use_remote_address", problem, "Set true")
        _untrusted_headers(at, path, manager)
        _running_requests(at, path, manager)
        if not manager.get("local_reply_config", {}).get("mappers"):
            problem = "is missing: Envoy's own errors are in no client's dialect"
            at.report(f"{path}.local_reply_config", problem, "Copy it", "warning")
        silence = seconds_of(manager.get("stream_idle_timeout", "300s"))
        if 0 < silence < at.policy.timeouts.first_byte_seconds:
            problem = "is shorter than the policy's wait for a first byte"
            at.report(f"{path}.stream_idle_timeout", problem, "Raise it")
        for i, host in enumerate(manager.get("route_config", {}).get("virtual_hosts", [])):
            if "accept-encoding" not in host.get("request_headers_to_remove", []):
                where = f"{path}.route_config.virtual_hosts[{i}].request_headers_to_remove"
                at.report(
                    where,
                    "lacks accept-encoding: compressed answers go uncounted",
                    "Add it",
                    "warning",
                )


def _running_requests(at: Inspection, path: str, manager: Json) -> None:
    """What a request has reserved is held for as long as the access log tells that it goes on."""
    told = manager.get("access_log_options", {}).get("access_log_flush_interval", "0s")
    if at.policy.quotas and not 0 < seconds_of(told) <= names.RUNNING_SECONDS:
        where = f"{path}.access_log_options.access_log_flush_interval"
        problem = "is missing or too long: quotas forget what takes longer than a minute"
        at.report(where, problem, f"Set {names.RUNNING_SECONDS}s", "warning")


def _untrusted_headers(at: Inspection, path: str, manager: Json) -> None:
    early = msgspec.json.encode(manager.get("early_header_mutation_extensions", [])).decode()
    for prefix in UNTRUSTED_PREFIXES:
        if f'"prefix":"{prefix}"' not in early:
            where = f"{path}.early_header_mutation_extensions"
            problem = f"leaves {prefix} headers: what clients say there is believed"
            at.report(where, problem, "Copy dragoman.untrusted")


def _buffers(at: Inspection) -> None:
    """The decide stage holds a body under the route it has until then: as much as that route says,
    or else the listener."""
    wanted = at.policy.limits.request_body_bytes
    sizes = [
        listener.get("per_connection_buffer_limit_bytes", 1 << 20) for _, listener in at.listeners
    ]
    if min(sizes, default=wanted) >= wanted:
        return
    for path, route in at.routes:
        if not _reaches_provider(route) and route.get("request_body_buffer_limit", 0) < wanted:
            problem = "is below the policy's limits.request_body_bytes, and so is the listener's"
            at.report(f"{path}.request_body_buffer_limit", problem, f"Set {wanted}")


def _callouts(at: Inspection) -> None:
    """Envoy takes callouts from the workers."""
    if callout_listeners(at.policy) and not at.callouts:
        where = f"{at.policy.run_dir}/{SOCKET}"
        remedy = "Add it, for its owner alone; `dragoman envoy` prints it"
        at.report("$.static_resources.listeners", f"none is on {where}", remedy)


def _shadows(at: Inspection) -> None:
    """What is to be copied is, and copies come in where nobody else does."""
    if not at.policy.has_shadows:
        return
    if not at.shadows:
        where = f"{at.policy.run_dir}/{SHADOW_SOCKET}"
        remedy = "Add it, for its owner alone; `dragoman envoy` prints it"
        at.report("$.static_resources.listeners", f"none is on {where}", remedy)
    if SHADOW not in at.clusters:
        remedy = "Add it; `dragoman envoy` prints it"
        at.report("$.static_resources.clusters", f"has no cluster {SHADOW}", remedy)
    mirrors = [
        m for _, r in at.routes for m in r.get("route", {}).get("request_mirror_policies", [])
    ]
    if mirror_policy() not in mirrors:
        problem = "copies nothing to the shadows of the policy"
        remedy = "Copy the routes whose names begin with shadow_; `dragoman envoy` prints them"
        at.report("$.static_resources.listeners", problem, remedy)


def _runtime(at: Inspection) -> None:
    """Envoy 1.40.0 crashes on a retry through a translate filter with this flag on."""
    if f'"{FLOW_CONTROL}":false' not in at.runtime:
        problem = f"leaves {FLOW_CONTROL} on: retries of large bodies crash Envoy 1.40.0"
        at.report("$.layered_runtime", problem, "Set it to false in a static layer")


def _admin(at: Inspection) -> None:
    """The workers ask Envoy for its count of requests in flight."""
    wanted = at.policy.admin
    if at.policy.loaded_providers and at.admin.get("port_value") != wanted.port:
        problem = f"is not at the policy's port, {wanted.port}: least_loaded knows of no load"
        at.report("$.admin.address", problem, "Set it, or admin in the policy", "warning")


def _plain_keys(at: Inspection) -> None:
    for path, secret in at.credentials:
        source = secret["generic_secret"].get("secret", {})
        if "inline_string" in source or "inline_bytes" in source:
            remedy = "Use filename or environment_variable"
            at.report(f"{path}.generic_secret.secret", "is a key in plain text", remedy)


_RULES: tuple[Callable[[Inspection], None], ...] = (
    _decide_filter,
    _tokens,
    _sign_in,
    _certificates,
    _addresses,
    _message_timeouts,
    _provider_clusters,
    answer_stages,
    _aggregates,
    _stage_clusters,
    _routes,
    _hedges,
    _connection_managers,
    _buffers,
    _callouts,
    _shadows,
    _runtime,
    _admin,
    _plain_keys,
)
