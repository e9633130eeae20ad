"""The READMEs: links lead somewhere, the front page's policy is one and its commands are all."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from dragoman.cli import main
from dragoman.config.load import load

ROOT = Path(__file__).parents[1]
READMES = sorted(
    path.relative_to(ROOT)
    for folder in ("", "envoy", "proto", "src/dragoman")
    for path in (ROOT / folder).glob("**/README.md" if "dragoman" in folder else "README.md")
)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings outside of code."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^(    |```).*$", "", text, flags=re.MULTILINE), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_they_are_found() -> None:
    assert len(READMES) >= 7


@pytest.mark.parametrize("readme", READMES, ids=str)
def test_links_lead_somewhere(readme: Path) -> None:
    lost = []
    for link in LINK.findall((ROOT / readme).read_text()):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            target = (ROOT / readme).parent / path if path else ROOT / readme
            if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
                lost.append(link)

    assert lost == []


def test_the_policy_on_the_front_page_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, policy = tmp_path / "key", tmp_path / "dragoman.yaml"
    key.write_text("sk-secret")
    block = re.search(r"(^    callers:\n(?:    .*\n)+)", (ROOT / "README.md").read_text(), re.M)
    assert block
    policy.write_text(textwrap.dedent(block[1]).replace("/run/secrets/anthropic", str(key)))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    assert sorted(load(str(policy)).models) == ["draft", "fast"]


def test_the_front_page_names_each_command() -> None:
    named = re.findall(r"^\| `dragoman (\w+)", (ROOT / "README.md").read_text(), re.M)

    assert sorted(set(named)) == sorted(main.commands)
