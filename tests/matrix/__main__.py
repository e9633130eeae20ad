"""Brings the matrices of the dialects' README up to date: `python -m tests.matrix`."""

from __future__ import annotations

from tests.matrix.section import README, replace

if __name__ == "__main__":
    README.write_text(replace(README.read_text()))
