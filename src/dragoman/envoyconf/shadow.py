"""Shadow traffic: Envoy copies a request where the decide stage says so, and takes the copy to a
listener of its own, where it is decided on for the shadow model. Its answer goes nowhere.
"""

from __future__ import annotations

import copy

from dragoman import metadata as names
from dragoman.config.policy import Policy
from dragoman.config.resilience import CircuitBreaker
from dragoman.envoyconf.callouts import OWNER_ONLY
from dragoman.envoyconf.clusters import CREDENTIAL_HEADERS
from dragoman.envoyconf.filters import shadow_filters
from dragoman.envoyconf.resilience import breakers
from dragoman.envoyconf.statistics import shadow_logs
from dragoman.envoyconf.typed import seconds, typed
from dragoman.ir import Json

LISTENER = "dragoman_shadow"
"""Also the cluster that leads to it, and the prefix of its statistics."""
SOCKET = "shadow.sock"
"""In `run_dir`. Nobody but its owner may connect."""
MOST_COPIES = CircuitBreaker(max_connections=256, max_pending_requests=32, max_requests=256)
"""On their way at once, and waiting for that; what is above is not copied."""
_HCM = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_EARLY = "extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_TOLD = {
    names.SHADOW_HEADER: f"%DYNAMIC_METADATA({names.NAMESPACE}:{names.SHADOW})%",
    names.SHADOW_OF_HEADER: f"%DYNAMIC_METADATA({names.REQUEST_NAMESPACE}:{names.ID})%",
}
"""Headers of a copy, and what stands in them."""


def mirrored(policy: Policy, routes: list[Json]) -> list[Json]:
    """The same routes, to be put in front of them, for requests that are copied."""
    if not policy.has_shadows:
        return []
    wanted: Json = {
        "filter": names.NAMESPACE,
        "path": [{"key": names.SHADOW}],
        "value": {"present_match": True},
    }
    found = copy.deepcopy(routes)
    for route in found:
        route["name"] = f"shadow_{route['name']}"
        route["match"]["dynamic_metadata"].append(wanted)
        route["route"]["request_mirror_policies"] = [mirror_policy()]
    return found


def mirror_policy() -> Json:
    """Of every request on its route one copy, without the client's credentials."""
    mutations: list[Json] = [{"remove": name} for name in (*CREDENTIAL_HEADERS, "x-request-id")]
    mutations += [
        {
            "append": {
                "header": {"key": name, "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        }
        for name, value in _TOLD.items()
    ]
    return {
        "cluster": LISTENER,
        "disable_shadow_host_suffix_append": True,
        "request_headers_mutations": mutations,
    }


def shadow_clusters(policy: Policy) -> list[Json]:
    """The way of copies; none where there are none."""
    if not policy.has_shadows:
        return []
    endpoint = {"endpoint": {"address": {"pipe": {"path": f"{policy.run_dir}/{SOCKET}"}}}}
    return [
        {
            "name": LISTENER,
            "type": "STATIC",
            "connect_timeout": "1s",
            "circuit_breakers": breakers(MOST_COPIES),
            "load_assignment": {
                "cluster_name": LISTENER,
                "endpoints": [{"lb_endpoints": [endpoint]}],
            },
        }
    ]


def shadow_listeners(policy: Policy, routes: list[Json], removed: list[str]) -> list[Json]:
    """Where copies come in: a Unix socket that its owner alone may use. `routes` lead to providers,
    who see none of the headers `removed`."""
    if not policy.has_shadows:
        return []
    mutations: list[Json] = [{"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}}]
    undecided = {
        "name": "undecided",
        "match": {"prefix": "/"},
        "direct_response": {"status": 503},
        "request_body_buffer_limit": policy.limits.request_body_bytes,
    }
    host = {
        "name": LISTENER,
        "domains": ["*"],
        "request_headers_to_remove": [*removed, *_TOLD],
        "routes": [*routes, undecided],
    }
    levels = any(quota.warn_at for quota in policy.quotas)
    manager = {
        "stat_prefix": LISTENER,
        "early_header_mutation_extensions": [typed("dragoman.early", _EARLY, mutations=mutations)],
        "stream_idle_timeout": seconds(policy.silence_seconds),
        "access_log": shadow_logs(levels=levels, cost=policy.statistics.cost),
        "http_filters": shadow_filters(policy),
        "route_config": {"name": LISTENER, "virtual_hosts": [host]},
    }
    pipe = {"path": f"{policy.run_dir}/{SOCKET}", "mode": OWNER_ONLY}
    chain = {"filters": [typed("hcm", _HCM, **manager)]}
    return [{"name": LISTENER, "address": {"pipe": pipe}, "filter_chains": [chain]}]
