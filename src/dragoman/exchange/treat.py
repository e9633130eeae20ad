"""What is done to the texts of an answer: hiding what the model wrote, giving back what the request
hid, and looking at what comes of it. Pieces of a text may be cut anywhere: `feed` and `close` give
together what the whole text would have given."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from dragoman import metadata as names
from dragoman.actions import Metadata
from dragoman.dialects.repeats import drop_repeats, without_repeats
from dragoman.ir import Json
from dragoman.policies.redact.redactor import MAX_PLACEHOLDER, PLACEHOLDER, Redactor
from dragoman.wire.json_texts import Place, rewrite

if TYPE_CHECKING:
    from dragoman.exchange.answer_guard import AnswerGuard, PieceGuard
    from dragoman.exchange.answer_limit import AnswerLimit
    from dragoman.exchange.disclaimer import Disclaimer
    from dragoman.exchange.judging import Judging

_PARTIAL = re.compile(r"\[(?:[A-Z][A-Z0-9_]{0,30}(?:[a-z2-7]{1,8})?)?\Z")
"""The beginning of a placeholder, at the end of a text."""
LOOKS_LIKE_JSON = re.compile(r"\s*(?:\{|\[\s*[\[{\"])")
HELD_CHARACTERS = 256
"""Kept back while a text still grows: as far as one finding, with the words around it, reaches."""
_MAX_HELD_CHARACTERS = 16 * 1024
"""Of a finding that does not end: what there is of it is treated then."""
_LEAD_CHARACTERS = 64
"""Kept of what went out, for the words before a finding."""


class Pieces(Protocol):
    """One text that comes in pieces: what came, treated, as soon as it may go out."""

    @property
    def holds(self) -> bool:
        """Whether something of what was fed has not gone out."""
        ...

    def feed(self, piece: str) -> str: ...
    def close(self) -> str: ...


class Guarding(NamedTuple):
    """What guardrails do to one answer; None: nothing."""

    guard: AnswerGuard | None = None
    limit: AnswerLimit | None = None
    """Of a chat's."""
    disclaimer: Disclaimer | None = None
    """The same."""
    judging: Judging | None = None


class Treatment:
    """One answer's: what the request hid, and the profiles the answer is under, if any."""

    def __init__(
        self,
        originals: Mapping[str, str],
        redactor: Redactor | None = None,
        caller: str = "",
        guarding: Guarding | None = None,
    ) -> None:
        guard, self.limit, self.disclaimer, self.judging = guarding or Guarding()
        self.guard = guard
        self._originals = originals
        self._redactor = redactor
        self._caller = caller
        self.counts: Counter[str] = Counter()
        """What the model wrote and was found, by entity."""
        self.hides = redactor is not None or (guard is not None and guard.blocks)
        """Something may be kept from the client, which no other field may say then."""
        self.dropped: set[str] = set()
        """Names of fields that would have."""

    def answer(self, raw: bytes, kind: str) -> bytes:
        """A whole answer of content type `kind`. Raises `ContentBlocked` and as `AnswerGuard`.

        What is neither JSON nor text (speech, images) has no texts.
        """
        if _is_json(raw):
            if self.hides:
                raw, self.dropped = without_repeats(raw)
            raw = self._body(raw)
            if self.guard is not None:
                self.guard.look_at_body(raw)
            return raw
        if not kind.startswith("text/") and kind != "application/json":
            return raw
        try:
            return self.whole(raw.decode(), is_json=False).encode()
        except UnicodeDecodeError:
            return raw

    def prepare(self, event: Json) -> bool:
        """An event of a streamed answer, before its texts; whether it changed."""
        dropped = drop_repeats(event) if self.hides else set[str]()
        self.dropped |= dropped
        return bool(dropped)

    def _body(self, raw: bytes) -> bytes:
        if self._redactor is not None:
            redacted = self._redactor.redact(raw, self._caller)
            self.counts.update(redacted.counts)
            raw = redacted.body or raw
        if self._originals:
            raw = rewrite(raw, _Restoring(self)) or raw
        return raw

    def tell(self) -> Metadata:
        """What was found in the answer so far."""
        rules = dict.fromkeys(self.guard.found if self.guard is not None else (), 1.0)
        rules |= self.judging.counts if self.judging is not None else {}
        if self.limit is not None and self.limit.is_reached:
            rules[names.ANSWER_LENGTH] = 1
        if self.disclaimer is not None and self.disclaimer.is_added:
            rules[names.DISCLAIMER] = 1
        found: dict[str, dict[str, float]] = {
            names.REDACTION_ANSWER_NAMESPACE: dict(self.counts),
            names.GUARDRAILS_ANSWER_NAMESPACE: rules,
        }
        return {
            space: {what: float(count) for what, count in counts.items()}
            for space, counts in found.items()
            if counts
        }

    def text(self, text: str, *, is_json: bool) -> str:
        """A text in one piece, given back."""
        return PLACEHOLDER.sub(lambda found: self._given_back(found[0], is_json=is_json), text)

    def whole(self, text: str, *, is_json: bool, path: str = "$") -> str:
        """A text in one piece, hidden and given back. Raises as `answer`."""
        is_json = is_json or bool(LOOKS_LIKE_JSON.match(text))
        text = self.text(self.hide(text), is_json=is_json)
        if self.guard is not None:
            self.guard.look(text, lambda: path)
        return text

    def hide(self, text: str) -> str:
        if self._redactor is None:
            return text
        changed, redacted = self._redactor.redact_text(text, self._caller, "$")
        self.counts.update(redacted.counts)
        return changed

    def piecewise(self, *, is_json: bool) -> Pieces:
        """For a text that comes in pieces. They raise as `answer`."""
        treated = PieceTreatment(self, self._redactor, is_json=is_json)
        if self.guard is None:
            return treated
        guarded = self.guard.piecewise(is_json=is_json)
        return _Both(treated, guarded) if self._originals or self._redactor else guarded

    def _given_back(self, placeholder: str, *, is_json: bool) -> str:
        original = self._originals.get(placeholder)
        if original is None:
            return placeholder
        return msgspec.json.encode(original)[1:-1].decode() if is_json else original


def _is_json(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


class PieceTreatment:
    """One text that comes in pieces. What is held is bounded; what goes out is final."""

    def __init__(self, treatment: Treatment, redactor: Redactor | None, *, is_json: bool) -> None:
        self._treatment = treatment
        self._redactor = redactor
        self._is_json = is_json
        self._began = False
        self._held = ""
        self._lead = ""

    @property
    def holds(self) -> bool:
        """Whether something of what was fed has not gone out."""
        return bool(self._held)

    def feed(self, piece: str) -> str:
        self._held += piece
        if not self._began and self._held.strip() not in ("", "["):
            self._began = True
            self._is_json = self._is_json or bool(LOOKS_LIKE_JSON.match(self._held))
        return self._release(self._cut())

    def close(self) -> str:
        return self._release(len(self._held))

    def _cut(self) -> int:
        """How much of what is held may go out, whatever follows."""
        cut = len(self._held)
        if self._redactor is not None:
            cut = max(0, cut - HELD_CHARACTERS)
            if cut:
                cut = self._before_finding(self._redactor, cut)
        tail = self._held[max(0, cut - MAX_PLACEHOLDER) : cut]
        partial = _PARTIAL.search(tail)
        return cut - len(partial[0]) if partial else cut

    def _before_finding(self, redactor: Redactor, cut: int) -> int:
        for start, end in redactor.spans(self._lead, self._held):
            if start < cut < end:
                too_long = len(self._held) - start > _MAX_HELD_CHARACTERS
                return end if too_long else start
        return cut

    def _release(self, cut: int) -> str:
        out, self._held = self._held[:cut], self._held[cut:]
        if self._redactor is None or not out:
            return self._treatment.text(out, is_json=self._is_json)
        hidden = self._redactor.redact_after(self._lead, out, self._treatment.counts)
        self._lead = (self._lead + out)[-_LEAD_CHARACTERS:]
        return self._treatment.text(hidden, is_json=self._is_json)


class _Both:
    """A text that is looked at as it comes out of its treatment."""

    def __init__(self, treated: PieceTreatment, guarded: PieceGuard) -> None:
        self._treated = treated
        self._guarded = guarded

    @property
    def holds(self) -> bool:
        return self._treated.holds or self._guarded.holds

    def feed(self, piece: str) -> str:
        return self._guarded.feed(self._treated.feed(piece))

    def close(self) -> str:
        return self._guarded.close(self._treated.close())


class _Restoring:
    """Gives back in every string of an answer, and in the JSON in them."""

    def __init__(self, treatment: Treatment) -> None:
        self._treatment = treatment

    def opens_free(self, place: Place) -> bool:
        del place
        return True

    def number(self, digits: str, place: Place) -> None:
        del digits, place

    def key(self, text: str, place: Place) -> str | None:
        del place
        return self._given_back(text, is_json=False)

    def value(self, text: str, place: Place) -> str | None:
        del place
        return self._given_back(text, is_json=bool(LOOKS_LIKE_JSON.match(text)))

    def _given_back(self, text: str, *, is_json: bool) -> str | None:
        if "[" not in text:
            return None
        changed = self._treatment.text(text, is_json=is_json)
        return changed if changed != text else None
