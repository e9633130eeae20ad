"""The downstream filters, in order: decide, hold, respond, count."""

from __future__ import annotations

from dragoman import metadata as names
from dragoman.config.callouts import Judge, Recogniser, Webhook
from dragoman.config.policy import Policy
from dragoman.envoyconf.clusters import LENGTH, grpc_service
from dragoman.envoyconf.identity import identity_filters, peer_attributes, proxy_headers
from dragoman.envoyconf.statistics import attempt_logs
from dragoman.envoyconf.typed import message, seconds, typed
from dragoman.envoyconf.usage import usage_filters
from dragoman.ir import Json

REQUEST_ID = "dragoman.request_id"
DECIDE = "dragoman.decide"
RESPOND = "dragoman.respond"
HOLD = "dragoman.hold"
REROUTE = "dragoman.reroute"
HEAD = "dragoman.head"
HEAD_ATTRIBUTE = f"filter_state['{names.HEAD}']"
_WHOLE_HEADERS = ("anthropic-beta", "dragoman-residency")
"""Client headers the decide stage reads, each an attribute of its own: where a client sends one
twice, only so are all of its values there."""
_HEAD_HEADERS = (
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "content-type",
    "content-encoding",
    "anthropic-version",
    "x-stainless-lang",
    "x-fern-sdk-name",
    "user-agent",
    "dragoman-provider",
)
"""Those of which it reads the first value. `authorization` sent twice is one to Envoy, "a,b"."""
_FILTER_CONFIG = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
_EXT_PROC = "extensions.filters.http.ext_proc.v3.ExternalProcessor"
_PER_ROUTE = "extensions.filters.http.ext_proc.v3.ExtProcPerRoute"


def http_filters(policy: Policy) -> list[Json]:
    """The chain. On the way back the last one listed sees the answer first."""
    return [_request_id(), _head(), *identity_filters(policy), *_from_decide(policy)]


def shadow_filters(policy: Policy) -> list[Json]:
    """The chain of copies: who asked is known, and what they are copies of is read."""
    return [_request_id(of_copies=True), _head(names.SHADOW_HEADER), *_from_decide(policy)]


def _from_decide(policy: Policy) -> list[Json]:
    filters = [
        _decide(policy),
        typed(
            HOLD,
            "extensions.filters.http.buffer.v3.Buffer",
            max_request_bytes=policy.limits.request_body_bytes,
        ),
        _reroute(),
        _retries(),
        respond_filter(policy),
    ]
    filters += usage_filters(policy.native)
    router = "extensions.filters.http.router.v3.Router"
    logs = attempt_logs(counted=bool(policy.loaded_providers))
    settings = {"suppress_envoy_headers": True, "upstream_log": logs}
    return [*filters, typed("router", router, **settings)]


def _request_id(*, of_copies: bool = False) -> Json:
    """Keeps the request's id, for the ledger and the answer; of a copy, also the original's."""
    kept = {"x-request-id": names.ID} | (
        {names.SHADOW_OF_HEADER: names.SHADOW_OF} if of_copies else {}
    )
    space = {"metadata_namespace": names.REQUEST_NAMESPACE, "type": "STRING"}
    return typed(
        REQUEST_ID,
        "extensions.filters.http.header_to_metadata.v3.Config",
        request_rules=[
            {"header": header, "on_header_present": {**space, "key": key}}
            for header, key in kept.items()
        ],
    )


def _head(*further: str) -> Json:
    """Writes the request's method, path and most headers down as one text, a line each: as
    attributes each costs Envoy eight times as much, there or not. Filter state is not logged."""
    lines = [
        "%REQ(:METHOD)%",
        "%REQ(:PATH)%",
        *(f"{n}:%REQ({n})%" for n in (*_HEAD_HEADERS, *further)),
    ]
    text = {"inline_string": "\n".join(lines)}
    value = {
        "object_key": names.HEAD,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": text, "omit_empty_values": True},
    }
    kind = "extensions.filters.http.set_filter_state.v3.Config"
    return typed(HEAD, kind, on_request_headers=[value])


def without_respond() -> Json:
    """Per-route settings of an answer that needs no edit: its stage is not entered."""
    return {RESPOND: message(_PER_ROUTE, disabled=True)}


def unheld() -> Json:
    """Per-route settings of a body that nobody reads: neither side of Envoy holds it."""
    per_route = "extensions.filters.http.buffer.v3.BufferPerRoute"
    return {name: message(per_route, disabled=True) for name in (HOLD, LENGTH)}


def headers_mode() -> Json:
    """Per-route settings of a method without a body: the decide stage gets the headers."""
    return _decides_on(request_header_mode="SEND", request_body_mode="NONE")


def form_mode() -> Json:
    """Per-route settings of a form: the decide stage gets it as it comes, and holds no file. Of
    trailers it is told, or it would wait for an end that they stand for."""
    mode = _decides_on(
        request_header_mode="SKIP", request_body_mode="STREAMED", request_trailer_mode="SEND"
    )
    return {**mode, REROUTE: {"@type": _FILTER_CONFIG, "config": {}}}


def _decides_on(**modes: str) -> Json:
    mode = {**modes, "response_header_mode": "SKIP", "response_body_mode": "NONE"}
    return {DECIDE: message(_PER_ROUTE, overrides={"processing_mode": mode})}


def _decide(policy: Policy) -> Json:
    attributes = [HEAD_ATTRIBUTE, *peer_attributes(policy)]
    told = (*_model_headers(policy), *proxy_headers(policy), *_callout_headers(policy))
    wanted = dict.fromkeys((*_WHOLE_HEADERS, *told))
    attributes += [f"request.headers['{name}']" for name in wanted]
    metadata_options: Json = {}
    if policy.callers.issuers:
        metadata_options["forwarding_namespaces"] = {"untyped": [names.JWT_NAMESPACE]}
    namespaces = [names.NAMESPACE, names.ROUTE_NAMESPACE, names.MODELS_NAMESPACE]
    namespaces += [names.PATHS_NAMESPACE, names.RATE_LIMIT_NAMESPACE]
    if policy.statistics.cost:
        namespaces.append(names.PRICES_NAMESPACE)
    if policy.redaction is not None:
        namespaces.append(names.REDACTION_NAMESPACE)
    if policy.guardrails is not None:
        namespaces.append(names.GUARDRAILS_NAMESPACE)
    if policy.callers.issuers or policy.issued_keys:
        namespaces.append(names.SUBJECT_NAMESPACE)
    metadata_options["receiving_namespaces"] = {"untyped": namespaces}
    return typed(
        DECIDE,
        _EXT_PROC,
        grpc_service=grpc_service("decide"),
        message_timeout=seconds(policy.timeouts.service_seconds),
        status_on_error={"code": 503},
        processing_mode={
            "request_header_mode": "SKIP",
            "request_body_mode": "BUFFERED",
            "response_header_mode": "SKIP",
            "response_body_mode": "NONE",
        },
        request_attributes=attributes,
        mutation_rules={"allow_all_routing": True, "allow_envoy": True},
        metadata_options=metadata_options,
    )


def _callout_headers(policy: Policy) -> list[str]:
    """What services of the operator's are told."""
    asked = (Webhook, Judge, Recogniser)
    own = any(isinstance(callee.service, asked) for callee in policy.callees)
    return ["x-request-id"] if own else []


def _model_headers(policy: Policy) -> list[str]:
    """Those that models are chosen by: stickiness, experiments, canaries and rules."""
    models = policy.models.values()
    keys = [model.sticky or "" for model in models]
    keys += [model.experiment.by for model in models if model.experiment]
    keys += [model.canary.by for model in models if model.canary]
    named = [key.removeprefix("header:") for key in keys if key.startswith("header:")]
    conditions = [rule.when for model in models for rule in model.rules]
    conditions += [model.shadow.when for model in models if model.shadow]
    return named + [name for when in conditions for name in when.headers]


def respond_filter(policy: Policy) -> Json:
    """The respond stage, off but for routes of answers that need an edit."""
    wanted = [names.CLIENT_DIALECT, names.INCLUDE_USAGE, names.STREAM, names.FRAMING]
    written = [names.USAGE_NAMESPACE]
    redacts = policy.redaction is not None
    guards = policy.guardrails is not None and policy.guardrails.looks_at_answers
    if redacts:
        wanted += [names.SEALED, names.REDACTION, names.CALLER]
        written.append(names.REDACTION_ANSWER_NAMESPACE)
    if guards:
        wanted += [names.GUARDRAILS, names.JSON_WANTED, names.CALLER, names.MODEL]
        written.append(names.GUARDRAILS_ANSWER_NAMESPACE)
    if redacts or guards:  # either may keep an answer back, and says so
        written.append(names.NAMESPACE)
    return typed(
        RESPOND,
        _EXT_PROC,
        grpc_service=grpc_service("respond"),
        message_timeout=seconds(policy.timeouts.service_seconds),
        status_on_error={"code": 503},
        processing_mode={
            "request_header_mode": "SKIP",
            "request_body_mode": "NONE",
            "response_header_mode": "SEND",
            "response_body_mode": "FULL_DUPLEX_STREAMED",
            "response_trailer_mode": "SEND",
        },
        response_attributes=[
            "xds.cluster_name",
            *([names.REQUEST_ID_ATTRIBUTE] if guards else []),
            *(f"metadata.filter_metadata['dragoman']['{name}']" for name in dict.fromkeys(wanted)),
        ],
        allow_content_length_header=True,
        mutation_rules={"allow_all_routing": True, "allow_envoy": True},
        metadata_options={"receiving_namespaces": {"untyped": written}},
    )


def _reroute() -> Json:
    """Chooses the route of a form anew, behind the filter that holds it until the last piece was
    decided on: a reply to a piece cannot, Envoy heeds it too late. Off but for such routes."""
    lua = "extensions.filters.http.lua.v3.Lua"
    script = "function envoy_on_request(handle) handle:clearRouteCache() end"
    return {**typed(REROUTE, lua, default_source_code={"inline_string": script}), "disabled": True}


def _retries() -> Json:
    """As many retries as the decide stage's order has further targets."""
    header = {"key": "x-envoy-max-retries", "value": "%DYNAMIC_METADATA(dragoman:retries)%"}
    return typed(
        "dragoman.retries",
        "extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={
            "request_mutations": [
                {"append": {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD", "header": header}}
            ]
        },
    )
