"""The whole Envoy bootstrap for a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec
import yaml

from dragoman import metadata as names
from dragoman.config.policy import Policy
from dragoman.dialects.pass_through import FORM_PATHS, UNREAD_PREFIXES
from dragoman.dialects.registry import PREFIXES, client_dialect
from dragoman.envoyconf.callouts import callout_clusters, callout_listeners, callout_secrets
from dragoman.envoyconf.clusters import (
    STAGES,
    needs_secret,
    provider_cluster,
    secret,
    stage_cluster,
)
from dragoman.envoyconf.filters import (
    form_mode,
    headers_mode,
    http_filters,
    unheld,
    without_respond,
)
from dragoman.envoyconf.identity import (
    forwarding,
    jwks_clusters,
    listener_tls,
    peer_address,
    proxy_headers,
)
from dragoman.envoyconf.local_replies import error_body, local_replies
from dragoman.envoyconf.shadow import mirrored, shadow_clusters, shadow_listeners
from dragoman.envoyconf.statistics import access_logs
from dragoman.envoyconf.told import from_metadata, id_header
from dragoman.envoyconf.typed import seconds, typed
from dragoman.ir import Json

_MAX_CONNECTIONS = 50_000
_HCM = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_PIECE_BYTES = 1 << 20
"""What Envoy reads of a body at a time, and hands on where it is not held whole. How much may be
held, each route says."""
_UNTRUSTED = ("x-request-id", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
UNTRUSTED_PREFIXES = ("x-dragoman-", "x-envoy-")
"""Headers of which no client's is believed."""
_NO_BODY = "The request body is missing."
_FREED: Json = {"bytes_to_release": 4 * 2**20, "memory_release_interval": "1s"}
"""What Envoy gives back to the system of what it no longer uses, above all of its start."""
_RUNTIME: Json = {"envoy.reloadable_features.grpc_side_stream_flow_control": False}
"""Envoy 1.40.0 ends with a segmentation fault where a body above about 256 KB is sent to a second
attempt's upstream ext_proc with this on: its watermark reaches a request that is gone."""


def render(policy: Policy) -> Json:
    """The bootstrap as plain structures, in the order Envoy's own documentation uses."""
    providers = list(policy.providers.values())
    return {
        "admin": {"address": _address(policy.admin.address, policy.admin.port)},
        "overload_manager": _overload(),
        "memory_allocator_manager": _FREED,
        "layered_runtime": {"layers": [{"name": "dragoman", "static_layer": _RUNTIME}]},
        "static_resources": {
            "secrets": [
                *(secret(provider) for provider in providers if needs_secret(provider)),
                *callout_secrets(policy),
            ],
            "listeners": [
                _listener(policy),
                *callout_listeners(policy),
                *shadow_listeners(policy, _held_routes(policy), _removed(policy)),
            ],
            "clusters": [
                *(stage_cluster(stage, policy) for stage in STAGES),
                *(provider_cluster(provider, policy) for provider in providers),
                *jwks_clusters(policy),
                *callout_clusters(policy),
                *shadow_clusters(policy),
            ],
        },
    }


def to_yaml(document: Json) -> str:
    """`document` as YAML, keys in their order."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100)
    return text


def from_yaml(text: bytes) -> Json:
    """The document that `to_yaml` wrote."""
    document: Json = yaml.load(text, yaml.CSafeLoader)
    return document


class _Dumper(yaml.SafeDumper):
    """Writes shared parts in full, each where it stands, and long text as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    represent = cast("Callable[..., yaml.ScalarNode]", dumper.represent_scalar)  # pyright: ignore[reportUnknownMemberType]
    return represent("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def _address(address: str, port: int) -> Json:
    return {"socket_address": {"address": address, "port_value": port}}


def _overload() -> Json:
    monitor = typed(
        "envoy.resource_monitors.global_downstream_max_connections",
        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=_MAX_CONNECTIONS,
    )
    return {"resource_monitors": [monitor]}


def _listener(policy: Policy) -> Json:
    return {
        "name": "dragoman",
        "address": _address(policy.listener.address, policy.listener.port),
        "per_connection_buffer_limit_bytes": min(_PIECE_BYTES, policy.limits.request_body_bytes),
        "filter_chains": [
            {
                "filters": [typed("hcm", _HCM, **_connection_manager(policy))],
                **listener_tls(policy.listener),
            }
        ],
    }


def _connection_manager(policy: Policy) -> Json:
    return {
        "stat_prefix": "dragoman",
        "use_remote_address": True,
        **forwarding(policy),
        "normalize_path": True,
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "dragoman"},
        "early_header_mutation_extensions": [_untrusted_headers(policy)],
        "stream_idle_timeout": seconds(policy.silence_seconds),
        "request_headers_timeout": "10s",
        "local_reply_config": local_replies(browsers=bool(policy.callers.issuers)),
        "access_log_options": {"access_log_flush_interval": f"{names.RUNNING_SECONDS}s"},
        "access_log": access_logs(
            policy.redaction,
            policy.guardrails,
            levels=any(quota.warn_at for quota in policy.quotas),
            cost=policy.statistics.cost,
            limited=policy.loaded_providers,
        ),
        "http_filters": http_filters(policy),
        "route_config": {
            "name": "dragoman",
            "virtual_hosts": [
                {
                    "name": "dragoman",
                    "domains": ["*"],
                    "request_headers_to_remove": _removed(policy),
                    **_told_headers(policy),
                    "routes": routes(policy),
                }
            ],
        },
    }


def _removed(policy: Policy) -> list[str]:
    """Headers that no provider sees."""
    said = ("accept-encoding", "dragoman-provider", "dragoman-residency")
    return [*said, *proxy_headers(policy)]


def _told_headers(policy: Policy) -> Json:
    """The request's id, and what the decide stage told: of the caller's quotas and of the model's
    end, as the usual headers; of its choice."""
    units = dict.fromkeys(quota.unit for quota in policy.quotas)
    told = [f"{word}-{unit}" for unit in units for word in ("limit", "remaining", "reset")]
    headers = [id_header()]
    headers += [from_metadata(f"x-ratelimit-{n}", names.RATE_LIMIT_NAMESPACE, n) for n in told]
    if policy.decision_header:
        headers.append(from_metadata("x-dragoman-decision", names.NAMESPACE, names.DECISION))
    if any(model.deprecated for model in policy.models.values()):
        ends = (names.DEPRECATION, names.SUNSET)
        headers += [from_metadata(name, names.NAMESPACE, name) for name in ends]
    return {"response_headers_to_add": headers}


def _longest_wait(policy: Policy) -> float:
    """Until an answer begins, of the model with the most targets."""
    targets = max((len(model.targets) for model in policy.models.values()), default=1)
    return policy.waiting_seconds(targets)


def _untrusted_headers(policy: Policy) -> Json:
    believed = ("x-forwarded-for",) if policy.listener.trusted_hops else ()
    mutations: list[Json] = [{"remove": name} for name in _UNTRUSTED if name not in believed]
    mutations += [
        {"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in UNTRUSTED_PREFIXES
    ]
    mutations += peer_address(policy)
    return typed(
        "dragoman.untrusted",
        "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=mutations,
    )


def routes(policy: Policy) -> list[Json]:
    """Nothing reaches a provider but what the decide stage admitted: its metadata is the match."""
    action = _provider_action(policy, policy.silence_seconds)
    limit = {"request_body_buffer_limit": policy.limits.request_body_bytes}
    plain, held = without_respond(), _held_routes(policy)
    return [
        *mirrored(policy, held),
        {
            "name": "unread",
            "match": _admitted(names.UNREAD),
            "route": {name: value for name, value in action.items() if name != "retry_policy"},
            "typed_per_filter_config": {**plain, **unheld()},
        },
        *held,
        *({**route, **limit} for route in _undecided_routes(policy, plain)),
    ]


def _held_routes(policy: Policy) -> list[Json]:
    """Those of requests that can be sent again."""
    action = _provider_action(policy, policy.silence_seconds)
    limit = {"request_body_buffer_limit": policy.limits.request_body_bytes}
    plain = without_respond()
    return [
        *_patient_routes(policy, limit, plain),
        {"name": "respond", "match": _admitted(names.RESPOND), "route": action, **limit},
        {
            "name": "plain",
            "match": _admitted(),
            "route": action,
            **limit,
            "typed_per_filter_config": plain,
        },
    ]


def _patient_routes(policy: Policy, limit: Json, plain: Json) -> list[Json]:
    """Those of requests that may wait for more targets than the usual time is enough for: an
    attempt that begins moves nothing of the client's stream, and so does not start its clock anew.
    None where no model has so many."""
    longest = _longest_wait(policy)
    if longest <= policy.silence_seconds:
        return []
    action = _provider_action(policy, longest)
    respond = _admitted(names.RESPOND, names.PATIENT)
    return [
        {"name": "respond_patient", "match": respond, "route": action, **limit},
        {
            "name": "plain_patient",
            "match": _admitted(names.PATIENT),
            "route": action,
            **limit,
            "typed_per_filter_config": plain,
        },
    ]


def _undecided_routes(policy: Policy, plain: Json) -> list[Json]:
    """How the decide stage gets a request, and what is answered to one that it could not admit."""
    bodies = {"name": ":method", "string_match": {"safe_regex": {"regex": "POST|PUT|PATCH"}}}
    return [
        *(
            {
                "name": f"unread{prefix.replace('/', '_')}",
                "match": {"prefix": prefix},
                "direct_response": {"status": 503},
                "typed_per_filter_config": {**plain, **headers_mode()},
            }
            for prefix in (*UNREAD_PREFIXES, *(r.prefix for r in policy.pass_through))
        ),
        _refusal(
            "form",
            {"safe_regex": {"regex": FORM_PATHS}, "headers": [bodies]},
            _no_body(""),
            {**plain, **form_mode()},
        ),
        *(
            _refusal(
                f"no_body{start.replace('/', '_')}",
                {"prefix": start, "headers": [bodies]},
                _no_body(name),
                plain,
            )
            for start, name in (*PREFIXES, ("/", ""))
        ),
        {
            "name": "bodiless",
            "match": {"prefix": "/"},
            "direct_response": {"status": 503},
            "typed_per_filter_config": {**plain, **headers_mode()},
        },
    ]


def _no_body(dialect: str) -> Json:
    return error_body(client_dialect(dialect), _NO_BODY, 400)


def _admitted(*flags: str) -> Json:
    matchers = [
        {
            "filter": names.NAMESPACE,
            "path": [{"key": key}],
            "value": {"string_match": {"exact": names.FLAG}},
        }
        for key in (names.ADMITTED, *flags)
    ]
    return {"prefix": "/", "dynamic_metadata": matchers}


def _refusal(name: str, match: Json, body: Json, per_filter: Json) -> Json:
    """Also the route of a request that the decide stage could not answer: its filters are off."""
    return {
        "name": name,
        "match": match,
        "direct_response": {
            "status": 400,
            "body": {"inline_string": msgspec.json.encode(body).decode()},
        },
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
        "typed_per_filter_config": per_filter,
    }


def _provider_action(policy: Policy, idle_seconds: float) -> Json:
    """`idle_seconds`: nothing may move for so long."""
    groups = [
        {"name": name, "clusters": [{"cluster_name": name, "weight": 1}]}
        for name in policy.providers
    ]
    specifier = typed(
        "envoy.router.cluster_specifier_plugin.priority_group",
        "extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
        priority_groups=groups,
        override_metadata_namespace=names.ROUTE_NAMESPACE,
    )
    return {
        "timeout": "0s",
        "idle_timeout": seconds(idle_seconds),
        "auto_host_rewrite": True,
        "inline_cluster_specifier_plugin": {"extension": specifier},
        "retry_policy": retry_policy(policy),
    }


def retry_policy(policy: Policy) -> Json:
    """The next target on 429, 5xx, connect failure, reset, or no first byte in time: at once, as it
    is always another provider."""
    return {
        "retry_on": "5xx,reset,connect-failure,retriable-status-codes",
        "retriable_status_codes": [429],
        "num_retries": 1,
        "refresh_cluster_on_retry": True,
        "per_try_timeout": seconds(policy.timeouts.first_byte_seconds),
        "per_try_idle_timeout": seconds(policy.timeouts.idle_seconds),
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.01s"},
    }
