"""Write the README's table of figures from what `make bench` printed: `table.py LINES.jsonl`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]
README = Path("README.md")
BEGIN = "<!-- bench: written by `make bench-results`, from what it measured -->"
END = "<!-- bench: end -->"
_HEAD = (
    "case",
    "connections",
    "system",
    "requests/s",
    "of Envoy alone",
    "added p50, ms",
    "added first event, ms",
    "worker CPU, µs",
    "Envoy CPU, µs",
)


def main(lines_path: str) -> None:
    """Read the lines and put the table into the README."""
    lines = [json.loads(line) for line in Path(lines_path).read_text().splitlines()]
    README.write_text(replace(README.read_text(), section(lines)))


def replace(text: str, new: str) -> str:
    """`text` with what stands between the marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{after}"


def section(lines: list[Line]) -> str:
    """The machine, load by load, then start and size."""
    machine = next(line["machine"] for line in lines if "machine" in line)
    intro = (
        f"On {machine['cores']} cores that the load generator and the simulated provider share, "
        f"{machine['workers']} worker, medians of {machine['rounds']} rounds; the load average was "
        f"{machine['load_before']} before."
    )
    return "\n".join([intro, "", *_table(_HEAD, _loads(lines)), "", *_rest(lines)])


def _loads(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    """A row a line; what is measured is said once, by Envoy alone."""
    for line in lines:
        if "ratio_to_envoy" in line:
            first = line["system"] == "envoy"
            yield (
                line["case"] if first else "",
                str(line["connections"]) if first else "",
                line["system"],
                _figure(line["rps"]),
                f"{line['ratio_to_envoy']:.0%}",
                _figure(line["added_p50_ms"]),
                _figure(line["added_first_event_p50_ms"]) if "events" in line else "",
                _figure(line["sidecar_cpu_us"]),
                _figure(line["envoy_cpu_us"]),
            )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rest(lines: list[Line]) -> Iterator[str]:
    sizes = {line["system"]: line["rss_mb"] for line in lines if line.get("case") == "size"}
    starts = {line["system"]: line["ready_ms"] for line in lines if line.get("case") == "start"}
    if sizes:
        parts = ", ".join(f"{name} {size:.0f} MB" for name, size in sizes.items())
        yield f"At rest, resident: {parts} (`sidecar`: worker, Envoy and supervisor)."
    if starts:
        yield "Ready after: " + ", ".join(f"{name} {ms} ms" for name, ms in starts.items()) + "."
    for line in lines:
        if line.get("case") == "restart":
            yield (
                f"One of {line['workers']} workers killed under load: {line['failed_requests']} requests failed, "
                f"its successor served after {line['serving_ms']} ms."
            )


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    main(*sys.argv[1:])
