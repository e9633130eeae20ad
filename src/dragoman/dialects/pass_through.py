"""Operations that go to a provider of the client's own dialect as they are, or not at all.

Sources: https://platform.openai.com/docs/api-reference, https://docs.anthropic.com/en/api,
https://ai.google.dev/api, November 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn
from urllib.parse import unquote

import msgspec

from dragoman.dialects import BodyKind, Call
from dragoman.dialects.base import ErrorShape
from dragoman.dialects.unary import Unary
from dragoman.errors import Unrepresentable
from dragoman.ir import Json
from dragoman.ir.losses import Losses


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation, as data."""

    name: str
    """Of the dialect; the family of its errors is what stands before the first underscore."""
    operation: str
    path: str
    """Regular expression. Its groups, if any: `model`, and `rest`, which goes behind the provider's
    own path."""
    body: BodyKind = "json"
    method: str = "POST"
    """Empty: any."""
    default_model: str | None = None
    """What the provider takes where the client names none."""
    header: str | None = None
    """A header that must be there: it tells whose client calls a path that two dialects have."""


OPERATIONS = (
    Operation(
        name="openai_moderations",
        operation="moderations",
        path="/v1/moderations",
        default_model="omni-moderation-latest",
    ),
    Operation(name="openai_compact", operation="compact", path="/v1/responses/compact"),
    Operation(
        name="openai_image_generations",
        operation="images",
        path="/v1/images/generations",
        default_model="gpt-image-1",
    ),
    Operation(
        name="openai_image_edits",
        operation="image_edits",
        path="/v1/images/edits",
        body="form",
        default_model="gpt-image-1",
    ),
    Operation(
        name="openai_image_variations",
        operation="image_variations",
        path="/v1/images/variations",
        body="form",
        default_model="dall-e-2",
    ),
    Operation(name="openai_speech", operation="speech", path="/v1/audio/speech"),
    Operation(
        name="openai_transcriptions",
        operation="transcriptions",
        path="/v1/audio/transcriptions",
        body="form",
    ),
    Operation(
        name="openai_translations",
        operation="translations",
        path="/v1/audio/translations",
        body="form",
    ),
    Operation(
        name="anthropic_files",
        operation="files",
        path="/v1/files(?P<rest>/.*)?",
        body="unread",
        method="",
        header="anthropic-version",
    ),
    Operation(
        name="anthropic_batches",
        operation="batches",
        path="/v1/messages/batches(?P<rest>/.*)?",
        body="unread",
        method="",
    ),
    Operation(
        name="openai_files",
        operation="files",
        path="/v1/files(?P<rest>/.*)?",
        body="unread",
        method="",
    ),
    Operation(
        name="openai_uploads",
        operation="uploads",
        path="/v1/uploads(?P<rest>/.*)?",
        body="unread",
        method="",
    ),
    Operation(
        name="openai_batches",
        operation="batches",
        path="/v1/batches(?P<rest>/.*)?",
        body="unread",
        method="",
    ),
    Operation(
        name="openai_stored_responses",
        operation="stored_responses",
        path="/v1/responses(?P<rest>/resp_.*)",
        body="unread",
        method="",
    ),
)
UNREAD_PREFIXES = (
    "/v1/messages/batches",
    "/v1/files",
    "/v1/uploads",
    "/v1/batches",
    "/v1/responses/resp_",
)
"""Paths of which Envoy must not hold the body: it may be larger than any that is read."""


FORM_PATHS = (
    r"(?:/v1|/openai(?:/v1)?(?:/deployments/[^/]+)?)(?:"
    + "|".join(row.path.removeprefix("/v1") for row in OPERATIONS if row.body == "form")
    + ")"
)
"""Paths, also Azure's, of forms with files in them: their fields alone are read. RE2's syntax."""


class PassThrough(Unary):
    """One operation; its errors are those of `family`, a dialect of the same clients."""

    def __init__(self, operation: Operation, family: ErrorShape) -> None:
        super().__init__(operation.name, family)
        self._row = operation
        self._path = re.compile(operation.path)
        self.operation = operation.operation

    def match(self, path: str, query: str, headers: Mapping[str, str]) -> Call | None:
        del query
        found = self._path.fullmatch(path)
        if found is None or (self._row.header and self._row.header not in headers):
            return None
        return Call(
            operation=self.operation,
            method=self._row.method,
            body=self._row.body,
            default_model=self._row.default_model,
            model=unquote(found.groupdict().get("model") or "") or None,
            rest=found.groupdict().get("rest") or "",
        )

    def decode_request(self, body: Json) -> NoReturn:
        del body
        raise self._untranslatable()

    def encode_request(self, request: object, losses: Losses) -> Json:
        del request, losses
        raise self._untranslatable()

    def decode_response(self, body: Json) -> None:
        """Nothing is read of an answer: Envoy's own filters count what it says it used."""
        del body

    def encode_response(self, response: object, losses: Losses) -> Json:
        del response, losses
        raise self._untranslatable()

    def _untranslatable(self) -> Unrepresentable:
        return Unrepresentable("$", self.name, "it goes to a provider of the same dialect only")
