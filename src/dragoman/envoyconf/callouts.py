"""Where Envoy takes callouts from the workers, and how it reaches whom they are for: a provider as
any attempt does, with its key; a service of the operator's through a cluster of its own.

What speaks gRPC the workers ask as they ask anybody, in HTTP/1.1, with a protobuf message as body:
Envoy makes a gRPC call of it.
"""

from __future__ import annotations

import copy

from dragoman import metadata as names
from dragoman.config.callouts import (
    SOCKET,
    Callee,
    Own,
    Provided,
    find_place,
)
from dragoman.config.policy import Policy
from dragoman.envoyconf.clusters import (
    credential,
    endpoints,
    http_options,
    named_secret,
    tls_context,
    upstream_codec,
)
from dragoman.envoyconf.typed import message, seconds, typed
from dragoman.ir import Json

LISTENER = "dragoman_callouts"
"""Also the prefix of its statistics."""
_TARGET = "dragoman.target"
_GRPC = "dragoman.grpc"
_HCM = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TO_METADATA = "extensions.filters.http.header_to_metadata.v3.Config"
_HTTP1 = "http_protocol_options"
OWNER_ONLY = 0o600
_OURS = ("x-forwarded-proto", "x-request-id", "x-envoy-expected-rq-timeout-ms")
_NOWHERE = "x-dragoman-none"
"""A header that no worker sends: what is set where it is missing, is always set."""


def callout_listeners(policy: Policy) -> list[Json]:
    """One on a Unix socket, that its owner alone may use; none where nothing is called out."""
    if not policy.callees:
        return []
    bridge = "extensions.filters.http.grpc_http1_bridge.v3.Config"
    manager = {
        "stat_prefix": LISTENER,
        "http_filters": [
            typed(_GRPC, bridge, upgrade_protobuf_to_grpc=True),
            typed(_TARGET, _TO_METADATA),
            typed(
                "router",
                "extensions.filters.http.router.v3.Router",
                suppress_envoy_headers=True,
            ),
        ],
        "route_config": {
            "name": LISTENER,
            "virtual_hosts": [{"name": LISTENER, "domains": ["*"], "routes": _routes(policy)}],
        },
    }
    pipe = {"path": f"{policy.run_dir}/{SOCKET}", "mode": OWNER_ONLY}
    chain = {"filters": [typed("hcm", _HCM, **manager)]}
    return [{"name": LISTENER, "address": {"pipe": pipe}, "filter_chains": [chain]}]


def callout_secrets(policy: Policy) -> list[Json]:
    """The keys of the operator's services that want one."""
    return [
        named_secret(_secret_name(callee), callee.service.key)
        for callee in policy.callees
        if isinstance(callee.service, Own) and callee.service.key
    ]


def callout_clusters(policy: Policy) -> list[Json]:
    """One for each service of the operator's."""
    return [
        _cluster(callee, callee.service, policy)
        for callee in policy.callees
        if isinstance(callee.service, Own)
    ]


def keep_callouts(document: Json, former: Policy) -> Json:
    """A bootstrap with what `former` alone calls out, for requests that were decided under it."""
    resources: Json = document["static_resources"]
    parts = {
        "secrets": _with(resources["secrets"], callout_secrets(former)),
        "clusters": _with(resources["clusters"], callout_clusters(former)),
    }
    listeners: list[Json] = resources["listeners"]
    for kept in callout_listeners(former):
        listeners = _with([_with_routes(one, kept) for one in listeners], [kept])
    return {**document, "static_resources": {**resources, **parts, "listeners": listeners}}


def _with(named: list[Json], further: list[Json]) -> list[Json]:
    """`named`, and those of `further` that have other names."""
    known = {one["name"] for one in named}
    return [*named, *(one for one in further if one["name"] not in known)]


def _with_routes(listener: Json, former: Json) -> Json:
    if listener["name"] != LISTENER:
        return listener
    found = copy.deepcopy(listener)
    host, own = _host(found), _host(former)
    host["routes"] = _with(host["routes"], own["routes"])
    return found


def _host(listener: Json) -> Json:
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    host: Json = manager["route_config"]["virtual_hosts"][0]
    return host


def _secret_name(callee: Callee) -> str:
    return f"key-{callee.cluster}"


def _routes(policy: Policy) -> list[Json]:
    return [
        {
            "name": callee.route,
            "match": {"path": callee.route},
            "request_headers_to_remove": list(_OURS),
            **_action(callee, policy),
        }
        for callee in policy.callees
    ]


def _action(callee: Callee, policy: Policy) -> Json:
    service = callee.service
    timeout = seconds(service.timeout_seconds)
    if isinstance(service, Provided):
        action = {"cluster": service.provider, "timeout": timeout, "auto_host_rewrite": True}
        told = message(_TO_METADATA, request_rules=_told(service, policy))
        return {"route": action, "typed_per_filter_config": {_TARGET: told}}
    place = find_place(service.url, service.METHOD)
    rewrite: Json = {
        "regex_rewrite": {"pattern": {"regex": "^.*$"}, "substitution": place.path},
        "host_rewrite_literal": place.authority,
    }
    route = {"route": {"cluster": callee.cluster, "timeout": timeout, **rewrite}}
    return {**route, **_grpc_headers(service)} if service.METHOD else route


def _grpc_headers(service: Own) -> Json:
    """What a gRPC server expects beside what the filter writes."""
    told = {"te": "trailers", "grpc-timeout": f"{service.timeout_ms}m"}
    return {
        "request_headers_to_add": [
            {
                "header": {"key": name, "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
            for name, value in told.items()
        ]
    }


def _told(callout: Provided, policy: Policy) -> list[Json]:
    """What the decide stage tells of a request that this provider takes as it is."""
    endpoint = policy.providers[callout.provider].endpoints[callout.DIALECT]
    path = endpoint.request_path(callout.model)
    told = {
        (names.NAMESPACE, names.KEEP + callout.provider): names.FLAG,
        (names.PATHS_NAMESPACE, callout.provider): path,
    }
    return [
        {
            "header": _NOWHERE,
            "on_header_missing": {"metadata_namespace": space, "key": key, "value": value},
        }
        for (space, key), value in told.items()
    ]


def _cluster(callee: Callee, service: Own, policy: Policy) -> Json:
    name, place = callee.cluster, find_place(service.url, service.METHOD)
    if place.port:
        address = {"socket_address": {"address": place.host, "port_value": place.port}}
        where = endpoints(name, {"address": address}, place.host)
    else:
        pipe = {"endpoint": {"address": {"pipe": {"path": place.host}}}}
        hosts = [{"lb_endpoints": [pipe]}]
        where = {
            "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": hosts},
        }
    cluster: Json = {
        "name": name,
        "connect_timeout": seconds(policy.timeouts.connect_seconds),
        **where,
    }
    spoken = ("http2_protocol_options", "h2") if service.METHOD else (_HTTP1, "http/1.1")
    if place.tls:
        cluster["transport_socket"] = tls_context(place.host, policy.ca_file, (spoken[1],))
    fields: Json = {"explicit_http_config": {spoken[0]: {}}}
    if service.key:
        key = credential(_secret_name(callee), "authorization", "Bearer ")
        fields["http_filters"] = [key, upstream_codec()]
    cluster["typed_extension_protocol_options"] = http_options(fields)
    return cluster
