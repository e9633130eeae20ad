"""Tokens for tests, signed with keys made here, and an issuer that publishes their public halves."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.certificates import Pair

AUDIENCE = "dragoman"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _number(value: int) -> str:
    return _encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class SigningKey:
    """An RSA key under a name of its own."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def public(self) -> dict[str, Any]:
        """As a JWK."""
        numbers = self._private.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid}
        return {**key, "n": _number(numbers.n), "e": _number(numbers.e)}

    def sign(self, text: str) -> str:
        return _encode(self._private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))


def token(key: SigningKey | None, issuer: str, *, kid: str = "", **claims: Any) -> str:
    """A JWT that `key` signs, valid for an hour; without a key it is of the algorithm `none`."""
    now = int(time.time())
    usual = {"iss": issuer, "aud": AUDIENCE, "sub": "u-1", "iat": now, "exp": now + 3600}
    payload = {name: value for name, value in (usual | claims).items() if value is not None}
    header = {
        "typ": "JWT",
        "alg": "RS256" if key else "none",
        "kid": kid or (key.kid if key else ""),
    }
    text = ".".join(_encode(json.dumps(part).encode()) for part in (header, payload))
    return f"{text}.{key.sign(text) if key else ''}"


@dataclass
class Issuer:
    """Publishes its keys at `jwks_uri`; what it published is asked `fetches` times."""

    port: int
    key: SigningKey
    scheme: str = "http"
    answers: bool = True
    fetches: list[str] = field(default_factory=list)
    claims: dict[str, Any] = field(default_factory=dict)
    """Of the tokens that it gives for codes."""
    codes: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    @property
    def jwks_uri(self) -> str:
        return f"{self.url}/jwks"

    def key_set(self) -> str:
        return json.dumps({"keys": [self.key.public()]})

    def token(self, **claims: Any) -> str:
        return token(self.key, self.url, **claims)


@contextlib.contextmanager
def run_issuer(tls: Pair | None = None) -> Iterator[Issuer]:
    """An issuer on a free port of the loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.fetches.append(self.path)
            self._answer(issuer.key_set())

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: values[0] for name, values in parse_qs(raw).items()}
            issuer.codes.append(form["code"])
            assert form["code_verifier"]
            token = issuer.token(**issuer.claims)
            answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
            self._answer(json.dumps(answer))

        def _answer(self, text: str) -> None:
            body = text.encode()
            self.send_response(200 if issuer.answers else 503)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            del args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer = Issuer(server.server_address[1], SigningKey("k1"), "https" if tls else "http")
        if tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(tls.certificate, tls.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
