"""Take in a changed policy file: check it whole, and have Envoy follow. A process that then ends.

Whatever is wrong, the policy in force stays, and one line on standard error says why.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import msgspec

from dragoman.config import refusal
from dragoman.config.environment import key_names
from dragoman.config.load import load, parse, read_text
from dragoman.config.policy import Policy
from dragoman.config.schema import Address
from dragoman.errors import ConfigError, DragomanError, ServiceUnavailable
from dragoman.supervisor.child import ask

_COPY = "policy.yaml"
_FIXED = (
    "admin", "audit", "issued_keys", "ledger", "limits", "listener.address", "listener.port",
    "run_dir", "simulator", "store", "timeouts.drain_seconds", "transport", "workers",
)  # fmt: skip
"""Settings that processes are started with."""
_MAX_FILES = 35
"""That Envoy follows; each takes an inotify instance, of which a user has but 128."""
_APPLY_SECONDS = 10.0
_LOOK_SECONDS = 0.01


class Placed(NamedTuple):
    """What the command line said over the policy file, and where everything is."""

    run_dir: str
    port: int
    """Of the listener."""
    admin_port: int
    workers: int
    has_envoy: bool

    @classmethod
    def of(cls, policy: Policy, *, has_envoy: bool) -> Placed:
        """As `policy` has it in force."""
        ports = policy.listener.port, policy.admin.port
        return cls(policy.run_dir, *ports, policy.workers, has_envoy)

    def encode(self) -> str:
        """As one argument."""
        return msgspec.json.encode(self).decode()

    def apply(self, policy: Policy) -> Policy:
        """The policy as it is in force here."""
        return msgspec.structs.replace(
            policy,
            run_dir=self.run_dir,
            listener=msgspec.structs.replace(policy.listener, port=self.port),
            admin=msgspec.structs.replace(policy.admin, port=self.admin_port),
            workers=self.workers,
        )


def keep_copy(text: str, run_dir: str) -> str:
    """The path of a copy of a policy, which was found good: the workers' own, so that all of them
    read the same, also those that start later."""
    path = Path(run_dir, _COPY)
    replace_file(path, text.encode())
    return str(path)


def replace_file(path: Path, content: bytes) -> None:
    """Whole or not at all: Envoy, which follows the file, reads it when it gets its name. Its owner
    alone reads it, as the policy file may have been nobody else's to read."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    draft.replace(path)


def reload(config: str, placed: Placed) -> None:
    """Make the policy file the one in force. Raises `DragomanError` where it cannot be."""
    text = read_text(config)
    former, policy = load(str(Path(placed.run_dir, _COPY))), parse(text, config)
    _check_fixed(former, policy)
    if placed.has_envoy:
        _follow(placed.apply(former), placed.apply(policy))
    keep_copy(text, placed.run_dir)


def _check_fixed(former: Policy, policy: Policy) -> None:
    """Raises for what a restart alone can change."""
    for name in _FIXED:
        setting = attrgetter(name)
        if setting(former) != setting(policy):
            raise ConfigError(policy.source, f"$.{name}", "changes with a restart only")
    for name in sorted(key_names(policy) - key_names(former)):
        problem = f"{name} is named by no key.env in force: the workers have seen it. Restart"
        raise ConfigError(policy.source, "$.providers", problem)


def _follow(former: Policy, policy: Policy) -> None:
    """Have Envoy take in what differs. Clusters and callouts that are gone stay for what is on its
    way to them, until the next change."""
    from dragoman.envoyconf import callouts, dynamic, render  # noqa: PLC0415 - the pool has no Envoy

    begun_with = render.from_yaml(Path(policy.run_dir, "envoy.yaml").read_bytes())
    wider = callouts.keep_callouts(render.render(policy), former)
    files = dynamic.take_apart(wider, policy.run_dir, begun_with).files
    if len(files) > _MAX_FILES:
        problem = "so many keys that are new since the start take a restart"
        raise ConfigError(policy.source, "$.providers", problem)
    if names := former.providers.keys() - policy.providers.keys():
        _, before = dynamic.read_resources(Path(policy.run_dir, dynamic.CLUSTERS).read_bytes())
        _, clusters = dynamic.read_resources(files[dynamic.CLUSTERS])
        gone = [cluster for cluster in before if cluster["name"] in names]
        files[dynamic.CLUSTERS] = dynamic.encode_resources("clusters", [*clusters, *gone])
    wanted = {
        "cluster_manager.cds": dynamic.read_version(files[dynamic.CLUSTERS]),
        "listener_manager.lds": dynamic.read_version(files[dynamic.LISTENERS]),
        **{
            f"http.{name}.rds.{name}": dynamic.read_version(files[file])
            for name, file in dynamic.ROUTES_OF.items()
            if file in files
        },
    }
    refused = _count_refused(_updates(policy.admin))
    replaced = _replace_files(policy.run_dir, files)
    try:
        _await_versions(policy.admin, wanted, refused)
    except ServiceUnavailable:
        _replace_files(policy.run_dir, replaced)
        raise
    _remove_unused(policy.run_dir, files)


def _replace_files(run_dir: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Write those that differ. What stood in them before."""
    former: dict[str, bytes] = {}
    for name, content in files.items():
        path = Path(run_dir, name)
        before = path.read_bytes() if path.exists() else None
        if before != content:
            replace_file(path, content)
            former |= {name: before} if before is not None else {}
    return former


def _remove_unused(run_dir: str, files: Mapping[str, bytes]) -> None:
    """Files of keys go with the last cluster that led to them."""
    from dragoman.envoyconf import dynamic  # noqa: PLC0415 - as above

    for path in Path(run_dir).glob("key-*.json"):
        end = b"/" + msgspec.json.encode(path.name).removeprefix(b'"')
        if path.name not in files and end not in files[dynamic.CLUSTERS]:
            path.unlink()


def _await_versions(admin: Address, wanted: dict[str, str], refused: int) -> None:
    """Raises `ServiceUnavailable` where Envoy does not say in time that it has them, or that it
    refused one: that it had refused so many before."""
    deadline = time.monotonic() + _APPLY_SECONDS
    while time.monotonic() < deadline:
        told = _updates(admin)
        if all(f'{name}.version_text: "{version}"' in told for name, version in wanted.items()):
            return
        if _count_refused(told) > refused:
            break
        time.sleep(_LOOK_SECONDS)
    raise ServiceUnavailable("Envoy has not taken the new configuration; its log says why.")


def _updates(admin: Address) -> str:
    """What Envoy says of the files that it follows; empty where it does not answer.

    `usedonly` leaves out what it never counted, a tenth of the time that all of 200 clusters' take.
    """
    query = "GET /stats?usedonly&filter=(version_text|update_rejected)$ HTTP/1.1\r\nhost: admin\r\n"
    return ask(f"{admin.address}:{admin.port}", f"{query}connection: close\r\n\r\n") or ""


def _count_refused(told: str) -> int:
    return sum(map(int, re.findall(r"update_rejected: (\d+)", told)))


def _log(event: str, **fields: str | float) -> None:
    line: dict[str, object] = {**fields, "event": event, "timestamp": datetime.now(UTC)}
    sys.stderr.write(msgspec.json.encode(line).decode() + "\n")


def main(config: str, placed: str) -> int:
    """The exit status: 0 where the file is in force."""
    gc.disable()  # nothing of it is garbage before the process ends
    began, place = time.monotonic(), msgspec.json.decode(placed, type=Placed)
    refusal.forget(place.run_dir)
    try:
        reload(config, place)
    except DragomanError as error:
        refusal.leave(refusal.Refusal(config, str(error)), place.run_dir)
        _log("policy_refused", level="error", problem=str(error))
        return 1
    _log("policy_reloaded", level="info", seconds=round(time.monotonic() - began, 3))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
