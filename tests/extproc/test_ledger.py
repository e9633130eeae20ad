"""Envoy's access log messages in, ledger entries out."""

import asyncio
from datetime import UTC, datetime

import pytest

from dragoman.config.load import parse
from dragoman.extproc.background import Beside
from dragoman.extproc.in_force import InForce
from dragoman.extproc.ledger import LedgerStream
from dragoman.extproc.pb.access_log_pb2 import AccessLogType, StreamAccessLogsMessage
from dragoman.metadata import QUOTA
from dragoman.policies.quotas import encode_holds
from dragoman.stores.feedback import FeedbackWatch, Known
from dragoman.stores.keeper import QuotaKeeper, Settled, Settlement
from dragoman.stores.latencies import Sums
from dragoman.stores.leases import HOLD_SECONDS, Hold, Taken
from dragoman.stores.trail import AuditTrail
from dragoman.telemetry.ledger import encode_lines
from dragoman.wire.protobuf import encode_struct
from tests.extproc.test_streams import POLICY

PRICED = """
callers: {demo: {keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}
providers: {right: {kind: anthropic, key: {env: K}}}
models: {fast: {targets: [{provider: right, model: claude}]}}
"""


def logged(kind=AccessLogType.DownstreamEnd, *, hung_up=True):
    message = StreamAccessLogsMessage()
    entry = message.http_logs.log_entry.add()
    common = entry.common_properties
    common.access_log_type = kind
    common.upstream_cluster = "right"
    common.upstream_remote_address.socket_address.address = "127.0.0.1"
    common.upstream_request_attempt_count = 2
    common.duration.nanos = 12_500_000
    common.time_to_first_downstream_tx_byte.nanos = 3_000_000
    common.response_flags.downstream_connection_termination = hung_up
    spaces = common.metadata.filter_metadata
    entry.request.request_id = "r-1"
    facts = {"caller": "demo", "model": "fast"}
    spaces["dragoman"] += encode_struct({**facts, "client_dialect": "openai_chat"})
    spaces["dragoman.models"] += encode_struct({"right": "claude"})
    spaces["dragoman.usage"] += encode_struct({"sum": {"input": 3, "output": 1, "grows": "1"}})
    entry.response.response_code.value = 200
    entry.response.response_code_details = "via_upstream"
    entry.response.response_headers["x-dragoman-dropped"] = "$.seed"
    return message.SerializeToString()


def test_an_entry_says_who_asked_what_and_what_came_of_it():
    entries = []
    machine = LedgerStream(InForce(POLICY), entries.extend)
    assert machine.feed(logged()) == []
    [entry] = entries
    assert (entry.request_id, entry.caller, entry.model) == ("r-1", "demo", "fast")
    assert (entry.provider, entry.upstream_model) == ("right", "claude")
    assert entry.upstream_dialect == "anthropic_messages"
    assert (entry.attempts, entry.status, entry.flags) == (2, 200, ("DC",))
    assert (entry.duration_ms, entry.time_to_first_byte_ms) == (12.5, 3.0)
    assert (entry.metering, entry.dropped) == ("estimated", "$.seed")


@pytest.mark.parametrize(("day", "cost"), [("2026-06-30", 7000), ("2026-07-01", 5000)])
def test_a_call_costs_what_the_model_did_on_its_day(day, cost):
    prices = "[{input: 2, output: 1, until: 2026-06-30}, {input: 1, output: 2, since: 2026-07-01}]"
    text = PRICED + f"profiles: [{{provider: right, model: claude, prices: {prices}}}]"
    at = datetime.fromisoformat(f"{day}T23:59:59+00:00").timestamp()
    entries = []
    policy = parse(text, "p.yaml", {"K": "1"})
    LedgerStream(InForce(policy), entries.extend, clock=lambda: at).feed(logged(hung_up=False))
    assert [entry.cost_nanodollars for entry in entries] == [cost]


def test_an_attempt_that_failed_is_entered_with_its_request():
    message = StreamAccessLogsMessage()
    attempt = message.http_logs.log_entry.add()
    common = attempt.common_properties
    common.access_log_type = AccessLogType.UpstreamEnd
    common.upstream_cluster = "left"
    common.start_time.FromNanoseconds(5_000_000_000)
    common.duration.nanos = 7_000_000
    common.response_flags.upstream_connection_failure = True
    common.upstream_transport_failure_reason = "Connection refused" + "." * 1000
    attempt.request.request_id = "r-1"
    entries = []
    machine = LedgerStream(InForce(POLICY), entries.extend)
    machine.feed(message.SerializeToString())
    assert entries == []
    request = StreamAccessLogsMessage.FromString(logged(hung_up=False))
    common = request.http_logs.log_entry[0].common_properties
    common.start_time.FromNanoseconds(4_998_000_000)
    common.time_to_first_upstream_tx_byte.nanos = 9_500_000
    machine.feed(request.SerializeToString())
    machine.feed(request.SerializeToString())
    [failed] = entries[0].failed_attempts
    assert (failed.attempt, failed.provider, failed.model) == (1, "left", None)
    assert (failed.start_ms, failed.duration_ms, failed.status) == (2.0, 7.0, 0)
    assert (failed.flags, failed.failure[:18], len(failed.failure)) == (
        "UF",
        "Connection refused",
        200,
    )
    assert entries[0].last_attempt_ms == 9.5
    assert entries[1].failed_attempts == ()


def test_only_the_end_of_a_request_is_entered():
    entries = []
    LedgerStream(InForce(POLICY), entries.extend).feed(logged(AccessLogType.NotSet))
    assert entries == []


class Told:
    """A store that takes what it is told and has nothing to give."""

    def __init__(self):
        self.settlements = []

    async def take(self, wants):
        return [Taken(0, 0, 0, 0, 0) for _ in wants]

    async def settle(self, writer, batch):
        self.settlements += batch.settlements
        return Settled(is_short=False)

    async def close(self):
        """Nothing is open."""


def test_what_a_request_that_goes_on_has_reserved_is_held_on():
    message = StreamAccessLogsMessage.FromString(logged(AccessLogType.DownstreamPeriodic))
    spaces = message.http_logs.log_entry[0].common_properties.metadata.filter_metadata
    spaces["dragoman"] += encode_struct(
        {QUOTA: encode_holds([Hold("k", "w-0", 3, "requests", 7, 60)])}
    )
    store, entries = Told(), []
    keeper = QuotaKeeper(store, "w", lambda: 0.0)
    beside = Beside()
    beside.keeper = keeper
    in_force = InForce(POLICY, beside)
    LedgerStream(in_force, entries.extend).feed(message.SerializeToString())
    asyncio.run(keeper.refresh())
    assert entries == []
    assert store.settlements == [Settlement("w-0", 0, 7, 0, int(HOLD_SECONDS * 1000))]


class Entered:
    """A store that takes all of it."""

    def __init__(self):
        self.events = []

    async def append(self, events):
        self.events += events

    async def close(self):
        pass


@pytest.mark.parametrize(
    ("fact", "event", "more"),
    [
        ("denied", "request.denied", {}),
        ("denied_answer", "answer.denied", {"model": "fast", "provider": "right"}),
    ],
)
def test_what_was_denied_is_entered_in_the_trail(fact, event, more):
    message = StreamAccessLogsMessage.FromString(logged())
    [entry] = message.http_logs.log_entry
    entry.common_properties.metadata.filter_metadata["dragoman"] += encode_struct(
        {fact: "rival was found"}
    )
    store = Entered()
    trail = AuditTrail(store, "w", lambda: 0.0)
    LedgerStream(InForce(POLICY), lambda _: None, trail=trail).feed(message.SerializeToString())
    LedgerStream(InForce(POLICY), lambda _: None, trail=trail).feed(logged())
    asyncio.run(trail.refresh())
    [entered] = store.events
    assert (entered.event, entered.who, entered.why) == (event, "demo", "rival was found")
    told = {"request_id": "r-1", "operation": None, "status": 200, "code": "via_upstream"}
    assert entered.what == told | more


def test_the_stream_ends_with_its_one_empty_answer():
    assert LedgerStream(InForce(POLICY), lambda _: None).close() == [b""]


def test_a_workers_decisions_learn_from_how_long_upstreams_took():
    message = StreamAccessLogsMessage.FromString(logged(hung_up=False))
    [entry] = message.http_logs.log_entry
    common = entry.common_properties
    common.upstream_request_attempt_count = 1
    common.time_to_first_upstream_tx_byte.nanos = 2_000_000
    common.time_to_first_upstream_rx_byte.nanos = 5_000_000
    common.time_to_last_upstream_rx_byte.nanos = 9_000_000
    facts = {"latency_key": "60 x", "targets": '[["right","claude"]]'}
    common.metadata.filter_metadata["dragoman"] += encode_struct(facts)
    in_force = InForce(POLICY, clock=lambda: 0.0)
    LedgerStream(in_force, lambda _: None).feed(message.SerializeToString())
    seen = in_force.latencies.find("60 x\nright\nclaude")
    assert seen == Sums(1.0, 7.0, 3.0, 1.0, 1.0, 7.0)
    LedgerStream(in_force, lambda _: None).feed(logged())
    assert in_force.latencies.find("60 x\nright\nclaude") == seen


def test_a_copy_is_settled_and_entered_and_nothing_is_learned_of_it():
    message = StreamAccessLogsMessage.FromString(logged(hung_up=False))
    common = message.http_logs.log_entry[0].common_properties
    common.upstream_request_attempt_count = 1
    for at in ("time_to_first_upstream_tx_byte", "time_to_last_upstream_rx_byte"):
        getattr(common, at).nanos = 2_000_000
    facts = {"latency_key": "60 x", "targets": '[["right","claude"]]', "denied": "why"}
    hold = encode_holds([Hold("k", "w-0", 3, "requests", 7, 60)])
    common.metadata.filter_metadata["dragoman"] += encode_struct({**facts, QUOTA: hold})
    common.metadata.filter_metadata["dragoman.request"] += encode_struct(
        {"id": "r-2", "shadow_of": "r-1"}
    )
    store, settled, entries = Entered(), Told(), []
    beside = Beside()
    beside.keeper = QuotaKeeper(settled, "w", lambda: 0.0)
    in_force = InForce(POLICY, beside, clock=lambda: 0.0)
    trail = AuditTrail(store, "w", lambda: 0.0)
    LedgerStream(in_force, entries.extend, trail=trail).feed(message.SerializeToString())
    asyncio.run(trail.refresh())
    asyncio.run(beside.keeper.refresh())
    assert store.events == []
    assert in_force.latencies.find("60 x\nright\nclaude") == Sums()
    assert len(settled.settlements) == 1
    [entry] = entries
    assert (entry.event, entry.request_id, entry.shadow_of) == ("shadow", "r-2", "r-1")
    assert b'"event":"shadow"' in encode_lines(entries, datetime.now(UTC))


class Answers:
    """A store that knows what one worker told it."""

    def __init__(self):
        self.answers = {}

    async def tell(self, answers, scores):
        self.answers |= answers
        found = [name for name in scores if name in self.answers]
        return {
            name: Known(self.answers[name], Sums(scored=1.0, scores=scores[name])) for name in found
        }

    async def close(self):
        """Nothing is open."""


def scored(caller):
    message = StreamAccessLogsMessage.FromString(logged(hung_up=False))
    [entry] = message.http_logs.log_entry
    entry.common_properties.ClearField("upstream_remote_address")
    said = {"feedback_of": "r-1", "feedback_score": 0.25, "operation": "feedback", "caller": caller}
    entry.common_properties.metadata.filter_metadata["dragoman"] += encode_struct(said)
    return message.SerializeToString()


@pytest.mark.parametrize(("reward", "taken"), [("1,0,0,1,5,0", 1), ("1,0,0,0,5,0", 0)])
def test_what_a_client_says_of_its_answer_is_learned_and_of_others_not(reward, taken):
    message = StreamAccessLogsMessage.FromString(logged(hung_up=False))
    [entry] = message.http_logs.log_entry
    entry.common_properties.upstream_request_attempt_count = 1
    key = f"60 reward={reward} x"
    facts = {"latency_key": key, "targets": '[["right","claude"]]'}
    entry.common_properties.metadata.filter_metadata["dragoman"] += encode_struct(facts)
    beside = Beside()
    in_force = InForce(POLICY, beside, clock=lambda: 0.0)
    beside.feedback = FeedbackWatch(Answers(), in_force.latencies, lambda: 0.0)
    stream = LedgerStream(in_force, lambda _: None)
    for told in (scored("demo"), scored("other"), message.SerializeToString()):
        stream.feed(told)
    asyncio.run(beside.feedback.refresh())
    found = in_force.latencies.find(f"{key}\nright\nclaude")
    assert (found.answers, found.scored, found.scores) == (1.0, taken, 0.25 * taken)
