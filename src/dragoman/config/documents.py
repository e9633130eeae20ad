"""A policy file's YAML, in which each name stands once: of two, YAML's readers keep the last."""

from __future__ import annotations

from typing import Any

import yaml


def read_yaml(text: str) -> object:
    """The document in `text`. Raises `yaml.YAMLError`, in whose `problem` is what is wrong."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe one


class _Loader(yaml.CSafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen: set[tuple[str, str]] = set()
        for name, _ in node.value:
            told = (name.tag, name.value) if isinstance(name, yaml.ScalarNode) else None
            if told in seen:
                problem = f"the name {name.value} is given more than once"
                raise yaml.constructor.ConstructorError(None, None, problem, name.start_mark)
            if told is not None:
                seen.add(told)
        return super().construct_mapping(node, deep)
