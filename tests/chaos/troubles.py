"""What goes wrong and when, all of it from one seed; and who does it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from dragoman.supervisor.planning import WORKER
from tests.chaos.setting import BROKEN, PROVIDERS, VARIANTS, WORKERS, variant
from tests.envoy.faults import FAULTS, Script
from tests.envoy.gateway import Gateway, command, descendants

_SLOW = "slow"
EITHER = ("openai", "anthropic")
"""Who may fail in each way: some scripts are written in these two dialects only."""
_IN_EITHER = frozenset({"half an answer, whole as HTTP", "an answer without text"})
_NOT_HERE = frozenset(
    {"400, prompt too long", "error event in the middle", "slow to begin, in time"}
)
"""A refusal is no failure; an event in the middle is a cut in most dialects; `_SLOW` is another."""
SCRIPTS: dict[str, Script] = {
    **{
        fault.name: fault.script
        for fault in FAULTS
        if fault.script is not None and not fault.everywhere and fault.name not in _NOT_HERE
    },
    _SLOW: lambda dialect, stream: {"first_byte_delay_ms": 700, "chunk_pause_ms": 20},
}
"""How a provider may fail, by name."""
_EVERY_SECONDS = {"fault": 0.6, "worker": 6.0, "store": 11.0, "policy": 4.0}
"""How often each kind of trouble comes, on the average."""
_LAST_SECONDS = 4.0
"""The longest that a provider fails at a time."""
_PAUSED_SECONDS = 1.5
_LOOK_SECONDS = 0.05


class Trouble(NamedTuple):
    """One thing that goes wrong, `at` seconds after the start."""

    at: float
    kind: str
    """`fault`, `worker`, `store` or `policy`."""
    what: str
    """The fault; `kill`, or for the store also `stop` and `end`; or a policy's number, `broken-N`."""
    who: str = ""
    """The provider that fails, or which worker."""
    seconds: float = 0.0
    """How long it lasts, where it ends by itself."""


def schedule(seed: int, seconds: float) -> list[Trouble]:
    """All troubles of a run, in order: the same for the same seed."""
    chance = random.Random(seed)
    found = [
        _trouble(chance, kind, at)
        for kind, every in _EVERY_SECONDS.items()
        for at in _times(chance, every, seconds)
    ]
    return sorted(found)


def _times(chance: random.Random, every: float, seconds: float) -> Iterator[float]:
    at = chance.uniform(0.5, 1.5) * every
    while at < seconds:
        yield round(at, 3)
        at += chance.uniform(0.2, 1.8) * every


def _trouble(chance: random.Random, kind: str, at: float) -> Trouble:
    if kind == "fault":
        who = chance.choice(PROVIDERS)
        names = sorted(SCRIPTS if who in EITHER else SCRIPTS.keys() - _IN_EITHER)
        return Trouble(at, kind, chance.choice(names), who, chance.uniform(0.3, _LAST_SECONDS))
    if kind == "worker":
        return Trouble(at, kind, "kill", str(chance.randrange(WORKERS)))
    if kind == "store":
        what = chance.choice(("kill", "end", "stop"))
        return Trouble(at, kind, what, seconds=_PAUSED_SECONDS if what == "stop" else 0.0)
    if chance.random() < 0.3:
        return Trouble(at, kind, f"broken-{chance.randrange(len(BROKEN))}")
    return Trouble(at, kind, str(chance.randrange(VARIANTS)))


class Troublemaker:
    """Does what the schedule says, on a thread of its own."""

    def __init__(self, gateway: Gateway, document: dict[str, Any], plan: list[Trouble]) -> None:
        self._gateway = gateway
        self._document = document
        self._plan = plan
        self._file = gateway.folder / "dragoman.yaml"
        self._failing: dict[str, tuple[float, str]] = {}
        """Until when, and how, by provider."""
        self._stopped: tuple[float, int] | None = None
        """Until when the store hangs, and its process."""
        self.kills: list[float] = []
        """When workers were killed, Unix seconds."""
        self.outages: list[float] = []
        """When the store was killed, ended or stopped."""
        self.done = 0
        self.error: BaseException | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="troublemaker")

    def __enter__(self) -> Troublemaker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 - told by who waits for this thread
            self.error = error
        finally:
            self._calm()

    def _follow(self) -> None:
        began = time.monotonic()
        plan = list(reversed(self._plan))
        while not self._end.wait(_LOOK_SECONDS):
            now = time.monotonic() - began
            changed = False
            while plan and plan[-1].at <= now:
                trouble = plan.pop()
                self.done += 1
                changed |= trouble.kind == "fault"
                self._make(trouble, now)
            over = [who for who, (until, _) in self._failing.items() if until <= now]
            for who in over:
                del self._failing[who]
            if changed or over:
                self._script()
            if self._stopped and self._stopped[0] <= now:
                self._resume()

    def _make(self, trouble: Trouble, now: float) -> None:
        if trouble.kind == "fault":
            self._failing[trouble.who] = now + trouble.seconds, trouble.what
        elif trouble.kind == "worker":
            self._kill_worker(int(trouble.who))
        elif trouble.kind == "store":
            self._hurt_store(trouble, now)
        elif trouble.what.startswith("broken"):
            text = BROKEN[int(trouble.what.removeprefix("broken-"))]
            self._file.write_bytes(text.encode("latin-1"))
        else:
            self._write(int(trouble.what))

    def _write(self, number: int) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(yaml.dump(variant(self._document, number), Dumper=yaml.CSafeDumper))
        draft.replace(self._file)

    def _kill_worker(self, number: int) -> None:
        for pid in self._gateway.workers():
            words = command(pid)
            if words[words.index(WORKER) + 1] == str(number):
                self.kills.append(time.time())
                _signal(pid, signal.SIGKILL)

    def _hurt_store(self, trouble: Trouble, now: float) -> None:
        pid = find_store(self._gateway)
        if pid is None or self._stopped:
            return
        self.outages.append(time.time())
        if trouble.what == "stop":
            self._stopped = now + trouble.seconds, pid
            _signal(pid, signal.SIGSTOP)
        else:
            _signal(pid, signal.SIGKILL if trouble.what == "kill" else signal.SIGTERM)

    def _resume(self) -> None:
        if self._stopped:
            _signal(self._stopped[1], signal.SIGCONT)
            self._stopped = None

    def _script(self) -> None:
        control = self._gateway.simulator.control
        control.clear_script()
        for who, (_, what) in self._failing.items():
            dialect = "anthropic" if who.startswith("anthropic") else "openai"
            for stream in (True, False):
                match = {"listener": who, **(_streams(who) if stream else {})}
                control.script(SCRIPTS[what](dialect, stream), match)

    def _calm(self) -> None:
        """All is well again, but for what takes time to come back."""
        self._resume()
        self._failing.clear()
        self._script()
        self._write(0)


def _streams(provider: str) -> dict[str, str]:
    """What a request for a stream matches."""
    if provider == "gemini":
        return {"path": "*:streamGenerateContent"}
    if provider == "bedrock":
        return {"path": "*/converse-stream"}
    return {"body_contains": '"stream":true'}


def sent_as_they_are() -> set[bytes]:
    """Bodies that are none, which pass as they are where nothing is translated."""
    found: set[bytes] = set()
    for script in SCRIPTS.values():
        for dialect in EITHER:
            for stream in (False, True):
                then = script(dialect, stream)
                sent = then.get("raw_body", then.get("sse_raw"))
                if "body" in then:
                    sent = json.dumps(then["body"], separators=(",", ":"))
                found |= {sent.encode()} if isinstance(sent, str) else set()
    return found


def find_store(gateway: Gateway) -> int | None:
    """The process of the embedded store, if it runs."""
    below = descendants(gateway.process.pid)
    return next((pid for pid in below if "-server" in command(pid)[0]), None)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
