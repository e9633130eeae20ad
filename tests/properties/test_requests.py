"""Requests: they survive their own dialect, and lose nothing in silence in another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, note

from dragoman.dialects import AnyDialect, ChatDialect
from dragoman.errors import InvalidRequest, Unrepresentable
from dragoman.ir import Request
from dragoman.ir.losses import Losses
from tests.leaves import (
    DISCRIMINATORS,
    Keys,
    is_reported,
    leaves,
    path,
    replaced,
    stands,
    unaccounted,
    without,
)
from tests.properties.cases import (
    DIALECTS,
    FIXTURES,
    GOLDENS,
    TO_ALL,
    TRANSLATED,
    TRANSLATIONS,
    peers,
    translate,
)
from tests.strategies import requests

by_golden = pytest.mark.parametrize(("dialect", "name", "body"), GOLDENS.values(), ids=GOLDENS)
by_translation = pytest.mark.parametrize(
    ("source", "target", "name", "body"), TRANSLATIONS.values(), ids=TRANSLATIONS
)

SAME_AS_ABSENT = {
    "status": ("success",),
    "strict": (False,),
    "strict_tools": (False,),
    "tool_choice": ("auto",),
    "service_tier": ("auto",),
    "content": ("",),
    "format": ("", "png", "enum", "txt"),
    "additionalProperties": (False,),
    "is_error": (False,),
    "disable_parallel_tool_use": (False,),
    "parallel_tool_calls": (True,),
    "role": ("user", "model"),  # what calls says so itself
    "candidateCount": (1,),
    "candidate_count": (1,),
    "truncate": ("NONE", False),
    "truncation": (False,),
    "autoTruncate": (False,),
    "input_type": ("image",),  # the inputs say so
    "taskType": ("SINGLE_EMBEDDING",),
    "schemaVersion": ("nova-multimodal-embed-v1",),
    "details": (True,),  # always given
    "media_type": ("text/plain",),  # of a text, which has no other
}
"""Values that say what leaving the field out says, and may go without a word."""
WITH_ANSWER = ("return_documents", "return_text", "top_n", "top_k", "numberOfResults")
"""What is done on the way back where the provider cannot be asked for it."""
FORMATS = {"encoding_format", "embedding_types", "embeddingTypes", "output_dtype", "embedding_type"}
"""Formats of vectors: between JSON and base64 they are changed on the way back."""
SAID_FOR_IT = ("$.input_type", "$.taskType", "$.purpose")
"""What vectors are for, said by a provider's row where the client did not say."""
NEVER_ALONE = (
    "type",
    "include_usage",
    "stream",
    "id",
    "tool_call_id",
    "tool_name",
    "index",
    "modelArn",
    *WITH_ANSWER,
)
"""A word with one value only; a dialect that always reports usage, or that says in its path whether
to stream; an id, a name or a number that the order of calls gives as well."""
ONLY_TOOL = ("$.toolConfig.functionCallingConfig.allowedFunctionNames[0]", "cohere_chat")
"""A tool that is named, to a dialect that can only force any: the same where there is one tool."""


@by_golden
def test_a_request_survives_its_own_dialect(dialect: str, name: str, body: dict[str, Any]) -> None:
    """Equal to the key order, with fields newer than this code, and nothing reported."""
    del name
    losses = Losses(dialect)
    source = TRANSLATED[dialect]
    output = source.encode_request(source.decode_request(body), losses)

    assert output == body
    assert losses.paths == []


@by_translation
def test_translations_are_as_reviewed(
    source: AnyDialect, target: AnyDialect, name: str, body: dict[str, Any]
) -> None:
    """Beside each golden request lie its translations; `python -m tests.goldens` rewrites them.

    The order of fields is part of them: a provider's prompt cache hits on exact prefixes.
    """
    golden = FIXTURES / source.name / "requests" / f"{name}.translations.json"
    reviewed = json.loads(golden.read_text())[target.name]

    assert json.dumps(translate(source, target, body)) == json.dumps(reviewed)


@by_translation
def test_what_is_reported_stands_in_the_request(
    source: AnyDialect, target: AnyDialect, name: str, body: dict[str, Any]
) -> None:
    """A client finds what it is told of, under the path it is told."""
    del name
    told = translate(source, target, body)
    reported = told["dropped"] if "dropped" in told else [told["refused"]]

    assert [one for one in reported if one not in SAID_FOR_IT and not stands(body, one)] == []


@by_translation
def test_every_string_is_accounted_for(
    source: AnyDialect, target: AnyDialect, name: str, body: dict[str, Any]
) -> None:
    """Each string, made unlike every other, is in the output, or its path in the report."""
    del name
    marked = _mark(body)
    told = translate(source, target, marked)

    assert "refused" in told or unaccounted(marked, told["body"], told["dropped"]) == []


@by_translation
def test_every_leaf_makes_a_difference(
    source: AnyDialect, target: AnyDialect, name: str, body: dict[str, Any]
) -> None:
    """Numbers, booleans and words of a list too: without one, something else must come out."""
    del name
    told = translate(source, target, body)
    if "refused" in told:
        return
    silent = [
        path(keys) for keys, leaf in leaves(body) if _is_silent(source, target, body, keys, leaf)
    ]

    assert silent == []


def _is_silent(
    source: AnyDialect, target: AnyDialect, body: dict[str, Any], keys: Keys, leaf: Any
) -> bool:
    name = keys[-1]
    if "model" in keys[-1:] or name in NEVER_ALONE or leaf in SAME_AS_ABSENT.get(str(name), ()):
        return False
    if (path(keys), target.name) == ONLY_TOOL:
        return False
    if FORMATS & set(keys) and leaf in ("float", "base64"):
        return False
    if "propertyOrdering" in keys:
        return False  # an order, which the comparison below does not see
    told = translate(source, target, body)
    if is_reported(keys, told["dropped"]):
        return False
    try:
        return bool(translate(source, target, without(body, keys)) == told)
    except InvalidRequest:
        return False


@by_golden
def test_a_wrong_type_names_its_path(dialect: str, name: str, body: dict[str, Any]) -> None:
    """In place of any value, another type: taken as it is, or refused with a path; never a crash."""
    del name
    for keys, _leaf in leaves(body):
        for wrong in (17, True, "wrong", [], {}, [[]], [None], None):
            changed = replaced(body, keys, wrong)
            for target in (TRANSLATED[dialect], *peers(dialect)):
                try:
                    request = TRANSLATED[dialect].decode_request(changed)
                    target.encode_request(request, Losses(target.name))
                except (InvalidRequest, Unrepresentable) as error:
                    assert error.path is not None
                    assert error.path.startswith("$")


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@given(requests())
def test_what_was_written_is_read_the_same(dialect: ChatDialect, request_: Request) -> None:
    losses = Losses(dialect.name)
    try:
        body = dialect.encode_request(request_, losses)
    except Unrepresentable as refusal:
        assert refusal.path
        return
    again = Losses(dialect.name)

    assert dialect.encode_request(dialect.decode_request(body), again) == body
    assert again.paths == []


@pytest.mark.parametrize("source", DIALECTS.values(), ids=DIALECTS)
@TO_ALL
@given(requests())
def test_no_request_loses_a_string_in_silence(source: ChatDialect, request_: Request) -> None:
    try:
        body = source.encode_request(request_, Losses(source.name))
    except Unrepresentable:
        return
    for target in peers(source.name):
        note(f"to {target.name}")
        told = translate(source, target, body)

        assert "refused" in told or unaccounted(body, told["body"], told["dropped"]) == []


WORDS = DISCRIMINATORS | {
    "tool_choice", "effort", "reasoning_effort", "detail", "service_tier", "verbosity", "format",
    "status", "ttl", "think", "modalities", "required", "enum", "$ref",
    "input_type", "task", "taskType", "task_type", "embeddingPurpose", "schemaVersion",
    "embedding_types", "embedding_type", "embeddingTypes", "encoding_format", "output_dtype",
    "truncate", "truncationMode", "truncation_direction",
}  # fmt: skip
"""Fields whose values are words of a list, or names of other things in the body."""


def _mark(body: dict[str, Any]) -> dict[str, Any]:
    """Each different string made unique; those that refer to each other stay equal."""
    marks: dict[str, str] = {}
    for keys, leaf in leaves(body):
        if isinstance(leaf, str) and not WORDS & set(keys):
            body = replaced(body, keys, _marked(leaf, marks))
    return body


def _marked(leaf: str, marks: dict[str, str]) -> str:
    mark = marks.setdefault(leaf, f"M{len(marks):03d}x")
    if leaf.startswith("data:"):
        return leaf.partition(",")[0] + f",{mark}000"
    if leaf.startswith("http"):
        return f"https://example.com/{mark}"
    if leaf.startswith("{"):
        inner = json.loads(leaf)
        strings = {k: v for k, v in inner.items() if isinstance(v, str)}
        return json.dumps(inner | {k: _marked(v, marks) for k, v in strings.items()})
    return mark
