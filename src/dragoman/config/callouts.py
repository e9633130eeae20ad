"""Callouts of a guardrail profile: whom else a request is shown before it goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from dragoman.config.section import KeySource, Name
from dragoman.dialects.speakers import Speaker

if TYPE_CHECKING:
    from dragoman.config.guardrails import Guardrails
    from dragoman.config.patterns import Refuse
    from dragoman.config.policy import Provider

MODERATIONS = "openai_moderations"
"""The dialect a provider is asked in."""
SOCKET = "callouts.sock"
"""In `run_dir`: where Envoy takes callouts from the workers."""
FAILED = ":failed"
"""Behind a callout's name: under what its failures are counted, which are nobody's doing."""
_UNIX = "unix:"
_PATH = re.compile(r"/[!-\[\]-~]*")
"""No backslash: it is what Envoy puts in the place of the path a worker asks for."""
Limit = Annotated[float, msgspec.Meta(gt=0, le=1)]


class _Callout(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"
):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    timeout_ms: Annotated[int, msgspec.Meta(ge=1)] = 500
    """For the whole of it, a wait for other requests' callouts included."""
    on_failure: Literal["block", "allow"] = "block"
    """What becomes of a request when no answer comes, or none that can be read."""
    action: Literal["block", "report"] = "block"
    speakers: tuple[Speaker, ...] = msgspec.field(default=(), name="in")
    """Whose texts are shown; none: everybody's."""

    @property
    def timeout_seconds(self) -> float:
        return self.timeout_ms / 1000


class Moderation(_Callout, frozen=True, kw_only=True, tag="moderation"):
    """A provider's moderations operation, as OpenAI has it. Exactly one of threshold and categories
    is given."""

    provider: Name
    model: Annotated[str, msgspec.Meta(min_length=1)] = "omni-moderation-latest"
    threshold: Limit | None = None
    """Of any category."""
    categories: dict[str, Limit] = {}
    """Those that count, and from which score."""


class Webhook(_Callout, frozen=True, kw_only=True, tag="webhook"):
    """A service of the operator's."""

    url: str
    """`http(s)://HOST[:PORT]/PATH`, or `unix:/PATH/OF/SOCKET`, which is asked for `/`."""
    key: KeySource | None = None
    """Sent as a bearer token, by Envoy; never read by a worker."""


Callout = Moderation | Webhook


class Place(NamedTuple):
    """Where a webhook is."""

    host: str
    port: int
    """0: `host` is the path of a Unix socket."""
    tls: bool
    path: str

    @property
    def authority(self) -> str:
        """What goes into the host header."""
        if not self.port:
            return "localhost"
        return self.host if self.port == (443 if self.tls else 80) else f"{self.host}:{self.port}"


def find_place(url: str) -> Place:
    """Where `url` leads. Raises `ValueError`."""
    if url.startswith(_UNIX):
        socket = url.removeprefix(_UNIX)
        if not socket.startswith("/"):
            raise ValueError(url)
        return Place(socket, 0, False, "/")  # noqa: FBT003 - a field
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    if not known or parts.username or parts.fragment or not _PATH.fullmatch(path):
        raise ValueError(url)
    tls = parts.scheme == "https"
    return Place(parts.hostname or "", parts.port or (443 if tls else 80), tls, path)


def route_of(profile: str, callout: Callout) -> str:
    """The path that the workers ask Envoy for: another one, where what is asked is another."""
    return f"/{profile}/{callout.__struct_config__.tag}/{callout.name}"


def check_callouts(
    section: Guardrails | None,
    providers: Mapping[str, Provider],
    service_seconds: float,
    is_there: Callable[[KeySource], bool],
    refuse: Refuse,
) -> None:
    """Raises where a callout cannot be made. Envoy waits `service_seconds` for the whole
    stage; `is_there` tells of a key."""
    for name, profile in section.profiles.items() if section else ():
        for i, callout in enumerate(profile.callouts):
            path = f"$.guardrails.profiles.{name}.callouts[{i}]"
            if callout.timeout_seconds > service_seconds / 2:
                problem = "is more than half of timeouts.service_seconds"
                raise refuse(f"{path}.timeout_ms", problem)
            if isinstance(callout, Moderation):
                _check_moderation(callout, providers, path, refuse)
            else:
                _check_webhook(callout, is_there, path, refuse)


def _check_moderation(
    callout: Moderation, providers: Mapping[str, Provider], path: str, refuse: Refuse
) -> None:
    if (callout.threshold is None) != bool(callout.categories):
        raise refuse(path, "give one of threshold and categories")
    provider = providers.get(callout.provider)
    if provider is None:
        problem = f"no provider {callout.provider} in this file, or none with a key"
        raise refuse(f"{path}.provider", problem)
    if MODERATIONS not in provider.endpoints:
        raise refuse(f"{path}.provider", f"{provider.name} does not serve {MODERATIONS}")


def _check_webhook(
    callout: Webhook, is_there: Callable[[KeySource], bool], path: str, refuse: Refuse
) -> None:
    try:
        find_place(callout.url)
    except ValueError as error:
        problem = "expected http(s)://HOST[:PORT]/PATH or unix:/PATH/OF/SOCKET"
        raise refuse(f"{path}.url", problem) from error
    key = callout.key
    if key is not None and (key.env is None) == (key.file is None):
        raise refuse(f"{path}.key", "give either env or file")
    if key is not None and not is_there(key):
        missing = f"variable {key.env} is not set" if key.env else f"no file {key.file}"
        raise refuse(f"{path}.key", missing)
