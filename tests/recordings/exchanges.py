"""Recorded exchanges with real providers, where the folder with them exists."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from tests.sdk import Wire

FOLDER = Path(os.environ.get("RECORDINGS") or Path(__file__).parents[3] / "shared" / "recordings")
_DIALECTS = {"/chat/completions": "openai_chat", "/v1/messages": "anthropic_messages"}


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One call and its answer."""

    id: str
    provider: str
    dialect: str
    endpoint: str
    request: dict[str, Any]
    wire: Wire

    @property
    def is_stream(self) -> bool:
        return self.wire.kind == "text/event-stream"


def load() -> list[Exchange]:
    """Every chat exchange with a JSON request, file by file in their order."""
    return [
        exchange
        for file in sorted(FOLDER.glob("*.jsonl"))
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if (exchange := _exchange(json.loads(line), f"{file.name}:{number}"))
    ]


def _exchange(record: dict[str, Any], place: str) -> Exchange | None:
    request, response = record["request"], record["response"]
    path = request["path"].partition("?")[0]
    endpoint = next((end for end in _DIALECTS if path.endswith(end)), None)
    if endpoint is None or request["encoding"] != "json":
        return None
    return Exchange(
        id=place,
        provider=record["provider"],
        dialect=_DIALECTS[endpoint],
        endpoint=endpoint,
        request=request["body"],
        wire=_wire(response),
    )


def _wire(response: dict[str, Any]) -> Wire:
    body, status = response["body"], response["status"]
    if response["encoding"] == "json":
        return Wire(json.dumps(body, ensure_ascii=False).encode(), status=status)
    return Wire(body.encode(), status=status, kind="text/event-stream")
