"""The structure, held by a test: imports go one way, libraries stay in their place, code stays small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "dragoman"
LAYERS = (
    "errors", "actions", "metadata", "ir", "wire", "dialects", "catalog", "config", "stores",
    "telemetry", "policies", "exchange", "extproc", "envoyconf", "simulator", "supervisor", "cli",
)  # fmt: skip
"""Each may import those before it and itself."""
ASIDE = {
    "envoyconf": {"errors", "metadata", "ir", "wire", "dialects", "catalog", "config"},
    "simulator": {"errors", "ir", "wire", "dialects", "catalog", "config"},
}
"""Layers beside the others: what alone they may import."""
ONLY_IN = {
    "grpc": {"extproc"},
    "google": {"extproc"},
    "redis": {"stores"},
    "yaml": {"config", "envoyconf"},
    "click": {"cli"},
    "httptools": {"extproc", "simulator"},
}
PURE = {"ir", "wire", "dialects"}
IMPURE = {"asyncio", "os", "time", "socket", "random", "pathlib", "subprocess", "threading"}
MODULES = sorted(p for p in ROOT.rglob("*.py") if "pb" not in p.relative_to(ROOT).parts)
MAX_FUNCTION_LINES = 50
MAX_MODULE_LINES = 600


def _layer(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            if module == "dragoman":
                yield from (f"dragoman.{alias.name}" for alias in node.names)
            else:
                yield module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    here = _layer(path)
    for name in _imports(ast.parse(path.read_text())):
        top, _, rest = name.partition(".")
        assert here in ONLY_IN.get(top, {here}), f"{name} does not belong in {here}"
        assert here not in PURE or top not in IMPURE, f"{here} has no I/O, clock or chance: {name}"
        target = rest.partition(".")[0]
        if top != "dragoman" or here not in LAYERS or target not in LAYERS or target == here:
            continue
        assert target in ASIDE.get(here, LAYERS), f"{here} may not import {name}"
        assert LAYERS.index(target) < LAYERS.index(here), f"{here} may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_stays_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_MODULE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


def test_the_environment_is_read_in_one_place() -> None:
    for path in MODULES:
        if _layer(path) != "config":
            assert "os.environ" not in path.read_text(), path
            assert "getenv" not in path.read_text(), path


def test_everything_is_caught_where_nobody_else_could() -> None:
    """Each transport has its one place, around the stream machines it calls, and so have the tasks
    beside them, which nobody awaits."""
    broad = {
        str(path.relative_to(ROOT)): path.read_text().count("except Exception")
        for path in MODULES
        if "except Exception" in path.read_text() and _layer(path) != "simulator"
    }
    transports = "extproc/transports"
    assert broad == {
        f"{transports}/grpc_aio.py": 1,
        f"{transports}/lean/calls.py": 1,
        "stores/periodic.py": 1,
    }
