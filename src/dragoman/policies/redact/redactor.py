"""One profile at work on one body: what is found, and what stands in its place.

mask     [EMAIL], or all but the last letters and digits as asterisks
replace  [EMAIL_k7q2m4xa], the same for one caller in every turn; put back in the answer
hash     [EMAIL#5f0c…], the same for every caller
block    the request is refused
report   stays, and is counted
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from dragoman.config.policy import RedactionProfile
from dragoman.dialects.texts import FILES, Change, edit_texts
from dragoman.errors import ContentBlocked, ContentTooSensitive
from dragoman.policies.capabilities import find_media
from dragoman.policies.redact.keys import Keys
from dragoman.policies.redact.recognised import Entity, find_recognised
from dragoman.policies.redact.rules import Rule
from dragoman.policies.redact.scanner import RULES, Finding, Scanner, resolve

PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]{0,30}_[a-z2-7]{8}\]")
MAX_PLACEHOLDER = 44
_OPERATORS_OWN = 85
"""The priority of the operator's patterns: above all but the formats of keys."""
_MAX_HINTED = 256
"""A longer text says itself what it is."""
_MAX_GATED = 256 * 1024
"""A larger body is mostly a file that no text slot offers."""
_MAX_PLAIN = 4 * 1024
"""What is larger may hold a file, of whose random letters the patterns make a thousand times the
work that a text is, and which no text slot offers either."""
Group = tuple[str, ...]
_GROUPS: tuple[Group, ...] = (("block",), ("report",), ("mask", "replace", "hash"))
"""Actions whose findings are told apart by themselves, so that what is only counted never hides
what must not pass."""
_NOTHING: list[list[Finding]] = [[] for _ in _GROUPS]
_FILE = Rule(name="file", entity="file", pattern=f'"(?:{"|".join(FILES)})"|;base64,')
"""Of no action: stands in a body that may hold a text as a file, which a look does not read."""
_ESCAPES = ((b"\\n", b"\n"), (b"\\r", b"\r"), (b"\\t", b"\t"), (b'\\"', b'"'), (b"\\/", b"/"))

Edit = Callable[[bytes, Change], bytes | None]
"""Changes the texts of a body, as `edit_texts` does those of JSON."""


class Surveyed(NamedTuple):
    """A text that waits for what a recogniser finds in it."""

    lead: bytes
    text: str
    path: str
    groups: list[list[Finding]]
    """What the patterns found, as `Redactor.find` gives it."""


class Redacted(NamedTuple):
    """What became of a body."""

    body: bytes | None
    """None: as it was."""
    originals: dict[str, str]
    """What each placeholder stands for."""
    counts: dict[str, int]
    """Findings by entity."""


class Redactor:
    """One profile, compiled. Holds nothing of a request."""

    def __init__(self, profile: RedactionProfile, keys: Keys, max_map_bytes: int) -> None:
        own = [
            Rule(name=name, entity=name, pattern=pattern, priority=_OPERATORS_OWN)
            for name, pattern in profile.patterns
        ]
        wanted = [rule for rule in (*RULES, *own) if rule.entity in profile.actions]
        wanted.sort(key=lambda rule: -rule.priority)
        self.profile = profile
        self.keys = keys
        self.max_map_bytes = max_map_bytes
        self._scanner = Scanner([*wanted, _FILE])
        self._groups = [_numbers(wanted, profile, actions) for actions in _GROUPS]
        self._has_gate = not own

    def redact(self, raw: bytes, caller: str) -> Redacted:
        """The texts of `raw`, a JSON body, treated. Raises `ContentBlocked` for what is blocked."""
        if self._is_clean(raw):
            return Redacted(None, {}, {})
        pass_ = _Pass(self, caller)
        body = edit_texts(raw, pass_.change)
        return pass_.finish(body)

    def survey(self, raw: bytes, edit: Edit) -> list[Surveyed]:
        """The texts of `raw`, and what the patterns find in them. Raises `ContentBlocked`."""
        found: list[Surveyed] = []

        def look(text: str, hint: str, path: Callable[[], str]) -> None:
            lead = _lead(text, hint)
            groups = _behind(lead, self.find(lead + text.encode()))
            where = path()
            for finding in groups[0]:
                raise ContentBlocked(where, finding.entity)
            found.append(Surveyed(lead, text, where, groups))

        edit(raw, look)
        return found

    def redact_surveyed(
        self,
        raw: bytes,
        edit: Edit,
        caller: str,
        found: Sequence[Surveyed],
        recognised: Sequence[Sequence[Entity]],
    ) -> Redacted:
        """`raw`, of which `survey` found as much and a recogniser the rest, text by text. Raises
        `ContentBlocked` and `ContentTooSensitive`."""
        pass_, texts = _Pass(self, caller), zip(found, recognised, strict=True)

        def change(text: str, hint: str, path: Callable[[], str]) -> str | None:
            del text, hint
            surveyed, entities = next(texts)
            return pass_.treat(surveyed, self._with(surveyed, entities), path)

        return pass_.finish(edit(raw, change))

    def _with(self, surveyed: Surveyed, entities: Sequence[Entity]) -> list[list[Finding]]:
        """The groups of a text, with what the recogniser found in it."""
        recogniser, actions = self.profile.recogniser, self.profile.actions
        if not entities or recogniser is None:
            return surveyed.groups
        at, score = len(surveyed.lead), recogniser.min_score
        more = list(find_recognised(surveyed.text, at, entities, actions, score))
        return [
            resolve([*own, *(f for f in more if actions[f.entity] in group)])
            for group, own in zip(_GROUPS, surveyed.groups, strict=True)
        ]

    def redact_text(self, text: str, caller: str, path: str) -> tuple[str, Redacted]:
        """One text that stands by itself, such as a field of a form."""
        pass_ = _Pass(self, caller)
        changed = pass_.change(text, "", lambda: path)
        return changed if changed is not None else text, pass_.finish(None)

    def spans(self, lead: str, text: str) -> list[tuple[int, int]]:
        """Where in `text`, which follows `lead`, anything is found, by characters."""
        raw, skip = (lead + text).encode(), len(lead)
        found = [f for group in self.find(raw) for f in group]
        return [(_characters(raw, f.start) - skip, _characters(raw, f.end) - skip) for f in found]

    def redact_after(self, lead: str, text: str, counts: Counter[str]) -> str:
        """`text`, which follows `lead`, treated; adds to `counts`. Raises `ContentBlocked`."""
        pass_ = _Pass(self, "")
        changed = pass_.change_after(lead.encode(), text, lambda: "$")
        counts.update(pass_.finish(None).counts)
        return text if changed is None else changed

    def find(self, raw: bytes) -> list[list[Finding]]:
        """What is to be blocked, what is only counted, and what is rewritten."""
        hits = self._scanner.hits(raw)
        if not hits:
            return _NOTHING
        return [self._scanner.search(raw, [n for n in hits if n in own]) for own in self._groups]

    def _is_clean(self, raw: bytes) -> bool:
        """Whether a look at the whole body is enough to know that there is nothing in it.

        Only where no escape can hide a character from the patterns, and where these are ours: an
        operator's own may ask where a text begins.
        """
        if not self._has_gate or len(raw) > _MAX_GATED:
            return False
        if len(raw) > _MAX_PLAIN and find_media(raw):
            return False
        if b"\\" in raw:
            if b"\\u" in raw:
                raw = msgspec.json.encode(msgspec.json.decode(raw))
            if b"\\\\" in raw or b"\\u" in raw:
                return False
            for escape, meant in _ESCAPES:
                raw = raw.replace(escape, meant)
        return self._scanner.is_clean(raw)


def _numbers(rules: list[Rule], profile: RedactionProfile, actions: Group) -> frozenset[int]:
    """Which of `rules` find the entities that one of `actions` is for."""
    return frozenset(n for n, rule in enumerate(rules) if profile.actions[rule.entity] in actions)


class _Pass:
    """One body: what was found so far."""

    def __init__(self, redactor: Redactor, caller: str) -> None:
        self._of = redactor
        self._caller = caller
        self._originals: dict[str, str] = {}
        self._placeholders: dict[tuple[str, str], str] = {}
        self._counts: Counter[str] = Counter()

    def change(self, text: str, hint: str, path: Callable[[], str]) -> str | None:
        """The text to put in place of `text`; None where nothing is found in it."""
        return self.change_after(_lead(text, hint), text, path)

    def change_after(self, lead: bytes, text: str, path: Callable[[], str]) -> str | None:
        """`change`, where `lead` stands before the text and is only looked at."""
        groups = _behind(lead, self._of.find(lead + text.encode()))
        return self.treat(Surveyed(lead, text, "", groups), groups, path)

    def treat(
        self, surveyed: Surveyed, groups: Sequence[list[Finding]], path: Callable[[], str]
    ) -> str | None:
        """The text to put in its place, `groups` being what is found in it; None: it stays."""
        blocked, reported, found = groups
        for finding in blocked:
            raise ContentBlocked(path(), finding.entity)
        for finding in reported:
            self._counts[finding.entity] += 1
        if not found:
            return None
        lead = surveyed.lead
        return self._rewritten(lead + surveyed.text.encode(), len(lead), found)

    def finish(self, body: bytes | None) -> Redacted:
        size = sum(len(k) + len(v) for k, v in self._originals.items())
        if size > self._of.max_map_bytes:
            raise ContentTooSensitive(self._of.max_map_bytes)
        return Redacted(body, self._originals, dict(self._counts))

    def _rewritten(self, raw: bytes, at: int, found: list[Finding]) -> str:
        pieces: list[bytes] = []
        for finding in found:
            start = max(at, finding.start)
            self._counts[finding.entity] += 1
            said = self._stand_in(finding.entity, raw[start : finding.end].decode())
            pieces += (raw[at:start], said.encode())
            at = finding.end
        return b"".join((*pieces, raw[at:])).decode()

    def _stand_in(self, entity: str, text: str) -> str:
        match self._of.profile.actions[entity]:
            case "replace":
                return self._placeholder(entity, text)
            case "hash":
                return f"[{entity.upper()}#{self._of.keys.digest(entity, text)}]"
            case _:
                return mask(entity, text, self._of.profile.mask.keep_last)

    def _placeholder(self, entity: str, text: str) -> str:
        known = self._placeholders.get((entity, text))
        if known is not None:
            return known
        for tag in self._of.keys.tags(self._caller, entity, text):
            placeholder = f"[{entity.upper()}_{tag}]"
            if placeholder not in self._originals:
                break
        else:
            raise ContentTooSensitive(self._of.max_map_bytes)
        self._placeholders[entity, text] = placeholder
        self._originals[placeholder] = text
        return placeholder


def _lead(text: str, hint: str) -> bytes:
    """What is only looked at before a short text: the name the client gave it."""
    return f"{hint}: ".encode() if hint and len(text) < _MAX_HINTED else b""


def _behind(lead: bytes, groups: Sequence[list[Finding]]) -> list[list[Finding]]:
    """What is not in the lead alone."""
    return [[finding for finding in group if finding.end > len(lead)] for group in groups]


def _characters(raw: bytes, at: int) -> int:
    return len(raw[:at].decode())


def mask(entity: str, text: str, keep_last: int) -> str:
    """The entity's name, or `text` with all but its last letters and digits hidden."""
    letters = [i for i, character in enumerate(text) if character.isalnum()]
    if not keep_last or len(letters) < 3 * keep_last:
        return f"[{entity.upper()}]"
    hidden = set(letters[:-keep_last])
    return "".join("*" if i in hidden else character for i, character in enumerate(text))
