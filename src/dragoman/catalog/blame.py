"""What of a failed attempt speaks against the provider that was asked."""

from __future__ import annotations

SERVER_ERROR_STATUS = 500
"""And above."""
BLAMED_STATUSES = frozenset({401, 403, 408, 429})
"""Other errors below are the request's own."""
BROKEN_FLAGS = frozenset({"UC", "UR", "UPE", "LR", "SI", "UT", "DT", "UMSDR", "UF"})
"""Envoy's response flags of a connection that failed, and of an answer that broke or came too
late."""
