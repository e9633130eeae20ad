"""Envoy's gRPC access log in, ledger entries out. Never answers; never refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from dragoman.catalog.profiles import Prices
from dragoman.extproc.in_force import InForce
from dragoman.extproc.pb.access_log_pb2 import (
    AccessLogCommon,
    AccessLogType,
    HTTPAccessLogEntry,
    ResponseFlags,
    StreamAccessLogsMessage,
    StreamAccessLogsResponse,
)
from dragoman.extproc.transports import Message
from dragoman.metadata import (
    CANARY,
    FALLBACK_NAMESPACE,
    GUARDRAILS_ANSWER_NAMESPACE,
    GUARDRAILS_NAMESPACE,
    LATENCY_KEY,
    MODELS_NAMESPACE,
    NAMESPACE,
    QUOTA,
    REDACTION_ANSWER_NAMESPACE,
    REDACTION_NAMESPACE,
    REQUEST_NAMESPACE,
    SUBJECT_NAMESPACE,
    TOLD_CHARS,
    USAGE_NAMESPACE,
)
from dragoman.policies.quotas import decode_holds
from dragoman.policies.route.canary import read_side
from dragoman.policies.route.observe import observe, see_targets
from dragoman.policies.route.reward import takes_feedback
from dragoman.stores.trail import AuditTrail
from dragoman.telemetry.attempts import Attempt, Waiting
from dragoman.telemetry.ledger import (
    AccessRecord,
    Entry,
    UpstreamTimes,
    find_request_id,
    make_entry,
)
from dragoman.wire.protobuf import read_values

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
DROPPED_HEADER = "x-dragoman-dropped"

Sink = Callable[[list[Entry]], None]
"""Takes the entries that came together."""
_READ = (
    NAMESPACE,
    REQUEST_NAMESPACE,
    MODELS_NAMESPACE,
    USAGE_NAMESPACE,
    REDACTION_NAMESPACE,
    REDACTION_ANSWER_NAMESPACE,
    SUBJECT_NAMESPACE,
    FALLBACK_NAMESPACE,
    GUARDRAILS_NAMESPACE,
    GUARDRAILS_ANSWER_NAMESPACE,
)
_ENDED = AccessLogType.DownstreamEnd
_RUNNING = AccessLogType.DownstreamPeriodic
_ATTEMPTED = AccessLogType.UpstreamEnd
_MOST_FAILURE = 200
"""Characters of what Envoy says of a connection that failed."""

_Time = Literal[
    "time_to_first_upstream_tx_byte",
    "time_to_first_upstream_rx_byte",
    "time_to_last_upstream_rx_byte",
    "time_to_first_downstream_tx_byte",
]

_FLAGS = {
    "failed_local_healthcheck": "LH",
    "no_healthy_upstream": "UH",
    "upstream_request_timeout": "UT",
    "local_reset": "LR",
    "upstream_remote_reset": "UR",
    "upstream_connection_failure": "UF",
    "upstream_connection_termination": "UC",
    "upstream_overflow": "UO",
    "no_route_found": "NR",
    "downstream_connection_termination": "DC",
    "upstream_retry_limit_exceeded": "URX",
    "stream_idle_timeout": "SI",
    "downstream_protocol_error": "DPE",
    "upstream_max_stream_duration_reached": "UMSDR",
    "duration_timeout": "DT",
    "upstream_protocol_error": "UPE",
    "no_cluster_found": "NC",
    "overload_manager": "OM",
    "dns_resolution_failure": "DF",
    "downstream_remote_reset": "DR",
}
"""Envoy's own short names, as its text logs write them."""


class LedgerStream:
    """One stream of access log messages from one Envoy thread; it lasts as long as Envoy does."""

    def __init__(
        self,
        in_force: InForce,
        sink: Sink,
        clock: Callable[[], float] = time.time,
        trail: AuditTrail | None = None,
    ) -> None:
        """`clock` tells Unix seconds; `trail` takes in those that were denied. What requests had
        reserved is settled here, and learned how long upstreams took."""
        self._in_force = in_force
        self._trail = trail
        self._clock = clock
        self._sink = sink
        self._attempts = Waiting()
        self.finished = False

    def feed(self, message: Message, *, more: bool = False) -> list[bytes]:
        del more
        logs = StreamAccessLogsMessage.FromString(message)  # type: ignore[arg-type]  # any buffer
        entries: list[Entry] = []
        for logged in logs.http_logs.log_entry:
            if logged.common_properties.access_log_type == _ENDED:
                healing = self._in_force.beside.healing
                record = self._join(read_record(logged, timed=healing is not None))
                entry = make_entry(record, self._in_force.find_dialect, self._prices, self._belongs)
                self._settle(record, entry)
                if entry.shadow_of is None:
                    self._tell(record, entry)
                entries.append(entry)
            elif logged.common_properties.access_log_type == _ATTEMPTED:
                told = logged.request.request_id[:TOLD_CHARS]
                self._attempts.add(told, read_attempt(logged))
            elif logged.common_properties.access_log_type == _RUNNING:
                self._renew(logged.common_properties)
        if entries:
            self._sink(entries)
        return []

    def _tell(self, record: AccessRecord, entry: Entry) -> None:
        """All who learn from requests, or watch them."""
        healing = self._in_force.beside.healing
        self._learn(entry, observe(record, entry, self._in_force.latencies))
        if healing is not None:
            see_targets(record, entry, healing.see)
        self._note(entry)
        self._watch(entry, record.address)
        self._judge(record, entry)

    def _join(self, record: AccessRecord) -> AccessRecord:
        """`record` with those of its attempts that failed, as far as this stream was told."""
        failed = self._attempts.take(find_request_id(record)[:TOLD_CHARS])
        return msgspec.structs.replace(record, failed=tuple(failed)) if failed else record

    def _note(self, entry: Entry) -> None:
        why = entry.denied or entry.denied_answer
        if self._trail is None or why is None:
            return
        what: dict[str, str | int | None] = {
            **entry.belongs,
            "request_id": entry.request_id or None,
            "operation": entry.operation,
            "status": entry.status,
            "code": entry.details,
        }
        if entry.denied is None:
            what |= {"model": entry.model, "provider": entry.provider}
        event = "request.denied" if entry.denied else "answer.denied"
        self._trail.note(event, entry.caller, what, why)

    def _watch(self, entry: Entry, address: str) -> None:
        watch = self._in_force.beside.abuse
        if watch is not None and entry.caller:
            watch.note(entry.caller, entry, address)

    def _learn(self, entry: Entry, answered: str | None) -> None:
        """From a client's score, or what it may score: `answered` is what that is learned under."""
        feedback = self._in_force.beside.feedback
        if feedback is None or entry.caller is None:
            return
        if entry.feedback is not None:
            feedback.score(entry.feedback.request_id, entry.caller, entry.feedback.score)
        elif answered is not None and takes_feedback(answered):
            feedback.note(entry.request_id, entry.caller, answered)

    def _judge(self, record: AccessRecord, entry: Entry) -> None:
        canaries = self._in_force.beside.canaries
        told = record.metadata.get(NAMESPACE, {}).get(CANARY)
        if canaries is not None and isinstance(told, str):
            model, candidate = read_side(told)
            canaries.note(model, entry, candidate=candidate)

    def _settle(self, record: AccessRecord, entry: Entry) -> None:
        held = record.metadata.get(NAMESPACE, {}).get(QUOTA)
        keeper = self._in_force.beside.keeper
        if keeper is None or not isinstance(held, str):
            return
        tokens = entry.tokens.input + entry.tokens.output
        used = {"requests": 1, "tokens": tokens, "usd": entry.cost_nanodollars or 0}
        keeper.settle(decode_holds(held), used, entry.provider)

    def _renew(self, common: AccessLogCommon) -> None:
        spaces, keeper = common.metadata.filter_metadata, self._in_force.beside.keeper
        if keeper is not None and NAMESPACE in spaces:
            held = read_values(spaces[NAMESPACE]).get(QUOTA)
            keeper.renew(decode_holds(held) if isinstance(held, str) else ())

    def _belongs(self, caller: str) -> Mapping[str, str]:
        known = self._in_force.policy.callers.by_name.get(caller)
        return known.belongs if known else {}

    def _prices(self, provider: str, model: str) -> Prices | None:
        """Those of today."""
        profile = self._in_force.policy.profile(provider, model)
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        return profile.prices_on(today) if profile else None

    def close(self) -> list[bytes]:
        return [StreamAccessLogsResponse().SerializeToString()]

    def fail(self) -> list[bytes]:
        return []


def read_record(logged: HTTPAccessLogEntry, *, timed: bool = False) -> AccessRecord:
    """One access log entry as plain values; `timed`: with what upstreams took in any case."""
    common, response = logged.common_properties, logged.response
    spaces = common.metadata.filter_metadata
    metadata = {name: read_values(spaces[name]) for name in _READ if name in spaces}
    retried = common.upstream_request_attempt_count > 1
    learns = timed or retried or LATENCY_KEY in metadata.get(NAMESPACE, {})
    return AccessRecord(
        address=common.downstream_remote_address.socket_address.address,
        metadata=metadata,
        cluster=common.upstream_cluster,
        upstream_reached=common.HasField("upstream_remote_address"),
        attempts=common.upstream_request_attempt_count,
        status=response.response_code.value,
        details=response.response_code_details,
        flags=_flags(common.response_flags) if common.HasField("response_flags") else (),
        request_id=logged.request.request_id or common.stream_id,
        request_body_bytes=logged.request.request_body_bytes,
        response_body_bytes=response.response_body_bytes,
        duration_ms=_duration_ms(common),
        time_to_first_byte_ms=_time_of(common, "time_to_first_downstream_tx_byte"),
        dropped=response.response_headers.get(DROPPED_HEADER, ""),
        upstream=_upstream_times(common) if learns else None,
        began=_seconds(common.start_time) if retried else 0.0,
    )


def read_attempt(logged: HTTPAccessLogEntry) -> Attempt:
    """An entry of the router's log of attempts as plain values."""
    common = logged.common_properties
    return Attempt(
        cluster=common.upstream_cluster,
        started=_seconds(common.start_time),
        duration_ms=_duration_ms(common) or 0.0,
        status=logged.response.response_code.value,
        flags=_flags(common.response_flags),
        failure=common.upstream_transport_failure_reason[:_MOST_FAILURE],
    )


def _flags(flags: ResponseFlags) -> tuple[str, ...]:
    return tuple(_FLAGS[field.name] for field, _ in flags.ListFields() if field.name in _FLAGS)


def _duration_ms(common: AccessLogCommon) -> float | None:
    if common.HasField("duration"):
        return _milliseconds(common.duration)
    if common.HasField("time_to_last_downstream_tx_byte"):
        return _milliseconds(common.time_to_last_downstream_tx_byte)
    return None


def _upstream_times(common: AccessLogCommon) -> UpstreamTimes:
    return UpstreamTimes(
        _time_of(common, "time_to_first_upstream_tx_byte"),
        _time_of(common, "time_to_first_upstream_rx_byte"),
        _time_of(common, "time_to_last_upstream_rx_byte"),
    )


def _time_of(common: AccessLogCommon, field: _Time) -> float | None:
    return _milliseconds(getattr(common, field)) if common.HasField(field) else None


def _seconds(at: Timestamp) -> float:
    return at.seconds + at.nanos / 1e9


def _milliseconds(duration: Duration) -> float:
    return round(duration.seconds * 1000 + duration.nanos / 1e6, 3)
