"""Which answers there were and how they were scored, in the store: `feedback.lua` on Redis or
Valkey."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from dragoman.stores.feedback import Known
from dragoman.stores.latencies import Sums
from dragoman.stores.redis import ask, connect

LIFE_MS = 86_400_000
"""How long an answer may be scored, and its score changed."""
MOST_ANSWERS = 65_536
"""Of all workers; of more, the oldest are forgotten. Each takes about 300 bytes."""
_KEYS = ("dragoman:{feedback}:answers", "dragoman:{feedback}:times")


class RedisFeedback:
    """A `FeedbackStore` over the Redis protocol; nothing is sent before the first call."""

    def __init__(self, url: str, *, cluster: bool = False, most: int = MOST_ANSWERS) -> None:
        """`most` answers are kept."""
        self._most = most
        self._client = connect(url, cluster=cluster)
        text = Path(__file__).with_name("feedback.lua").read_text("utf-8")
        self._script = self._client.register_script(text)

    async def tell(
        self, answers: Mapping[bytes, str], scores: Mapping[bytes, float]
    ) -> Mapping[bytes, Known]:
        """Take in answers, then scores; what is known of these."""
        arguments: list[Any] = [self._most, LIFE_MS, len(answers)]
        for name, key in answers.items():
            arguments += [name, key.encode("utf-8", "replace")]
        for name, score in scores.items():
            arguments += [name, score]
        answer = await ask(self._script(keys=list(_KEYS), args=arguments))
        told = iter(cast("list[bytes]", answer))
        rows = zip(scores, told, told, told, strict=True)
        return {
            name: Known(key.decode(), Sums(scored=float(scored), scores=float(sum_)))
            for name, key, scored, sum_ in rows
            if key
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
