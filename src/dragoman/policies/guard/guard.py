"""One profile at work on one request: what refuses it, what is only reported, and where."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from dragoman.config.guardrails import DenyRule, GuardProfile, Guardrails
from dragoman.config.policy import Caller, Model
from dragoman.dialects.speakers import Speaker, speaker_of
from dragoman.dialects.texts import edit_texts
from dragoman.errors import ContentDenied, PromptInjection
from dragoman.ir import Json
from dragoman.metadata import SCORE
from dragoman.policies.guard.injection import Scorer, score
from dragoman.policies.guard.plain import read
from dragoman.policies.redact.rules import Rule
from dragoman.policies.redact.scanner import Scanner


class Seen(NamedTuple):
    """What was found in a request that goes on."""

    counts: Json
    """Texts by rule, and the highest score; empty where no text reached the threshold."""
    note: tuple[str, ...] = ()
    """The same in short."""


class Guard:
    """One profile, compiled. Holds nothing of a request."""

    def __init__(self, profile: GuardProfile, scorer: Scorer | None) -> None:
        """`scorer` where the profile looks for injections."""
        self.profile = profile
        self.scorer = scorer if profile.injection else None
        found = [(rule, pattern) for rule in profile.deny for pattern in rule.patterns]
        self._rules = [rule for rule, _ in found]
        listed = [Rule(name=r.name, entity=r.name, pattern=pattern) for r, pattern in found]
        self._scanner = Scanner(listed) if listed else None

    def look(self, raw: bytes, body: Json) -> Seen:
        """At every text of `raw`, a JSON body that reads as `body`.

        Raises `ContentDenied` or `PromptInjection`.
        """
        pass_ = _Pass(self, lambda path: speaker_of(body, path))
        edit_texts(raw, pass_.look)
        return pass_.finish()

    def look_at(self, texts: Iterable[tuple[str, str]]) -> Seen:
        """The same of a user's texts that stand by themselves, by path: the fields of a form."""
        pass_ = _Pass(self, lambda _: "user")
        for path, text in texts:
            pass_.look(text, "", functools.partial(str, path))
        return pass_.finish()

    def denied(self, text: str) -> list[DenyRule]:
        """The deny-lists that `text` is on, whosever it is."""
        if self._scanner is None:
            return []
        return [self._rules[hit] for hit in self._scanner.hits(text.encode("utf-8", "replace"))]


class _Pass:
    """One request: what was found so far."""

    def __init__(self, guard: Guard, speaker_at: Callable[[str], Speaker]) -> None:
        self._of = guard
        self._speaker_at = speaker_at
        self._counts: Counter[str] = Counter()
        self._highest = 0.0

    def look(self, text: str, hint: str, path: Callable[[], str]) -> None:
        """One text; nothing of it is changed."""
        del hint
        plain, hides = read(text)
        for said in (text,) if plain == text else (text, plain):
            for rule in self._of.denied(said):
                if not rule.speakers or self._speaker_at(path()) in rule.speakers:
                    raise ContentDenied(path(), rule.name)
        injection = self._of.profile.injection
        signs = self._of.scorer.signs(plain, hides=hides) if self._of.scorer else {}
        if injection is None or not signs:
            return
        where = path()
        reached = score(signs, self._speaker_at(where))
        if reached < injection.threshold:
            return
        self._counts.update(signs.keys())
        self._highest = max(self._highest, reached)
        if injection.action == "block":
            raise PromptInjection(where, reached, injection.threshold, tuple(sorted(signs)))

    def finish(self) -> Seen:
        if not self._counts:
            return Seen({})
        rules = sorted(self._counts)
        counts: Json = {rule: float(self._counts[rule]) for rule in rules}
        note = f"injection={self._highest:.2f}({'+'.join(rules)})"
        return Seen({**counts, SCORE: self._highest}, (note,))


class Guards:
    """The profiles of a policy, compiled; made once a worker, shared by all requests."""

    def __init__(self, section: Guardrails) -> None:
        self._section = section
        wanted = any(profile.injection for profile in section.profiles.values())
        scorer = Scorer() if wanted else None
        self._guards = {name: Guard(profile, scorer) for name, profile in section.profiles.items()}

    def choose(self, caller: Caller, model: Model | None = None) -> Guard | None:
        """The one a request is under; None: no profile applies."""
        profile = self._section.choose(caller.guardrails, model.guardrails if model else None)
        return self._guards[profile.name] if profile else None
