"""Names of what is recorded: OpenTelemetry's for GenAI and HTTP where it has one, else ours.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
"""Cached ones included."""
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_INPUT_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_CREATION_INPUT_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_OUTPUT_TOKENS = "gen_ai.usage.reasoning.output_tokens"
"""Part of the output tokens."""
INPUT_AUDIO_TOKENS = "dragoman.usage.input_audio_tokens"
INPUT_IMAGE_TOKENS = "dragoman.usage.input_image_tokens"
OUTPUT_AUDIO_TOKENS = "dragoman.usage.output_audio_tokens"
OUTPUT_IMAGE_TOKENS = "dragoman.usage.output_image_tokens"
"""Parts of the input and output tokens, where providers tell them and they have prices."""
RESPONSE_STATUS_CODE = "http.response.status_code"

REQUEST_ID = "dragoman.request_id"
CALLER = "dragoman.caller"
ORGANIZATION = "dragoman.organization"
TEAM = "dragoman.team"
USER = "dragoman.user"
APPLICATION = "dragoman.application"
"""Whom the caller belongs to."""
UPSTREAM_MODEL = "dragoman.upstream.model"
UPSTREAM_DIALECT = "dragoman.upstream.dialect"
CLIENT_DIALECT = "dragoman.client.dialect"
STREAM = "dragoman.stream"
ATTEMPTS = "dragoman.attempts"
FAILED_ATTEMPTS = "dragoman.attempts.failed"
"""Those before the last (`attempts.FailedAttempt`)."""
LAST_ATTEMPT_MS = "dragoman.attempts.last_ms"
"""When the last of several went out, since the request came."""
DURATION_MS = "dragoman.duration_ms"
TIME_TO_FIRST_BYTE_MS = "dragoman.time_to_first_byte_ms"
RESPONSE_DETAILS = "dragoman.response.details"
RESPONSE_FLAGS = "dragoman.response.flags"
COST_USD = "dragoman.cost_usd"
"""By the prices of the model's profile; absent where they are not known."""
METERING = "dragoman.metering"
DECISION = "dragoman.decision"
"""Strategy, order of upstreams, and those left out with the reason."""
DROPPED = "dragoman.dropped"
FALLBACKS = "dragoman.fallbacks"
"""Why answers were not used, by `PROVIDER/MODEL`."""
KEPT = "dragoman.kept"
"""Why the answer would not have been used, and the limit for which it was: `refusal(time)`."""
DENIED = "dragoman.denied"
"""Why the policy did not let the request through."""
DENIED_ANSWER = "dragoman.denied.answer"
"""Why it did not let the answer through, or not all of it."""
REDACTED = "dragoman.redacted"
"""Findings by entity, in the request."""
REDACTED_ANSWER = "dragoman.redacted.answer"
"""Findings by entity, in the answer."""
GUARDRAILS = "dragoman.guardrails"
"""What guardrails found in the request, by rule."""
GUARDRAILS_ANSWER = "dragoman.guardrails.answer"
"""The same of the answer: 1 for each rule."""
GUARDRAILS_SCORE = "dragoman.guardrails.score"
"""The highest that a text of the request had for prompt injection, where it reached the limit."""
SHADOW = "dragoman.shadow"
"""The model that was asked too."""
SHADOW_OF = "dragoman.shadow.request_id"
"""The id of the request of which this was the copy."""
FEEDBACK_OF = "dragoman.feedback.request_id"
"""The id of the request that was scored."""
FEEDBACK_SCORE = "dragoman.feedback.score"
"""From 0 to 1."""

TAGS = {
    subject: f"dragoman.{subject}"
    for subject in ("organization", "team", "application", "user", "caller")
}
"""Whom a request is charged to, and the fields that say it."""
SUBJECTS = TAGS | {
    "model": REQUEST_MODEL,
    "provider": PROVIDER_NAME,
    "upstream_model": UPSTREAM_MODEL,
    "operation": OPERATION_NAME,
}
"""All that use is told apart by."""
