"""Signatures over reasoning, made so that any simulator process can verify what another issued."""

import base64
import hashlib
import hmac

_KEY = b"dragoman simulator: not a secret"


def sign(text: str) -> str:
    """The opaque signature that comes with a piece of reasoning."""
    digest = hmac.digest(_KEY, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.b64encode(b"sim1" + digest).decode()


def verify(text: str, signature: object) -> bool:
    """Whether the signature was issued for exactly this text."""
    return isinstance(signature, str) and hmac.compare_digest(
        sign(text).encode(), signature.encode("utf-8", "replace")
    )


def seal(text: str) -> str:
    """Opaque data that stands for reasoning the provider withholds."""
    return base64.b64encode(f"{sign(text)}|{text}".encode()).decode()


def is_sealed(data: object) -> bool:
    """Whether `seal` made this."""
    try:
        signature, _, text = base64.b64decode(str(data), validate=True).decode().partition("|")
    except ValueError:
        return False
    return verify(text, signature)
