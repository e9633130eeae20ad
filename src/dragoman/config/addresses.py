"""What a host may be called in an address of the policy file."""

from __future__ import annotations

import re

_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|[0-9a-f:]*:[0-9a-f:.]*")


def is_host(name: str | None) -> bool:
    """Whether `name`, as `urlsplit` tells it, is one that Envoy can look up or connect to: other
    alphabets stand in it as Punycode."""
    return name is not None and _HOST.fullmatch(name) is not None
