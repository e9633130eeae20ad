"""What a worker does beside its streams: each part from the first policy on that asks for it."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from dragoman.config.policy import Model, Policy
from dragoman.config.refusal import Refusal
from dragoman.errors import DragomanError
from dragoman.extproc.lag import Lag
from dragoman.policies.notices import find_asked
from dragoman.policies.route.canary import find_canaries
from dragoman.stores.canaries import CanaryWatch, Progress
from dragoman.stores.embedded import store_url
from dragoman.stores.feedback import FeedbackWatch
from dragoman.stores.incidents import TargetWatch, Turn
from dragoman.stores.keeper import Levels, QuotaKeeper, Reached
from dragoman.stores.keys import KeyWatch
from dragoman.stores.latencies import LatencySharing
from dragoman.stores.loads import LoadWatch
from dragoman.stores.notices import Notice, NoticeWatch
from dragoman.stores.periodic import Tell
from dragoman.stores.standings import AbuseWatch, Standing
from dragoman.stores.trail import AuditTrail, time_of
from dragoman.telemetry.logging import Logger, stack

if TYPE_CHECKING:
    from dragoman.extproc.events import EventSender
    from dragoman.extproc.in_force import InForce
    from dragoman.policies.questions import Fault, Question
    from dragoman.telemetry.cloud_events import CloudEvent


class Beside:
    """Nothing at all, until somebody begins it."""

    def __init__(self) -> None:
        self.keeper: QuotaKeeper | None = None
        """Keeps quotas."""
        self.abuse: AbuseWatch | None = None
        self.canaries: CanaryWatch | None = None
        self.healing: TargetWatch | None = None
        self.sharing: LatencySharing | None = None
        """Tells other workers of latencies."""
        self.feedback: FeedbackWatch | None = None
        """Finds out whose answers clients score."""
        self.loads: LoadWatch | None = None
        self.events: EventSender | None = None
        """Tells the operator's service of what happens."""
        self.notices: NoticeWatch | None = None
        """Finds what there is to tell it of once over all workers."""
        self.lag: Lag | None = None
        """Turns new requests away."""

    def begin(self, now: InForce, policy: Policy) -> None:
        """Begin what `policy`, which is to be in force in `now`, asks for and is not there yet."""

    def hear(self, model: Model, caller: str) -> None:
        """Take in that `caller` asked for a model which is to end."""


class Background(Beside):
    """All that is on the store, and who asks Envoy."""

    def __init__(
        self, worker: int, log: Logger, trail: AuditTrail | None, keys: KeyWatch | None = None
    ) -> None:
        """`log` and `trail` are told of what happens; `keys` are those of the store."""
        super().__init__()
        self._worker = worker
        self._log = log
        self._trail = trail
        self._keys = keys

    def begin(self, now: InForce, policy: Policy) -> None:
        """What is there stays, also when a later policy asks for it no more."""
        self.events = self.events or self._events(now, policy)
        self.notices = self.notices or self._notices(now, policy)
        self.sharing = self.sharing or self._sharing(now, policy)
        self.keeper = self.keeper or self._keeper(now, policy)
        self.abuse = self.abuse or self._abuse(now, policy)
        self.canaries = self.canaries or self._canaries(now, policy)
        self.healing = self.healing or self._healing(now, policy)
        self.feedback = self.feedback or self._feedback(now, policy)
        self.loads = self.loads or self._loads(now, policy)
        self.lag = self.lag or _lag(now, policy)

    async def close(self) -> None:
        """Tell the store the rest."""
        former = (self.keeper, self.canaries, self.abuse, self.feedback)
        parts = (*former, self.sharing, self.healing, self.loads, self.notices, self.lag)
        for part in parts:
            if part is not None:
                await part.close()
        if self.events is not None:
            await self.events.close()

    def hear(self, model: Model, caller: str) -> None:
        """Have the operator told."""
        notice = find_asked(model, caller, time.time()) if self.notices else None
        if self.notices and notice:
            self.notices.note(notice)

    def tell_loaded(self, policy: Policy) -> None:
        """Enter which policy this worker has; of all workers one sends it."""
        what = {"file": policy.source, "sha256": policy.digest}
        if self._trail:
            self._trail.note("policy.load", self._trail.worker, what)
            self._trail.hasten()
        if self.events and self._worker == 0:
            self.events.put("policy.loaded", what)

    def tell_refused(self, refusal: Refusal | None) -> None:
        """Enter and send, by one of all workers, that a policy file was not taken."""
        if refusal and self._worker == 0:
            self._note("policy.refused", None, {"file": refusal.file}, refusal.problem)

    def audit_fails(self, failure: Exception | None) -> None:
        """A `Tell` of the audit trail's."""
        self._failing("audit")(failure)
        if self.events:
            self.events.put(f"audit.{'failing' if failure else 'recovered'}", {})

    def _failing(self, task: str) -> Tell:
        return failing(self._log, task)

    def _note(
        self, event: str, who: str | None, what: Mapping[str, str | int], why: str = ""
    ) -> None:
        """Enter in the audit trail, and send, what is said once over all workers."""
        if self._trail:
            self._trail.note(event, who, what, why)
            self._trail.hasten()
        if self.events:
            more = {"caller": who, "why": why}
            self.events.put(event, {**what, **{k: v for k, v in more.items() if v}})

    def _events(self, now: InForce, policy: Policy) -> EventSender | None:
        """Who tells the operator's service, where the policy names one."""
        if policy.events is None:
            return None
        from dragoman.extproc.events import EventSender  # noqa: PLC0415 - seldom wanted
        from dragoman.telemetry.cloud_events import encode_event  # noqa: PLC0415 - as above

        source = f"/dragoman/{socket.gethostname()}/{self._worker}"

        def make(event: str, data: Mapping[str, object], at: str) -> CloudEvent:
            at = at or time_of(time.time())
            return encode_event(secrets.token_hex(16), source, event, at, data)

        async def ask(questions: Sequence[Question]) -> list[bytes | Fault]:
            carrier = now.callouts
            return await carrier.ask(questions) if carrier else ["unreachable"]

        sender = EventSender(lambda: now.policy.events, make, ask, time.time, self._log)
        sender.start(self._failing("events"))
        return sender

    def _notices(self, now: InForce, policy: Policy) -> NoticeWatch | None:
        """Who finds what ends, where somebody is told of it."""
        if policy.events is None:
            return None
        from dragoman.policies.notices import find_ending  # noqa: PLC0415 - seldom wanted
        from dragoman.stores.notice_store import NoticeStore  # noqa: PLC0415 - as above

        where, cluster, name = store_url(policy), policy.store.cluster, secrets.token_hex(8)
        store = NoticeStore(where, name, self._unreadable, cluster=cluster)

        def find() -> Iterable[Notice]:
            keys = self._keys.known() if self._keys else ()
            return find_ending(now.policy, keys, time.time())

        def tell(notice: Notice) -> None:
            if self.events:
                self.events.put(notice.event, notice.data, notice.at)

        watch = NoticeWatch(store, find, time.time, tell)
        watch.start(self._failing("notices"))
        return watch

    def _unreadable(self, row: str) -> None:
        self._log.warning("row_unreadable", path=row)

    def _keeper(self, now: InForce, policy: Policy) -> QuotaKeeper | None:
        """Who keeps this worker's quotas, under a name that no other worker ever had."""
        if not policy.quotas:
            return None
        from dragoman.stores.quotas import RedisQuotas  # noqa: PLC0415 - the Redis client is heavy

        store = RedisQuotas(store_url(policy), cluster=policy.store.cluster)

        def tell(reached: Reached) -> None:
            told = now.levels.describe(reached)
            self._log.warning("quota_level_reached", **told)
            self._note("quota.level_reached", None, told)

        name = f"{self._worker}-{secrets.token_hex(6)}"

        def levels(key: str, at: float) -> Levels:
            return now.levels.levels(key, at)

        keeper = QuotaKeeper(store, name, time.time, levels, tell)
        keeper.start(self._failing("quotas"))
        return keeper

    def _abuse(self, now: InForce, policy: Policy) -> AbuseWatch | None:
        """Who looks for abuse, where the policy says how."""
        if policy.abuse is None:
            return None
        from dragoman.stores.abuse import AbuseStore  # noqa: PLC0415 - the Redis client is heavy

        def tell(worse: Standing) -> None:
            what = {"score": str(worse.score), "until": time_of(worse.until)}
            why = ", ".join(worse.reasons)
            self._log.warning(
                "abuse_found", caller=worse.caller, action=worse.action, why=why, **what
            )
            self._note(f"abuse.{worse.action}", worse.caller, what, why)

        where, cluster = store_url(policy), policy.store.cluster
        store = AbuseStore(where, cluster=cluster, tell=self._unreadable)
        watch = AbuseWatch(store, lambda: now.policy.abuse, time.time, tell)
        watch.start(self._failing("abuse"))
        return watch

    def _healing(self, now: InForce, policy: Policy) -> TargetWatch | None:
        """Who looks for targets that are not as usual, where the policy says how."""
        if policy.healing is None:
            return None
        from dragoman.stores.healing import HealingStore  # noqa: PLC0415 - the Redis client is heavy

        def tell(turn: Turn) -> None:
            what = {"target": turn.incident.target, "since": time_of(turn.incident.since)}
            why = ", ".join(turn.incident.reasons)
            if turn.recovered:
                self._log.info("target_recovered", why=why, **what)
            else:
                self._log.warning("target_drifted", why=why, **what)
            happened = "recovered" if turn.recovered else "drifted"
            self._note(f"target.{happened}", None, what, why)

        where, cluster = store_url(policy), policy.store.cluster
        store = HealingStore(where, cluster=cluster, tell=self._unreadable)
        watch = TargetWatch(store, lambda: now.policy.healing, time.time, tell)
        watch.start(self._failing("healing"))
        return watch

    def _sharing(self, now: InForce, policy: Policy) -> LatencySharing | None:
        """Who tells other workers how long upstreams took here, where a strategy learns from it."""
        if all(model.learning is None for model in policy.models.values()):
            return None
        from dragoman.stores.latency_store import RedisLatencies  # noqa: PLC0415 - as above

        store = RedisLatencies(store_url(policy), cluster=policy.store.cluster)
        sharing = LatencySharing(now.latencies, store)
        sharing.start(self._failing("latencies"))
        return sharing

    def _feedback(self, now: InForce, policy: Policy) -> FeedbackWatch | None:
        """Who finds out whose answers clients score, where a reward counts that."""
        rewards = (model.reward for model in policy.models.values())
        if not any(reward is not None and reward.feedback for reward in rewards):
            return None
        from dragoman.stores.feedback_store import RedisFeedback  # noqa: PLC0415 - as above

        store = RedisFeedback(store_url(policy), cluster=policy.store.cluster)
        watch = FeedbackWatch(store, now.latencies, time.time)
        watch.start(self._failing("feedback"))
        return watch

    def _loads(self, now: InForce, policy: Policy) -> LoadWatch | None:
        """Who asks Envoy how much providers have to do, where a strategy goes by it."""
        if not policy.loaded_providers:
            return None
        from dragoman.extproc.statistics import EnvoyStatistics  # noqa: PLC0415 - loads a parser

        watch = LoadWatch(now.loads, EnvoyStatistics(lambda: now.policy))
        watch.start(self._failing("loads"))
        return watch

    def _canaries(self, now: InForce, policy: Policy) -> CanaryWatch | None:
        """Who judges canaries, where a model has one."""
        if not find_canaries(policy):
            return None
        from dragoman.stores.canary_store import CanaryStore  # noqa: PLC0415 - as above

        def tell(event: str, progress: Progress) -> None:
            what = {"model": progress.model, "percent": f"{progress.percent:g}"}
            self._log.warning("canary", happened=event, why=progress.why, **what)
            self._note(f"canary.{event}", None, what, progress.why)

        where, cluster = store_url(policy), policy.store.cluster
        store = CanaryStore(where, cluster=cluster, tell=self._unreadable)
        watch = CanaryWatch(store, lambda: find_canaries(now.policy), time.time, tell)
        watch.start(self._failing("canaries"))
        return watch


def failing(log: Logger, task: str) -> Tell:
    """Who is told what a task beside requests fails with; it goes on all the same."""

    def tell(failure: Exception | None) -> None:
        if failure is None:
            log.info("task_recovered", task=task)
        elif isinstance(failure, DragomanError):
            log.warning("task_fails", task=task, problem=failure.message)
        else:
            kind = type(failure).__name__
            log.error("task_fails", task=task, error_type=kind, **stack(failure))

    return tell


def _lag(now: InForce, policy: Policy) -> Lag | None:
    """Who turns requests away where this worker is late, where the policy says so."""
    if policy.shedding is None:
        return None
    lag = Lag(time.monotonic, lambda: now.policy.shedding)
    lag.start()  # it asks nobody
    return lag
