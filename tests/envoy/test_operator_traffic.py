"""What `operator-traffic.yaml` says of traffic, as the real Envoy does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from dragoman.config.load import load
from dragoman.envoyconf.check import check
from dragoman.simulator import Simulator
from dragoman.simulator.server import Options
from tests.envoy.gateway import KEY, digest, key_file, wait_until
from tests.envoy.test_operator_routes import ROUTES, ask, routes_of, run_beside
from tests.envoy.test_routing import body, both_clients, said

FOLDER = ROUTES.parent
HOSTS = ("vllm-0", "vllm-1", "vllm-2")


@pytest.fixture(scope="module")
def pool() -> Iterator[Simulator]:
    """The providers of the example's policy, and the hosts of the third of them."""
    options = Options(keyless=frozenset(HOSTS))
    with Simulator(["openai", "anthropic", *HOSTS], options) as simulator:
        yield simulator


@pytest.fixture
def simulator(pool: Simulator) -> Simulator:
    pool.control.reset()
    return pool


@pytest.fixture(scope="module")
def running(pool: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The example's policy and its Envoy file, with what the example adds."""
    folder = tmp_path_factory.mktemp("ot")
    policy: dict[str, Any] = yaml.safe_load((FOLDER / "dragoman.yaml").read_text())
    policy["callers"]["checkout"] = {"keys": [digest(KEY)]}
    for name in ("openai", "anthropic"):
        key = {"file": str(key_file(name, folder))}
        policy["providers"][name] = {"url": pool.url(name), "key": key}
    with run_beside(policy, folder, lambda found: put_in(found, pool)) as addresses:
        findings = check(load(str(folder / "dragoman.yaml")), str(folder / "envoy.yaml"))
        assert [str(finding) for finding in findings if finding.severity == "error"] == []
        yield addresses


@pytest.fixture
def url(running: tuple[str, str]) -> str:
    return running[0]


def put_in(configuration: Any, simulator: Simulator) -> None:
    """The parts of the example, each where it says; hosts are where the simulator is."""
    own: Any = yaml.safe_load((FOLDER / "operator-traffic.yaml").read_text())
    (gateway,) = own["clusters"]
    port = configuration["static_resources"]["listeners"][0]["address"]["socket_address"]
    (host,) = gateway["load_assignment"]["endpoints"][0]["lb_endpoints"]
    host["endpoint"]["address"]["socket_address"]["port_value"] = port["port_value"]
    for group in own["local"]["load_assignment"]["endpoints"]:
        for host in group["lb_endpoints"]:
            address = host["endpoint"]["address"]["socket_address"]
            port = simulator.ports[address["address"]]
            address |= {"address": "127.0.0.1", "port_value": port}
    clusters = configuration["static_resources"]["clusters"]
    next(cluster for cluster in clusters if cluster["name"] == "local").update(own["local"])
    clusters.append(gateway)
    configuration["layered_runtime"]["layers"] += own["layers"]
    routes_of(configuration)[:0] = own["routes"]


def asked(simulator: Simulator) -> dict[str, int]:
    """How often each was, since this was asked last."""
    found = Counter(request.listener for request in simulator.control.requests())
    simulator.control.clear_requests()
    return dict(found)


def ask_all(url: str, path: str, lane: str, count: int = 6) -> list[int]:
    statuses = []
    for _ in range(count):
        answer = ask(url, path, body("routed"), **{"x-lane": lane})
        statuses.append(answer.status_code)
        if answer.is_success:
            assert said(path, answer) == "You said: one two three"
    return statuses


@both_clients
@pytest.mark.parametrize(
    ("lane", "change", "back"),
    [
        ("split", "share.openai=0&share.anthropic=100", "share.openai=100&share.anthropic=0"),
        ("canary", "canary=100", "canary=0"),
    ],
)
def test_shares_change_while_it_runs(
    running: tuple[str, str], simulator: Simulator, path: str, lane: str, change: str, back: str
) -> None:
    url, admin = running
    assert set(ask_all(url, path, lane)) == {200}
    assert asked(simulator) == {"openai": 6}
    httpx.post(f"{admin}/runtime_modify?{change}").raise_for_status()
    try:
        assert set(ask_all(url, path, lane)) == {200}
        assert asked(simulator) == {"anthropic": 6}
    finally:
        httpx.post(f"{admin}/runtime_modify?{back}").raise_for_status()


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_copy_is_translated_for_whom_it_goes_to(
    url: str, simulator: Simulator, path: str, *, stream: bool
) -> None:
    """The one who answers and the one who does not get what each would have got by itself."""
    content = body("routed", stream=stream)
    answer = ask(url, path, content, **{"x-lane": "mirrored"})
    assert said(path, answer) == "You said: one two three"
    found = simulator.control.wait_for_requests(2, settled=True)
    sent = {request.listener: request for request in found}
    assert sent["openai"].target == "/v1/chat/completions"
    assert sent["anthropic"].target == "/v1/messages"
    for request in found:
        told: Any = request.json()
        assert (told["model"], told.get("stream", False)) == ("routed", stream)
        assert request.status == 200
        assert KEY not in str(request.headers)


def test_a_subset_serves_alone(url: str, simulator: Simulator) -> None:
    assert set(ask_all(url, "/v1/messages", "subset")) == {200}
    assert asked(simulator) == {"vllm-1": 6}


def test_the_far_host_serves_when_the_near_ones_are_out(url: str, simulator: Simulator) -> None:
    """It leaves two hosts out, and so comes last."""
    assert set(ask_all(url, "/v1/messages", "pool")) == {200}
    assert set(asked(simulator)) == {"vllm-0", "vllm-1"}
    simulator.control.script({"status": 500}, {"listener": "vllm-0"})
    assert set(ask_all(url, "/v1/messages", "pool")) == {200}
    assert asked(simulator)["vllm-0"] == 3
    simulator.control.script({"status": 500}, {"listener": "vllm-1"})
    wait_until(lambda: ask_all(url, "/v1/messages", "pool", 1) == [200], what="the far host")
    asked(simulator)
    assert set(ask_all(url, "/v1/messages", "pool")) == {200}
    assert asked(simulator) == {"vllm-2": 6}
