"""The real Envoy, the real SDKs: one gateway a session, more only where a test needs another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import anthropic
import httpx
import openai
import pytest

from dragoman.simulator import Simulator
from tests.envoy.gateway import KEY, KINDS, SECRETS, Gateway, provider_key, run_gateway


@pytest.fixture(scope="session")
def all_providers() -> Iterator[Simulator]:
    with Simulator(list(KINDS)) as simulator:
        yield simulator


@pytest.fixture
def simulator(all_providers: Simulator) -> Iterator[Simulator]:
    """The providers, with nothing scripted. Whatever the test did, no key may have strayed."""
    all_providers.control.reset()
    yield all_providers
    for request in all_providers.control.requests():
        own = provider_key(request.listener)
        headers = "\n".join(value for _, value in request.headers)
        assert own in headers, f"{request.listener} got no key of its own"
        strays = [s for s in SECRETS if s != own and s in headers + request.target]
        assert not strays, f"{request.listener} got {strays}"


@pytest.fixture(scope="session")
def shared_gateway(all_providers: Simulator) -> Iterator[Gateway]:
    with run_gateway(all_providers) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway, simulator: Simulator) -> Gateway:
    """The session's gateway on shipped settings."""
    del simulator
    return shared_gateway


@pytest.fixture(scope="session")
def impatient_gateway(all_providers: Simulator) -> Iterator[Gateway]:
    """Time-outs of one second, so that what lies below and above them is seen quickly."""
    timeouts = {"first_byte_seconds": 1.0, "idle_seconds": 1.0, "connect_seconds": 1.0}
    with run_gateway(all_providers, timeouts=timeouts) as gateway:
        yield gateway


@pytest.fixture
def impatient(impatient_gateway: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return impatient_gateway


@pytest.fixture(scope="session")
def python_gateway(all_providers: Simulator) -> Iterator[Gateway]:
    """Envoy's native usage filters off: the respond stage does their work."""
    native = {"usage": False, "strip_usage": False}
    with run_gateway(all_providers, native=native) as gateway:
        yield gateway


@pytest.fixture
def native_off(python_gateway: Gateway, simulator: Simulator) -> Gateway:
    del simulator
    return python_gateway


@pytest.fixture
def start(simulator: Simulator) -> Callable[..., object]:
    """A gateway of the test's own, for tests that kill things: `with start(workers=2) as g`."""
    return lambda **options: run_gateway(simulator, **options)


@pytest.fixture
def openai_client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(gateway: Gateway) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=30) as client:
        yield client
