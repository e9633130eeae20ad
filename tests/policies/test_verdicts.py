"""What callouts said is remembered for as long as the policy says, and no failure is."""

from __future__ import annotations

import json

import pytest

from dragoman.config.callouts import Callout, Judge, Moderation, Webhook
from dragoman.config.guardrails import GuardProfile
from dragoman.policies.guard.callouts import make_questions
from dragoman.policies.guard.verdicts import MOST_KNOWN, Verdicts
from dragoman.policies.questions import About, Fault, Text

HOUSE = Webhook(name="house", url="unix:/s", remember_seconds=60)
HARM = Moderation(name="harm", provider="p", threshold=0.5, remember_seconds=60)
JUDGE = Judge(name="judge", url="unix:/s", remember_seconds=60)
FORGETS = Webhook(name="forgets", url="unix:/s")
ALLOWED = {
    "house": b'{"allow": true}',
    "harm": json.dumps({"results": [{"category_scores": {"hate": 0.1}}]}).encode(),
    "judge": b"\x08\x01",
    "forgets": b'{"allow": true}',
}


class Asked:
    """A worker that asks about one text after the other."""

    def __init__(self, *callouts: Callout) -> None:
        self.now = 0.0
        self.profile = GuardProfile(
            name="p", deny=(), answers=(), injection=None, callouts=callouts, refuses_unread=True
        )
        self.verdicts = Verdicts(lambda: self.now)

    def about(
        self, text: str, answer: bytes | Fault | None = None, who: About = About("team", "m", "r-1")
    ) -> list[str]:
        """Who was asked; all answer the same, unless `answer` is given."""
        questions = make_questions(self.profile, [Text("$.a", "user", text)], who)
        consulted = self.verdicts.open(questions)
        names = [question.route.rpartition("/")[2] for question in consulted.questions]
        answers = consulted.fill([answer or ALLOWED[name] for name in names])
        assert len(answers) == len(questions)
        assert answer is not None or answers == [ALLOWED[c.name] for c in self.profile.callouts]
        return names


def test_the_same_is_asked_once_while_it_is_remembered() -> None:
    asked = Asked(HOUSE, FORGETS, HARM, JUDGE)
    assert asked.about("one") == ["house", "forgets", "harm", "judge"]
    asked.now = 59.9
    assert asked.about("one", who=About("team", "m", "r-2")) == ["forgets"]
    assert asked.about("two") == ["house", "forgets", "harm", "judge"]
    asked.now = 60.0
    assert asked.about("one") == ["house", "forgets", "harm", "judge"]


def test_a_verdict_is_for_one_caller_and_model_where_those_are_told() -> None:
    asked = Asked(HOUSE, HARM)
    asked.about("one")
    assert asked.about("one", who=About("other", "m", "r")) == ["house"]
    assert asked.about("one", who=About("team", "n", "r")) == ["house"]


@pytest.mark.parametrize(
    "answer", ["timeout", "unreachable", b"<html>", b'{"allow": 1}', b'{"allow": false, "x": "%b"}']
)
def test_what_failed_is_asked_again(answer: bytes | Fault) -> None:
    if isinstance(answer, bytes):
        answer = answer.replace(b"%b", b"x" * 4096)  # more than is kept
    asked = Asked(HOUSE)
    assert asked.about("one", answer) == ["house"]
    assert asked.about("one") == ["house"]
    assert asked.about("one") == []


def test_a_refusal_is_remembered_too() -> None:
    asked = Asked(HOUSE)
    no = b'{"allow": false}'
    asked.about("one", no)
    questions = make_questions(asked.profile, [Text("$.a", "user", "one")], About("team", "m", ""))
    assert asked.verdicts.open(questions).fill([]) == [no]


def test_no_more_is_known_than_may_be() -> None:
    asked = Asked(HARM)
    for number in range(MOST_KNOWN + 1):
        asked.about(str(number))
    assert asked.about("0") == ["harm"]
    assert asked.about(str(MOST_KNOWN)) == []
