"""JSON Schemas on their way to a provider that holds the model to a part of the language.

One rule for all of them. What has another word there is said in that word. A bound on one value
goes into the description, where the model reads it, and is reported. Anything else that decides
which values are valid is refused by its path. What decides nothing is left out, and reported. So
what such a provider writes fits the client's schema, but for the bounds reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, cast
from urllib.parse import unquote

import msgspec

from dragoman.dialects.schema_subsets import Subset
from dragoman.errors import InvalidRequest, Unrepresentable
from dragoman.ir import Json, Residue, ResponseFormat, Tool
from dragoman.ir.losses import Losses
from dragoman.wire.fields import as_list

_DEFINITIONS = ("$defs", "definitions")
_MAPS = {"properties", "patternProperties", "dependentSchemas", *_DEFINITIONS}
_LISTS = {"anyOf", "allOf", "oneOf", "prefixItems", "items"}
"""`items` was a list of schemas in drafts before that of 2020-12."""
_INNER = {
    "items", "additionalItems", "additionalProperties", "contains", "not", "if", "then", "else",
    "propertyNames", "unevaluatedItems", "unevaluatedProperties",
}  # fmt: skip
_BOUNDS = {
    "const", "enum", "format", "pattern", "minLength", "maxLength", "multipleOf",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
}  # fmt: skip
_DECIDING = {
    *_MAPS, *_LISTS, *_INNER, "type", "required", "$ref", "$dynamicRef", "$recursiveRef",
    "dependentRequired", "dependencies", "minContains", "maxContains",
} - {*_DEFINITIONS}  # fmt: skip
_IN_PLACE = {"anyOf", "allOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"}
"""Keywords whose schemas are about the value itself."""
_PARTS = {"$ref", "allOf", "anyOf", "oneOf"}
_NO_CYCLE = {
    "none": "no schema may hold itself",
    "optional": "a schema may hold itself only in a property that is not required",
    "any": "a schema may not be said by itself",
}
_NULL: Json = {"type": "null"}
_MAX_DIGITS = 9
_MAX_DEPTH = 64
"""Schemas inside each other. No provider takes as many; it bounds the recursion here."""
_MAX_PATH = 1024
"""Characters of a path; of what lies deeper, the place is named that leads there."""
_MAX_REPORTED = 64
"""Paths reported of one schema; of one that loses more, the schema as a whole is named."""


def fit(
    schema: Json,
    path: str,
    subset: Subset,
    losses: Losses,
    spelled: Mapping[str, str] = MappingProxyType({}),
) -> Json:
    """`schema`, which stands at `path`, as `subset` takes it.

    `spelled` are keywords that the client spells otherwise, for the paths told to it. Raises
    `Unrepresentable` with the path of what it cannot say, and `InvalidRequest` for a reference
    that leads nowhere. Linear in the schema's size, whatever refers to what.
    """
    return _Fitting(schema, path, subset, losses, spelled).run()


def fit_response(
    shape: ResponseFormat, source: Residue | None, subset: Subset, losses: Losses
) -> Json:
    """The schema of an answer, for a provider that takes `subset`."""
    schema = shape.schema or {}
    if _is_own(source, subset, losses):
        return schema
    return fit(schema, shape.schema_at, subset, losses, shape.schema_words)


def fit_tool(
    tool: Tool, source: Residue | None, subset: Subset, losses: Losses
) -> tuple[Json | None, bool | None]:
    """The parameters of a tool, and `strict`.

    What is not strict only tells the model, and goes as it is. So does what `subset` cannot say:
    without `strict`, which is reported.
    """
    if not tool.strict or _is_own(source, subset, losses):
        return tool.parameters, tool.strict
    given = _with_properties(tool.parameters or {"type": "object"})
    mine = Losses(losses.dialect)
    try:
        fitting = fit(given, tool.parameters_at, subset, mine)
    except Unrepresentable:
        losses.omit("strict", tool.strict_at)
        return tool.parameters, None
    losses.paths += mine.paths
    return fitting, True


def _is_own(source: Residue | None, subset: Subset, losses: Losses) -> bool:
    """Whether the client wrote it for such a provider: then it goes as it stands."""
    return source is not None and source.dialect in (losses.dialect, *subset.dialects)


def _with_properties(parameters: Json) -> Json:
    """A tool that says it takes an object, and no more, takes an empty one."""
    return {"properties": {}, **parameters} if parameters == {"type": "object"} else parameters


class _Fitting:
    """One schema under way. Schemas are told apart by identity, for each stands in one place."""

    def __init__(
        self, schema: Json, path: str, subset: Subset, losses: Losses, spelled: Mapping[str, str]
    ) -> None:
        self._spelled = spelled
        self._root, self._subset, self._losses = schema, subset, losses
        self._at = path
        self._places: dict[int, tuple[Json, tuple[str, ...]]] = {}
        """Of every schema inside, the one around it and the steps from there."""
        self._targets: dict[str, Json] = {}
        """What each reference leads to, by its words."""
        self._referring: dict[str, Json] = {}
        """The first schema with each reference."""
        self._definitions: dict[str, Json] = {}
        """What the output defines: the client's definitions, and all else that is referred to."""
        self._names = {id(schema): "#"}
        """The reference to a schema in the output, of those that have one."""
        self._reported = 0

    def run(self) -> Json:
        self._find_places()
        self._name_definitions()
        if self._targets:
            self._refuse_cycles()
        out = self._schema(self._root)
        if self._subset.complete and out.get("type") != "object":
            self._refuse(self._path(self._root), "the whole must be an object")
        definitions = {name: self._schema(one) for name, one in self._definitions.items()}
        return {**out, "$defs": definitions} if definitions else out

    def _path(self, schema: Json, *steps: str) -> str:
        """The path to the schema, or from there to a keyword, and to what it says of a name."""
        ways = [steps] if steps else []
        while place := self._places.get(id(schema)):
            schema, way = place
            ways.append(way)
        path = self._at
        for step, *names in reversed(ways):
            word, bracket, index = step.partition("[")
            whole = ".".join([path, self._spelled.get(word, word) + bracket + index, *names])
            if len(whole) > _MAX_PATH:
                break
            path = whole
        return path

    def _refuse(self, path: str, why: str) -> NoReturn:
        raise Unrepresentable(path, self._losses.dialect, why)

    def _report(self, schema: Json, word: str) -> None:
        self._reported += 1
        if self._reported <= _MAX_REPORTED:
            self._losses.omit("schema_bound", self._path(schema, word))
        elif self._reported == _MAX_REPORTED + 1:
            self._losses.omit("schema_bound", self._path(self._root))

    # --- what refers to what ----------------------------------------------------------------

    def _find_places(self) -> None:
        left = [(self._root, 0)]
        while left:
            schema, depth = left.pop()
            if depth == _MAX_DEPTH:
                self._refuse(self._path(schema), f"it takes {_MAX_DEPTH} schemas inside each other")
            if "$ref" in schema:
                self._find_target(schema)
            for steps, inner in _children(schema):
                self._places[id(inner)] = (schema, steps)
                left.append((inner, depth + 1))
        for words, found in self._targets.items():
            if found is not self._root and id(found) not in self._places:
                path = self._path(self._referring[words], "$ref")
                self._refuse(path, "it follows references to schemas only")

    def _find_target(self, schema: Json) -> None:
        words = schema["$ref"]
        if not isinstance(words, str):
            raise InvalidRequest(self._path(schema, "$ref"), "a string")
        if words != "#" and not words.startswith("#/"):
            self._refuse(
                self._path(schema, "$ref"), "it follows references into the schema itself only"
            )
        if words in self._targets:
            return
        found: Any = self._root
        for step in words.split("/")[1:]:
            found = _below(found, unquote(step).replace("~1", "/").replace("~0", "~"))
        if not isinstance(found, dict):
            raise InvalidRequest(self._path(schema, "$ref"), "a reference to a schema")
        self._targets[words] = cast("Json", found)
        self._referring[words] = schema

    def _name_definitions(self) -> None:
        """Definitions keep their names; other schemas that are referred to become some."""
        for word in _DEFINITIONS:
            for steps, one in _children({word: self._root.get(word)}):
                self._define(one, steps[1])
        for one in self._targets.values():
            if id(one) not in self._names:
                self._define(one, "shared")

    def _define(self, schema: Json, name: str) -> None:
        if name in self._definitions:
            name = f"{name}_{len(self._definitions)}"
        while name in self._definitions:
            name += "_"
        self._definitions[name] = schema
        self._names[id(schema)] = "#/$defs/" + name.replace("~", "~0").replace("/", "~1")

    def _refuse_cycles(self) -> None:
        """A walk in depth: a reference to a schema that is still open closes a circle."""
        starts, done = [self._root, *self._definitions.values()], dict[int, bool]()
        while starts:
            start = starts.pop()
            stack = [self._open(start, done, starts)] if id(start) not in done else []
            while stack:
                schema, edges = stack[-1]
                word, inner = next(edges, ("", schema))
                if not word:
                    done[id(schema)] = True
                    stack.pop()
                elif id(inner) not in done:
                    stack.append(self._open(inner, done, starts))
                elif not done[id(inner)]:
                    self._refuse(self._path(schema, word), _NO_CYCLE[self._subset.recursion])

    def _open(
        self, schema: Json, done: dict[int, bool], starts: list[Json]
    ) -> tuple[Json, Iterator[tuple[str, Json]]]:
        """The schema, and those through which it must not hold itself; others are walked later."""
        done[id(schema)] = False
        edges: list[tuple[str, Json]] = []
        needed = _required(schema)
        for (word, *name), inner in _children(schema):
            if word in _DEFINITIONS or self._may_hold(word, not needed.issuperset(name)):
                starts.append(inner)
            else:
                edges.append((word, inner))
        if "$ref" in schema:
            edges.append(("$ref", self._targets[schema["$ref"]]))
        return schema, iter(edges)

    def _may_hold(self, word: str, optional: bool) -> bool:  # noqa: FBT001 - of the property
        """Whether a schema may hold itself there. In place of itself, it would say nothing."""
        if self._subset.recursion == "optional":
            return word == "properties" and optional
        return self._subset.recursion == "any" and word.partition("[")[0] not in _IN_PLACE

    # --- one schema -------------------------------------------------------------------------

    def _inner(self, value: Any) -> Any:
        """A schema in its place: a reference where it is defined elsewhere."""
        if not isinstance(value, dict):
            return value
        name = self._names.get(id(cast("Json", value)))
        return self._schema(cast("Json", value)) if name is None else {"$ref": name}

    def _schema(self, schema: Json) -> Json:
        out: Json = {}
        bounds: Json = {}
        for given, value in schema.items():
            word, said = self._word(schema, given, value)
            if word in out:
                self._refuse(self._path(schema, given), f"it cannot be said beside {word}")
            elif self._is_implied(schema, word, value):
                continue
            elif self._takes(word, said):
                out[word] = self._value(word, said)
            elif word in _BOUNDS and _is_plain(said):
                bounds[given] = value
                self._report(schema, given)
            elif word in _DECIDING or word in _BOUNDS:
                self._refuse(self._path(schema, given), "it has no such keyword")
            else:
                self._report(schema, given)
        if self._subset.closed:
            self._close(schema, out)
        if bounds:
            text = msgspec.json.encode(bounds).decode()
            out["description"] = "\n\n".join([*_texts(schema.get("description")), text])
        return self._apart(schema, out)

    def _word(self, schema: Json, given: str, value: Any) -> tuple[str, Any]:
        """The keyword that says the same, and what it says."""
        match given:
            case "oneOf":
                if not self._exclude_each_other(as_list(value)):
                    self._report(schema, given)
                return "anyOf", value
            case "allOf" if len(as_list(value)) == 1:
                return "anyOf", value
            case "const" if "const" not in self._subset.keywords:
                return "enum", [value]
            case "items" if isinstance(value, list):
                return "prefixItems", as_list(value)
            case "properties" if isinstance(value, dict):
                return given, in_order(cast("Json", value), schema.get("propertyOrdering"))
            case _:
                return given, value

    def _takes(self, word: str, value: Any) -> bool:
        subset = self._subset
        if word not in subset.keywords or word in _DEFINITIONS:
            return False
        if word in ("enum", "const"):
            found = as_list(value) if word == "enum" else [value]
            return all(one is None or type(one) in subset.literals for one in found)
        if word == "pattern" and subset.patterns is not None:
            return isinstance(value, str) and subset.patterns.fullmatch(value) is not None
        only = subset.only.get(word)
        return only is None or (isinstance(value, str | int) and value in only)

    def _is_implied(self, schema: Json, word: str, value: Any) -> bool:
        """Whether the output says it otherwise: definitions, order, and that objects are closed."""
        if word == "propertyOrdering" and word not in self._subset.keywords:
            known = _properties(schema)
            return all(isinstance(name, str) and name in known for name in as_list(value))
        if word == "unevaluatedProperties":
            return value is False and self._subset.closed and _is_object(schema)
        return word in _DEFINITIONS and schema is self._root

    def _value(self, word: str, value: Any) -> Any:
        if word == "$ref":
            return self._names[id(self._targets[value])]
        if word in _MAPS and isinstance(value, dict):
            found = cast("Json", value)
            return {name: self._inner(one) for name, one in found.items()}
        if word in _LISTS and isinstance(value, list):
            return [self._inner(one) for one in as_list(value)]
        return self._inner(value) if word in _INNER else value

    def _apart(self, schema: Json, out: Json) -> Json:
        """What must stand alone, in an `anyOf` of its own: a reference, and null beside words."""
        if "$ref" in out and len(out) > 1:
            return self._beside(schema, out, [{"$ref": out.pop("$ref")}])
        found = out.get("enum")
        if type(None) in self._subset.literals or None not in as_list(found):
            return out
        told: Json = {name: out.pop(name) for name in ("title", "description") if name in out}
        kind = out.pop("type", None)
        kinds = as_list(kind) or [kind]
        others = [one for one in kinds if one not in ("null", None)]
        if others:
            out["type"] = others[0] if len(others) == 1 else others
        words = [one for one in as_list(found) if one is not None]
        branches = [{**out, "enum": words}] if words and (others or kind is None) else []
        if "null" in kinds or kind is None:
            branches.append(_NULL)
        return self._beside(schema, told, branches)

    def _beside(self, schema: Json, out: Json, branches: list[Json]) -> Json:
        if "anyOf" in out:
            self._refuse(self._path(schema, "anyOf"), "it cannot be said beside another union")
        return {**out, "anyOf": branches}

    def _exclude_each_other(self, branches: list[Any]) -> bool:
        """Whether no value can fit two: by their types, or by a property that tells them apart."""
        found = [self._resolved(one) for one in branches]
        kinds = [one.get("type") for one in found]
        if all(isinstance(kind, str) for kind in kinds) and len({*kinds}) == len(kinds):
            return not {"integer", "number"} <= {*kinds}
        if any(kind != "object" for kind in kinds):
            return False
        return any(_tells_apart(name, found) for name in [*_properties(found[0])][:_MAX_DEPTH])

    def _resolved(self, branch: Any) -> Json:
        """What a branch says, or what it refers to; a chain of references is not followed."""
        found: Json = cast("Json", branch) if isinstance(branch, dict) else {}
        return self._targets[found["$ref"]] if len(found) == 1 and "$ref" in found else found

    # --- objects ----------------------------------------------------------------------------

    def _close(self, schema: Json, out: Json) -> None:
        """Say that an object has no more properties, where that leaves it what it was to have."""
        own, parts = _is_object(schema), _parts(schema)
        if parts and len(parts) + own > 1:
            self._refuse(self._path(schema, parts[0]), "say all of an object's properties at once")
        if not own:
            return
        more = schema.get("additionalProperties")
        if more not in (None, False):
            path = self._path(schema, "additionalProperties")
            self._refuse(path, "its objects have no properties but those named")
        known, needed = _properties(schema), _required(schema)
        if "properties" not in schema and more is None:
            self._refuse(self._path(schema), "name the properties of the object")
        if any(name not in known for name in needed):
            self._refuse(self._path(schema, "required"), "name the properties that are required")
        for name in known if self._subset.complete else ():
            if name not in needed:
                self._refuse(self._path(schema, "properties", name), "it must be required")
        out["additionalProperties"] = False


def in_order(properties: Json, names: Any) -> Json:
    """`properties`, those in `names` first, as Google's `propertyOrdering` has it."""
    first = [name for name in as_list(names) if isinstance(name, str) and name in properties]
    return {name: properties[name] for name in [*first, *properties]}


def _below(found: Any, step: str) -> Any:
    match found:
        case {**fields}:
            return cast("Json", fields).get(step)
        case [*items] if step.isdecimal() and step.isascii() and len(step) <= _MAX_DIGITS:
            return items[int(step)] if int(step) < len(items) else None
        case _:
            return None


def _children(schema: Json) -> Iterator[tuple[tuple[str, ...], Json]]:
    """The schemas right inside, with the steps that lead there."""
    for word, value in schema.items():
        if isinstance(value, dict):
            found = cast("Json", value)
            if word in _MAPS:
                yield from (((word, name), one) for name, one in found.items() if _is_schema(one))
            elif word in _INNER:
                yield (word,), found
        elif word in _LISTS:
            for i, one in enumerate(as_list(value)):
                if _is_schema(one):
                    yield (f"{word}[{i}]",), one


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict)


def _properties(schema: Json) -> Json:
    found = schema.get("properties")
    return cast("Json", found) if isinstance(found, dict) else {}


def _required(schema: Json) -> set[str]:
    return {name for name in as_list(schema.get("required")) if isinstance(name, str)}


def _is_plain(value: Any) -> bool:
    return not any(isinstance(one, dict | list) for one in as_list(value) or [value])


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) and value else []


def _is_object(schema: Json) -> bool:
    """Whether it is about objects by its own words; to have no type at all is not enough."""
    kind = schema.get("type")
    named = kind == "object" or "object" in as_list(kind)
    return named or "properties" in schema or "additionalProperties" in schema


def _parts(schema: Json) -> list[str]:
    """The keywords that say, each for itself, what the same object has."""
    if _PARTS.isdisjoint(schema):
        return []
    parts = ["allOf" for one in as_list(schema.get("allOf")) if _may_be_object(one)]
    parts += [
        word for word in ("anyOf", "oneOf") if any(map(_may_be_object, as_list(schema.get(word))))
    ]
    return [*parts, *(["$ref"] if "$ref" in schema else [])]


def _may_be_object(schema: Any) -> bool:
    """Whether it says what an object has, or something in it may."""
    if not isinstance(schema, dict):
        return False
    found = cast("Json", schema)
    return _is_object(found) or not _PARTS.isdisjoint(found)


def _tells_apart(name: str, branches: list[Json]) -> bool:
    """Whether each branch requires another word in the property `name`."""
    seen: set[str] = set()
    for branch in branches:
        found = _properties(branch).get(name)
        words = _words_of(cast("Json", found)) if isinstance(found, dict) else []
        if not words or name not in _required(branch) or seen & {*words}:
            return False
        seen |= {*words}
    return True


def _words_of(schema: Json) -> list[str]:
    """The only texts that fit; empty where others do."""
    found = [schema["const"]] if "const" in schema else as_list(schema.get("enum"))
    return found if all(isinstance(one, str) for one in found) else []
