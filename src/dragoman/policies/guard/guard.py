"""One profile at work on one request: what refuses it, what is only reported, and where. What looks
at its answer is there too."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable

from dragoman.config.guardrails import DenyRule, GuardProfile, Guardrails
from dragoman.config.policy import Caller, Model
from dragoman.dialects.speakers import Speaker, speaker_of
from dragoman.dialects.texts import edit_texts
from dragoman.errors import ContentDenied, PromptInjection
from dragoman.ir import Json
from dragoman.metadata import SCORE
from dragoman.policies.guard.injection import Scorer, score
from dragoman.policies.guard.plain import read
from dragoman.policies.guard.seen import Seen
from dragoman.policies.guard.verdicts import Verdicts
from dragoman.policies.redact.rules import Rule
from dragoman.policies.redact.scanner import Scanner


class DenyLists:
    """Several, searched for at once."""

    def __init__(self, rules: Iterable[DenyRule]) -> None:
        found = [(rule, pattern) for rule in rules for pattern in rule.patterns]
        self.rules = [rule for rule, _ in found]
        """By the scanner's numbers."""
        self.scanner = Scanner(
            [Rule(name=rule.name, entity=rule.name, pattern=pattern) for rule, pattern in found]
        )
        self.reach = max(rule.reach for rule in self.rules)

    def denied(self, text: str) -> list[DenyRule]:
        """Those that `text` is on."""
        return [self.rules[hit] for hit in self.scanner.hits(text.encode("utf-8", "replace"))]


class Guard:
    """One profile, compiled. Holds nothing of a request."""

    def __init__(self, profile: GuardProfile, scorer: Scorer | None) -> None:
        """`scorer` where the profile looks for injections."""
        self.profile = profile
        self.scorer = scorer if profile.injection else None
        self._lists = DenyLists(profile.deny) if profile.deny else None
        self.answers = DenyLists(profile.answers) if profile.answers else None
        """What answers are searched for."""

    def look(self, raw: bytes, body: Json) -> Seen:
        """At every text of `raw`, a JSON body that reads as `body`.

        Raises `ContentDenied` or `PromptInjection`.
        """
        pass_ = _Pass(self, lambda path: speaker_of(body, path))
        if self._lists is not None or self.scorer is not None:
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
        return self._lists.denied(text) if self._lists else []


class _Pass:
    """One request: what was found so far."""

    def __init__(self, guard: Guard, speaker_at: Callable[[str], Speaker]) -> None:
        self._of = guard
        self._speaker_at = speaker_at
        self._counts: Counter[str] = Counter()
        self._listed: set[str] = set()
        """Deny-lists that only report, of those in `_counts`."""
        self._highest = 0.0

    def look(self, text: str, hint: str, path: Callable[[], str]) -> None:
        """One text; nothing of it is changed."""
        del hint
        plain, hides = read(text)
        listed: set[str] = set()
        for said in (text,) if plain == text else (text, plain):
            for rule in self._of.denied(said):
                if not rule.speakers or self._speaker_at(path()) in rule.speakers:
                    if rule.blocks:
                        raise ContentDenied(path(), rule.name)
                    listed.add(rule.name)
        self._counts.update(listed)
        self._listed |= listed
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
        profile = self._of.profile
        answers = profile.name if profile.looks_at_answers else ""
        if not self._counts:
            return Seen({}, answers=answers)
        rules = sorted(self._counts)
        counts: Json = {rule: float(self._counts[rule]) for rule in rules}
        note = [f"reported={'+'.join(sorted(self._listed))}"] if self._listed else []
        if signs := [rule for rule in rules if rule not in self._listed]:
            note.append(f"injection={self._highest:.2f}({'+'.join(signs)})")
            counts[SCORE] = self._highest
        return Seen(counts, tuple(note), answers)


class Guards:
    """The profiles of a policy, compiled; made once a worker, shared by all requests."""

    def __init__(self, section: Guardrails) -> None:
        self.verdicts = Verdicts()
        self._section = section
        wanted = any(profile.injection for profile in section.profiles.values())
        scorer = Scorer() if wanted else None
        self._guards = {name: Guard(profile, scorer) for name, profile in section.profiles.items()}

    def choose(self, caller: Caller, model: Model | None = None) -> Guard | None:
        """The one a request is under; None: no profile applies."""
        profile = self._section.choose(caller.guardrails, model.guardrails if model else None)
        return self._guards[profile.name] if profile else None

    def named(self, name: str) -> Guard | None:
        return self._guards.get(name)
