"""Draw the README's plot from what `make bench-peers` printed: `plot.py LINES.jsonl PLOT.svg`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Line = dict[str, Any]
_LABELS = {
    "envoy": "Envoy alone",
    "dragoman": "Dragoman",
    "policies": "… with policies",
    "portkey": "Portkey",
    "litellm": "LiteLLM",
}
_WIDTH, _PANEL_WIDTH, _LABEL_WIDTH, _BAR_WIDTH = 860, 420, 100, 202
_ROW, _HEAD, _TOP = 24, 44, 52
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .note { fill: #57606a; font-size: 11px }
.envoy { fill: #9aa4af } .dragoman, .policies { fill: #2f81f7 } .portkey { fill: #c08a2b } .litellm { fill: #b4566b }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9aa4af } .envoy { fill: #6e7681 }
}
"""


@dataclass(frozen=True)
class Panel:
    """One chart: a figure of one case, by system."""

    title: str
    note: str
    case: str
    connections: int
    value: Callable[[Line], float]
    translated: bool = False


_PANELS = (
    Panel(
        "JSON, requests a second",
        "16 connections; more is better",
        "json-2k",
        16,
        lambda x: x["rps"],
    ),
    Panel(
        "JSON to Anthropic's API, requests a second",
        "16 connections; more is better",
        "json-2k",
        16,
        lambda x: x["rps"],
        translated=True,
    ),
    Panel(
        "Streams of 100 chunks, streams a second",
        "16 connections; more is better",
        "stream-100",
        16,
        lambda x: x["rps"],
    ),
    Panel(
        "Added latency, ms",
        "one connection, median over Envoy alone; less is better",
        "json-2k",
        1,
        lambda x: x["added_p50_ms"],
    ),
    Panel(
        "CPU of gateway and Envoy, µs a request",
        "16 connections; less is better",
        "json-2k",
        16,
        lambda x: x["sidecar_cpu_us"] + x["envoy_cpu_us"],
    ),
    Panel(
        "Memory under load, MB",
        "16 connections, Envoy and supervisor included; less is better",
        "json-2k",
        16,
        lambda x: x["rss_mb"] + x.get("envoy_rss_mb", 0) + x.get("supervisor_rss_mb", 0),
    ),
)


def main(lines_path: str, plot_path: str) -> None:
    """Read the lines and write the plot."""
    lines = [json.loads(line) for line in Path(lines_path).read_text().splitlines()]
    Path(plot_path).write_text(draw(lines))


def draw(lines: list[Line]) -> str:
    """The whole picture."""
    height = _HEAD + _ROW * len(_LABELS) + 20
    rows = (len(_PANELS) + 1) // 2
    parts = [
        _panel(panel, lines, 10 + (i % 2) * (_PANEL_WIDTH + 20), _TOP + (i // 2) * height)
        for i, panel in enumerate(_PANELS)
    ]
    total = _TOP + rows * height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {total}" '
        f'width="{_WIDTH}" height="{total}" role="img">\n<style>{_STYLE}</style>\n'
    )
    return f"{head}{text(10, 20, _caption(lines), 'note')}\n" + "\n".join(parts) + "\n</svg>\n"


def _caption(lines: list[Line]) -> str:
    machine = next(line["machine"] for line in lines if "machine" in line)
    peers = machine["peers"]
    return (
        f"make bench-peers: {machine['cores']} cores shared with the load generator and the "
        f"provider, one worker each; LiteLLM {peers['litellm']}, Portkey {peers['portkey']}"
    )


def _panel(panel: Panel, lines: list[Line], left: int, top: int) -> str:
    asked = dict(_asked(panel, lines))
    shown = {base: panel.value(line) for base, line in asked.items() if "failed" not in line}
    largest = max(shown.values(), default=1.0) or 1.0
    parts = [text(left, top, panel.title, "title"), text(left, top + 16, panel.note, "note")]
    for number, base in enumerate(base for base in _LABELS if base in asked):
        y = top + _HEAD - 12 + number * _ROW
        parts.append(text(left, y + 12, _LABELS[base], ""))
        x = left + _LABEL_WIDTH
        if base not in shown:
            parts.append(text(x, y + 12, "not answered", "note"))
            continue
        width = max(1.0, shown[base] / largest * _BAR_WIDTH)
        parts.append(
            f'<rect class="{base}" x="{x}" y="{y}" width="{width:.1f}" height="16" rx="2"/>'
        )
        parts.append(text(x + width + 6, y + 12, _figure(shown[base]), ""))
    return "\n".join(parts)


def _asked(panel: Panel, lines: list[Line]) -> Iterator[tuple[str, Line]]:
    """The panel's lines by what they are a bar of."""
    for line in lines:
        name = line.get("system", "")
        if (line.get("case"), line.get("connections")) != (panel.case, panel.connections):
            continue
        if name != "envoy" and name.endswith("translated") != panel.translated:
            continue
        base = name.removesuffix("-translated")
        if name in ("pass-through", "translated"):
            base = "dragoman"
        if base in _LABELS:
            yield base, line


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def text(x: float, y: float, said: str, kind: str) -> str:
    """One line, from `x` on; `kind` is its class."""
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{escape(said)}</text>'


if __name__ == "__main__":
    main(*sys.argv[1:])
