"""Where Envoy takes the callouts of guardrails from the workers, and how it reaches whom they are
for: a provider as any attempt does, with its key; a webhook through a cluster of its own."""

from __future__ import annotations

import copy

from dragoman import metadata as names
from dragoman.config.callouts import (
    MODERATIONS,
    SOCKET,
    Callout,
    Moderation,
    Webhook,
    find_place,
    route_of,
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
_HCM = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TO_METADATA = "extensions.filters.http.header_to_metadata.v3.Config"
OWNER_ONLY = 0o600
_OURS = ("x-forwarded-proto", "x-request-id", "x-envoy-expected-rq-timeout-ms")
_NOWHERE = "x-dragoman-none"
"""A header that no worker sends: what is set where it is missing, is always set."""


def callout_listeners(policy: Policy) -> list[Json]:
    """One on a Unix socket, that its owner alone may use; none where nothing is called out."""
    if policy.guardrails is None or not any(policy.guardrails.callouts()):
        return []
    manager = {
        "stat_prefix": LISTENER,
        "http_filters": [
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


def webhook_secrets(policy: Policy) -> list[Json]:
    """The keys of webhooks that want one."""
    found = policy.guardrails.callouts() if policy.guardrails else ()
    return [
        named_secret(_secret_name(profile, callout), callout.key)
        for profile, callout in found
        if isinstance(callout, Webhook) and callout.key
    ]


def webhook_clusters(policy: Policy) -> list[Json]:
    """One for each webhook."""
    found = policy.guardrails.callouts() if policy.guardrails else ()
    return [
        _webhook_cluster(profile, callout, policy)
        for profile, callout in found
        if isinstance(callout, Webhook)
    ]


def keep_callouts(document: Json, former: Policy) -> Json:
    """A bootstrap with what `former` alone calls out, for requests that were decided under it."""
    resources: Json = document["static_resources"]
    parts = {
        "secrets": _with(resources["secrets"], webhook_secrets(former)),
        "clusters": _with(resources["clusters"], webhook_clusters(former)),
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


def _cluster_name(profile: str, callout: Callout) -> str:
    return f"dragoman_callout.{profile}.{callout.name}"


def _secret_name(profile: str, callout: Callout) -> str:
    return f"key-{_cluster_name(profile, callout)}"


def _routes(policy: Policy) -> list[Json]:
    found = policy.guardrails.callouts() if policy.guardrails else ()
    return [
        {
            "name": route_of(profile, callout),
            "match": {"path": route_of(profile, callout)},
            "request_headers_to_remove": list(_OURS),
            **_action(profile, callout, policy),
        }
        for profile, callout in found
    ]


def _action(profile: str, callout: Callout, policy: Policy) -> Json:
    timeout = seconds(callout.timeout_seconds)
    if isinstance(callout, Moderation):
        action = {"cluster": callout.provider, "timeout": timeout, "auto_host_rewrite": True}
        told = message(_TO_METADATA, request_rules=_told(callout, policy))
        return {"route": action, "typed_per_filter_config": {_TARGET: told}}
    place = find_place(callout.url)
    rewrite: Json = {
        "regex_rewrite": {"pattern": {"regex": "^.*$"}, "substitution": place.path},
        "host_rewrite_literal": place.authority,
    }
    return {"route": {"cluster": _cluster_name(profile, callout), "timeout": timeout, **rewrite}}


def _told(callout: Moderation, policy: Policy) -> list[Json]:
    """What the decide stage tells of a request that this provider takes as it is."""
    path = policy.providers[callout.provider].endpoints[MODERATIONS].request_path(callout.model)
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


def _webhook_cluster(profile: str, callout: Webhook, policy: Policy) -> Json:
    name = _cluster_name(profile, callout)
    place = find_place(callout.url)
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
    if place.tls:
        cluster["transport_socket"] = tls_context(place.host, policy.ca_file, ("http/1.1",))
    if callout.key:
        filters = [credential(_secret_name(profile, callout), "authorization", "Bearer ")]
        fields: Json = {"explicit_http_config": {"http_protocol_options": {}}}
        fields["http_filters"] = [*filters, upstream_codec()]
        cluster["typed_extension_protocol_options"] = http_options(fields)
    return cluster
