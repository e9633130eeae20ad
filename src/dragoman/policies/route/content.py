"""What strategies look at of a request, each thing worked out when it is first wanted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from dragoman.catalog.profiles import Profile
from dragoman.config.leading import SimilarTo
from dragoman.config.policy import Caller
from dragoman.errors import DragomanError
from dragoman.ir import Json, Request, Text
from dragoman.policies.estimate import BYTES_PER_TOKEN, estimate_tokens
from dragoman.policies.quotas import UNSAID_OUTPUT_TOKENS, output_limit


class Content:
    """One request, as strategies see it."""

    def __init__(
        self,
        headers: Mapping[str, str],
        body: Json,
        size_bytes: int,
        decode: Callable[[], Request] | None,
        caller: str = "",
        *,
        similar: Mapping[SimilarTo, float] = {},
    ) -> None:
        """`decode` reads a chat request; None where it is none. `similar` says how like its last
        words are to what, as far as it is known."""
        self.similar = similar
        self.headers = headers
        self.caller = caller
        self.body = body
        self.size_bytes = size_bytes
        self._decode = decode
        self._tokens_at = functools.cache(self._estimate)

    @functools.cached_property
    def request(self) -> Request | None:
        """None where it is no chat, or is its provider's to complain of."""
        try:
            return self._decode() if self._decode else None
        except DragomanError:
            return None

    @property
    def metadata(self) -> Json:
        """The body's own, empty where it has none."""
        found = self.body.get("metadata")
        return cast("Json", found) if isinstance(found, dict) else {}

    @functools.cached_property
    def last_words(self) -> str:
        """The texts of the user's last turn; empty where nothing can be read."""
        turns = reversed(self.request.messages if self.request else ())
        parts = next((turn.parts for turn in turns if turn.role == "user"), ())
        return "\n".join(part.content for part in parts if isinstance(part, Text))

    def input_tokens(self, profile: Profile | None) -> int:
        """An estimate, by the model's own token ratio."""
        return self._tokens_at(profile.token_ratio if profile else None)

    def _estimate(self, ratio: float | None) -> int:
        if self.request is None:
            return self.size_bytes // BYTES_PER_TOKEN
        return estimate_tokens(self.request, ratio)

    @property
    def asked_output_tokens(self) -> int:
        """The most an answer may have, 0 where the client does not say."""
        return output_limit(self.body)

    @property
    def likely_output_tokens(self) -> int:
        """What an answer is reckoned to have."""
        return self.asked_output_tokens or UNSAID_OUTPUT_TOKENS


class Asking(NamedTuple):
    """A request, as rules see it."""

    caller: Caller
    dialect: str
    operation: str
    stream: bool
    now: float
    """Unix time."""
    content: Content
