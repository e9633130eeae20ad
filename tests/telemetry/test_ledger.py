"""Metering, case by case, and what may be logged."""

import json

import pytest

from dragoman.catalog.profiles import Prices
from dragoman.telemetry.ledger import AccessRecord, Tokens, log_fields, make_entry, measure
from dragoman.telemetry.logging import ALLOWED_KEYS, make_logger, stack

FINAL = {"input_tokens": 10.0, "output_tokens": 4.0, "cache_read_input_tokens": 6.0, "exact": "1"}
CACHED = "usage.prompt_tokens_details.cached_tokens"
OPENAI = {"usage.prompt_tokens": 9.0, "usage.completion_tokens": 3.0, CACHED: 2.0}
ADDED = {"input": 9.0, "output": 3.0, "cached": 2.0, "cache_write": 0.0, "reasoning": 0.0}
ANTHROPIC = {
    "usage.input_tokens": 1.0,
    "usage.output_tokens": 5.0,
    "usage.cache_read_input_tokens": 2.0,
    "usage.cache_creation_input_tokens": 3.0,
}


def _dialect(provider, client):
    return f"{provider}'s for {client}"


def _prices(provider, model):
    return Prices(input=2, output=10, cached=0.5) if model == "priced" else None


def _belongs(caller):
    return {"team": "web", "user": "batch"} if caller == "shop" else {}


def record(usage=None, **fields):
    facts = {"stream": fields.pop("stream", "0"), **fields.pop("facts", {})}
    return AccessRecord(
        metadata={"dragoman": facts, "dragoman.usage": usage or {}},
        **{"cluster": "p", "upstream_reached": True, "status": 200, "request_body_bytes": 100}
        | fields,
    )


@pytest.mark.parametrize(
    ("given", "tokens", "metering"),
    [
        (record(FINAL | OPENAI), Tokens(input=10, output=4, cache_read=6), "exact"),
        (record(OPENAI), Tokens(input=9, output=3, cache_read=2), "exact"),
        (
            record(ANTHROPIC),
            Tokens(input=6, output=5, cache_read=2, cache_creation=3),
            "exact",
        ),
        (
            record(
                {"usageMetadata.promptTokenCount": 8.0, "usageMetadata.candidatesTokenCount": 2.0}
                | {"usageMetadata.thoughtsTokenCount": 5.0}
            ),
            Tokens(input=8, output=7, reasoning=5),
            "exact",
        ),
        (
            record({"usage.inputTokens": 8.0, "usage.cacheReadInputTokens": 4.0}),
            Tokens(input=12, cache_read=4),
            "exact",
        ),
        # One that counts in two ways is counted once.
        (record(OPENAI | ANTHROPIC), Tokens(input=9, output=3, cache_read=2), "exact"),
        # OpenAI's count came at the end, so a client that hangs up after it changes nothing.
        (record(OPENAI, flags=("DC",)), Tokens(input=9, output=3, cache_read=2), "exact"),
        # Anthropic's had only begun: the input is known, the output is what was sent.
        (
            record(
                {"usage.input_tokens": 7.0, "usage.output_tokens": 1.0},
                flags=("DC",),
                stream="1",
                response_body_bytes=1600,
            ),
            Tokens(input=7, output=10),
            "estimated",
        ),
        # What Envoy's script adds up says itself whether it had only begun.
        (record({"sum": ADDED}), Tokens(input=9, output=3, cache_read=2), "exact"),
        (record({"sum": ADDED}, flags=("DC",)), Tokens(input=9, output=3, cache_read=2), "exact"),
        (record({"sum": ADDED} | FINAL), Tokens(input=10, output=4, cache_read=6), "exact"),
        (
            record({"sum": ADDED | {"grows": "1"}}, flags=("DC",), response_body_bytes=400),
            Tokens(input=9, output=100, cache_read=2),
            "estimated",
        ),
        (record(FINAL | {"exact": "0"}), Tokens(input=10, output=4, cache_read=6), "estimated"),
        (record(response_body_bytes=400), Tokens(input=25, output=100), "estimated"),
        # Vectors and sound weigh much, and their bytes are no text.
        (
            record(response_body_bytes=4096, facts={"operation": "embeddings"}),
            Tokens(input=25),
            "estimated",
        ),
        (
            record(response_body_bytes=4096, facts={"operation": "speech"}),
            Tokens(input=25),
            "estimated",
        ),
        (
            record(
                request_body_bytes=2**25,
                response_body_bytes=40,
                facts={"operation": "transcriptions"},
            ),
            Tokens(output=10),
            "estimated",
        ),
        # Counting tokens, and what is only passed on, uses none, whatever their bodies weigh.
        (record(response_body_bytes=400, facts={"operation": "count_tokens"}), Tokens(), "none"),
        (record(response_body_bytes=400, facts={"unread": "1"}), Tokens(), "none"),
        (record(status=429), Tokens(), "none"),
        # What the policy kept from the client, the provider bills.
        (
            record(FINAL, status=422, facts={"denied_answer": "it does not fit"}),
            Tokens(input=10, output=4, cache_read=6),
            "exact",
        ),
        (record(OPENAI, upstream_reached=False), Tokens(), "none"),
        (record(status=0, flags=("DC",)), Tokens(), "none"),
    ],
)
def test_metering(given, tokens, metering):
    assert measure(given) == (tokens, metering)


def test_a_local_answer_names_no_provider():
    entry = make_entry(record(upstream_reached=False, status=401), _dialect, _prices, _belongs)
    assert (entry.provider, entry.upstream_dialect, entry.upstream_model) == (None, None, None)


def test_an_entry_names_whom_the_caller_belongs_to_by_token_before_policy():
    logged = record(FINAL, facts={"caller": "shop"})
    assert make_entry(logged, _dialect, _prices, _belongs).belongs == _belongs("shop")
    logged.metadata["dragoman.subject"] = {"user": "alice", "organization": "acme"}
    fields = log_fields(make_entry(logged, lambda *_: None, _prices, _belongs))
    found = {name: fields.get(f"dragoman.{name}") for name in ("organization", "team", "user")}
    assert found == {"organization": "acme", "team": "web", "user": "alice"}
    assert "dragoman.application" not in fields


@pytest.mark.parametrize(("model", "cost"), [("priced", 0.000051), ("other", None)])
def test_an_entry_says_what_the_call_cost_where_prices_are_known(model, cost):
    logged = record(FINAL)
    logged.metadata["dragoman.models"] = {"p": model}
    fields = log_fields(make_entry(logged, lambda *_: None, _prices, _belongs))
    assert fields.get("dragoman.cost_usd") == cost


def test_sound_and_images_cost_what_they_do_where_they_are_counted():
    details = {"usage.prompt_tokens_details.audio_tokens": 5.0}
    details |= {"usage.completion_tokens_details.audio_tokens": 2.0}
    prices = Prices(input=2, output=10, input_audio=32, output_audio=64)
    added = {"sum": {"input": 9.0, "output": 3.0, "input_audio": 5.0, "output_audio": 2.0}}
    for usage, cost in (
        (OPENAI | details, 306),
        (OPENAI, 48),
        (FINAL | details, 318),
        (added, 306),
        (FINAL | added, 318),
    ):
        logged = record(usage)
        logged.metadata["dragoman.models"] = {"p": "m"}
        entry = make_entry(logged, lambda *_: None, lambda *_: prices, lambda _: {})  # noqa: B023
        assert entry.cost_nanodollars == cost * 1000
        told = log_fields(entry).get("dragoman.usage.input_audio_tokens")
        assert told == (5 if usage is not OPENAI else None)


def test_what_consumed_nothing_cost_nothing_where_a_call_has_its_price():
    for status, cost in ((200, 0.010051), (500, 0.0)):
        logged = record(FINAL, status=status)
        logged.metadata["dragoman.models"] = {"p": "m"}
        prices = Prices(input=2, output=10, cached=0.5, request=0.01)
        entry = make_entry(logged, lambda *_: None, lambda *_: prices, _belongs)  # noqa: B023 - called here
        assert log_fields(entry)["dragoman.cost_usd"] == cost


def test_what_a_stream_dropped_is_told_behind_what_its_request_did():
    told = record(FINAL | {"dropped": "$.audio"}, dropped="$.seed")
    assert make_entry(told, _dialect, _prices, _belongs).dropped == "$.seed, $.audio"


def test_every_field_of_an_entry_may_be_logged():
    assert (
        set(log_fields(make_entry(record(FINAL, dropped="$.a"), _dialect, _prices, _belongs)))
        <= ALLOWED_KEYS
    )


def test_a_key_that_is_not_listed_is_counted_and_not_written(capsys):
    make_logger().info("request", prompt="secret", status=1)
    written = capsys.readouterr().err
    line = json.loads(written)
    assert (line["event"], line["status"], line["dropped_keys"]) == ("request", 1, 1)
    assert "secret" not in written


def test_a_stack_says_where_and_never_what():
    try:
        raise ValueError("secret")
    except ValueError as error:
        lines = stack(error)["stack"]
    assert "secret" not in str(lines)
    assert "test_a_stack" in lines[-1]
