"""A target that begins to fail, through the real Envoy and several workers."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import msgspec

from dragoman.config.load import load
from dragoman.simulator import Simulator
from dragoman.stores.embedded import store_url
from dragoman.stores.redis import connect
from tests.envoy.gateway import KEY, Gateway, run_gateway, wait_until
from tests.envoy.test_audit import entries, run
from tests.envoy.test_routing import body

TARGET = "openai/sim/echo"
OTHER = "anthropic/sim/echo"
PLAIN = f"strategy=weighted; order={TARGET},{OTHER}"


def test_a_target_that_begins_to_fail_is_lowered_and_recovers(
    all_providers: Simulator, simulator: Simulator, tmp_path: Path
) -> None:
    targets = [{"provider": name, "model": "sim/echo"} for name in ("openai", "anthropic")]
    options: dict[str, Any] = {
        "models": {"listed": {"targets": targets}},
        "healing": {"window_seconds": 1, "requests": 4, "recovers_after": 3, "to": 0.5},
        "store": {"directory": str(tmp_path)},
        "audit": {},
    }
    with run_gateway(all_providers, workers=2, **options) as gateway:

        def ask() -> str:
            headers = {"x-api-key": KEY}
            content = body("listed") | {"max_tokens": 9}
            answer = httpx.post(f"{gateway.url}/v1/messages", json=content, headers=headers)
            assert answer.status_code == 200
            return answer.headers["x-dragoman-decision"]

        def has_history() -> bool:
            assert {ask() for _ in range(4)} == {PLAIN}
            return "usual_count" in asyncio.run(known(gateway))

        wait_until(has_history, what="what is usual")
        simulator.control.script({"status": 500}, {"listener": "openai"})
        lowered = f"strategy=weighted; lowered={TARGET}(errors); order={OTHER},{TARGET}"
        wait_until(lambda: ask() == lowered, what="the target is lowered")
        listed = run(gateway, "incidents", "list").stdout
        assert re.fullmatch(rf"{TARGET}  \S+Z  errors \S+ above 0.1\n", listed)
        simulator.control.reset()
        wait_until(lambda: ask() == PLAIN, what="it recovers")
        assert run(gateway, "incidents", "list").stdout == ""
        assert run(gateway, "incidents", "lift", TARGET).returncode != 0
        wait_until(lambda: "target.recovered" in {row["event"] for row in entries(gateway)})
        events = [row for row in entries(gateway) if row["event"].startswith("target.")]
        assert [row["event"] for row in events] == ["target.drifted", "target.recovered"]
        assert {row["what"]["target"] for row in events} == {TARGET}
        lines = [line for line in gateway.output().splitlines() if '"target_' in line]
        said = [json.loads(line) for line in lines]
        assert [line["event"] for line in said] == ["target_drifted", "target_recovered"]
        assert [line["target"] for line in said] == [TARGET] * 2
        assert said[0]["why"] == events[0]["why"]


async def known(gateway: Gateway) -> str:
    """What the store knows of the target."""
    policy = load(str(gateway.folder / "dragoman.yaml"))
    run_dir = str(gateway.folder / "run")
    client = connect(store_url(msgspec.structs.replace(policy, run_dir=run_dir)))
    try:
        found = await client.hget("dragoman:{healing}:targets", TARGET)  # type: ignore[misc]
    finally:
        await client.aclose()
    return bytes(found or b"").decode()
