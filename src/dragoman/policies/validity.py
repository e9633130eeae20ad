"""Whether an answer is valid against the JSON Schema that its request gave.

The schema is the client's, so it is bounded in what it may cost: steps are counted, patterns are
RE2's, nothing is fetched, and what goes beyond is said to be so, never guessed.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

from dragoman.ir import Json
from dragoman.wire.fields import as_list

Validity = Literal["valid", "invalid", "unknown"]
_MOST_STEPS = 25_000
"""Keywords looked at, and what they have in them; some 100 ms."""
_OF_A_REFERENCE = 10
"""Steps: it is found anew each time."""
_MOST_PATTERNS = 16
"""That are kept compiled: a schema of a list has the same for each item."""
_PATTERN_BYTES = 1 << 20
_DRAFT = "Draft202012Validator"
"""Of a schema that names none."""
_FAULTS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError)
"""What is raised over a schema that is none, or that goes too deep."""
Check = Callable[[Any, Any, Any, Any], Iterable[Any] | None]


class _Beyond(ValueError):
    """It would take too long, or has what is not looked at."""


class _Meter:
    """What one look may still cost. It travels where the library has what checks formats, which
    are not checked: by the standard they only tell."""

    def __init__(self) -> None:
        self._left = _MOST_STEPS

    def charge(self, keyword: str, *values: Any) -> None:
        sizes = (len(cast("Json", v)) for v in values if isinstance(v, list | dict))
        self._left -= (_OF_A_REFERENCE if keyword.startswith("$") else 1) + sum(sizes)
        if self._left < 0:
            raise _Beyond


def judge(value: Any, schema: Json) -> Validity:
    """`unknown`: the schema refers to others, names properties by patterns, has a pattern that RE2
    does not know, says another draft inside, is none, or would take too long."""
    errors: Any = importlib.import_module("jsonschema.exceptions")
    references: Any = importlib.import_module("referencing")
    engine: Any = importlib.import_module("re2")
    unresolvable: Any = references.exceptions.Unresolvable
    try:
        _check_bounded(schema)
        draft = _draft(schema)
        validator = draft(schema, registry=references.Registry(), format_checker=_Meter())
        is_valid = next(validator.iter_errors(value), None) is None
    except (*_FAULTS, ValueError, errors.UnknownType, unresolvable, engine.error):
        return "unknown"
    return "valid" if is_valid else "invalid"


def _check_bounded(schema: Json) -> None:
    """Raises `_Beyond` for what the library does by means that are not bounded."""
    left: list[Any] = [schema]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            known = cast("Json", node)
            if "patternProperties" in known or (known is not schema and "$schema" in known):
                raise _Beyond
            left += known.values()
        else:
            left += as_list(node)


def _draft(schema: Json) -> Any:
    """What validates by the draft that the schema names."""
    validators: Any = importlib.import_module("jsonschema.validators")
    return _bounded(validators.validator_for(schema, default=getattr(validators, _DRAFT)))


@functools.cache
def _bounded(draft: Any) -> Any:
    validators: Any = importlib.import_module("jsonschema.validators")
    checks: dict[str, Check] = {**draft.VALIDATORS, "pattern": _pattern, "uniqueItems": _unique}
    checks["format"] = _nothing
    return validators.extend(draft, {name: _metered(name, check) for name, check in checks.items()})


def _metered(keyword: str, check: Check) -> Check:
    def metered(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[Any] | None:
        validator.format_checker.charge(keyword, value, instance)
        return check(validator, value, instance, schema)

    return metered


def _nothing(validator: Any, value: Any, instance: Any, schema: Any) -> None:
    del validator, value, instance, schema


def _pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[Any]:
    del schema
    if validator.is_type(instance, "string") and not _compiled(value).search(instance):
        yield _error("pattern")


@functools.lru_cache(_MOST_PATTERNS)
def _compiled(pattern: Any) -> Any:
    """Its errors are nobody's to read in a log."""
    engine: Any = importlib.import_module("re2")
    options = engine.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES
    return engine.compile(pattern, options)


def _unique(validator: Any, value: Any, instance: Any, schema: Any) -> Iterable[Any]:
    """The library compares each with each."""
    del schema
    if value and validator.is_type(instance, "array"):
        items = [_hashable(item) for item in instance]
        if len(set(items)) < len(items):
            yield _error("uniqueItems")


def _hashable(value: Any) -> Any:
    """Equal for what JSON Schema takes to be the same, such as 1 and 1.0; true is not 1."""
    if isinstance(value, dict):
        pairs = cast("Json", value).items()
        return frozenset((name, _hashable(item)) for name, item in pairs)
    if isinstance(value, list):
        return tuple(_hashable(item) for item in as_list(cast("Any", value)))
    return (type(value), value) if isinstance(value, bool) else value


def _error(keyword: str) -> Any:
    errors: Any = importlib.import_module("jsonschema.exceptions")
    return errors.ValidationError(keyword)
