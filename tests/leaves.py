"""Every leaf of a JSON body, and whether a translation accounts for it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Json = dict[str, Any]
Keys = tuple[str | int, ...]
"""The way down to a leaf."""

DISCRIMINATORS = frozenset({"type", "role", "object", "media_type", "mimeType", "mime_type"})
"""Words that say what an object is: a translation says it by another object."""


def leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Scalars with the way to them; an empty container and a null say nothing."""
    match value:
        case dict():
            for name, inner in value.items():
                yield from leaves(inner, (*keys, name))
        case list():
            for i, inner in enumerate(value):
                yield from leaves(inner, (*keys, i))
        case None:
            return
        case _:
            yield keys, value


def path(keys: Keys) -> str:
    return "$" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)


def is_reported(keys: Keys, reported: Iterable[str]) -> bool:
    """Whether the leaf's own path, or that of something around it, was reported as dropped."""
    own, every = path(keys), re.sub(r"\[\d+\]", "[*]", path(keys))
    return any(
        name == one or name.startswith((f"{one}.", f"{one}["))
        for one in reported
        for name in (own, every)
    )


def stands(body: Json, where: str) -> bool:
    """Whether there is anything at the JSON path `where`; `[*]` is any of a list's items."""
    found: list[Any] = [body]
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\*)\]", where):
        found = [inner for node in found for inner in _inside(node, name, index)]
    return bool(found)


def _inside(node: Any, name: str, index: str) -> list[Any]:
    if name:
        return [node[name]] if isinstance(node, dict) and name in node else []
    items = node if isinstance(node, list) else []
    return items if index == "*" else items[int(index) : int(index) + 1]


def without(body: Json, keys: Keys) -> Json:
    """`body` with the one leaf taken out; shares what lies beside the way."""
    return _replace(body, keys, None)


def replaced(body: Json, keys: Keys, value: Any) -> Json:
    return _replace(body, keys, lambda _old: value)


def _replace(node: Any, keys: Keys, change: Callable[[Any], Any] | None) -> Any:
    first, rest = keys[0], keys[1:]
    copy = node.copy()
    if rest:
        copy[first] = _replace(copy[first], rest, change)
    elif change is None:
        del copy[first]
    else:
        copy[first] = change(copy[first])
    return copy


def unpacked(body: Json) -> Json:
    """`body` with the JSON that Bedrock's `invokeModel` holds in base64, where it has one."""
    match body:
        case {"input": {"invokeModel": {"body": str(packed)}}, **rest}:
            inner = json.loads(base64.b64decode(packed))
            return {**rest, "input": {"invokeModel": {"body": inner}}}
        case _:
            return body


def opened(body: Json) -> Json:
    """The chat request that a body holds which asks for its tokens to be counted."""
    match unpacked(body):
        case {"input": {"invokeModel": {"body": inner}}} | {"input": {"converse": inner}}:
            return inner
        case {"generateContentRequest": inner}:
            return inner
        case _:
            return body


def said(body: Json) -> str:
    """All strings of `body`, and those inside strings that are JSON themselves, as one text."""
    return "\n".join(_strings(body))


def _strings(value: Any) -> Iterator[str]:
    for _keys, leaf in leaves(value):
        if isinstance(leaf, str):
            yield leaf
            if leaf.lstrip().startswith(("{", "[")):
                yield from _strings_in_json(leaf)


def _strings_in_json(text: str) -> Iterator[str]:
    try:
        yield from _strings(json.loads(text))
    except json.JSONDecodeError:
        return


_USUAL = str.maketrans("-_", "+/")
"""From base64's alphabet for URLs, in which Google's clients may write, to the one others know."""


def unaccounted(body: Json, output: Json, reported: list[str]) -> list[str]:
    """Paths of strings of `body` that are neither in `output` nor reported.

    An address with data in it counts as said when its data is; JSON text when its strings are.
    """
    text = said(output)
    whole = frozenset(text.split("\n"))
    return [
        path(keys)
        for keys, leaf in leaves(body)
        if isinstance(leaf, str)
        and leaf not in whole
        and keys[-1] not in DISCRIMINATORS
        and keys[-2:] != ("toolResult", "status")
        and not (keys[-1] == "format" and "reasoning_details" in keys)
        and not (keys[-1] == "format" and {*keys[-2:]} & {"image", "document", "video", "audio"})
        and _DEFAULTS.get(_camel(path(keys)), _DEFAULTS.get(path(keys))) != leaf
        and keys != ("model",)  # a dialect may name it in the path
        and keys[-1] != "anthropic_version"  # elsewhere it stands in a header
        and not _is_said(leaf.translate(_USUAL) if keys[-1] == "data" else leaf, text)
        and not _is_translated(path(keys), output)
        and not _is_said_otherwise(keys, leaf, output)
        and not _is_said_of_schema(keys, leaf, output)
        and not is_reported(keys, reported)
    ]


_DEFAULTS = {
    "$.tool_choice": "auto",
    "$.service_tier": "auto",
    "$.toolConfig.functionCallingConfig.mode": "AUTO",
}
"""Words that say what leaving the field out says."""
_EFFORT = (
    "think",
    "thinking",
    "reasoning_effort",
    "reasoning",
    "generationConfig",
    "additionalModelRequestFields",
)
_SHAPE = (
    "response_format", "text", "output_config", "outputConfig", "generationConfig", "format",
    "parameters",
)  # fmt: skip
_TRANSLATED = {
    "$.tool_choice": ("tool_choice", "toolConfig"),
    "$.reasoning_effort": _EFFORT,
    "$.reasoning.effort": _EFFORT,
    "$.output_config.effort": _EFFORT,
    "$.generationConfig.thinkingConfig.thinkingLevel": _EFFORT,
    "$.think": _EFFORT,
    "$.generationConfig.responseMimeType": _SHAPE,
    "$.format": _SHAPE,
    "$.service_tier": ("service_tier", "serviceTier"),
    "$.serviceTier.type": ("service_tier", "serviceTier"),
    "$.serviceTier": ("service_tier", "serviceTier"),
    "$.toolConfig.functionCallingConfig.mode": ("tool_choice", "toolConfig"),
}
"""Words with another name in the other dialect, and the fields that say them there."""


_PURPOSES = (
    {"query", "search_query", "RETRIEVAL_QUERY", "GENERIC_RETRIEVAL", "TEXT_RETRIEVAL", "retrieval.query"},
    {"document", "search_document", "RETRIEVAL_DOCUMENT", "GENERIC_INDEX", "retrieval.passage", "passage"},
    {"classification", "CLASSIFICATION"},
    {"clustering", "CLUSTERING", "separation"},
    {"SEMANTIC_SIMILARITY", "text-matching"},
    {"CODE_RETRIEVAL_QUERY", "code.query"},
)  # fmt: skip
"""Words of the dialects of embeddings that say the same."""
_CUTS = ("truncate", "truncation", "autoTruncate", "truncationMode", "truncation_direction")
_FORMATS = (
    "encoding_format",
    "embedding_types",
    "embeddingTypes",
    "output_dtype",
    "embedding_type",
)
_CONSTANT = {"SINGLE_EMBEDDING", "nova-multimodal-embed-v1"}


def _is_said_otherwise(keys: Keys, leaf: str, output: Json) -> bool:
    """Words of embeddings and rerank that another dialect says in a word, or a place, of its own.

    A vector's encoding is changed on the way back, and models are asked for in the path.
    """
    if set(_CUTS) & set(keys):
        return any(set(_CUTS) & set(other) for other, _ in leaves(output))
    if set(_FORMATS) & set(keys):
        return leaf in ("float", "base64")
    if keys[-1] in ("mimeType", "mime_type") and leaf.startswith("text/"):
        return True  # of a text in words
    if keys[-1] == "input_type" and leaf == "image":
        return True  # the inputs say so themselves
    if keys[-1] in ("model", "modelArn") or leaf in _CONSTANT or keys[-2:] == ("content", "role"):
        return True
    words = next((words for words in _PURPOSES if leaf in words), set())
    return any(value in words for _, value in leaves(output) if isinstance(value, str))


_WIDE = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "enum"}


def _is_said_of_schema(keys: Keys, leaf: str, output: Json) -> bool:
    """Numbers that Google's older schemas write as strings, and its word for what `enum` says; a
    reference, which leads to the same place by another way."""
    name = next(key for key in reversed(keys) if isinstance(key, str))
    if name == "$ref":
        return "$ref" in json.dumps(output)
    if (name, leaf) == ("format", "enum"):
        return True
    number = re.compile(rf"{_camel(name)}\W.*?\b{re.escape(leaf)}\b")
    return _camel(name) in _WIDE and number.search(json.dumps(output)) is not None


def _is_translated(where: str, output: Json) -> bool:
    fields = _TRANSLATED.get(where) or _TRANSLATED.get(_camel(where), ())
    return any(field in output for field in fields)


def _camel(where: str) -> str:
    """Google's other spelling of a path."""
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), where)


def _words_within(leaf: str) -> str:
    """The text that `leaf` is in base64, as `said` writes texts; empty where it is none."""
    try:
        return base64.b64decode(leaf, validate=True).decode()
    except ValueError:
        return ""


def _is_said(leaf: str, text: str) -> bool:
    if leaf in text:
        return True
    if leaf.startswith("data:"):
        return _is_said(leaf.partition(",")[2], text)
    if words := _words_within(leaf):
        return words in text
    if leaf.lstrip().startswith("{"):
        return all(one in text for one in _strings_in_json(leaf))
    return not leaf.strip()
