"""Circuit breakers, outlier detection and health checks of a provider's cluster."""

from __future__ import annotations

from dragoman.config.policy import Provider
from dragoman.config.resilience import (
    MAX_CONCURRENT,
    CircuitBreaker,
    HealthCheck,
    OutlierDetection,
)
from dragoman.envoyconf.typed import seconds
from dragoman.ir import Json
from dragoman.metadata import FALLBACK_HEADER

ENVOY_LIMITS = {
    "max_connections": 1024,
    "max_pending_requests": 1024,
    "max_requests": 1024,
    "max_retries": 3,
}
"""What Envoy has where a cluster says nothing."""
NOBODY: Json = {
    "priority": 1,
    "lb_endpoints": [
        {
            "endpoint": {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "health_check_config": {"disable_active_health_check": True},
            }
        }
    ],
}
"""A host that refuses: nothing can listen at port 0."""
_ALL_TO_THE_FIRST = {"overprovisioning_factor": {"value": 1_000_000}}
"""In percent. By default a group sheds load to the next one when 28% of its hosts are left out."""
_SHORT_OF_ALL = 99
"""Percent. Of the addresses, one refuses by design: were all left out, Envoy would ask them all."""
FAILED: Json = {
    "and_match": {
        "rules": [
            {
                "http_response_headers_match": {
                    "headers": [{"name": ":status", "range_match": {"start": 500, "end": 600}}]
                }
            },
            {
                "not_match": {
                    "http_response_headers_match": {
                        "headers": [{"name": FALLBACK_HEADER, "present_match": True}]
                    }
                }
            },
        ]
    }
}
"""Answers that count against a provider: those it failed to give, not those that `fallback_on`
sends elsewhere, whose status is made to be one of these."""


def breakers(given: CircuitBreaker | None = None) -> Json:
    """The cluster's `circuit_breakers`; of a stage without limits."""
    limits = dict.fromkeys(ENVOY_LIMITS, MAX_CONCURRENT)
    if given is not None:
        named = {name: getattr(given, name) for name in given.__struct_fields__}
        limits |= {name: limit for name, limit in named.items() if limit is not None}
    return {"thresholds": [limits]}


def detection(provider: Provider) -> Json:
    """The cluster's `outlier_detection` and `health_checks`, as far as the policy has them."""
    found: Json = {}
    if provider.outlier_detection is not None:
        found["outlier_detection"] = _outliers(provider.outlier_detection)
    if provider.health_check is not None:
        found["health_checks"] = [_health_check(provider.health_check, provider)]
    return found


def with_nobody(assignment: Json) -> Json:
    """`load_assignment` with a host that refuses, for while there is no other.

    Envoy's router answers 503 for a cluster without a host and never retries that. A refused
    connection it does, at the next target.
    """
    groups = [*assignment["endpoints"], NOBODY]
    return {**assignment, "endpoints": groups, "policy": _ALL_TO_THE_FIRST}


def _outliers(given: OutlierDetection) -> Json:
    return {
        "consecutive_5xx": given.consecutive_failures,
        "interval": "1s",
        "base_ejection_time": seconds(given.base_ejection_seconds),
        "max_ejection_percent": min(given.max_ejection_percent, _SHORT_OF_ALL),
        "enforcing_success_rate": 0,
        # A server may well answer checks and nothing else.
        "successful_active_health_check_uneject_host": False,
    }


def _health_check(given: HealthCheck, provider: Provider) -> Json:
    check: Json = {
        "timeout": seconds(given.timeout_seconds),
        "interval": seconds(given.interval_seconds),
        "no_traffic_interval": seconds(given.interval_seconds),
        "unhealthy_threshold": given.unhealthy_threshold,
        "healthy_threshold": given.healthy_threshold,
    }
    if given.path is None:
        return {**check, "tcp_health_check": {}}
    if provider.tls:
        check["tls_options"] = {"alpn_protocols": ["http/1.1"]}
    return {**check, "http_health_check": {"host": provider.authority, "path": given.path}}
