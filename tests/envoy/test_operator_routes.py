"""Routes an operator writes by hand, on an Envoy of their own beside `dragoman serve`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import httpx
import pytest
import yaml

import envoy
from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, free_port, policy, wait_until
from tests.envoy.test_routing import body, both_clients, said

ROUTES = Path(__file__).parents[2] / "envoy" / "operator-routes.yaml"
DRAGOMAN = [sys.executable, "-m", "dragoman"]


@pytest.fixture(scope="module")
def url(all_providers: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The rendered configuration with the routes of `operator-routes.yaml` put in front."""
    folder = tmp_path_factory.mktemp("op")
    document = policy(all_providers, folder)
    document["models"]["routed"] = {"route": "envoy"}
    routes = yaml.safe_load(ROUTES.read_text())

    def change(configuration: Any) -> None:
        routes_of(configuration)[:0] = routes

    with run_beside(document, folder, change) as (found, _):
        yield found


@contextmanager
def run_beside(
    document: dict[str, Any], folder: Path, change: Callable[[Any], None]
) -> Iterator[tuple[str, str]]:
    """`dragoman serve`, and beside it an Envoy with what is rendered for the policy `document`, as
    `change` leaves it. The addresses of its listener and of its admin port."""
    port, admin = free_port(), free_port()
    document |= {"listener": {"port": port}, "admin": {"port": admin}, "run_dir": str(folder)}
    file = folder / "dragoman.yaml"
    file.write_text(yaml.safe_dump(document))
    config = folder / "envoy.yaml"
    config.write_text(_changed(file, change))
    binary = Path(envoy.__file__).parent / "_bin" / "envoy"
    flags = ["--disable-hot-restart", "-l", "error", "-c", str(config)]
    commands = [[*DRAGOMAN, "serve", "-c", str(file)], [str(binary), *flags]]
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.append(subprocess.Popen(commands[0]))  # noqa: S603 - our own
        wait_until((folder / "decide-0.sock").exists, what="workers")
        running.append(subprocess.Popen(commands[1]))  # noqa: S603 - our own
        wait_until(lambda: is_ready(admin), what="Envoy")
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(10)


def _changed(file: Path, change: Callable[[Any], None]) -> str:
    arguments = [*DRAGOMAN, "envoy", "-c", str(file)]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True)  # noqa: S603
    configuration: Any = yaml.safe_load(printed.stdout)
    change(configuration)
    return yaml.safe_dump(configuration)


def routes_of(configuration: Any) -> Any:
    (listener,) = configuration["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["route_config"]["virtual_hosts"][0]["routes"]


def is_ready(admin: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{admin}/ready", timeout=1) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def ask(url: str, path: str, content: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(url + path, json=content, headers={"x-api-key": KEY, **headers}, timeout=20)


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_operators_choice_is_translated(
    url: str, simulator: Simulator, path: str, *, stream: bool
) -> None:
    """By weight nine to one for team blue, OpenAI for all others; the text is the same."""
    content = body("routed", stream=stream)
    for _ in range(25):
        answer = ask(url, path, content, **{"x-team": "blue"})
        assert said(path, answer) == "You said: one two three"
    blue = [request.listener for request in simulator.control.requests()]
    assert blue.count("anthropic") > blue.count("openai")
    simulator.control.clear_requests()
    assert said(path, ask(url, path, content)) == "You said: one two three"
    assert [request.listener for request in simulator.control.requests()] == ["openai"]


def test_the_operators_routes_are_closed_too(url: str, simulator: Simulator) -> None:
    for headers in ({}, {"x-team": "blue"}, {"authorization": "Bearer wrong"}):
        for path in ("/v1/chat/completions", "/v1/messages"):
            answer = httpx.post(url + path, json=body("routed"), headers=headers)
            assert answer.status_code == 401
            assert httpx.get(url + path, headers=headers).status_code == 401
    assert not simulator.control.requests()


def test_models_of_the_policy_still_follow_it(url: str, simulator: Simulator) -> None:
    assert ask(url, "/v1/messages", body("fall/echo"), **{"x-team": "blue"}).status_code == 200
    assert [request.listener for request in simulator.control.requests()] == ["openai"]
