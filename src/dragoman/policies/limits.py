"""How large a request may be, by who asks: of what its caller and its roles say, the least holds.

Input is an estimate (`policies.estimate`); output is what the client lets an answer have. Where it
does not say, the limit is written into the request, and named; not in the two APIs that have a
small limit of their own then (completions, TGI), whose clients have to say. Several choices share
the limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any, cast

from dragoman.config.governance import RequestLimits
from dragoman.config.policy import Caller
from dragoman.errors import LimitExceeded, RequestTooLarge
from dragoman.ir import Json
from dragoman.wire.fields import as_list

OUTPUT_PATHS: dict[str, tuple[tuple[str, ...], ...]] = {
    "openai_chat": (("max_completion_tokens",), ("max_tokens",)),
    "openai_completions": (("max_tokens",),),
    "openai_responses": (("max_output_tokens",),),
    "anthropic_messages": (("max_tokens",),),
    "gemini_generate": (
        ("generationConfig", "maxOutputTokens"),
        ("generation_config", "max_output_tokens"),
        ("generationConfig", "max_output_tokens"),
        ("generation_config", "maxOutputTokens"),
    ),
    "bedrock_converse": (("inferenceConfig", "maxTokens"),),
    "cohere_chat": (("max_tokens",),),
    "ollama_chat": (("options", "num_predict"),),
    "tgi_generate": (("parameters", "max_new_tokens"),),
}
"""Where clients of each chat dialect may say it, the usual place first."""
_CHOICES: tuple[tuple[str, ...], ...] = (
    ("n",),
    ("best_of",),
    ("generationConfig", "candidateCount"),
    ("generation_config", "candidate_count"),
    ("generationConfig", "candidate_count"),
    ("generation_config", "candidateCount"),
    ("parameters", "best_of"),
)
"""Where clients say how many answers are made of one request, all of which are charged."""
_OWN_LIMIT = frozenset({"openai_completions", "tgi_generate"})


def limits_of(caller: Caller) -> RequestLimits | None:
    """The least of each; None where nothing limits the caller."""
    if caller.limits is None and not caller.roles:
        return None
    said = [role.limits for role in caller.roles.values() if role.limits is not None]
    if caller.limits is not None:
        said.append(caller.limits)
    if not said:
        return None
    return RequestLimits(
        body_bytes=_least(limits.body_bytes for limits in said),
        input_tokens=_least(limits.input_tokens for limits in said),
        output_tokens=_least(limits.output_tokens for limits in said),
    )


def _least(limits: Iterator[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def check_size(caller: Caller, size_bytes: int) -> None:
    """Raises `RequestTooLarge` for a body of more bytes than the caller may send."""
    limits = limits_of(caller)
    if limits is None or limits.body_bytes is None or size_bytes <= limits.body_bytes:
        return
    raise RequestTooLarge(f"The body has {size_bytes} bytes, and you may send {limits.body_bytes}.")


def check_input(tokens: int, limit: int | None) -> None:
    """Raises `LimitExceeded` for an estimate above `limit`."""
    if limit is not None and tokens > limit:
        problem = f"has some {tokens} tokens by estimate, and you may send {limit}"
        raise LimitExceeded("$", problem)


def choice_count(body: Json) -> int:
    """How many answers a request of any dialect has made; 1 where it does not say."""
    return _choices(body)[0]


def _choices(body: Json) -> tuple[int, str]:
    """The same, and where it says so."""
    most, where = 1, "$"
    for path in _CHOICES:
        if (given := _number_at(body, path)) is not None and most < given < inf:
            most, where = int(given), _json_path(path)
    prompts = _prompts(body.get("prompt"))
    return most * prompts, "$.prompt" if prompts > most else where


def _prompts(prompt: Any) -> int:
    """How many a completion is asked of: a list of numbers is one, in tokens."""
    given = as_list(prompt)
    return len(given) if given and not isinstance(given[0], int) else 1


def limit_output(dialect: str, body: Json, asked: int | None, limit: int) -> Json:
    """What to change at the top of `body`, so that it asks for no longer an answer than `limit`;
    nothing where it says so itself. `asked` is how it was read.

    Raises `LimitExceeded` where it asks for more, or its dialect leaves nothing unsaid.
    """
    count, where = _choices(body)
    each = limit // count
    if not each:
        raise LimitExceeded(where, f"{count} answers are above the {limit} tokens you may ask for")
    paths = OUTPUT_PATHS[dialect]
    said = {path: value for path in paths if (value := _number_at(body, path)) is not None}
    if asked is not None:
        said[paths[0]] = max(asked, said.get(paths[0], asked))
    for path, value in said.items():
        if value > each:
            problem = f"{value} is above the {limit} you may ask for"
            raise LimitExceeded(_json_path(path), problem + _shared(count))
    if asked is not None:
        return {}
    if dialect in _OWN_LIMIT:
        problem = f"say how long an answer may be, up to {each}"
        raise LimitExceeded(_json_path(paths[0]), problem)
    path = next((path for path in paths if path[1:] and path[0] in body), paths[0])
    if not path[1:]:
        return {path[0]: each}
    inner = body.get(path[0])
    given = cast("Json", inner) if isinstance(inner, dict) else {}
    return {path[0]: {**given, path[1]: each}}


def _shared(count: int) -> str:
    return f", for {count} answers together" if count > 1 else ""


def _number_at(body: Json, path: tuple[str, ...]) -> float | None:
    value: Any = body
    for name in path:
        value = cast("Json", value).get(name) if isinstance(value, dict) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None


def _json_path(path: tuple[str, ...]) -> str:
    return f"$.{'.'.join(path)}"
