"""Carry out a plan until SIGTERM or SIGINT; a second one cuts the draining short.

No event loop: the signals it waits for are blocked, and waited for with a time-out.
"""

from __future__ import annotations

import json
import signal
import sys
import time

from dragoman.config.allocator import release_unused
from dragoman.config.environment import without
from dragoman.supervisor import plan as plans
from dragoman.supervisor.child import Child, ask
from dragoman.supervisor.following import LOOK_SECONDS, Follower
from dragoman.supervisor.plan import Plan, Process

_ENDS = {signal.SIGTERM, signal.SIGINT}
_SIGNALS = {*_ENDS, signal.SIGCHLD}
_START_SECONDS = 20.0
_POLL_SECONDS = 0.005
_STOP_SECONDS = 5.0


class _Told(Exception):
    """By a signal, to end."""


class _NotStarted(Exception):
    """A process ended or took too long before it was ready."""


class _Supervisor:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._children: list[Child] = []
        self._follower = _follower(plan)

    def start(self) -> None:
        for step in self._plan.steps:
            children = [self._add(process) for process in step]
            deadline = time.monotonic() + _START_SECONDS
            for child in children:
                self._await_ready(child, deadline)

    def _add(self, process: Process) -> Child:
        hidden = [] if process.has_keys else self._plan.key_names
        child = Child(process, without(hidden))
        child.start()
        self._children.append(child)
        return child

    def _await_ready(self, child: Child, deadline: float) -> None:
        while not child.is_ready():
            if child.reap() is not None or time.monotonic() > deadline:
                raise _NotStarted(f"{child.name} did not start; what it said is above")
            _wait(_POLL_SECONDS)

    def watch(self) -> None:
        """Start again what dies. Ends by `_Told`."""
        while True:
            for child in self._children:
                _tend(child)
            due = [child.due for child in self._children if child.due is not None]
            if self._follower:
                self._follower.tend(self._children)
                due.append(time.monotonic() + LOOK_SECONDS)
            _wait(max(0.0, min(due) - time.monotonic()) if due else None)

    def drain(self) -> None:
        """Take no new connections, then wait for the open requests, as long as the plan says."""
        if self._plan.admin is None:
            return
        self._admin("POST", "/healthcheck/fail")
        self._admin("POST", "/drain_listeners?graceful&skip_exit")
        deadline = time.monotonic() + self._plan.drain_seconds
        query = "/stats?filter=http.dragoman.downstream_rq_active"
        envoy = self._children[-1]
        while time.monotonic() < deadline and envoy.reap() is None:
            if "downstream_rq_active: 0\n" in (self._admin("GET", query) or ""):
                return
            _wait(_POLL_SECONDS)

    def _admin(self, method: str, path: str) -> str | None:
        head = f"{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n"
        return ask(self._plan.admin or "", f"{head}content-length: 0\r\n\r\n")

    def stop(self) -> None:
        if self._follower:
            self._follower.stop()
        for child in reversed(self._children):
            child.stop(signal.SIGTERM)
            if not child.wait(_STOP_SECONDS):
                child.stop(signal.SIGKILL)
                child.wait(_STOP_SECONDS)


def _follower(plan: Plan) -> Follower | None:
    if plan.watched is None:
        return None
    return Follower(plan.watched, plan.reload, without(plan.key_names))


def _tend(child: Child) -> None:
    status = child.reap()
    if status is not None:
        _log("process_died", process=child.name, status=status)
    if child.due is not None and child.due <= time.monotonic():
        try:
            child.start()
        except OSError as error:
            _log("process_not_started", process=child.name, problem=error.strerror)
            child.postpone()


def _wait(seconds: float | None) -> None:
    """Until a child ends, or so long. Raises `_Told`.

    Where this process was stopped meanwhile, Python 3.11 may return what is no signal at all.
    """
    received = (
        signal.sigwaitinfo(_SIGNALS) if seconds is None else signal.sigtimedwait(_SIGNALS, seconds)
    )
    if received is not None and received.si_signo in _ENDS:
        raise _Told


def _log(event: str, **fields: object) -> None:
    """As the workers log, without what they log with."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {**fields, "event": event, "level": "warning", "timestamp": now}
    sys.stderr.write(json.dumps(line) + "\n")


def _supervise(plan: Plan) -> None:
    supervisor = _Supervisor(plan)
    try:
        supervisor.start()
        release_unused()
        sys.stdout.write(plan.announcement)
        sys.stdout.flush()
        try:
            supervisor.watch()
        except _Told:
            supervisor.drain()
    finally:
        supervisor.stop()
        if plan.removes_run_dir:
            import shutil  # noqa: PLC0415 - at the end of its life

            shutil.rmtree(plan.run_dir, ignore_errors=True)


def main(path: str) -> int:
    """Carry out the plan at `path`; the exit status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        _supervise(plans.read(path))
    except _NotStarted as error:
        sys.stderr.write(f"dragoman: {error}\n")
        return 1
    except _Told:
        return 0
    return 0
