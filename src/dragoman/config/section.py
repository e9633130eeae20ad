"""What the sections of `dragoman.yaml` have in common."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]

EntityName = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
Action = Literal["mask", "replace", "hash", "block", "report"]
"""What becomes of a finding: hidden for good, hidden and given back to the caller in the answer,
hidden behind a keyed digest, the request refused, or only counted."""


class KeySource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a key is found. Exactly one of the two is given."""

    env: str | None = None
    file: str | None = None
