"""The parts that the count of instructions leaves out are there to be left out."""

from __future__ import annotations

import json

import pytest

from dragoman.config.load import parse
from dragoman.envoyconf.render import render
from tests.bench.instructions import PARTS
from tests.bench.systems import policy


@pytest.mark.parametrize("part", sorted(PARTS.keys() - {"nothing"}))
def test_each_part_is_there(part: str) -> None:
    whole = render(parse(json.dumps(policy(1, 2, 3, 1)), "policy"))
    without = render(parse(json.dumps(policy(1, 2, 3, 1)), "policy"))
    PARTS[part](without)
    assert without != whole
