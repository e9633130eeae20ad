"""Access logs: token counts as Envoy statistics, and the ledger's entries over gRPC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dragoman import metadata as names
from dragoman.catalog.blame import BLAMED_STATUSES, BROKEN_FLAGS, SERVER_ERROR_STATUS
from dragoman.catalog.counts import DIRECTIONS, FAMILIES, KINDS, Kind
from dragoman.config.guardrails import Guardrails
from dragoman.config.policy import Redaction
from dragoman.envoyconf.clusters import grpc_service
from dragoman.envoyconf.typed import typed
from dragoman.ir import Json

SCOPE, SHADOW_SCOPE = "dragoman", "dragoman_shadow"
MAX_COUNTERS = 20_000
MAX_HISTOGRAMS = 2_000
_WAITING_BYTES = 512 * 1024
"""What of the ledger each of Envoy's threads keeps while no worker is there, about 600 requests;
then they are sent together, in one message of which a worker must take the length."""
_USAGE = "metadata.filter_metadata['dragoman.usage']"
_SUM = f"{_USAGE}['{names.SUM}']"
_NAMES = "metadata.filter_metadata['dragoman']"
_MODELS = "metadata.filter_metadata['dragoman.models']"

_ANSWERED = "has(upstream.address)"
_KNOWN = (names.UPSTREAM_MODEL, names.MODEL, names.CALLER)
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


def _tokens(final: str, kind: Kind) -> str:
    """The final count if a stage wrote it, else what Envoy's filters found. It nests no deeper than
    these alone, because Envoy takes no formula that nests much deeper."""
    written = f"'{final}' in {_USAGE} || '{names.SUM}' in {_USAGE}"
    found = f"'{final}' in {_USAGE} ? {_USAGE}['{final}'] : {_in_sum(kind)}"
    return _counted(f"{written} ? ({found}) : {_native(kind)}")


def _counted(formula: str) -> str:
    """`formula`, where there is any count."""
    return f"'dragoman.usage' in metadata.filter_metadata ? ({formula}) : 0.0"


def _in_sum(kind: Kind) -> str:
    """What the script has added up."""
    return f"('{kind}' in {_SUM} ? {_SUM}['{kind}'] : 0.0)"


def _media(kind: Kind) -> str:
    """The same of what no stage counts."""
    return _counted(f"'{names.SUM}' in {_USAGE} ? {_in_sum(kind)} : {_native(kind)}")


def _native(kind: Kind) -> str:
    """The counts of the first family that is there."""
    formula = "0.0"
    for family in reversed(FAMILIES.values()):
        is_there = " || ".join(f"'{count.key}' in {_USAGE}" for count in family.counts[:2])
        parts = [_or_zero(count.key) for count in family.counts if kind in count.kinds]
        formula = f"({is_there} ? {' + '.join(parts) or '0.0'} : {formula})"
    return formula


TOKENS: dict[Kind, str] = {
    "input": _tokens("input_tokens", "input"),
    "output": _tokens("output_tokens", "output"),
    "cached": _tokens("cache_read_input_tokens", "cached"),
    "cache_write": _tokens("cache_creation_input_tokens", "cache_write"),
    "reasoning": _tokens("reasoning_tokens", "reasoning"),
}
"""Each kind of token that is counted by itself, as a formula over the metadata of one request."""
_PRICED: dict[Kind, str] = {kind: TOKENS.get(kind) or _media(kind) for kind in KINDS}
"""Each kind that may have a price of its own."""
_FORMULAS: dict[Kind, str] = {kind: f"%CEL({formula})%" for kind, formula in TOKENS.items()}


_RUNNING: Json = {"log_type_filter": {"types": ["DownstreamPeriodic"]}}


def access_logs(
    redaction: Redaction | None = None,
    guardrails: Guardrails | None = None,
    *,
    levels: bool = False,
    cost: bool = False,
    limited: Iterable[str] = (),
) -> list[Json]:
    """The statistics logger and the ledger's, both once a request, at its end; the ledger's also
    while one goes on that has something reserved. `levels`: some quota tells of the levels it
    reaches; `cost`: requests bring the prices of their day; `limited`: providers whose rate limits
    are looked at."""
    ended = {"log_type_filter": {"types": ["DownstreamEnd"]}}
    ledger = _ledger(additional_response_headers_to_log=["x-dragoman-dropped"])
    return [
        *_requests(ended),
        *([_redactions(redaction, ended)] if redaction else []),
        *([_guardrails(guardrails, ended)] if guardrails else []),
        *([_levels(ended)] if levels else []),
        *([_cost(ended)] if cost else []),
        *(
            _rate_limits(provider, what, ended)
            for provider in limited
            for what in ((names.LEFT, names.RESETS_AT), (names.PAUSED_UNTIL,))
        ),
        {**ledger, "filter": _any(ended, _all(_RUNNING, _has(names.QUOTA)))},
    ]


def shadow_logs(*, levels: bool, cost: bool) -> list[Json]:
    """Of copies: as `access_logs`, but what counts requests has a scope of its own."""
    ended = {"log_type_filter": {"types": ["DownstreamEnd"]}}
    ledger = {**_ledger(), "filter": _any(ended, _all(_RUNNING, _has(names.QUOTA)))}
    counting = [*_requests(ended), *([_cost(ended)] if cost else [])]
    for logger in counting:
        logger["typed_config"]["stats_scope"]["prefix"] = SHADOW_SCOPE
    return [*counting, *([_levels(ended)] if levels else []), ledger]


def attempt_logs(*, counted: bool = False) -> list[Json]:
    """Of each attempt that failed: to the ledger, which knows of the others from the request.
    `counted`: providers' failures also make a statistic."""
    failed: Json = {
        "status_code_filter": {
            "comparison": {
                "op": "GE",
                "value": {"default_value": 400, "runtime_key": "dragoman.failed_status"},
            }
        }
    }
    told = {**_ledger(), "filter": _any(failed, {"response_flag_filter": {}})}
    return [told, _failures()] if counted else [told]


def _failures() -> Json:
    """Counts attempts that say something against their provider."""
    stat = {"name": names.ATTEMPTS_FAILED, "tags": _tags(provider="%UPSTREAM_CLUSTER%")}
    logger = _logger(counters=[{"stat": stat, "value_fixed": 1}])
    flags: Json = {"response_flag_filter": {"flags": sorted(BROKEN_FLAGS)}}
    blamed = [_status("EQ", status) for status in sorted(BLAMED_STATUSES)]
    return {**logger, "filter": _any(_status("GE", SERVER_ERROR_STATUS), *blamed, flags)}


def _status(op: str, value: int) -> Json:
    compared = {"default_value": value, "runtime_key": f"dragoman.failed_status_{value}"}
    return {"status_code_filter": {"comparison": {"op": op, "value": compared}}}


def _ledger(**more: list[str]) -> Json:
    """The ledger's logger. All with this `common_config` share one stream a thread of Envoy, so
    that an attempt comes before its request."""
    return typed(
        "envoy.access_loggers.http_grpc",
        "extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": "dragoman",
            "transport_api_version": "V3",
            "buffer_flush_interval": "0.2s",
            "buffer_size_bytes": _WAITING_BYTES,
            "grpc_service": grpc_service("ledger"),
        },
        **more,
    )


def _requests(ended: Json) -> list[Json]:
    """The usual request, for which a provider was asked on behalf of a caller and for a model that
    are known, and whose tags can be copied; apart from it all others."""
    usual, other = _usual_tags(), _tags(**_who())
    is_usual, is_other = _all(ended, *map(_has, _KNOWN)), _all(ended, _lacks_any(_KNOWN))
    one = _logger(counters=[_request_counter(usual)], histograms=_histograms(usual))
    counters = [_request_counter(other), *_token_counters(other, _FORMULAS)]
    return [
        {**one, "filter": is_usual},
        *_usual_tokens(usual, is_usual),
        {**_logger(counters=counters), "filter": is_other},
        {**_logger(histograms=_histograms(other)), "filter": _all(is_other, _holds(_ANSWERED))},
    ]


def _usual_tokens(usual: list[Json], is_usual: Json) -> list[Json]:
    """Sums the script made are copied, those of rare kinds where there are any. Without them, or
    where a stage has the last word, formulas count. Which it is, is asked first, at less cost."""
    is_sum = _metadata_filter(names.USAGE_NAMESPACE, names.SUM, "input", is_there=True)
    is_rare = _metadata_filter(names.USAGE_NAMESPACE, names.SUM, "cached", is_there=True)
    no_sum = _metadata_filter(names.USAGE_NAMESPACE, names.SUM, "input", is_there=False)
    final = _metadata_filter(names.USAGE_NAMESPACE, "input_tokens", is_there=True)
    not_final = _metadata_filter(names.USAGE_NAMESPACE, "input_tokens", is_there=False)
    logged: list[tuple[Mapping[Kind, str], Json]] = [
        (_copied(DIRECTIONS[:2]), _all(is_sum, not_final, is_usual)),
        (_copied(DIRECTIONS[2:]), _all(is_rare, not_final, is_usual)),
        (_FORMULAS, _all(_any(no_sum, final), is_usual)),
    ]
    return [
        {**_logger(counters=_token_counters(usual, values)), "filter": which}
        for values, which in logged
    ]


def _copied(kinds: Iterable[Kind]) -> dict[Kind, str]:
    return {
        kind: f"%DYNAMIC_METADATA({names.USAGE_NAMESPACE}:{names.SUM}:{kind})%" for kind in kinds
    }


def _all(*filters: Json) -> Json:
    """Filters are asked in their order, until one says no."""
    return {"and_filter": {"filters": list(filters)}}


def _any(*filters: Json) -> Json:
    return {"or_filter": {"filters": list(filters)}}


def _has(key: str) -> Json:
    return _metadata_filter(names.NAMESPACE, key, is_there=True)


def _lacks_any(keys: Iterable[str]) -> Json:
    return _any(*(_metadata_filter(names.NAMESPACE, key, is_there=False) for key in keys))


def _metadata_filter(namespace: str, *path: str, is_there: bool) -> Json:
    """Whether the metadata has it, at a tenth of what a CEL expression costs."""
    matcher = {
        "filter": namespace,
        "path": [{"key": key} for key in path],
        "value": {"present_match": is_there},
    }
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": not is_there}}


def _holds(expression: str) -> Json:
    kind = "extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {"extension_filter": typed("cel", kind, expression=expression)}


_Searched = dict[tuple[str, str], tuple[str, ...]]
"""What may be found, by `request` or `answer` and the namespace that tells of it there."""


def _redactions(redaction: Redaction, ended: Json) -> Json:
    """Findings by entity."""
    searched: _Searched = {
        ("request", names.REDACTION_NAMESPACE): redaction.entities(),
        ("answer", names.REDACTION_ANSWER_NAMESPACE): redaction.entities(answers=True),
    }
    return _found("redactions", "entity", searched, ended)


def _guardrails(guardrails: Guardrails, ended: Json) -> Json:
    """What guardrails found, by rule."""
    searched: _Searched = {
        ("request", names.GUARDRAILS_NAMESPACE): guardrails.rules(),
        ("answer", names.GUARDRAILS_ANSWER_NAMESPACE): guardrails.rules(answers=True),
    }
    return _found("guardrail_hits", "rule", searched, ended)


def _found(name: str, tag: str, searched: _Searched, ended: Json) -> Json:
    """A series for each that was found; a request without any makes none."""
    counters: list[Json] = [
        {
            "stat": {
                "name": name,
                "tags": _tags(caller=_text("caller"), **{tag: what}, where=where),
            },
            "value_format": _findings(space, what),
        }
        for (where, space), those in searched.items()
        for what in those
    ]
    spaces = [space for (_, space), those in searched.items() if those]
    found = " || ".join(f"'{space}' in metadata.filter_metadata" for space in spaces)
    return {**_logger(counters=counters), "filter": _all(ended, _holds(found))}


def _levels(ended: Json) -> Json:
    """Levels of quotas that were reached: the request after it brings the word."""
    told = f"'dragoman' in metadata.filter_metadata && '{names.REACHED_QUOTA}' in {_NAMES}"
    tags = _tags(
        quota=f"%DYNAMIC_METADATA(dragoman:{names.REACHED_QUOTA})%",
        percent=f"%DYNAMIC_METADATA(dragoman:{names.REACHED_PERCENT})%",
    )
    counter = {"stat": {"name": "quota_levels_reached", "tags": tags}, "value_fixed": 1}
    return {**_logger(counters=[counter]), "filter": _all(ended, _holds(told))}


def _cost(ended: Json) -> Json:
    """Nanodollars, as the ledger has them; what has no known price makes no series."""
    prices = f"metadata.filter_metadata['{names.PRICES_NAMESPACE}']"
    is_priced = f"'{names.PRICES_NAMESPACE}' in metadata.filter_metadata"
    own = f"{prices}[xds.cluster_name]"
    usual, long = (
        " + ".join([f"({count}) * {own}['{which}']['{kind}']" for kind, count in _PRICED.items()])
        for which in ("usual", "long")
    )
    is_long = f"'long' in {own} && ({TOKENS['input']}) > {own}['above']"
    call = f"(response.code < 400 ? {own}['call'] : 0.0)"
    counter = {
        "stat": {"name": "cost_nanodollars", "tags": _usual_tags()},
        "value_format": f"%CEL(int(0.5 + {call} + ({is_long} ? {long} : {usual})))%",
    }
    priced = _holds(f"{is_priced} && xds.cluster_name in {prices}")
    return {**_logger(counters=[counter]), "filter": _all(ended, *map(_has, _KNOWN), priced)}


def _rate_limits(provider: str, told: tuple[str, ...], ended: Json) -> Json:
    """What the provider's latest answer that `told` it said of its limits."""
    gauges: list[Json] = [
        {
            "stat": {"name": f"rate_limit_{what}", "tags": _tags(provider=provider)},
            "value_format": f"%DYNAMIC_METADATA({names.LIMITS_NAMESPACE}:{provider}:{what})%",
            "set": {"log_type": "DownstreamEnd"},
        }
        for what in told
    ]
    is_told = _metadata_filter(names.LIMITS_NAMESPACE, provider, told[0], is_there=True)
    return {**_logger(gauges=gauges), "filter": _all(ended, is_told)}


def _findings(space: str, what: str) -> str:
    counts = f"metadata.filter_metadata['{space}']"
    there = f"'{space}' in metadata.filter_metadata && '{what}' in {counts}"
    return f"%CEL({there} ? {counts}['{what}'] : 0.0)%"


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


def _usual_tags() -> list[Json]:
    """The same tags where all are there: a copied one costs far less than a CEL expression."""
    return _tags(
        model="%DYNAMIC_METADATA(dragoman:model)%",
        provider="%UPSTREAM_CLUSTER%",
        upstream_model=f"%DYNAMIC_METADATA(dragoman:{names.UPSTREAM_MODEL})%",
        caller="%DYNAMIC_METADATA(dragoman:caller)%",
    )


def _request_counter(who: list[Json]) -> Json:
    requests = {"name": "requests", "tags": who + _tags(status="%RESPONSE_CODE%")}
    return {"stat": requests, "value_fixed": 1}


def _token_counters(who: list[Json], values: Mapping[Kind, str]) -> list[Json]:
    return [
        {
            "stat": {"name": "tokens", "tags": who + _tags(direction=kind)},
            "value_format": value,
        }
        for kind, value in values.items()
    ]


def _histograms(who: list[Json]) -> list[Json]:
    tags = [tag for tag in who if tag["name"] in {"model", "provider"}]
    return [
        {
            "stat": {"name": "time_to_first_token", "tags": tags},
            "unit": "Milliseconds",
            "value_format": "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:ms)%",
        }
    ]
