"""Each key of each log line in the source may be written: one that may not would be lost."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import dragoman
from dragoman.telemetry.logging import ALLOWED_KEYS

SOURCE = Path(dragoman.__file__).parent
TREES = {
    str(path.relative_to(SOURCE)): ast.parse(path.read_text())
    for path in SOURCE.rglob("*.py")
    if "pb" not in path.parts
}
LEVELS = {"info", "warning", "error"}
FUNCTIONS = [
    node for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
]


def logged(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef | None, ast.Call]]:
    """Each call of a logger, and the innermost function around it."""
    around: dict[ast.AST, ast.FunctionDef] = {}
    for node in ast.walk(tree):  # the outer before the inner
        if isinstance(node, ast.FunctionDef):
            around |= dict.fromkeys(ast.walk(node), node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (
            (
                isinstance(node.func, ast.Attribute)
                and node.func.attr in LEVELS
                and ast.unparse(node.func.value).endswith("log")
            )
            or (isinstance(node.func, ast.Name) and node.func.id == "make_logger")
        ):
            yield around.get(node), node


def keys_of(call: ast.Call, function: ast.FunctionDef | None) -> set[str]:
    found: set[str] = set()
    for keyword in call.keywords:
        found |= {keyword.arg} if keyword.arg else keys_in(keyword.value, function)
    return found


def keys_in(value: ast.expr, function: ast.FunctionDef | None) -> set[str]:
    """Those of a mapping: written out, kept under a name, or what a function of ours returns."""
    match value:
        case ast.Dict():
            return {ast.literal_eval(key) for key in value.keys if key is not None}
        case ast.Name() if function is not None:
            kept = [
                node.value
                for node in ast.walk(function)
                if isinstance(node, ast.Assign)
                and [ast.unparse(target) for target in node.targets] == [value.id]
            ]
            assert kept, ast.unparse(value)
            return set().union(*(keys_in(one, function) for one in kept))
        case ast.Call():
            name = ast.unparse(value.func).rpartition(".")[2]
            told = [
                node.value
                for called in FUNCTIONS
                if called.name == name
                for node in ast.walk(called)
                if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict)
            ]
            assert told, ast.unparse(value)
            return set().union(*(keys_in(one, None) for one in told))
        case _:
            raise AssertionError(f"nothing tells the keys of {ast.unparse(value)}")


LINES = [
    (f"{path}:{call.lineno}", call, function)
    for path, tree in TREES.items()
    for function, call in logged(tree)
]


def test_lines_are_found() -> None:
    assert len(LINES) >= 10
    found = {key for _, call, function in LINES for key in keys_of(call, function)}
    assert {"worker", "problem", "stack", "percent", "why", "since", "quota"} <= found


def test_each_key_may_be_written() -> None:
    lost = {
        place: keys
        for place, call, function in LINES
        if (keys := keys_of(call, function) - ALLOWED_KEYS)
    }
    assert lost == {}


def test_a_key_that_may_not_is_found() -> None:
    text = "def f(log):\n    what = {'prompt': 1}\n    log.info('x', status=1, **what)\n"
    ((function, call),) = logged(ast.parse(text))
    assert keys_of(call, function) - ALLOWED_KEYS == {"prompt"}
