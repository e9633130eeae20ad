"""Instances made from a JSON Schema, always the same one for the same schema."""

from typing import Any

from dragoman.simulator.messages import JsonObject, is_list, is_object

MAX_DEPTH = 6
"""Deeper than this, what may be left out is left out: recursive schemas end."""

_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "user@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def make_instance(schema: JsonObject, name: str = "value") -> Any:
    """A value that the schema accepts; `name` (of the property) appears in free strings."""
    return _instance(schema, name, schema, 0)


def accepts_keys(schema: JsonObject, value: JsonObject) -> bool:
    """Whether an object has all keys that the schema requires and none it does not know."""
    known = schema.get("properties", {})
    closed = schema.get("additionalProperties") is False
    has_required = all(key in value for key in schema.get("required", ()))
    return has_required and (not closed or all(key in known for key in value))


def _instance(schema: object, name: str, root: JsonObject, depth: int) -> object:
    if not is_object(schema):
        return f"sample {name}"
    schema = _resolve(schema, root, depth)
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed:
        return allowed[0]
    match _kind(schema):
        case "object":
            value: object = _object(schema, root, depth)
        case "array":
            value = _array(schema, name, root, depth)
        case "integer" | "number" as kind:
            value = _number(schema, kind)
        case "boolean":
            value = True
        case "null":
            value = None
        case _:
            value = _string(schema, name)
    return value


def _resolve(schema: JsonObject, root: JsonObject, depth: int) -> JsonObject:
    """Follow `$ref`, take a branch of `anyOf`/`oneOf`, merge `allOf`."""
    while "$ref" in schema:
        schema = _follow(schema["$ref"], root)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            branches = schema[key]
            nulls = [b for b in branches if b.get("type") == "null"] if depth > MAX_DEPTH else []
            return _resolve((nulls or branches)[0], root, depth)
    if schema.get("allOf"):
        return _merge([_resolve(part, root, depth) for part in schema["allOf"]], schema)
    return schema


def _follow(reference: str, root: JsonObject) -> JsonObject:
    found: Any = root
    for step in reference.lstrip("#").strip("/").split("/"):
        found = found.get(step, {}) if step else found
    return dict(found)


def _merge(parts: list[JsonObject], rest: JsonObject) -> JsonObject:
    merged: JsonObject = {k: v for k, v in rest.items() if k != "allOf"}
    for part in parts:
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        merged = {**merged, **part, "properties": properties}
    return merged


def _kind(schema: JsonObject) -> str:
    asked = schema.get("type")
    kinds: list[str | None] = asked if is_list(asked) else [asked]
    kind = next((k for k in kinds if k != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _object(schema: JsonObject, root: JsonObject, depth: int) -> JsonObject:
    properties: JsonObject = schema.get("properties", {})
    required = schema.get("required", ())
    return {
        key: _instance(value, key, root, depth + 1)
        for key, value in properties.items()
        if depth < MAX_DEPTH or key in required
    }


def _array(schema: JsonObject, name: str, root: JsonObject, depth: int) -> list[object]:
    least = int(schema.get("minItems", 0))
    if depth >= MAX_DEPTH and not least:
        return []
    fixed = schema.get("prefixItems", [])
    count = max(least, 1) - len(fixed)
    items = [*fixed, *[schema.get("items", {})] * max(count, 0)]
    return [_instance(item, name, root, depth + 1) for item in items]


def _number(schema: JsonObject, kind: str) -> int | float:
    step = schema.get("multipleOf", 1)
    low: Any = schema.get("minimum", schema.get("exclusiveMinimum", 1))
    value = -(-low // step) * step
    if value == schema.get("exclusiveMinimum"):
        value += step
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if high is not None and value >= high and "minimum" not in schema:
        value = high if "maximum" in schema else high - step
    return int(value) if kind == "integer" else float(value)


def _string(schema: JsonObject, name: str) -> str:
    text = _FORMATS.get(schema.get("format", ""), f"sample {name}")
    least = int(schema.get("minLength", 0))
    most = int(schema.get("maxLength", max(len(text), least)))
    return text.ljust(least, "x")[:most]
