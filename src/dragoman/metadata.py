"""What travels between stages and to the logs: names in Envoy's dynamic metadata.

Values are strings unless said, because attributes and matchers read strings best. Access logs
carry all of it: nothing confidential is ever put here.
"""

from __future__ import annotations

import msgspec

NAMESPACE = "dragoman"
REQUEST_NAMESPACE = "dragoman.request"
"""Written by Envoy before anything else, so that it outlives the request's headers, of which each
provider's filters remove what is not the provider's."""
ID = "id"
"""There: the request's, as Envoy made it up."""
TOLD_CHARS = 18
"""The beginning of it goes to providers, by which Envoy's log of attempts tells whose one was. It
has 60 random bits; the rest, 62, nobody but the client and the ledger sees."""
REQUEST_ID_ATTRIBUTE = f"metadata.filter_metadata['{REQUEST_NAMESPACE}']['{ID}']"
"""By which name a stage is told of it."""
SHADOW_OF = "shadow_of"
"""There, of a copy that is asked of a shadow model: the id of the request it is a copy of."""
SHADOW_HEADER = "x-dragoman-shadow"
"""Request header in which Envoy brings a copy back: what the decide stage told of it. Where clients
come in it is removed."""
SHADOW_OF_HEADER = "x-dragoman-shadow-of"
"""The same of `SHADOW_OF`."""
HEAD = "dragoman.head"
"""Not metadata but filter state, which no access log carries: the request's method, its path, and
headers that the decide stage reads, as lines `NAME:VALUE`; an absent one has no value."""
ROUTE_NAMESPACE = "dragoman.route"
"""Read by the `priority_group` cluster specifier."""
MODELS_NAMESPACE = "dragoman.models"
"""The model asked for at each cluster, by the cluster's name."""
PATHS_NAMESPACE = "dragoman.paths"
"""Path and query to ask each provider for, by the provider's name."""
PRICES_NAMESPACE = "dragoman.prices"
"""What each provider's model costs today (`catalog.costs.encode_prices`), by the provider's name,
where Envoy's statistics are to tell what calls cost."""
RATE_LIMIT_NAMESPACE = "dragoman.ratelimit"
"""What response headers tell of the caller's quotas, by the header's name behind `x-ratelimit-`."""
USAGE_NAMESPACE = "dragoman.usage"
"""Token counts, as numbers: the native filters' raw keys, and winning over them what the script has
added up, and over both the final ones of a stage."""
SUM = "sum"
"""There: an object of the script's counts by kind (`catalog.counts.Kind`), those that are not 0."""
GROWS = "grows"
"""In it, a flag: the counts came with the beginning of a stream (`catalog.counts.Family.grows`)."""
BROKEN = "broken"
"""There: the code of the provider's error in which a stream that had begun ended."""
LIMITS_NAMESPACE = "dragoman.limits"
"""What providers say is left of their own rate limits, by the provider's name: an object of what
stands below, as text for Envoy's statistics."""
LEFT, RESETS_AT = "left", "resets_at"
"""In thousandths; when all of it is there again, in Unix seconds."""
PAUSED_UNTIL = "paused_until"
"""Until when it wants to be asked nothing, by its `retry-after`."""
ATTEMPTS_FAILED = "attempts_failed"
"""A statistic: a provider's attempts that speak against it."""
FALLBACK_NAMESPACE = "dragoman.fallback"
"""Why an answer was not used, by `PROVIDER/MODEL`."""
KEPT = "kept"
"""There: why the answer would not have been used, and the limit for which it was."""
KEPT_HEADER = "x-dragoman-kept"
"""Response header with the same."""

REDACTION_NAMESPACE = "dragoman.redaction"
"""How many findings of each entity were in the request, as numbers."""
REDACTION_ANSWER_NAMESPACE = "dragoman.redaction.answer"
"""The same of the answer."""

GUARDRAILS_NAMESPACE = "dragoman.guardrails"
"""How often each rule of the guardrails was found in the request, as numbers."""
GUARDRAILS_ANSWER_NAMESPACE = "dragoman.guardrails.answer"
"""Which were found in the answer, as numbers."""
ANSWER_LENGTH = "answer_length"
"""There: the answer was longer than it may be. No rule has this name."""
DISCLAIMER = "disclaimer"
"""There: the text that answers must have was added. No rule has this name."""
SCHEMA = "schema"
"""There: the answer did not fit the schema that was asked for. No rule has this name."""
SCORE = "score"
"""There: the highest of a text, for prompt injection. No rule has this name."""

SUBJECT_NAMESPACE = "dragoman.subject"
"""Organization, team, user and application, as far as the request's token says them."""
JWT_NAMESPACE = "envoy.filters.http.jwt_authn"
"""Written by Envoy's filter of this name alone: a token's verified payload, by the issuer's name in
the policy."""
UNVERIFIED = "_failed"
"""There: why a token was refused. No issuer has such a name."""

FORWARDED_CERTIFICATE = "x-forwarded-client-cert"
FALLBACK_HEADER = "x-dragoman-fallback"
"""Response header of an answer that is not used for what it says: no failure of the provider."""
PEER_ADDRESS = "x-dragoman-peer"
"""Request header in which Envoy says who connected to it, whatever `x-forwarded-for` says."""

ADMITTED = "admitted"
CLIENT_DIALECT = "client_dialect"
OPERATION = "operation"
MODEL = "model"
CALLER = "caller"
UPSTREAM_MODEL = "upstream_model"
"""The model asked for at the latest attempt's cluster; Envoy writes it as the attempt goes out."""
STREAM = "stream"
INCLUDE_USAGE = "include_usage"
FRAMING = "framing"
"""How the client wants its stream framed, in its dialect's own word; absent: the usual way."""
FIELDS = "fields"
"""What path and headers said of the body, as an object in JSON text."""
STRIP_USAGE = "strip_usage"
RESPOND = "respond"
SEALED = "sealed"
"""What the placeholders of the request stand for, under the key that only the workers share."""
REDACTION = "redaction"
"""The profile that the answer is under; absent: none."""
GUARDRAILS = "guardrails"
"""The profile whose guardrails look at the answer; absent: none."""
JSON_WANTED = "json_wanted"
"""The client asked for JSON: an answer that is, has no text added to it."""
TARGETS = "targets"
KEEP = "keep:"
"""Followed by a cluster: its translate stage is skipped."""
KEEP_DIALECT = "keep_dialect"
"""A dialect whose clusters skip translation, where the operator's routes choose the cluster."""
RETRIES = "retries"
PATIENT = "patient"
"""Its targets may take longer than others to begin an answer, one after the other."""
CLAMP = "clamp"
MUST_FIT = "must_fit"
"""What becomes of an answer that is not the JSON asked for: `block` or `report`; absent: nothing
was asked for that anybody looks at."""
FALLBACK_ON = "fallback_on"
"""Reasons to ask the next target (`Model.fallback`), separated by commas; absent: an answer's
status alone is one. Behind them, `shorter_than:N`, `scored_below:SCORE`, `until:MS` (Unix time) and
`attempts:N`, how many may be made."""
SHORTER_THAN, UNTIL, ATTEMPTS = "shorter_than", "until", "attempts"
SCORED_BELOW = "scored_below"
"""There."""
SCORER = "scorer"
"""Who scores it, by name in the policy."""
BODY = "body"
"""How the body is read (`dialects.BodyKind`); absent: as JSON."""
DECISION = "decision"
"""Which upstreams were chosen and why, in one line; shown to the client and in the ledger."""
CANARY = "canary"
"""Of whose canary the request is, and which side served; absent: of none."""
SHADOW = "shadow"
"""What is told of the request's copy, where it has one (`exchange.shadow.Copy`)."""
SHADOW_MODEL = "shadow_model"
"""The model that the copy is for."""
NONCE = "nonce"
"""Of a request and its copy, whose answers are to be compared: what both are sketched under, beside
a key that only the workers share."""
ANSWER = "answer"
"""What is told of an answer that is to be compared (`telemetry.answers.Answer`)."""
LATENCY_KEY = "latency_key"
"""What is seen of this request is learned under; absent: nothing is learned of it."""
DEPRECATION = "deprecation"
SUNSET = "sunset"
"""Since when the model asked for is deprecated, and when it ends: the response headers' values."""
DENIED = "denied"
"""Why the policy did not let the request through."""
DENIED_ANSWER = "denied_answer"
"""Why it did not let the answer through, or not all of it."""
FEEDBACK_OF = "feedback_of"
"""The id of the request that a client scores."""
FEEDBACK_SCORE = "feedback_score"
"""From 0 to 1, as a number."""
UNREAD = "unread"
"""The body is not held: it goes to the provider as it comes."""
REACHED_QUOTA = "reached_quota"
"""A quota of which some level was reached since the request before; for Envoy's statistics."""
REACHED_PERCENT = "reached_percent"
"""That level."""
QUOTA = "quota"
"""What was reserved of which quotas; settled by whoever logs the request's end."""
RUNNING_SECONDS = 30
"""How often the access log tells of a request under a quota that goes on."""

FLAG = "1"

Order = tuple[tuple[str, str], ...]
"""(cluster, upstream model) by attempt."""


def encode_order(order: list[tuple[str, str]]) -> str:
    """The order as one compact text, so that it travels as a scalar."""
    return msgspec.json.encode(order).decode()


_read_order = msgspec.json.Decoder(Order).decode


def decode_order(order: str) -> Order:
    """What `encode_order` wrote; empty where there is none."""
    return _read_order(order) if order else ()


def count_targets(order: str) -> int:
    """How many attempts an order has."""
    return len(decode_order(order))


def model_at(order: str, cluster: str, attempt: int) -> str | None:
    """The upstream model for `attempt` (from 1) that Envoy sent to `cluster`.

    None where the order does not name the cluster: the operator's own route chose it.
    """
    steps = decode_order(order)
    if not steps:
        return None
    step = steps[min(attempt, len(steps)) - 1]
    if step[0] == cluster:
        return step[1]
    return next((model for name, model in steps if name == cluster), None)
