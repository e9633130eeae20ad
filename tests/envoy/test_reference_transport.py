"""The pitfalls again with `transport: grpc`, so that the reference stays one to compare with."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from dragoman.simulator import Simulator
from tests.envoy import test_bodies, test_fail_closed, test_pass_through, test_routing, test_streams
from tests.envoy.gateway import KEY, Gateway, run_gateway
from tests.envoy.test_routing import both_clients, both_orders

providers = pytest.mark.parametrize("p", ["o", "a"])


@pytest.fixture(scope="module")
def grpc_gateway(all_providers: Simulator) -> Iterator[Gateway]:
    with run_gateway(all_providers, transport="grpc") as gateway:
        yield gateway


@pytest.fixture
def gateway(grpc_gateway: Gateway, simulator: Simulator) -> Gateway:
    """In the place of the session's, for `http` too."""
    del simulator
    return grpc_gateway


@both_clients
@both_orders
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_fallback(
    http: httpx.Client, simulator: Simulator, path: str, order: str, *, stream: bool
) -> None:
    test_routing.test_fallback(http, simulator, path, order, "503", stream=stream)


@both_clients
@providers
def test_streams_in_pieces(gateway: Gateway, simulator: Simulator, path: str, p: str) -> None:
    test_streams.test_any_cut_of_the_bytes_gives_the_same_stream(gateway, simulator, path, p, 7)


@both_clients
@providers
def test_client_goes_away(gateway: Gateway, simulator: Simulator, path: str, p: str) -> None:
    test_streams.test_client_goes_away(gateway, simulator, path, p)


@both_clients
@providers
def test_twenty_megabytes(http: httpx.Client, simulator: Simulator, path: str, p: str) -> None:
    test_bodies.test_twenty_megabytes_with_images(http, simulator, path, f"{p}/echo")


def test_forms_in_pieces(gateway: Gateway, simulator: Simulator) -> None:
    test_pass_through.test_the_model_may_stand_behind_the_file(gateway, simulator)
    simulator.control.reset()
    test_pass_through.test_forms_are_refused_in_their_shapes(
        gateway, simulator, "/v1/audio/transcriptions"
    )


@pytest.mark.parametrize("method", test_fail_closed.METHODS)
def test_nothing_passes_without_a_key(gateway: Gateway, simulator: Simulator, method: str) -> None:
    test_fail_closed.test_nothing_passes_without_a_key(gateway, simulator, method)


def test_drain(all_providers: Simulator) -> None:
    """It ends by itself, and in time."""
    with run_gateway(all_providers, transport="grpc") as gateway:
        headers = {"x-api-key": KEY}
        httpx.get(f"{gateway.url}/v1/models", headers=headers).raise_for_status()
        assert gateway.stop() == 0
