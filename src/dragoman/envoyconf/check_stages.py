"""Whether an operator's Envoy tells the stages that see answers what they have to know, and lets
them tell what they found: without it, what the policy wants of answers is not done, in silence."""

from __future__ import annotations

from collections.abc import Iterable

from dragoman.envoyconf.clusters import translate_processor
from dragoman.envoyconf.filters import DECIDE, RESPOND, respond_filter
from dragoman.envoyconf.inspection import Inspection, config_of, filters_of, is_a, walk
from dragoman.ir import Json

_EXT_PROC = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"


def answer_stages(at: Inspection) -> None:
    """Attributes and namespaces of both."""
    _responding(at)
    wanted = config_of(translate_processor(at.policy))
    for name in at.policy.providers.keys() & at.clusters.keys():
        path, cluster = at.clusters[name]
        for where, node in walk(cluster, path):
            if is_a(node, _EXT_PROC):
                _compare(at, where, node, wanted, "request_attributes")


def _responding(at: Inspection) -> None:
    redaction, guardrails = at.policy.redaction, at.policy.guardrails
    if redaction is None and (guardrails is None or not guardrails.looks_at_answers):
        return
    wanted = config_of(respond_filter(at.policy))
    for manager in at.managers:
        found = {item.get("name"): (path, item) for path, item in filters_of(manager)}
        if DECIDE in found and RESPOND not in found:
            problem = f"has no {RESPOND}: answers pass as they are"
            remedy = "Add it; `dragoman envoy` prints it"
            at.report(f"{manager[0]}.http_filters", problem, remedy)
        if RESPOND in found:
            path, item = found[RESPOND]
            where = f"{path}.typed_config"
            _compare(at, where, config_of(item), wanted, "response_attributes")


def _compare(at: Inspection, path: str, found: Json, wanted: Json, attributes: str) -> None:
    for name in _missing(found.get(attributes, []), wanted[attributes]):
        remedy = "Add it, or its stage does not know what the policy wants"
        at.report(f"{path}.{attributes}", f"lacks {name}", remedy)
    for name in _missing(_written(found), _written(wanted)):
        where = f"{path}.metadata_options.receiving_namespaces.untyped"
        at.report(where, f"lacks {name}", "Add it, or nobody is told what its stage found")


def _written(config: Json) -> list[str]:
    spaces: Json = config.get("metadata_options", {}).get("receiving_namespaces", {})
    found: list[str] = spaces.get("untyped", [])
    return found


def _missing(found: Iterable[str], wanted: Iterable[str]) -> list[str]:
    known = {*found}
    return [name for name in wanted if name not in known]
