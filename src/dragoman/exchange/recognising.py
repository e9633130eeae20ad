"""A request whose texts a recogniser looks at before they are redacted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dragoman.config.callouts import Recogniser
from dragoman.config.policy import RECOGNISER_FAILED
from dragoman.dialects import BodyKind
from dragoman.dialects.speakers import speaker_of
from dragoman.dialects.texts import edit_texts
from dragoman.exchange.bodies import edit_form
from dragoman.ir import Json
from dragoman.policies.questions import About, Fault, Question, Text
from dragoman.policies.redact.recognised import Entity, read_findings, recognise_question

if TYPE_CHECKING:
    from dragoman.policies.redact.redactor import Redacted, Redactor


class Recognising:
    """One request, between the question and its answer. Raises `ContentBlocked` for what patterns
    find that is to be blocked: nobody is asked about it."""

    def __init__(
        self,
        redactor: Redactor,
        recogniser: Recogniser,
        sent: tuple[BodyKind, bytes, Json],
        about: About,
    ) -> None:
        """`recogniser` is the redactor's own; `sent` is the body as it came and as it reads."""
        kind, raw, body = sent
        self._redactor = redactor
        self._recogniser = recogniser
        self._raw = raw
        self._edit = edit_texts if kind == "json" else edit_form
        self._caller = about.caller
        self._found = redactor.survey(raw, self._edit)
        is_json = kind == "json"
        self._shown = [i for i, found in enumerate(self._found) if found.text.strip()]
        self.texts = [
            Text(one.path, speaker_of(body, one.path) if is_json else "user", one.text)
            for one in (self._found[i] for i in self._shown)
        ]
        self._about = about

    @property
    def question(self) -> Question:
        """What the recogniser is asked."""
        profile = self._redactor.profile.name
        return recognise_question(profile, self._recogniser, self.texts, self._about)

    def redact(self, answers: Sequence[bytes | Fault]) -> Redacted:
        """The body, once the recogniser has answered. Raises `RecogniserFailed`,
        `ContentBlocked` and `ContentTooSensitive`."""
        found = read_findings(self._recogniser, self.texts, answers[0])
        recognised: list[list[Entity]] = [[] for _ in self._found]
        if not isinstance(found, str):
            for i, entities in zip(self._shown, found, strict=True):
                recognised[i] = entities
        redacted = self._redactor.redact_surveyed(
            self._raw, self._edit, self._caller, self._found, recognised
        )
        if isinstance(found, str):
            counts = {**redacted.counts, RECOGNISER_FAILED: 1}
            return redacted._replace(counts=counts)
        return redacted
