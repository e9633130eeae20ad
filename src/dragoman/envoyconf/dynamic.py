"""Envoy's configuration taken apart: what it starts with, and files that it follows.

Each file holds the resources of one kind and is replaced whole, by renaming: Envoy then takes what
changed in it, and drops no request. The providers' keys that are there at the start stay with it;
one that comes later is a file of its own, as Envoy wants it, which takes it an inotify instance, of
which a user has but 128.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from dragoman.envoyconf.callouts import LISTENER as CALLOUTS
from dragoman.envoyconf.shadow import LISTENER as SHADOW
from dragoman.ir import Json

CLUSTERS, LISTENERS = "clusters.json", "listeners.json"
ROUTES_OF = {"dragoman": "routes.json", CALLOUTS: "callouts.json", SHADOW: "shadow.json"}
"""By name of a set of routes, which is its statistics' prefix too; Envoy wants each by itself."""
_CERTIFICATE, _CLIENT_CA = "certificate", "client_ca"
_TYPES = {
    "clusters": "envoy.config.cluster.v3.Cluster",
    "listeners": "envoy.config.listener.v3.Listener",
    "routes": "envoy.config.route.v3.RouteConfiguration",
    "secrets": "envoy.extensions.transport_sockets.tls.v3.Secret",
}


class Parts(NamedTuple):
    """A configuration in parts."""

    bootstrap: Json
    """With all keys."""
    files: dict[str, bytes]
    """By name; those that others lead to come first."""


def take_apart(document: Json, folder: str, begun_with: Json | None = None) -> Parts:
    """The parts of a whole bootstrap, which is left as it was. `folder` will hold the files.

    `begun_with` is the bootstrap that Envoy started with, where it has.
    """
    resources: dict[str, Any] = document["static_resources"]
    known: list[Json] = (begun_with or document)["static_resources"]["secrets"]
    later = [secret for secret in resources["secrets"] if secret not in known]
    keys = {secret["name"]: f"{secret['name']}.json" for secret in later}
    clusters = [_with_keys(cluster, keys, folder) for cluster in resources["clusters"]]
    routes: list[Json] = []
    listeners = [_without_routes(listener, routes, folder) for listener in resources["listeners"]]
    secrets = {keys[s["name"]]: encode_resources("secrets", [s]) for s in later}
    listeners = [_with_certificates(listener, secrets, folder) for listener in listeners]
    bootstrap: Json = {
        **document,
        "node": {"id": "dragoman", "cluster": "dragoman"},
        "static_resources": {"secrets": resources["secrets"]},
        "dynamic_resources": {
            "cds_config": _followed(folder, CLUSTERS),
            "lds_config": _followed(folder, LISTENERS),
        },
    }
    files = {
        CLUSTERS: encode_resources("clusters", clusters),
        **{ROUTES_OF[found["name"]]: encode_resources("routes", [found]) for found in routes},
        LISTENERS: encode_resources("listeners", listeners),
    }
    return Parts(bootstrap, {**secrets, **files})


def encode_resources(kind: str, resources: list[Json]) -> bytes:
    """The file that holds `resources`; its version is a digest of them."""
    name = f"type.googleapis.com/{_TYPES[kind]}"
    typed = [{"@type": name, **resource} for resource in resources]
    version = hashlib.sha256(msgspec.json.encode(typed)).hexdigest()[:16]
    return msgspec.json.encode({"version_info": version, "resources": typed})


def read_resources(file: bytes) -> tuple[str, list[Json]]:
    """Version and resources of a file."""
    document: Json = msgspec.json.decode(file)
    return document["version_info"], document["resources"]


class _Version(msgspec.Struct):
    version_info: str


_decode_version = msgspec.json.Decoder(_Version).decode


def read_version(file: bytes) -> str:
    """That of a file, whose resources are passed over: there are megabytes of them."""
    return _decode_version(file).version_info


def _followed(folder: str, name: str) -> Json:
    return {"resource_api_version": "V3", "path_config_source": {"path": f"{folder}/{name}"}}


def _without_routes(listener: Json, routes: list[Json], folder: str) -> Json:
    """The listener with its routes in a file; they are added to `routes`."""

    def move(part: Json) -> Json:
        if "route_config" not in part:
            return part
        found: Json = part["route_config"]
        routes.append(found)
        rest = {name: value for name, value in part.items() if name != "route_config"}
        source = _followed(folder, ROUTES_OF[found["name"]])
        return {**rest, "rds": {"route_config_name": found["name"], "config_source": source}}

    return _walk(listener, move)


def _with_certificates(listener: Json, files: dict[str, bytes], folder: str) -> Json:
    """The listener with its certificate and the roots of its clients' in `files`, so that Envoy
    reads them again when they are renewed."""

    def move(part: Json) -> Json:
        if "tls_certificates" not in part:
            return part
        found = dict(part)
        (pair,) = found.pop("tls_certificates")
        chain = pair["certificate_chain"]["filename"]
        source = watch(_CERTIFICATE, "tls_certificate", pair, chain)
        found["tls_certificate_sds_secret_configs"] = [source]
        if "validation_context" in found:
            roots = found.pop("validation_context")
            file = roots["trusted_ca"]["filename"]
            source = watch(_CLIENT_CA, "validation_context", roots, file)
            found["validation_context_sds_secret_config"] = source
        return found

    def watch(name: str, kind: str, secret: Json, file: str) -> Json:
        watched = {**secret, "watched_directory": {"path": str(Path(file).parent)}}
        files[f"{name}.json"] = encode_resources("secrets", [{"name": name, kind: watched}])
        return {"name": name, "sds_config": _followed(folder, f"{name}.json")}

    return _walk(listener, move)


def _with_keys(cluster: Json, keys: dict[str, str], folder: str) -> Json:
    """The cluster with its key in a file."""

    def follow(part: Json) -> Json:
        match part:
            case {"credential": {"name": str(name)}} if name in keys:
                source = _followed(folder, keys[name])
                return {**part, "credential": {"name": name, "sds_config": source}}
            case _:
                return part

    return _walk(cluster, follow)


def _walk(part: Json, change: Callable[[Json], Json]) -> Json:
    """`part` with each object in it changed, the inner ones first."""
    return change({name: _walk_any(value, change) for name, value in part.items()})


def _walk_any(part: Any, change: Callable[[Json], Json]) -> Any:
    match part:
        case dict():
            return _walk(cast("Json", part), change)
        case [*items]:
            return [_walk_any(item, change) for item in items]
        case _:
            return part
