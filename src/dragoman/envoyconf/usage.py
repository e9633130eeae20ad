"""The filters that read token counts in answers that no stage edits, as they pass."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path

from dragoman import metadata as names
from dragoman.catalog.counts import (
    COUNTED,
    DIRECTIONS,
    FAMILIES,
    HEADERS,
    WRAPPERS,
    Count,
    Family,
    all_counts,
)
from dragoman.config.schema import Native
from dragoman.envoyconf.typed import metadata_matcher, typed
from dragoman.ir import Json

_COMPOSITE = "extensions.filters.http.composite.v3"
_OPENAI_ENDING = '_tokens"'
"""All that a filter looks for which takes the usage chunk out and counts nothing."""


def usage_filters(native: Native) -> list[Json]:
    """Those that the policy has on: a script for JSON and SSE, Envoy's own filters for the rest."""
    if not native.usage and not native.strip_usage:
        return []
    return [_scripted(), _framed_otherwise()] if native.usage else [_script(_uncounted())]


def _scripted() -> Json:
    dialects = {name: _dialect(*held) for name, held in COUNTED.items()}
    rare = dict.fromkeys(DIRECTIONS[2:], "+")
    return _script({"DIALECTS": dialects, "ANY": _dialect(FAMILIES, WRAPPERS), "RARE": rare})


def _uncounted() -> Json:
    any_dialect: Json = {"ending": _OPENAI_ENDING, "events": {}, "families": {}}
    return {"DIALECTS": {}, "ANY": any_dialect, "RARE": {}}


def _script(tables: Json) -> Json:
    """A JSON body costs a tenth of `json_to_metadata`, an event a tenth of `sse_to_metadata`."""
    assigned = (f"local {name} = {_lua(table)}\n" for name, table in tables.items())
    code = Path(__file__).with_name("usage.lua").read_text(encoding="utf-8")
    return typed(
        "dragoman.usage",
        "extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": "".join(assigned) + code},
    )


def _dialect(families: Iterable[str], wrappers: Iterable[tuple[str, ...]]) -> Json:
    """What may stand in answers in one client dialect."""
    held = [FAMILIES[name] for name in families]
    counts = [count for family in held for count in family.counts if count.key not in HEADERS]
    listed = {f"[{i}]": _sums(family) for i, family in enumerate(held, 1)}
    return {**_places(counts, wrappers), "families": listed}


def _sums(family: Family) -> Json:
    """By which counts an answer's family is known, and of which kinds each is a part."""
    keys = [count.key for count in family.counts]
    kinds = {
        f"['{count.key}']": {f"[{i}]": kind for i, kind in enumerate(count.kinds, 1)}
        for count in family.counts
    }
    grows = {"grows": names.FLAG} if family.grows else {}
    return {
        "first": keys[0],
        "second": keys[1:2][0] if keys[1:] else keys[0],
        **grows,
        "counts": kinds,
    }


def _places(counts: Iterable[Count], wrappers: Iterable[tuple[str, ...]]) -> Json:
    """Where counts stand, as trees of names, what these all end with, and the member that they all
    stand in, if there is one."""
    plain = {count.path: count.key for count in counts}
    wrapped = {
        (*wrapper, *path): key
        for path, key in plain.items()
        for wrapper in wrappers
        if path[0] == "usage"
    }
    tops = {path[0] for path in plain}
    member = {"member": f'"{tops.pop()}"'} if len(tops) == 1 else {}
    return {
        **member,
        "ending": _ending(plain),
        "body": _tree(plain),
        "events": _tree(plain | wrapped),
    }


def _ending(paths: Iterable[tuple[str, ...]]) -> str:
    """The longest text in which the names of all counts end, with the quote behind it."""
    columns = zip(*(reversed(path[-1]) for path in paths), strict=False)
    common = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    return "".join(reversed(common)) + '"' if common else ""


def _tree(keys: dict[tuple[str, ...], str]) -> Json:
    """Objects within objects down to each count, which is its key in the metadata."""
    tree: Json = {}
    for path, key in keys.items():
        within = tree
        for name in path[:-1]:
            within = within.setdefault(name, {})
        within[path[-1]] = key
    return tree


def _lua(value: Json | str) -> str:
    """The value as a Lua literal; names are as Lua writes them, and nothing needs an escape."""
    if isinstance(value, str):
        return f"'{value}'"
    return "{" + ", ".join(f"{key} = {_lua(item)}" for key, item in value.items()) + "}"


def _framed_otherwise() -> Json:
    """AWS event streams, and headers that tell counts: never looked for in the usual dialects.

    Nor, as the script does, in answers to bodies that nobody read: a batch that tells what it has
    used would be counted each time a client looks at it.
    """
    known = [metadata_matcher(names.CLIENT_DIALECT, name) for name in COUNTED]
    out = {"or_matcher": {"predicate": [metadata_matcher(names.UNREAD, names.FLAG), *known]}}
    skip = typed("skip", "extensions.filters.common.matcher.action.v3.SkipFilter")
    matcher = {"predicate": out, "on_match": {"action": skip}}
    return typed(
        "dragoman.usage_framed",
        "extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=typed("dragoman.usage_framed", f"{_COMPOSITE}.Composite"),
        xds_matcher={"matcher_list": {"matchers": [matcher]}, "on_no_match": _chain()},
    )


def _chain() -> Json:
    counts = [count for count in all_counts() if count.key not in HEADERS]
    filters = [
        typed(
            "dragoman.usage_aws",
            "extensions.filters.http.aws_eventstream_parser.v3.AwsEventstreamParser",
            response_rules={
                "content_parser": typed(
                    "envoy.content_parsers.json",
                    "extensions.content_parsers.json.v3.JsonContentParser",
                    rules=[{"rule": _rule(count)} for count in counts],
                )
            },
        ),
        typed(
            "dragoman.usage_headers",
            "extensions.filters.http.header_to_metadata.v3.Config",
            response_rules=[_header_rule(name) for name in HEADERS],
        ),
    ]
    kind = f"{_COMPOSITE}.ExecuteFilterAction"
    return {"action": typed("count", kind, filter_chain={"typed_config": filters})}


def _header_rule(name: str) -> Json:
    """A header with a count; it goes on to the client."""
    target = {"metadata_namespace": names.USAGE_NAMESPACE, "key": name, "type": "NUMBER"}
    return {"header": name, "on_header_present": target, "remove": False}


def _rule(count: Count) -> Json:
    return {
        "selectors": [{"key": name} for name in count.path],
        "on_present": {
            "metadata_namespace": names.USAGE_NAMESPACE,
            "key": count.key,
            "type": "NUMBER",
        },
    }
