"""Fields of answers that say the text once more, token by token.

A token may be any part of a word, so that nothing is found in them that is found in the text.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from dragoman.dialects.texts import FREE
from dragoman.ir import Json
from dragoman.wire.fields import as_list

REPEATS = frozenset({
    "logprobs", "logprobsResult", "prompt_logprobs", "top_logprobs", "top_tokens", "tokens",
    "token_ids", "prompt_token_ids", "prefill",
})  # fmt: skip
_MAY_BE_THERE = re.compile(rb'"(?:%b)"|\\u00' % "|".join(sorted(REPEATS)).encode())
"""A name may be written in escapes."""


def without_repeats(raw: bytes) -> tuple[bytes, set[str]]:
    """`raw`, a JSON body, without what is in them, and the names of those that had something."""
    if not _MAY_BE_THERE.search(raw):
        return raw, set()
    body = msgspec.json.decode(raw)
    dropped = drop_repeats(body)
    return (msgspec.json.encode(body) if dropped else raw), dropped


def drop_repeats(body: Any) -> set[str]:
    """Empties them in `body`: lists stay lists, objects become null; numbers are counts. What the
    client named itself (a tool's arguments) is not meant."""
    dropped: set[str] = set()
    left: list[tuple[Any, bool]] = [(body, True)]
    while left:
        node, is_top = left.pop()
        if isinstance(node, list):
            left += [(item, is_top) for item in as_list(node)]
        elif isinstance(node, dict):
            _drop(cast("Json", node), dropped, left, is_top=is_top)
    return dropped


def _drop(node: Json, dropped: set[str], left: list[tuple[Any, bool]], *, is_top: bool) -> None:
    for name, value in node.items():
        if not isinstance(value, list | dict) or not value:
            continue
        is_list = isinstance(value, list)
        if name in REPEATS and (is_list or name != "tokens"):  # Cohere counts some
            node[name] = [] if is_list else None
            dropped.add(name)
        elif is_top or name not in FREE:
            left.append((cast("Any", value), False))
