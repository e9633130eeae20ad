"""Access logs: token counts as Envoy statistics, and the ledger's entries over gRPC."""

from __future__ import annotations

from dragoman.envoyconf.clusters import grpc_service
from dragoman.envoyconf.typed import typed
from dragoman.ir import Json

SCOPE = "dragoman"
MAX_COUNTERS = 20_000
MAX_HISTOGRAMS = 2_000
_USAGE = "metadata.filter_metadata['dragoman.usage']"
_NAMES = "metadata.filter_metadata['dragoman']"
_MODELS = "metadata.filter_metadata['dragoman.models']"

PROVIDER = "%CEL(has(upstream.address) ? xds.cluster_name : 'none')%"
"""The cluster that answered; `none` where Envoy or the service did."""
UPSTREAM_MODEL = (
    "%CEL(has(upstream.address) && 'dragoman.models' in metadata.filter_metadata"
    f" && xds.cluster_name in {_MODELS} ? {_MODELS}[xds.cluster_name] : 'none')%"
)


def _text(key: str) -> str:
    """A string of our metadata, `none` where there is none."""
    has = f"'dragoman' in metadata.filter_metadata && '{key}' in {_NAMES}"
    return f"%CEL({has} ? {_NAMES}['{key}'] : 'none')%"


def _or_zero(key: str) -> str:
    return f"('{key}' in {_USAGE} ? {_USAGE}['{key}'] : 0.0)"


def _count(final: str, *raw: str) -> str:
    """The final count if a stage wrote it, else the sum of what the native filters found."""
    summed = " + ".join(map(_or_zero, raw))
    value = f"('{final}' in {_USAGE} ? {_USAGE}['{final}'] : {summed})" if raw else _or_zero(final)
    return f"%CEL('dragoman.usage' in metadata.filter_metadata ? {value} : 0.0)%"


TOKENS = {
    "input": _count(
        "input_tokens",
        "prompt_tokens",
        "uncached_input_tokens",
        "anthropic_cache_read",
        "anthropic_cache_creation",
    ),
    "output": _count("output_tokens", "completion_tokens", "anthropic_output_tokens"),
    "cached": _count("cache_read_input_tokens", "cached_tokens", "anthropic_cache_read"),
    "cache_write": _count("cache_creation_input_tokens", "anthropic_cache_creation"),
    "reasoning": _count("reasoning_tokens", "openai_reasoning_tokens"),
}
"""Each kind of token, as a formula over the metadata of one request."""

USAGE_RULES: dict[str, tuple[str, ...]] = {
    "prompt_tokens": ("usage", "prompt_tokens"),
    "completion_tokens": ("usage", "completion_tokens"),
    "cached_tokens": ("usage", "prompt_tokens_details", "cached_tokens"),
    "openai_reasoning_tokens": ("usage", "completion_tokens_details", "reasoning_tokens"),
    "uncached_input_tokens": ("usage", "input_tokens"),
    "anthropic_output_tokens": ("usage", "output_tokens"),
    "anthropic_cache_read": ("usage", "cache_read_input_tokens"),
    "anthropic_cache_creation": ("usage", "cache_creation_input_tokens"),
}
"""Metadata key of each native count, and where it stands in an answer or a stream's last event."""
START_RULES: dict[str, tuple[str, ...]] = {
    name: ("message", *path) for name, path in USAGE_RULES.items() if path[1].endswith("put_tokens")
}
"""The same, in the first event of an Anthropic stream."""


def access_logs() -> list[Json]:
    """The statistics logger and the ledger's, both once a request, at its end."""
    ended = {"log_type_filter": {"types": ["DownstreamEnd"]}}
    answered = typed(
        "cel",
        "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        expression="has(upstream.address)",
    )
    upstream = {"and_filter": {"filters": [ended, {"extension_filter": answered}]}}
    ledger = typed(
        "envoy.access_loggers.http_grpc",
        "extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": "dragoman",
            "transport_api_version": "V3",
            "buffer_flush_interval": "0.2s",
            "buffer_size_bytes": 65536,
            "grpc_service": grpc_service("ledger"),
        },
        additional_response_headers_to_log=["x-dragoman-dropped"],
    )
    return [
        {**_logger(counters=_counters()), "filter": ended},
        {**_logger(histograms=_histograms()), "filter": upstream},
        {**ledger, "filter": ended},
    ]


def _logger(**stats: list[Json]) -> Json:
    scope = {"prefix": SCOPE, "max_counters": MAX_COUNTERS, "max_histograms": MAX_HISTOGRAMS}
    kind = "extensions.access_loggers.stats.v3.Config"
    return typed("envoy.access_loggers.stats", kind, stats_scope=scope, **stats)


def _tags(**formats: str) -> list[Json]:
    return [{"name": name, "value_format": value} for name, value in formats.items()]


def _who() -> dict[str, str]:
    return {
        "model": _text("model"),
        "provider": PROVIDER,
        "upstream_model": UPSTREAM_MODEL,
        "caller": _text("caller"),
    }


def _counters() -> list[Json]:
    requests = {"name": "requests", "tags": _tags(**_who(), status="%RESPONSE_CODE%")}
    counters: list[Json] = [{"stat": requests, "value_fixed": 1}]
    for direction, formula in TOKENS.items():
        stat = {"name": "tokens", "tags": _tags(**_who(), direction=direction)}
        counters.append({"stat": stat, "value_format": formula})
    return counters


def _histograms() -> list[Json]:
    tags = _tags(model=_text("model"), provider=PROVIDER)
    return [
        {
            "stat": {"name": "time_to_first_token", "tags": tags},
            "unit": "Milliseconds",
            "value_format": "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ms)%",
        }
    ]


def usage_filters() -> list[Json]:
    """Native extraction of token counts: nothing is buffered in a stream, nothing is changed."""
    body = [_rule(key, path) for key, path in USAGE_RULES.items()]
    events = body + [_rule(key, path) for key, path in START_RULES.items()]
    parser = typed(
        "envoy.content_parsers.json",
        "extensions.content_parsers.json.v3.JsonContentParser",
        rules=[{"rule": rule} for rule in events],
    )
    return [
        typed(
            "dragoman.usage_sse",
            "extensions.filters.http.sse_to_metadata.v3.SseToMetadata",
            response_rules={"content_parser": parser, "max_event_size": 1 << 20},
        ),
        typed(
            "dragoman.usage_json",
            "extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
            response_rules={"rules": body},
        ),
    ]


def _rule(key: str, path: tuple[str, ...]) -> Json:
    return {
        "selectors": [{"key": name} for name in path],
        "on_present": {"metadata_namespace": "dragoman.usage", "key": key, "type": "NUMBER"},
    }
