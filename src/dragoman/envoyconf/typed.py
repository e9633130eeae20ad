"""Small builders for what recurs in Envoy's configuration."""

from __future__ import annotations

from dragoman.ir import Json

_PREFIX = "type.googleapis.com/envoy."


def typed(name: str, kind: str, **fields: object) -> Json:
    """A named extension with its typed configuration; `kind` is the message without `envoy.`."""
    return {"name": name, "typed_config": {"@type": _PREFIX + kind, **fields}}


def message(kind: str, **fields: object) -> Json:
    """A typed message of its own, as stands in `typed_per_filter_config`."""
    return {"@type": _PREFIX + kind, **fields}


def seconds(value: float) -> str:
    """A protobuf duration."""
    return f"{value:g}s"


def metadata_matcher(key: str, value: str) -> Json:
    """A predicate on one string of the `dragoman` dynamic metadata."""
    return {
        "single_predicate": {
            "input": typed(
                key,
                "extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
                filter="dragoman",
                path=[{"key": key}],
            ),
            "custom_match": typed(
                value,
                "extensions.matching.input_matchers.metadata.v3.Metadata",
                value={"string_match": {"exact": value}},
            ),
        }
    }
