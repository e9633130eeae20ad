"""An Envoy file taken apart for `check`: its parts by kind, and what has been found in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

import msgspec

from dragoman.config.callouts import SOCKET
from dragoman.config.policy import Policy
from dragoman.envoyconf.callouts import OWNER_ONLY
from dragoman.envoyconf.shadow import SOCKET as SHADOW_SOCKET
from dragoman.ir import Json

Severity = Literal["error", "warning"]
Node = tuple[str, Json]
"""A JSON path in the Envoy file, and the object there."""

_HCM = "http_connection_manager.v3.HttpConnectionManager"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, where, and what mends it."""

    file: str
    path: str
    problem: str
    remedy: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.file}: {self.path}: {self.severity}: {self.problem}. {self.remedy}."


class Inspection:
    """The file's parts by kind, and what has been found."""

    def __init__(self, policy: Policy, document: Json, file: str) -> None:
        self.policy = policy
        self.findings: list[Finding] = []
        self._file = file
        self.admin: Json = document.get("admin", {}).get("address", {}).get("socket_address", {})
        self.runtime = msgspec.json.encode(document.get("layered_runtime", {})).decode()
        nodes = list(walk(document, "$"))
        self.callouts = _own_listeners(nodes, policy, SOCKET)
        self.shadows = _own_listeners(nodes, policy, SHADOW_SOCKET)
        own = tuple(f"{path}." for path in (*self.callouts, *self.shadows))
        nodes = [node for node in nodes if not f"{node[0]}.".startswith(own)]
        self.managers = [node for node in nodes if is_a(node[1], _HCM)]
        self.clusters = {
            cluster["name"]: (path, cluster)
            for path, cluster in nodes
            if is_in(path, "static_resources.clusters") and "name" in cluster
        }
        self.routes = [node for node in nodes if is_in(node[0], "routes") and "match" in node[1]]
        self.listeners = [node for node in nodes if is_in(node[0], "listeners")]
        self.credentials = [
            node for node in nodes if is_in(node[0], "secrets") and "generic_secret" in node[1]
        ]

    def report(self, path: str, problem: str, remedy: str, severity: Severity = "error") -> None:
        finding = Finding(
            file=self._file, path=path, problem=problem, remedy=remedy, severity=severity
        )
        self.findings.append(finding)


def walk(value: Any, path: str) -> Iterator[Node]:
    """Every object in the document with its path."""
    if isinstance(value, dict):
        found = cast("Json", value)
        yield path, found
        for key, child in found.items():
            yield from walk(child, f"{path}.{key}")
    elif isinstance(value, list):
        for i, child in enumerate(_items(value)):
            yield from walk(child, f"{path}[{i}]")


def _own_listeners(nodes: list[Node], policy: Policy, socket: str) -> list[str]:
    """The paths of those on a socket that workers take callouts to, or Envoy copies. No client
    comes there, so that what holds for all others does not for them."""
    pipe = {"path": f"{policy.run_dir}/{socket}", "mode": OWNER_ONLY}
    return [
        path
        for path, listener in nodes
        if is_in(path, "listeners") and listener.get("address") == {"pipe": pipe}
    ]


def _items(value: Any) -> list[Any]:
    return value  # type: ignore[no-any-return]  # its caller looked


def is_in(path: str, name: str) -> bool:
    """Whether the object is an item of the list `name`."""
    return path.endswith("]") and path.rpartition("[")[0].endswith(f".{name}")


def is_a(value: Json, kind: str) -> bool:
    """Whether the object is a typed message of this kind."""
    return str(value.get("@type", "")).endswith(kind)


def filters_of(manager: Node) -> list[Node]:
    """A connection manager's HTTP filters."""
    path, config = manager
    return [
        (f"{path}.http_filters[{i}]", item) for i, item in enumerate(config.get("http_filters", []))
    ]


def config_of(item: Json) -> Json:
    """An extension's typed configuration."""
    found: Json = item.get("typed_config", {})
    return found


def seconds_of(value: Any) -> float:
    """A duration as a file writes it; infinite where it is absent or no duration."""
    try:
        return float(str(value).removesuffix("s"))
    except ValueError:
        return float("inf")
