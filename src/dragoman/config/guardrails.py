"""The `guardrails` section: as written, as resolved, and checked whole on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal, get_args

import msgspec

from dragoman.config.callouts import FAILED, Callout, Side
from dragoman.config.patterns import Refuse, any_of, check_pattern, read_words
from dragoman.config.section import Name
from dragoman.dialects.speakers import Speaker
from dragoman.metadata import ANSWER_LENGTH, DISCLAIMER, SCHEMA, SCORE

Sign = Literal[
    "addressed_to_model", "chat_template", "conceal_from_user", "encoded_instruction",
    "exfiltration", "fake_turn", "hidden_text", "override_instructions", "prompt_extraction",
    "refusal_suppression", "role_reassignment", "unrestricted_persona",
]  # fmt: skip
"""What prompt injection and jailbreaks are told by."""
SIGNS: tuple[Sign, ...] = get_args(Sign)
MOST_HELD = 256
"""Characters of a streamed answer that wait for what a pattern may still find, or a word of 256."""
ANSWER_WINDOW = 1000
OFF = "off"
"""Said of a model or a caller: no profile applies."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class DenyEntry(_Section, frozen=True, kw_only=True):
    """What no request or answer may say. One of words, file and patterns is enough."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    words: tuple[Annotated[str, msgspec.Meta(min_length=2, max_length=256)], ...] = ()
    """Whole, in any case."""
    file: str | None = None
    """Further words, one a line."""
    patterns: tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=4096)], ...] = ()
    """RE2 syntax."""
    speakers: tuple[Speaker, ...] = msgspec.field(default=(), name="in")
    """Whose texts of a request are searched; none: everybody's."""
    applies_to: Annotated[tuple[Side, ...], msgspec.Meta(min_length=1)] = ("request",)
    action: Literal["block", "report"] = "block"


class InjectionEntry(_Section, frozen=True, kw_only=True):
    """What becomes of texts that look like prompt injection or a jailbreak."""

    threshold: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.6
    action: Literal["block", "report"] = "block"


class DisclaimerEntry(_Section, frozen=True, kw_only=True):
    """A text that an answer must have."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=4096, pattern=r"\S")]
    where: Literal["start", "end"] = "end"
    """A blank line stands between it and what the model wrote."""


class SchemaEntry(_Section, frozen=True, kw_only=True):
    """What becomes of an answer that is not the JSON that its request asked for."""

    action: Literal["block", "report"] = "block"


class GuardrailEntry(_Section, frozen=True, kw_only=True):
    """What a request under this profile, and its answer, are searched for."""

    deny: tuple[DenyEntry, ...] = ()
    injection: InjectionEntry | None = None
    callouts: tuple[Callout, ...] = ()
    """Asked together, once nothing above has refused the request, or kept back the answer."""
    answer_window: Annotated[int, msgspec.Meta(ge=16, le=2**20)] | None = None
    """Characters of a streamed answer that callouts are asked about at once; None: 1000."""
    max_answer_characters: Annotated[int, msgspec.Meta(ge=1, le=2**40)] | None = None
    """Of chats; None: as long as the model makes it."""
    disclaimer: DisclaimerEntry | None = None
    """Of chats: added where the model did not write it."""
    schema: SchemaEntry | None = None
    """Of chats whose request gives one."""
    unread: Literal["refuse", "pass"] = "refuse"
    """Bodies that nobody reads (files, batches, `pass_through`) cannot be searched."""


class GuardrailSection(_Section, frozen=True, kw_only=True):
    """What requests and answers may not say, by named profiles."""

    profiles: Annotated[dict[Name, GuardrailEntry], msgspec.Meta(min_length=1)]
    default: Name | None = None
    """For models and callers that name none; `off` is the name of no profile."""


class DenyRule(msgspec.Struct, frozen=True, kw_only=True):
    """A deny-list as patterns."""

    name: str
    patterns: tuple[str, ...]
    speakers: tuple[Speaker, ...]
    reach: int
    """Characters that what is found has at most; of patterns, as many as are waited for."""
    blocks: bool


class GuardProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One way to look at requests and answers."""

    name: str
    deny: tuple[DenyRule, ...]
    """Of requests."""
    answers: tuple[DenyRule, ...]
    injection: InjectionEntry | None
    callouts: tuple[Callout, ...]
    answer_window: int = ANSWER_WINDOW
    """Characters of a stream that are judged at once."""
    max_answer_characters: int | None = None
    disclaimer: DisclaimerEntry | None = None
    schema: SchemaEntry | None = None
    refuses_unread: bool

    @property
    def looks_at_answers(self) -> bool:
        adds = self.disclaimer is not None
        bounds = self.max_answer_characters is not None
        return bool(self.answers or self.callouts_of("answer")) or bounds or adds

    def callouts_of(self, side: Side) -> tuple[Callout, ...]:
        return tuple(callout for callout in self.callouts if side in callout.applies_to)


class Guardrails(msgspec.Struct, frozen=True, kw_only=True):
    """All profiles."""

    profiles: Mapping[str, GuardProfile]
    default: str

    @property
    def looks_at_answers(self) -> bool:
        return any(profile.looks_at_answers for profile in self.profiles.values())

    @property
    def checks_schemas(self) -> bool:
        return any(profile.schema is not None for profile in self.profiles.values())

    def rules(self, *, answers: bool = False) -> tuple[str, ...]:
        """All that any profile may find, in requests or in `answers`."""
        profiles = self.profiles.values()
        if answers:
            found = {rule.name for profile in profiles for rule in profile.answers}
            found |= _counted(c for profile in profiles for c in profile.callouts_of("answer"))
            if any(profile.max_answer_characters is not None for profile in profiles):
                found.add(ANSWER_LENGTH)
            if any(profile.disclaimer is not None for profile in profiles):
                found.add(DISCLAIMER)
            if self.checks_schemas:
                found.add(SCHEMA)
            return tuple(sorted(found))
        denied = {rule.name for profile in profiles for rule in profile.deny}
        signs = SIGNS if any(profile.injection for profile in profiles) else ()
        asked = _counted(c for profile in profiles for c in profile.callouts_of("request"))
        return (*sorted(denied), *signs, *sorted(asked))

    def callouts(self) -> Iterator[tuple[str, Callout]]:
        """All of them, each with the name of its profile."""
        for profile in self.profiles.values():
            yield from ((profile.name, callout) for callout in profile.callouts)

    def choose(self, *names: str | None) -> GuardProfile | None:
        """The first that is named, by caller and by model, else the default; None where that is
        `off`."""
        return self.profiles.get(next(filter(None, names), self.default))


def _counted(callouts: Iterable[Callout]) -> set[str]:
    """Under what is counted what they say, and that they say nothing."""
    return {said for c in callouts for said in (c.name, f"{c.name}{FAILED}")}


def read_guardrails(section: GuardrailSection | None, refuse: Refuse) -> Guardrails | None:
    """The section with every name resolved."""
    if section is None:
        return None
    if OFF in section.profiles:
        raise refuse(f"$.guardrails.profiles.{OFF}", "is the name of no profile")
    if section.default is not None and section.default not in section.profiles:
        raise refuse("$.guardrails.default", f"no profile {section.default} in this file")
    profiles = {
        name: _profile(name, entry, f"$.guardrails.profiles.{name}", refuse)
        for name, entry in section.profiles.items()
    }
    return Guardrails(profiles=profiles, default=section.default or OFF)


def check_guarded(name: str | None, section: Guardrails | None, path: str, refuse: Refuse) -> None:
    """Raises where a model or a caller names a profile that is not there."""
    if name is not None and name != OFF and (section is None or name not in section.profiles):
        raise refuse(path, f"no profile {name} in $.guardrails.profiles")


def _profile(name: str, entry: GuardrailEntry, path: str, refuse: Refuse) -> GuardProfile:
    length, disclaimer = entry.max_answer_characters, entry.disclaimer
    looks = entry.deny or entry.injection or entry.callouts or entry.schema
    if not (looks or length or disclaimer):
        problem = "names nothing to look for: give deny, injection, callouts, schema, "
        raise refuse(path, f"{problem}max_answer_characters or disclaimer")
    names = [SCORE, ANSWER_LENGTH, DISCLAIMER, SCHEMA, *SIGNS]
    for i, rule in enumerate(entry.deny):
        if rule.name in names:
            raise refuse(f"{path}.deny[{i}].name", f"{rule.name} is taken")
        if rule.speakers and "request" not in rule.applies_to:
            raise refuse(f"{path}.deny[{i}].in", "is about requests, and the rule is not")
        names.append(rule.name)
    for i, callout in enumerate(entry.callouts):
        if callout.name in names:
            raise refuse(f"{path}.callouts[{i}].name", f"{callout.name} is taken")
        if callout.speakers and "request" not in callout.applies_to:
            raise refuse(f"{path}.callouts[{i}].in", "is about requests, and the callout is not")
        names.append(callout.name)
    judges = any("answer" in callout.applies_to for callout in entry.callouts)
    if entry.answer_window is not None and not judges:
        raise refuse(f"{path}.answer_window", "has no effect without callouts of answers")
    rules = [_rule(rule, f"{path}.deny[{i}]", refuse) for i, rule in enumerate(entry.deny)]
    sides = [(rule, own.applies_to) for rule, own in zip(rules, entry.deny, strict=True)]
    return GuardProfile(
        name=name,
        deny=tuple(rule for rule, those in sides if "request" in those),
        answers=tuple(rule for rule, those in sides if "answer" in those),
        injection=entry.injection,
        callouts=entry.callouts,
        answer_window=entry.answer_window or ANSWER_WINDOW,
        max_answer_characters=length,
        disclaimer=disclaimer,
        schema=entry.schema,
        refuses_unread=entry.unread == "refuse",
    )


def _rule(entry: DenyEntry, path: str, refuse: Refuse) -> DenyRule:
    patterns = [
        check_pattern(pattern, f"{path}.patterns[{i}]", refuse)
        for i, pattern in enumerate(entry.patterns)
    ]
    reach = MOST_HELD if patterns else 0
    if entry.words or entry.file is not None or not patterns:
        words = read_words(entry.words, entry.file, path, refuse)
        patterns.append(check_pattern(any_of(words), path, refuse))
        reach = max(reach, *map(len, words))
    return DenyRule(
        name=entry.name,
        patterns=tuple(patterns),
        speakers=entry.speakers,
        reach=reach,
        blocks=entry.action == "block",
    )
