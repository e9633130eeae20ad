"""`make bench-reload`: how soon a changed policy of 1,000 models and 200 clusters is in force.

A gateway with a stream open and requests one after the other, while its policy file changes: all
models get another target, and a provider goes and another comes. Prints one JSON object: the
seconds from the file's change until an answer shows it, those that checking and Envoy took of it,
and how many requests and streams failed meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import yaml

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, KINDS, Gateway, digest, run_gateway, wait_until

CHAT = "/v1/chat/completions"
HEADERS = {"x-api-key": KEY}
ROUNDS = 5


def _body(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


def _sections(round_: int, url: str, key: str, models: int, clusters: int) -> dict[str, Any]:
    """Providers and models of one round; the last provider has another name in each."""
    names = [f"p{i}" for i in range(clusters - 1)] + [f"r{round_}"]
    provider = {"kind": "openai", "url": url, "key": {"file": key}}

    def targets(i: int) -> list[dict[str, str]]:
        picked = (names[(i + round_) % clusters], names[(i + round_ + 1) % clusters])
        return [{"provider": name, "model": "sim/echo"} for name in picked]

    stream = {"targets": [{"provider": "p0", "model": "sim/pause-900"}]}
    served = {f"m{i}": {"targets": targets(i)} for i in range(models)}
    return {"providers": dict.fromkeys(names, provider), "models": {**served, "stream": stream}}


def _asked(gateway: Gateway) -> str:
    answer = httpx.post(gateway.url + CHAT, json=_body("m0"), headers=HEADERS)
    return answer.headers.get("x-dragoman-decision", "")


def _stream(gateway: Gateway) -> bool:
    """Whether a stream that goes on over several changes ended as it should."""
    body = _body("stream", stream=True)
    answer = httpx.post(gateway.url + CHAT, json=body, headers=HEADERS, timeout=60)
    return answer.text.endswith("data: [DONE]\n\n")


def _keep_asking(gateway: Gateway, stop: threading.Event) -> tuple[int, int]:
    """How many requests were answered, and how many were not, until `stop`."""
    answered = failed = 0
    with httpx.Client() as client:
        while not stop.is_set():
            answer = client.post(gateway.url + CHAT, json=_body("m1"), headers=HEADERS)
            answered += answer.status_code == httpx.codes.OK
            failed += answer.status_code != httpx.codes.OK
            time.sleep(0.01)
    return answered, failed


def _change(gateway: Gateway, sections: dict[str, Any], served: str) -> float:
    """Seconds until an answer comes from the provider `served`."""
    path = gateway.folder / "dragoman.yaml"
    document = yaml.load(path.read_text(), yaml.CSafeLoader) | sections
    draft = path.with_suffix(".new")
    draft.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper))
    began = time.monotonic()
    draft.replace(path)
    try:
        wait_until(lambda: f"order={served}/" in _asked(gateway), 30, "the new policy")
    except TimeoutError:
        sys.stderr.write(gateway.output()[-2000:])
        raise
    return time.monotonic() - began


def _checked(gateway: Gateway) -> list[float]:
    lines = (gateway.folder / "stderr.log").read_text().splitlines()
    events = [json.loads(line) for line in lines if '"policy_reloaded"' in line]
    return [event["seconds"] for event in events]


def measure(models: int, clusters: int) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder, Simulator(list(KINDS)) as simulator:
        key, url = Path(folder, "key"), simulator.url("openai")
        key.write_text("provider-key")
        rounds = [_sections(i, url, str(key), models, clusters) for i in range(ROUNDS + 1)]
        callers = {"demo": {"keys": [digest(KEY)]}}
        with run_gateway(simulator, pass_through=[], callers=callers, **rounds[0]) as gateway:
            run = _run(gateway, rounds)
    return {"case": "reload", "models": models, "clusters": clusters, **run}


def _run(gateway: Gateway, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(_keep_asking, gateway, stop)
        streams = [pool.submit(_stream, gateway)]
        seconds: list[float] = []
        for i, sections in enumerate(rounds[1:], 1):
            seconds.append(_change(gateway, sections, f"p{i}"))
            streams.append(pool.submit(_stream, gateway))
        stop.set()
        answered, failed = asking.result()
        broken = sum(not stream.result() for stream in streams)
    return {
        "in_force_s": round(statistics.median(seconds), 3),
        "checked_and_followed_s": round(statistics.median(_checked(gateway)), 3),
        "requests": answered,
        "requests_failed": failed,
        "streams": len(streams),
        "streams_broken": broken,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-reload", description=__doc__)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--clusters", type=int, default=200)
    given = parser.parse_args()
    print(json.dumps(measure(given.models, given.clusters)))


if __name__ == "__main__":
    main()
