"""What callouts are asked, and what is made of whatever they answer."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragoman.config.callouts import Callout, Moderation, Webhook, find_place
from dragoman.config.guardrails import GuardProfile
from dragoman.errors import CalloutFailed, ContentFlagged
from dragoman.policies.guard.callouts import judge, make_questions
from dragoman.policies.questions import MAX_TEXTS, About, Fault, Question, Text

TEXTS = [Text("$.a", "system", "one"), Text("$.b", "user", "two"), Text("$.c", "tool", "three")]
ABOUT = About("team", "m", "r-1")
HOUSE = Webhook(name="house", url="unix:/s")
HARM = Moderation(name="harm", provider="p", model="mod", threshold=0.5)
FAULTS: tuple[Fault, ...] = get_args(Fault)


def asked(*callouts: Callout, texts: list[Text] = TEXTS) -> list[Question]:
    profile = GuardProfile(
        name="p", deny=(), answers=(), injection=None, callouts=callouts, refuses_unread=True
    )
    return make_questions(profile, texts, ABOUT)


def scores(*results: dict[str, float | None]) -> bytes:
    return json.dumps({"results": [{"category_scores": one} for one in results]}).encode()


def test_what_each_kind_is_sent() -> None:
    house, harm = asked(
        HOUSE, Moderation(name="harm", provider="p", threshold=1, speakers=("user",))
    )
    assert (house.route, harm.route) == ("/p/webhook/house", "/p/moderation/harm")
    assert json.loads(house.body or b"") == {
        "texts": [text._asdict() for text in TEXTS],
        "caller": "team",
        "model": "m",
        "request_id": "r-1",
        "side": "request",
    }
    assert json.loads(harm.body or b"") == {"model": "omni-moderation-latest", "input": ["two"]}
    assert harm.paths == ("$.b",)


def test_nobody_is_asked_about_nothing_nor_about_too_much() -> None:
    assert not asked(HOUSE, texts=[])
    assert not asked(Webhook(name="a", url="unix:/s", speakers=("document",)))
    (question,) = asked(HOUSE, texts=TEXTS[:1] * (MAX_TEXTS + 1))
    assert question.body is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"allow": False}, "refused by house: no reason told"),
        ({"allow": False, "reason": "foxes", "more": 1}, "refused by house: foxes"),
        ({"allow": False, "score": 1e300}, "refused by house: score 1e+300"),
        ({"allow": False, "reason": "they said: two"}, "refused by house: no reason told"),
        ({"allow": False, "reason": "a\nb", "score": 2}, "refused by house: score 2"),
    ],
)
def test_what_a_webhook_says(answer: Any, said: str) -> None:
    with pytest.raises(ContentFlagged) as refused:
        judge(asked(HOUSE), [json.dumps(answer).encode()])
    assert refused.value.message == said
    assert refused.value.findings == {"house": 1.0}
    assert judge(asked(HOUSE), [b'{"allow": true, "reason": "x", "score": 1}']) == ({}, ())


def test_the_highest_score_is_told_with_its_text() -> None:
    quiet: dict[str, float | None] = {"violence": 0.2, "hate": 0.49, "illicit": None}
    assert judge(asked(HARM), [scores(quiet, quiet, quiet)]) == ({}, ())
    with pytest.raises(ContentFlagged) as refused:
        judge(asked(HARM), [scores(quiet | {"hate": 0.5}, quiet | {"violence": 0.912}, quiet)])
    assert refused.value.message == "$.b: refused by harm: violence 0.912, limit 0.5"


def test_only_the_categories_that_are_named_count() -> None:
    harm = Moderation(name="harm", provider="p", categories={"violence": 0.9}, action="report")
    counts, notes = judge(asked(harm), [scores(*[{"violence": 0.95, "hate": 1}] * 3)])
    assert (counts, notes) == ({"harm": 1.0}, ("harm=(violence 0.95, limit 0.9)",))
    assert judge(asked(harm), [scores(*[{"violence": 0.8, "hate": 1}] * 3)]) == ({}, ())
    with pytest.raises(CalloutFailed, match="bad_answer"):
        judge(asked(harm), [scores(*[{"hate": 1}] * 3)])


def test_the_first_in_the_policy_refuses_and_all_are_counted() -> None:
    report = Webhook(name="watch", url="unix:/s", action="report")
    no = b'{"allow": false}'
    with pytest.raises(CalloutFailed) as refused:
        judge(asked(report, HOUSE, HARM), [no, "timeout", scores(*[{"hate": 1.0}] * 3)])
    assert refused.value.findings == {"watch": 1.0, "house:failed": 1.0, "harm": 1.0}
    assert (refused.value.status, refused.value.denies) == (503, True)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)
GARBAGE = (
    st.binary(max_size=40)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({"allow": JSON, "results": JSON}).map(lambda v: json.dumps(v).encode())
    | st.lists(st.fixed_dictionaries({"category_scores": JSON}), max_size=4).map(
        lambda v: json.dumps({"results": v, "allow": 1}).encode()
    )
    | st.sampled_from([b"[" * 100_000, b"", scores({}, {}, {}), scores(*[{"é ": 0.9}] * 3)])
    | st.sampled_from(FAULTS)
)


@given(GARBAGE, st.sampled_from([HOUSE, HARM]))
def test_whatever_is_no_answer_follows_on_failure(answer: bytes | Fault, callout: Callout) -> None:
    """A chance answer is no answer, unless it happens to say `allow`, and then it never blocks."""
    if isinstance(answer, bytes) and (b'"allow": true' in answer or b'"allow": false' in answer):
        return
    name, fault = callout.name, answer if isinstance(answer, str) else "bad_answer"
    with pytest.raises(CalloutFailed) as refused:
        judge(asked(callout), [answer])
    assert refused.value.message.startswith(f"The guardrail {name} failed ({fault})")
    lenient = type(callout)(
        **{f: getattr(callout, f) for f in callout.__struct_fields__} | {"on_failure": "allow"}
    )
    found = judge(asked(lenient), [answer])
    assert found == ({f"{name}:failed": 1.0}, (f"{name}:failed=({fault})",))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://h/a?b=c", ("h", 80, False, "/a?b=c")),
        ("https://h:8443", ("h", 8443, True, "/")),
        ("https://[::1]/x", ("::1", 443, True, "/x")),
        ("unix:/run/judge.sock", ("/run/judge.sock", 0, False, "/")),
    ],
)
def test_where_a_webhook_is(url: str, place: tuple[Any, ...]) -> None:
    assert find_place(url) == place


@pytest.mark.parametrize(
    "url",
    ["h/a", "ftp://h", "http:///a", "http://u@h/", "http://h/\\1", "http://h/a b", "http://h:0/"]
    + ["http://h:x/", "unix:judge.sock", "http://h/#f", "http://h/é", "http://[/"],
)
def test_what_leads_nowhere(url: str) -> None:
    with pytest.raises(ValueError, match=".*"):
        find_place(url)
