"""The `redaction` section: whatever is wrong with it is said at load, with its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dragoman.config.load import parse
from dragoman.errors import ConfigError

BASE: dict[str, Any] = {
    "callers": {"team": {"keys": ["0" * 64]}},
    "providers": {"one": {"kind": "openai", "key": {"env": "KEY"}}},
    "models": {"m": {"targets": [{"provider": "one", "model": "m"}]}},
}
GOOD: dict[str, Any] = {"entities": {"email": "mask"}}


def load(section: dict[str, Any] | None, **more: Any) -> Any:
    document = {**BASE, **({"redaction": section} if section else {}), **more}
    return parse(json.dumps(document), "p.yaml", {"KEY": "1", "SHORT": "x", "LONG": "y" * 16})


def test_groups_and_their_exceptions() -> None:
    entities = {"personal": "replace", "secret": "block", "card": "mask", "jwt": "report"}
    actions = load({"profiles": {"a": {"entities": entities}}}).redaction.profiles["a"].actions
    assert actions["email"] == "replace"
    assert actions["password"] == "block"
    assert (actions["card"], actions["jwt"]) == ("mask", "report")


def test_word_lists_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("Bluebird\n\nRed Panda\n")
    words = {"name": "codename", "file": str(file), "action": "mask"}
    (pattern,) = load({"profiles": {"a": {"words": [words]}}}).redaction.profiles["a"].patterns
    assert pattern[0] == "codename"
    assert pattern[1].startswith("(?i)(?:\\bRed")


def test_a_key_from_the_environment() -> None:
    found = load({"profiles": {"a": GOOD}, "key": {"env": "LONG"}})
    assert found.redaction.key == b"y" * 16


def recognising(**more: Any) -> dict[str, Any]:
    recogniser = {"url": "unix:/s", "entities": {"person": "replace"}, **more}
    return {"profiles": {"a": {"recogniser": recogniser}}}


def test_what_a_recogniser_may_find() -> None:
    found = load(recognising()).redaction
    assert found.profiles["a"].actions == {"person": "replace"}
    assert found.entities() == ("person", "recogniser:failed")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "recogniser_url": (
        recognising(url="http://h/path"),
        "$.redaction.profiles.a.recogniser.url: expected http(s)://HOST[:PORT] or unix:",
    ),
    "recogniser_time": (
        recognising(timeout_ms=2501),
        "$.redaction.profiles.a.recogniser.timeout_ms: is more than a quarter of",
    ),
    "recogniser_key": (
        recognising(key={"env": "NONE"}),
        "$.redaction.profiles.a.recogniser.key: variable NONE is not set",
    ),
    "recogniser_entity": (
        recognising(entities={"email": "mask"}),
        "$.redaction.profiles.a.recogniser.entities.email: email is an entity of its own",
    ),
    "recogniser_nothing": (recognising(entities={}), "$.redaction.profiles"),
    "recogniser_answers": (
        {"profiles": {"a": {"answers": True, **recognising()["profiles"]["a"]}}},
        "$.redaction.profiles.a.answers: a recogniser is asked about requests only",
    ),
    "nothing": ({"profiles": {"a": {}}}, "$.redaction.profiles.a: names nothing"),
    "off": ({"profiles": {"off": GOOD}}, "$.redaction.profiles.off: is the name of no profile"),
    "default": ({"profiles": {"a": GOOD}, "default": "b"}, "$.redaction.default: no profile b"),
    "entity": ({"profiles": {"a": {"entities": {"e-mail": "mask"}}}}, "$.redaction.profiles.a"),
    "action": ({"profiles": {"a": {"entities": {"email": "drop"}}}}, "$.redaction.profiles.a"),
    "pattern": (
        {"profiles": {"a": {"patterns": [{"name": "t", "pattern": "(", "action": "mask"}]}}},
        "$.redaction.profiles.a.patterns[0].pattern: is no RE2 pattern",
    ),
    "empty": (
        {"profiles": {"a": {"patterns": [{"name": "t", "pattern": "x*", "action": "mask"}]}}},
        "$.redaction.profiles.a.patterns[0].pattern: matches the empty text",
    ),
    "taken": (
        {"profiles": {"a": {"patterns": [{"name": "email", "pattern": "x", "action": "mask"}]}}},
        "$.redaction.profiles.a.patterns[0].name: email is an entity",
    ),
    "words": (
        {"profiles": {"a": {"words": [{"name": "t", "action": "mask"}]}}},
        "$.redaction.profiles.a.words[0]: lists no words",
    ),
    "file": (
        {"profiles": {"a": {"words": [{"name": "t", "file": "/nowhere", "action": "mask"}]}}},
        "$.redaction.profiles.a.words[0].file: cannot be read",
    ),
    "two": (
        {
            "profiles": {
                "a": {
                    "patterns": [{"name": "t", "pattern": "x", "action": "mask"}],
                    "words": [{"name": "t", "words": ["xy"], "action": "block"}],
                }
            }
        },
        "$.redaction.profiles.a.words[0].name: t has another action above",
    ),
    "key": ({"profiles": {"a": GOOD}, "key": {"env": "SHORT"}}, "$.redaction.key: needs at least"),
    "both": ({"profiles": {"a": GOOD}, "key": {}}, "$.redaction.key: give either"),
    "no key": ({"profiles": {"a": GOOD}, "key": {"file": "/nowhere"}}, "$.redaction.key.file"),
}


@pytest.mark.parametrize(("section", "says"), WRONG.values(), ids=WRONG)
def test_wrong_sections(section: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(section)
    assert says in str(refused.value)
    assert str(refused.value).startswith("p.yaml: $.redaction")


@pytest.mark.parametrize("place", ["callers", "models"])
def test_names_that_dangle(place: str) -> None:
    (name,) = BASE[place]
    named = {place: {name: BASE[place][name] | {"redaction": "strict"}}}
    with pytest.raises(ConfigError, match=rf"\$\.{place}\.{name}\.redaction: no profile strict"):
        load({"profiles": {"a": GOOD}}, **named)
    assert load(None, **{place: {name: BASE[place][name] | {"redaction": "off"}}})
