"""The plot shows what the lines say, and says so where a system gave no answer."""

from xml.etree import ElementTree as ET

from tests.bench.plot import draw

MACHINE = {"machine": {"cores": 2, "peers": {"litellm": "1", "portkey": "2"}}}


def line(system, rps, **more):
    costs = {"sidecar_cpu_us": 1.0, "envoy_cpu_us": 1.0, "rss_mb": 1.0, "added_p50_ms": 0.0}
    return {"case": "json-2k", "system": system, "connections": 16, "rps": rps, **costs, **more}


def test_bars_and_figures():
    lines = [MACHINE, line("envoy", 4000.0), line("pass-through", 1234.0)]
    lines += [line("translated", 777.0), {**line("portkey", 1.0), "failed": "500"}]
    lines += [line("policies", 1111.0)]
    picture = draw(lines)
    ET.fromstring(picture)
    assert "1,234" in picture
    assert "777" in picture
    assert "1,111" in picture
    assert "not answered" in picture
    assert "LiteLLM</text>" not in picture


def test_bars_are_as_long_as_their_figures():
    root = ET.fromstring(draw([MACHINE, line("envoy", 100.0), line("pass-through", 25.0)]))
    bars = {}
    for bar in root.iter("{http://www.w3.org/2000/svg}rect"):
        bars.setdefault(bar.get("class"), float(bar.get("width")))
    assert bars["dragoman"] * 4 == bars["envoy"]
