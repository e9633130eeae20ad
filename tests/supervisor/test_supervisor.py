"""`dragoman up` as a process: what it says, what it leaves, and what it gives to whom."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from dragoman.config.environment import key_names, without
from dragoman.config.load import parse
from dragoman.supervisor import plan as plans
from dragoman.supervisor.child import (
    FIRST_PAUSE_SECONDS,
    HEALTHY_SECONDS,
    MAX_PAUSE_SECONDS,
    next_pause,
)
from dragoman.supervisor.plan import Plan, Probe, Process
from dragoman.supervisor.planning import WORKER

POLICY = """
callers: {{demo: {{keys: [f6f53a67068fc28321efe05e4c062947ad3d72121c670e11a0bde6a52d363974]}}}}
providers: {{only: {{kind: openai, url: "http://127.0.0.1:{port}", key: {{env: TEST_KEY}}}}}}
models: {{fast: {{targets: [{{provider: only, model: m}}]}}}}
"""
SECRET = "sk-never-in-python"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children_of(pid):
    """Live processes whose parent is `pid`: (pid, command line)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = words.decode()
        except OSError:
            continue
    return found


def await_true(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="dg-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def command(folder, *more):
    config = folder / "dragoman.yaml"
    config.write_text(POLICY.format(port=free_port()))
    return [sys.executable, "-m", "dragoman", "up", "-c", str(config), *more]


@contextmanager
def sidecar(folder):
    ports = ["--port", str(free_port()), "--admin-port", str(free_port())]
    log = (folder / "stderr").open("wb")
    process = subprocess.Popen(
        command(folder, *ports, "--run-dir", str(folder / "run")),
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "TEST_KEY": SECRET},
    )
    try:
        line = process.stdout.readline()
        listener = f"http://127.0.0.1:{ports[1]}"
        assert line == f"ready listener={listener} admin=http://127.0.0.1:{ports[3]}\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        log.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_every_process_it_started(folder, number):
    with sidecar(folder) as process:
        children = children_of(process.pid)
        assert len(children) == 3  # store, worker, Envoy
        process.send_signal(number)
        assert process.wait(15) == 0
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_envoy_shares_no_memory_that_would_outlive_it(folder):
    """What hot restarts share is a file that Envoy never removes, one more a run."""
    with sidecar(folder) as process:
        words = children_of(process.pid).items()
        (envoy,) = [pid for pid, command in words if "envoy.yaml" in command]
        assert "/dev/shm" not in Path(f"/proc/{envoy}/maps").read_text()  # noqa: S108 - no file of ours


def test_its_own_death_takes_every_process_along(folder):
    with sidecar(folder) as process:
        children = children_of(process.pid)
        process.kill()
        process.wait()
        await_true(lambda: not [pid for pid in children if is_alive(pid)])


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_worker_is_back_within_a_second_or_so(folder):
    with sidecar(folder) as process:

        def worker():
            return next((p for p, c in children_of(process.pid).items() if WORKER in c), None)

        first = worker()
        os.kill(first, signal.SIGKILL)
        await_true(lambda: worker() not in (None, first), seconds=2.0)


def test_only_envoy_is_given_the_providers_key(folder):
    with sidecar(folder) as process:
        for pid, words in children_of(process.pid).items():
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert (SECRET.encode() in environment) == ("envoy.yaml" in words), words


def test_a_port_in_use_is_said_and_nothing_is_left(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            command(folder, "--port", port),
            capture_output=True,
            text=True,
            timeout=20,
            env={**os.environ, "TEST_KEY": SECRET},
            check=False,
        )
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be used" in done.stderr


def test_a_policy_that_cannot_be_used_is_refused_with_its_path(folder):
    environment = {k: v for k, v in os.environ.items() if k != "TEST_KEY"}
    done = subprocess.run(
        command(folder), capture_output=True, text=True, timeout=20, env=environment, check=False
    )
    assert done.returncode == 2
    assert "$.providers.only.key: variable TEST_KEY is not set" in done.stderr


def test_a_plan_is_read_as_it_was_written(folder):
    worker = Process("worker-0", ["python", "-m", "x"], Probe("/run/x.sock"))
    envoy = Process("envoy", ["envoy"], Probe("[::1]:9901", "GET / ", " 200 "), has_keys=True)
    plan = Plan(str(folder), True, [[worker], [envoy]], "ready\n", ["KEY"], 30.0, "[::1]:9901")
    assert plans.read(plans.write(plan)) == plan


@pytest.mark.parametrize(
    ("last", "lived", "pause"),
    [
        (0, 0.1, FIRST_PAUSE_SECONDS),
        (FIRST_PAUSE_SECONDS, 0.1, 2 * FIRST_PAUSE_SECONDS),
        (4, 0.1, MAX_PAUSE_SECONDS),
        (MAX_PAUSE_SECONDS, HEALTHY_SECONDS - 0.1, MAX_PAUSE_SECONDS),
        (MAX_PAUSE_SECONDS, HEALTHY_SECONDS, FIRST_PAUSE_SECONDS),
    ],
)
def test_what_dies_again_and_again_waits_longer_and_health_is_rewarded(last, lived, pause):
    assert next_pause(last, lived) == pause


HEAVY = ("asyncio", "click", "grpc", "google", "msgspec", "redis", "ssl", "yaml", "urllib")
HEAVY += ("dragoman.config.policy", "dragoman.dialects")


def test_what_lives_long_imports_little():
    code = "import sys, dragoman.supervisor.supervise; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not [name for name in HEAVY if name in done.stdout.split()]


def test_a_placeholder_still_says_that_a_key_is_there():
    policy = parse(POLICY.format(port=1), "t", {"TEST_KEY": SECRET})
    given = without(key_names(policy), {"TEST_KEY": SECRET, "HOME": "/h"})
    assert given["HOME"] == "/h"
    assert SECRET not in given.values()
    assert list(parse(POLICY.format(port=1), "t", given).providers) == ["only"]
