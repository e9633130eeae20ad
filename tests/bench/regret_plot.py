"""Draw what `make regret` found: regret over requests, a chart for each workload and loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.bench.plot import text

_WIDTH, _PANEL_WIDTH, _PANEL_HEIGHT = 860, 420, 264
_LEFT, _RIGHT, _HEAD, _FOOT = 52, 96, 44, 44
_LINE = 14
"""Between two names at the ends of curves."""
_TITLES = {
    "ms": ("seconds lost", 1000.0),
    "reward": ("rewards lost", 1.0),
}
"""By loss: what the chart says, and what one of its units is."""
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .note { fill: #57606a; font-size: 11px }
path { fill: none; stroke-width: 2 } line { stroke: #9aa4af }
.weights { stroke: #9aa4af } .fastest { stroke: #2f81f7 } .least_loaded { stroke: #c08a2b }
.bandit { stroke: #b4566b }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9aa4af } }
"""


def draw(found: list[dict[str, Any]]) -> str:
    """The whole picture."""
    height = 30 + _PANEL_HEIGHT * len(found)
    panels = [
        _panel(each, loss, 10 + column * (_PANEL_WIDTH + 10), 40 + row * _PANEL_HEIGHT)
        for row, each in enumerate(found)
        for column, loss in enumerate(_TITLES)
    ]
    caption = "make regret: regret against the best fixed choice, over requests"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">\n<style>{_STYLE}</style>'
    )
    return "\n".join([head, text(10, 20, caption, "note"), *panels, "</svg>\n"])


def _panel(found: dict[str, Any], loss: str, left: int, top: int) -> str:
    said, unit = _TITLES[loss]
    curves = {
        name: [0.0, *(value / unit for value in values)]
        for name, values in found[loss]["regret"].items()
    }
    every = [value for values in curves.values() for value in values]
    low, high = min(every), max(every)
    x, y, inner = left + _LEFT, top + _HEAD, _PANEL_WIDTH - _LEFT - _RIGHT
    tall = _PANEL_HEIGHT - _HEAD - _FOOT

    def at(value: float) -> float:
        return y + tall * (high - value) / (high - low or 1.0)

    note = f"against always asking {found[loss]['best']} first"
    parts = [text(left, top, f"{said}: {found['workload']}", "title")]
    parts.append(text(left, top + 16, note, "note"))
    parts.append(f'<line x1="{x}" x2="{x + inner}" y1="{at(0):.1f}" y2="{at(0):.1f}"/>')
    for value in dict.fromkeys((low, 0.0, high)):
        parts.append(text(left, at(value) + 4, f"{value:,.0f}", "note"))
    parts.append(text(x + inner - 70, y + tall + 18, f"{found['requests']:,} requests", "note"))
    for name, values in curves.items():
        step = inner / (len(values) - 1)
        points = " L".join(f"{x + i * step:.1f} {at(v):.1f}" for i, v in enumerate(values))
        parts.append(f'<path class="{name}" d="M{points}"/>')
    ends = {name: at(values[-1]) for name, values in curves.items()}
    parts += [text(x + inner + 6, spot + 4, name, "") for name, spot in _apart(ends)]
    return "\n".join(parts)


def _apart(ends: dict[str, float]) -> Iterator[tuple[str, float]]:
    """The heights of names, none on another."""
    last = float("-inf")
    for name, height in sorted(ends.items(), key=lambda pair: pair[1]):
        last = max(height, last + _LINE)
        yield name, last
