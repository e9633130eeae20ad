"""What an operator is told of soon ends: when, and once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dragoman.config.load import parse
from dragoman.config.policy import Policy
from dragoman.policies.notices import find_asked, find_ending
from dragoman.stores.keys import IssuedKey
from dragoman.stores.notices import Notice

TEXT = """
callers: {demo: {keys: ["%s"]}}
providers: {local: {kind: vllm, url: "http://127.0.0.1:9"}}
profiles:
  - {provider: local, model: old, retires: 2026-12-01}
models:
  fresh: {targets: [{provider: local, model: new}]}
  v1:
    deprecated: {since: 2026-09-01, ends: 2027-03-01, use: fresh, afterwards: substitute}
    targets: [{provider: local, model: new}]
  v0:
    deprecated: {since: 2026-09-01, ends: 2026-10-01}
    targets: [{provider: local, model: old}]
""" % ("0" * 64)
POLICY: Policy = parse(TEXT, "p.yaml", {})
DAY = 86_400


def at(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def told(day: str, *keys: IssuedKey) -> dict[str, dict[str, Any]]:
    return {f"{n.event} {n.name}": dict(n.data) for n in find_ending(POLICY, keys, at(day))}


def asked(model: str, day: str) -> Notice | None:
    return find_asked(POLICY.models[model], "demo", at(day))


def test_who_asks_for_a_model_that_ends_is_told_once_a_day() -> None:
    assert asked("fresh", "2026-11-25") is None
    assert asked("v1", "2026-08-31") is None
    found = asked("v1", "2026-11-25")
    assert found is not None
    assert found.event == "model.deprecated"
    assert found.data == {"model": "v1", "caller": "demo", "use": "fresh", "ends": "2027-03-01"}
    others = [asked("v1", day) for day in ("2026-11-26", "2027-03-01")]
    assert [one.event for one in others if one] == ["model.deprecated", "model.substituted"]
    assert len({one.name for one in (found, *others) if one}) == 3
    gone = asked("v0", "2026-11-25")
    assert gone is not None
    assert (gone.event, gone.data["use"]) == ("model.ended", None)


@pytest.mark.parametrize("days", [40, 31, 30, 29, 8, 7, 6, 2, 1, 0, -3])
def test_a_model_is_told_of_at_each_step_before_its_end(days: int) -> None:
    model = (datetime(2027, 3, 1, tzinfo=UTC) - timedelta(days=days)).date().isoformat()
    found = {event: data for event, data in told(model).items() if " v1 " in event}
    steps = [step for step in (0, 1, 7, 30) if days <= step]
    if not steps:
        assert not found
        return
    ((event, data),) = found.items()
    assert event == f"model.ending model.ending v1 2027-03-01 {steps[0]}"
    assert data == {"model": "v1", "use": "fresh", "ends": "2027-03-01", "days": max(days, 0)}


def test_a_target_whose_provider_ends_it_is_told_of() -> None:
    found = told("2026-11-25")["target.ending target.ending local/old 2026-12-01 7"]
    assert found == {"target": "local/old", "ends": "2026-12-01", "days": 6}


@pytest.mark.parametrize(
    ("life", "left", "more", "is_told"),
    [
        (90 * DAY, 7 * DAY, {}, True),
        (90 * DAY, 7 * DAY + 1, {}, False),
        (8 * 3600, 2 * 3600, {}, True),
        (8 * 3600, 2 * 3600 + 1, {}, False),
        (90 * DAY, 0, {}, False),
        (90 * DAY, DAY, {"revoked": True}, False),
        (90 * DAY, DAY, {"disabled": True}, False),
    ],
)
def test_a_key_is_told_of_before_it_expires(
    life: int, left: int, more: dict[str, bool], *, is_told: bool
) -> None:
    ends = int(at("2026-06-01")) + left
    row = IssuedKey(
        digest="ab" * 32, caller="demo", created_at=ends - life, expires_at=ends, **more
    )
    found = told("2026-06-01", row)
    assert bool(found) is is_told
    if is_told:
        ((event, data),) = found.items()
        assert event == f"key.expiring key.expiring {row.id} {ends}"
        assert (data["key"], data["caller"]) == (row.id, "demo")
    assert not told("2026-06-01", IssuedKey(digest="c", caller="demo", created_at=0))
