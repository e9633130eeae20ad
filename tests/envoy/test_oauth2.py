"""Browsers that sign in: `envoy/oauth2.yaml` on an Envoy of the operator's own, run against an
authorization server of the test's own."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import yaml

import envoy
from dragoman.simulator import Simulator
from tests.certificates import Authority
from tests.envoy.gateway import KEY, free_port, policy, wait_until
from tests.envoy.test_operator_routes import DRAGOMAN, is_ready
from tests.envoy.test_routing import body
from tests.tokens import AUDIENCE, Issuer, run_issuer

SIGN_IN = Path(__file__).parents[2] / "envoy" / "oauth2.yaml"
CHAT = "/v1/chat/completions"
PAGE = {"sec-fetch-mode": "navigate", "accept": "text/html"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "sso")


@pytest.fixture(scope="module")
def issuer(authority: Authority) -> Iterator[Issuer]:
    with run_issuer(authority.issue("issuer")) as running:
        running.claims = {"email": "alice@acme.test"}
        yield running


@pytest.fixture(scope="module")
def url(
    all_providers: Simulator,
    issuer: Issuer,
    authority: Authority,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The rendered configuration with what `oauth2.yaml` holds put into it."""
    folder = tmp_path_factory.mktemp("sso")
    port, admin = free_port(), free_port()
    server = authority.issue("gateway")
    tls = {"certificate": server.certificate, "key": server.key}
    document = policy(
        all_providers, folder, listener={"port": port, "tls": tls}, admin={"port": admin}
    )
    jwt = {"issuer": issuer.url, "audiences": [AUDIENCE], "jwks": {"uri": issuer.jwks_uri}}
    jwt |= {"claims": {"user": "email"}, "default_caller": "demo"}
    document |= {"identity": {"jwt": {"sso": jwt}}, "ca_file": authority.ca, "run_dir": str(folder)}
    file = folder / "dragoman.yaml"
    file.write_text(yaml.safe_dump(document))
    config = folder / "envoy.yaml"
    config.write_text(_with_sign_in(file, issuer, authority))
    command = [sys.executable, "-m", "dragoman", "check", "-c", str(file), "--envoy", str(config)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    binary = str(Path(envoy.__file__).parent / "_bin" / "envoy")
    flags = ["--disable-hot-restart", "-l", "error", "-c", str(config)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.append(subprocess.Popen([*DRAGOMAN, "serve", "-c", str(file)]))
        wait_until((folder / "decide-0.sock").exists, what="workers")
        running.append(subprocess.Popen([binary, *flags]))
        wait_until(lambda: is_ready(admin), what="Envoy")
        yield f"https://localhost:{port}"
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(10)


def _with_sign_in(file: Path, issuer: Issuer, authority: Authority) -> str:
    """The example's host, port, roots and secrets are the test's; the rest stays as it is."""
    text = SIGN_IN.read_text()
    for name in ("client", "cookie"):
        secret = file.parent / f"{name}.key"
        secret.write_text(f"{name}-secret-of-the-test-81c2")
        text = text.replace(f"/run/secrets/oauth2-{name}-secret", str(secret))
    text = text.replace("/etc/ssl/certs/ca-certificates.crt", authority.ca)
    text = text.replace("https://sso.acme.example/realms/acme/protocol/openid-connect", issuer.url)
    text = text.replace("sso.acme.example", "localhost").replace("443", str(issuer.port))
    own: Any = yaml.safe_load(text)
    arguments = [*DRAGOMAN, "envoy", "-c", str(file)]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True)
    document: Any = yaml.safe_load(printed.stdout)
    resources = document["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"][:0] = own["http_filters"]
    resources["secrets"] += own["secrets"]
    resources["clusters"] += own["clusters"]
    return yaml.safe_dump(document)


@pytest.fixture
def browser(url: str, authority: Authority, simulator: Simulator) -> Iterator[httpx.Client]:
    """Keeps cookies as a browser does; follows no redirect by itself."""
    del simulator
    trust = ssl.create_default_context(cafile=authority.ca)
    with httpx.Client(base_url=url, verify=trust, timeout=20) as client:
        yield client


def sign_in(browser: httpx.Client, issuer: Issuer, page: str = "/v1/models") -> httpx.Response:
    """Opens `page`, is sent to the authorization server and comes back with its code."""
    sent = browser.get(page, headers=PAGE)
    assert sent.status_code == 302
    target = urlsplit(sent.headers["location"])
    assert sent.headers["location"].startswith(f"{issuer.url}/auth?")
    asked = {name: values[0] for name, values in parse_qs(target.query).items()}
    assert (asked["client_id"], asked["response_type"]) == ("dragoman", "code")
    assert asked["code_challenge_method"] == "S256"
    back = urlencode({"code": "the-code", "state": asked["state"]})
    return browser.get(f"{asked['redirect_uri']}?{back}", headers=PAGE)


def test_a_browser_signs_in_and_is_known(
    browser: httpx.Client, url: str, issuer: Issuer, simulator: Simulator
) -> None:
    returned = sign_in(browser, issuer)
    assert returned.status_code == 302, returned.text
    assert returned.headers["location"] == f"{url}/v1/models"
    cookies = returned.headers.get_list("set-cookie")
    kept = [cookie.lower() for cookie in cookies if "expires=Thu, 01 Jan 1970" not in cookie]
    assert {cookie.partition("=")[0] for cookie in kept} >= {"bearertoken", "oauthhmac"}
    for cookie in kept:
        assert {"httponly", "secure", "samesite=lax"} <= set(cookie.split(";")), cookie
    assert issuer.codes == ["the-code"]
    assert browser.get("/v1/models", headers=PAGE).status_code == 200
    chat = browser.post(CHAT, json=body("o/bytes-16"), headers={"sec-fetch-mode": "cors"})
    assert chat.status_code == 200, chat.text
    (seen,) = simulator.control.requests()
    assert "cookie" not in {name for name, _ in seen.headers}


def test_who_signed_in_elsewhere_is_refused(browser: httpx.Client, issuer: Issuer) -> None:
    issuer.claims = {"email": "eve@acme.test", "aud": "another service"}
    try:
        assert sign_in(browser, issuer).status_code == 302
        refused = browser.get("/v1/models", headers=PAGE)
    finally:
        issuer.claims = {"email": "alice@acme.test"}
    assert refused.status_code == 401
    assert "Audiences in Jwt" in refused.json()["error"]["message"]


def test_what_is_no_page_is_not_redirected(browser: httpx.Client) -> None:
    for path in (CHAT, "/v1/messages"):
        answer = browser.post(path, json=body("o/bytes-16"), headers={"sec-fetch-mode": "cors"})
        assert answer.status_code == 401
        assert "Sign in" in answer.json()["error"]["message"]


def test_programs_go_on_with_keys_and_tokens(browser: httpx.Client, issuer: Issuer) -> None:
    def ask(**headers: str) -> int:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return browser.post(CHAT, json=body("o/bytes-16"), headers=given).status_code

    assert ask(x_api_key=KEY) == 200
    assert ask(authorization=f"Bearer {issuer.token(email='a@acme.test')}") == 200
    assert ask(x_api_key="wrong") == 401
    assert ask(authorization="Bearer wrong") == 401


@pytest.mark.parametrize("name", ["BearerToken", "OauthHMAC", "OauthExpires"])
def test_a_cookie_that_was_changed_signs_nobody_in(
    browser: httpx.Client, issuer: Issuer, name: str
) -> None:
    sign_in(browser, issuer)
    cookies = {cookie.name: cookie.value or "" for cookie in browser.cookies.jar}
    cookies[name] = cookies[name][:-2] + ("11" if cookies[name][-2:] != "11" else "22")
    browser.cookies.clear()
    said = "; ".join(f"{key}={value}" for key, value in cookies.items())
    answer = browser.get("/v1/models", headers={"cookie": said})
    assert answer.status_code == 401
