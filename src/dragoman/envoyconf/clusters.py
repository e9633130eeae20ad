"""Clusters: one a provider, with its translation and its key, and one a stage of the service."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from dragoman.config.policy import Policy, Provider, Signing
from dragoman.config.section import KeySource
from dragoman.envoyconf.resilience import FAILED, breakers, detection, with_nobody
from dragoman.envoyconf.typed import metadata_matcher, seconds, typed
from dragoman.ir import Json
from dragoman.metadata import (
    CALLER,
    FALLBACK_NAMESPACE,
    GUARDRAILS_ANSWER_NAMESPACE,
    KEEP,
    KEEP_DIALECT,
    MODELS_NAMESPACE,
    MUST_FIT,
    NAMESPACE,
    NONCE,
    PATHS_NAMESPACE,
    REQUEST_ID_ATTRIBUTE,
    SCORER,
    TOLD_CHARS,
    UPSTREAM_MODEL,
    USAGE_NAMESPACE,
)

STAGES = ("decide", "translate", "respond", "ledger")
LENGTH = "dragoman.length"
_STAGE_WINDOW_BYTES = (1 << 31) - 1
"""Never reached, so that a stage's stream is never paused."""
_HEALTH_CHECK: Json = {
    "timeout": "1s",
    "interval": "0.2s",
    "no_traffic_interval": "0.2s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
    "grpc_health_check": {},
}
"""Leaves out a worker that hangs, and lets one in again that answers."""
_OUTLIERS: Json = {
    "consecutive_local_origin_failure": 1,
    "split_external_local_origin_errors": True,
    "consecutive_5xx": 1000,
    "interval": "1s",
    "base_ejection_time": "30s",
    "max_ejection_percent": 100,
}
"""Leaves out a worker that died, at its first refused connection. The next good health check, its
successor's, ends that long before its time, so that no request is spent on trying."""
CREDENTIAL_HEADERS = (
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
    "x-amz-date",
    "x-amz-content-sha256",
    "cookie",
    "proxy-authorization",
)
_DIALECT_HEADERS = (
    "anthropic-beta",
    "anthropic-version",
    "openai-beta",
    "openai-organization",
    "openai-project",
)
"""Each is for providers of the dialect whose name begins alike; no other ever sees it."""
_HOP_HEADERS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-envoy-external-address",
    "x-envoy-original-host",
    "x-envoy-attempt-count",
    "x-envoy-expected-rq-timeout-ms",
)


def _fact(name: str) -> str:
    return f"metadata.filter_metadata['dragoman']['{name}']"


_ATTEMPT_FACTS = (
    "client_dialect",
    "targets",
    "model",
    "stream",
    "include_usage",
    "framing",
    "fields",
    "clamp",
    "fallback_on",
    "body",
)
_ATTEMPT_ATTRIBUTES = [
    "xds.cluster_name",
    "xds.cluster_metadata.filter_metadata['dragoman']['provider']",
    "xds.cluster_metadata.filter_metadata['dragoman']['model']",
    "upstream.request_attempt_count",
    REQUEST_ID_ATTRIBUTE,
    *map(_fact, _ATTEMPT_FACTS),
]
"""What the translate stage is told of each attempt."""
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PATH_LUA = """\
function envoy_on_request(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local paths, models = metadata:get("{paths}"), metadata:get("{models}")
  local path = paths and paths["{provider}"]
  metadata:set("{namespace}", "{key}", models and models["{provider}"] or "none")
  if path == nil then
    handle:respond({{[":status"] = "503"}}, "")
  else
    handle:headers():replace(":path", path)
  end
end
"""
"""The path the stages chose for this provider; without one nothing goes out. And the model, where
statistics can copy it."""


def secret_name(provider: Provider) -> str:
    """The static secret that holds the provider's key."""
    return f"key-{provider.name}"


def needs_secret(provider: Provider) -> bool:
    """Whether Envoy sends a key of the provider; one that signs reads its credentials itself."""
    return provider.key is not None and provider.signing is None


def secret(provider: Provider) -> Json:
    """The provider's key."""
    if provider.key is None:
        raise ValueError(provider.name)
    return named_secret(secret_name(provider), provider.key)


def named_secret(name: str, key: KeySource) -> Json:
    """A key that Envoy itself reads, from a file or from its environment."""
    source = {"environment_variable": key.env} if key.env else {"filename": key.file or ""}
    return {"name": name, "generic_secret": {"secret": source}}


def provider_cluster(provider: Provider, policy: Policy) -> Json:
    """One provider: its address, TLS, and what each attempt goes through on its way out."""
    cluster: Json = {
        "name": provider.name,
        "connect_timeout": seconds(policy.timeouts.connect_seconds),
        "metadata": {"filter_metadata": {"dragoman": {"provider": provider.name}}},
        "per_connection_buffer_limit_bytes": policy.limits.response_body_bytes,
        "circuit_breakers": breakers(provider.circuit_breaker),
        **detection(provider),
        **_hosts(provider),
        "typed_extension_protocol_options": http_options(
            _protocols(provider) | {"http_filters": upstream_filters(provider, policy)}
        ),
    }
    if provider.tls:
        cluster["transport_socket"] = tls_context(provider.host, policy.ca_file)
    return cluster


def stage_cluster(stage: str, policy: Policy) -> Json:
    """One stage of the service: a Unix socket a worker, the least busy one first."""
    sockets = [f"{policy.run_dir}/{stage}-{i}.sock" for i in range(policy.workers)]
    name = f"dragoman_{stage}"
    options = {
        "explicit_http_config": {
            "http2_protocol_options": {
                "initial_stream_window_size": _STAGE_WINDOW_BYTES,
                "initial_connection_window_size": _STAGE_WINDOW_BYTES,
                "max_concurrent_streams": 1 << 20,
            }
        }
    }
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "per_connection_buffer_limit_bytes": _STAGE_WINDOW_BYTES,
        "circuit_breakers": breakers(),
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 0},
            "update_merge_window": "0s",  # a worker that is back would wait here for a second
        },
        "outlier_detection": _OUTLIERS,
        "health_checks": [_HEALTH_CHECK],
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"pipe": {"path": path}}}} for path in sockets
                    ]
                }
            ],
        },
        "typed_extension_protocol_options": http_options(options),
    }


def grpc_service(stage: str) -> Json:
    """How a filter reaches a stage.

    Without a retry policy: in Envoy 1.40.0 one makes the gRPC client keep the body for a retry,
    and a body of some MB then crashes Envoy. Health checks and outlier detection leave a dead
    worker out instead.
    """
    return {"envoy_grpc": {"cluster_name": f"dragoman_{stage}"}, "timeout": "0s"}


def upstream_filters(provider: Provider, policy: Policy) -> list[Json]:
    """What one attempt passes: translation, then headers, path and key of this provider alone.

    Every attempt sees the headers its predecessor left, so each filter overwrites or removes.
    """
    filters = [
        translate_filter(provider, policy),
        typed(
            "dragoman.unsized",  # an earlier attempt's length; the next filter sets the right one
            "extensions.filters.http.header_mutation.v3.HeaderMutation",
            mutations={"request_mutations": [{"remove": "content-length"}]},
        ),
        typed(
            LENGTH,
            "extensions.filters.http.buffer.v3.Buffer",
            max_request_bytes=2 * policy.limits.request_body_bytes,
        ),
        typed(
            "dragoman.headers",
            "extensions.filters.http.header_mutation.v3.HeaderMutation",
            mutations={"request_mutations": _header_mutations(provider)},
        ),
        typed(
            "dragoman.path",
            "extensions.filters.http.lua.v3.Lua",
            default_source_code={"inline_string": _path_lua(provider.name)},
        ),
    ]
    if provider.name in policy.loaded_providers:
        filters.append(_limits(provider.name))
    if provider.signing is not None:
        filters.append(_signing(provider.signing))
    elif needs_secret(provider):
        filters.append(credential(secret_name(provider), provider.key_header, provider.key_prefix))
    return [*filters, upstream_codec()]


def _limits(provider: str) -> Json:
    """What the provider's answers, failed ones too, say of its rate limits."""
    code = Path(__file__).with_name("limits.lua").read_text(encoding="utf-8")
    return typed(
        "dragoman.limits",
        "extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": f'local PROVIDER = "{provider}"\n{code}'},
    )


def upstream_codec() -> Json:
    """The last filter of any cluster that has some."""
    return typed("codec", "extensions.filters.http.upstream_codec.v3.UpstreamCodec")


def _path_lua(provider: str) -> str:
    return _PATH_LUA.format(
        provider=provider,
        paths=PATHS_NAMESPACE,
        models=MODELS_NAMESPACE,
        namespace=NAMESPACE,
        key=UPSTREAM_MODEL,
    )


def translate_filter(provider: Provider, policy: Policy) -> Json:
    """The translate stage; no stream is opened where the metadata says there is nothing to do."""
    skip = typed("skip", "extensions.filters.common.matcher.action.v3.SkipFilter")
    matcher = {"predicate": _keeps(provider), "on_match": {"action": skip}}
    return typed(
        "dragoman.translate",
        "extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=translate_processor(policy),
        xds_matcher={"matcher_list": {"matchers": [matcher]}},
    )


def translate_processor(policy: Policy) -> Json:
    """The filter itself: what the stage is told of an attempt, and may tell."""
    attributes = [*_ATTEMPT_ATTRIBUTES, *([_fact(NONCE)] if policy.has_shadows else [])]
    written = [NAMESPACE, MODELS_NAMESPACE, PATHS_NAMESPACE, USAGE_NAMESPACE, FALLBACK_NAMESPACE]
    if policy.guardrails is not None and policy.guardrails.checks_schemas:
        attributes.append(_fact(MUST_FIT))
        written.append(GUARDRAILS_ANSWER_NAMESPACE)
    if policy.scorers:
        attributes += map(_fact, (SCORER, CALLER))
    return typed(
        "dragoman.translate",
        "extensions.filters.http.ext_proc.v3.ExternalProcessor",
        grpc_service=grpc_service("translate"),
        message_timeout=seconds(policy.timeouts.service_seconds),
        status_on_error={"code": 503},
        processing_mode={
            "request_header_mode": "SKIP",
            "request_body_mode": "BUFFERED",
            "response_header_mode": "SEND",
            "response_body_mode": "FULL_DUPLEX_STREAMED",
            "response_trailer_mode": "SEND",
        },
        allow_content_length_header=True,
        request_attributes=attributes,
        mutation_rules={"allow_all_routing": True, "allow_envoy": True},
        metadata_options={"receiving_namespaces": {"untyped": written}},
    )


def _keeps(provider: Provider) -> Json:
    """What the decide stage says where this provider takes the request as it is."""
    keeps = [
        metadata_matcher(KEEP + provider.name, "1"),
        *(
            metadata_matcher(KEEP_DIALECT, name)
            for name, endpoint in provider.endpoints.items()
            if not endpoint.dialect.edits({}) and endpoint.dialect.frames("")
        ),
    ]
    return {"or_matcher": {"predicate": keeps}} if keeps[1:] else keeps[0]


def _header_mutations(provider: Provider) -> list[Json]:
    makers = tuple(dialect.partition("_")[0] for dialect in provider.endpoints)
    foreign = [name for name in _DIALECT_HEADERS if not name.startswith(makers)]
    names = (*CREDENTIAL_HEADERS, *_HOP_HEADERS, *foreign)
    removed: list[Json] = [{"remove": name} for name in names]
    added = [_set(name, value) for name, value in provider.headers.items()]
    told = f"%REQ(x-request-id):{TOLD_CHARS}%"
    return [*removed, _set("x-request-id", told, "OVERWRITE_IF_EXISTS"), *added]


def _set(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> Json:
    return {"append": {"append_action": action, "header": {"key": name, "value": value}}}


def credential(secret: str, header: str, prefix: str) -> Json:
    """Writes a secret into a header, behind `prefix`."""
    fields: Json = {"credential": {"name": secret}, "header": header}
    if prefix:
        fields["header_value_prefix"] = prefix
    return typed(
        "dragoman.credential",
        "extensions.filters.http.credential_injector.v3.CredentialInjector",
        overwrite=True,
        credential=typed(
            "envoy.http.injected_credentials.generic",
            "extensions.http.injected_credentials.generic.v3.Generic",
            **fields,
        ),
    )


def _signing(signing: Signing) -> Json:
    """Signs what goes out, after translation; the credentials come from Envoy's environment."""
    return typed(
        "dragoman.signature",
        "extensions.filters.http.aws_request_signing.v3.AwsRequestSigning",
        service_name=signing.service,
        region=signing.region,
        match_excluded_headers=[{"prefix": "x-envoy-"}, {"exact": "x-forwarded-proto"}],
    )


def _hosts(provider: Provider) -> Json:
    """Where the provider is; where its name has no address, or all may be left out, also a host
    that refuses."""
    found = endpoints(provider.name, _endpoint(provider), provider.host)
    if found["type"] == "STRICT_DNS" or detection(provider):
        found["load_assignment"] = with_nobody(found["load_assignment"])
    if detection(provider):  # by default an address that fails soon after another waits for 1 s
        found["common_lb_config"] = {"update_merge_window": "0s"}
    return found


def _endpoint(provider: Provider) -> Json:
    """The host name given here is what `auto_host_rewrite` writes into each attempt."""
    address = {"address": provider.host, "port_value": provider.port}
    return {"hostname": provider.authority, "address": {"socket_address": address}}


def endpoints(name: str, endpoint: Json, host: str) -> Json:
    """How the cluster finds its one host: by its address, or by DNS."""
    kind = "STATIC" if _is_address(host) else "STRICT_DNS"
    assignment = {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
    }
    return {"type": kind, "load_assignment": assignment}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def tls_context(host: str, ca_file: str, protocols: tuple[str, ...] = ("h2", "http/1.1")) -> Json:
    """TLS towards `host`, whose certificate must be its own. An address is no name to ask for."""
    by_address = _is_address(host)
    own = str(ipaddress.ip_address(host)) if by_address else host
    san = {"san_type": "IP_ADDRESS" if by_address else "DNS", "matcher": {"exact": own}}
    return typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        **({} if by_address else {"sni": host}),
        common_tls_context={
            "alpn_protocols": list(protocols),
            "validation_context": {
                "trusted_ca": {"filename": ca_file},
                "match_typed_subject_alt_names": [san],
            },
        },
    )


def _protocols(provider: Provider) -> Json:
    protocols: Json = {"http_protocol_options": {}}
    if provider.tls:
        config: Json = {"auto_config": {**protocols, "http2_protocol_options": {}}}
    else:
        config = {"explicit_http_config": protocols}
    if provider.outlier_detection is not None:
        config["outlier_detection"] = {"error_matcher": FAILED}
    return config


def http_options(fields: Json) -> Json:
    """A cluster's own, as extension options."""
    return {_HTTP_OPTIONS: {"@type": "type.googleapis.com/" + _HTTP_OPTIONS, **fields}}
