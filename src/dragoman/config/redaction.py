"""The `redaction` section, checked whole: actions, patterns, word lists, the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from dragoman.config.patterns import Refuse, any_of, check_pattern, read_words
from dragoman.config.policy import Redaction, RedactionProfile
from dragoman.config.schema import (
    Entity,
    RedactionEntry,
    RedactionSection,
)
from dragoman.config.secrets import read_secret
from dragoman.config.section import Action

OFF = "off"
"""Said of a model or a caller: no profile applies."""
SECRETS = ("api_key", "connection_string", "jwt", "password", "private_key")
"""The entities of the group `secret`; all others are `personal`."""


def read_redaction(
    section: RedactionSection | None, environment: Mapping[str, str], refuse: Refuse
) -> Redaction | None:
    """The section with every name resolved."""
    if section is None:
        return None
    if OFF in section.profiles:
        raise refuse(f"$.redaction.profiles.{OFF}", "is the name of no profile")
    profiles = {
        name: _profile(name, entry, f"$.redaction.profiles.{name}", refuse)
        for name, entry in section.profiles.items()
    }
    if section.default is not None and section.default not in profiles:
        raise refuse("$.redaction.default", f"no profile {section.default} in this file")
    return Redaction(
        profiles=profiles,
        default=profiles[section.default] if section.default else None,
        key=read_secret(section.key, "$.redaction.key", environment, refuse),
        max_map_bytes=section.max_map_bytes,
    )


def check_name(name: str | None, section: Redaction | None, path: str, refuse: Refuse) -> None:
    """Raises where a model or a caller names a profile that is not there."""
    if name is not None and name != OFF and (section is None or name not in section.profiles):
        raise refuse(path, f"no profile {name} in $.redaction.profiles")


def _profile(name: str, entry: RedactionEntry, path: str, refuse: Refuse) -> RedactionProfile:
    actions = _actions(entry)
    patterns: list[tuple[str, str]] = []
    for i, own in enumerate(entry.patterns):
        where = f"{path}.patterns[{i}]"
        _add(own.name, own.action, actions, f"{where}.name", refuse)
        patterns.append((own.name, check_pattern(own.pattern, f"{where}.pattern", refuse)))
    for i, listed in enumerate(entry.words):
        where = f"{path}.words[{i}]"
        _add(listed.name, listed.action, actions, f"{where}.name", refuse)
        pattern = any_of(read_words(listed.words, listed.file, where, refuse))
        patterns.append((listed.name, check_pattern(pattern, where, refuse)))
    if entry.recogniser is not None:
        for entity, action in entry.recogniser.entities.items():
            _add(entity, action, actions, f"{path}.recogniser.entities.{entity}", refuse)
        if entry.answers:
            raise refuse(f"{path}.answers", "a recogniser is asked about requests only")
    if not actions:
        problem = "names nothing to look for: give entities, patterns, words or a recogniser"
        raise refuse(path, problem)
    return RedactionProfile(
        name=name,
        actions=actions,
        patterns=tuple(patterns),
        recogniser=entry.recogniser,
        mask=entry.mask,
        answers=entry.answers,
        refuses_unread=entry.unread == "refuse",
    )


def _actions(entry: RedactionEntry) -> dict[str, Action]:
    """An action for each entity, the group's where it has none of its own."""
    given: dict[str, Action] = dict(entry.entities.items())
    actions: dict[str, Action] = {}
    for entity in get_args(Entity):
        group = "secret" if entity in SECRETS else "personal"
        action = given.get(entity) or given.get(group)
        if action is not None:
            actions[entity] = action
    return actions


def _add(name: str, action: Action, actions: dict[str, Action], path: str, refuse: Refuse) -> None:
    if name in get_args(Entity):
        raise refuse(path, f"{name} is an entity of its own: name yours otherwise")
    if actions.setdefault(name, action) != action:
        raise refuse(path, f"{name} has another action above")
