"""What happens beside requests, as CloudEvents 1.0 in JSON, signed as Standard Webhooks has it.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md and
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

TYPES = "dev.dragoman."
"""In front of what happened, such as `quota.level_reached`."""


class CloudEvent(NamedTuple):
    """One event, written."""

    id: str
    """The same each time it is sent."""
    name: str
    """What happened."""
    body: bytes


def encode_event(
    event_id: str, source: str, event: str, time: str, data: Mapping[str, object]
) -> CloudEvent:
    """An event of type `event`; `source` tells which gateway says so."""
    fields = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": f"{TYPES}{event}",
        "time": time,
        "datacontenttype": "application/json",
        "data": data,
    }
    return CloudEvent(event_id, event, msgspec.json.encode(fields))


def signature_headers(
    event: CloudEvent, seconds: int, secret: bytes | None
) -> tuple[tuple[str, str], ...]:
    """Those of one attempt to send it, at Unix time `seconds`; without a secret unsigned."""
    headers = (("webhook-id", event.id), ("webhook-timestamp", str(seconds)))
    if secret is None:
        return headers
    signed = f"{event.id}.{seconds}.".encode() + event.body
    digest = b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return (*headers, ("webhook-signature", f"v1,{digest}"))
