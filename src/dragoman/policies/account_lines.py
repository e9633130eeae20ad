"""An account of a request, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import msgspec

from dragoman.policies.account import (
    Account,
    Attempt,
    Chosen,
    Told,
    quote_target,
    tell_reason,
)


def describe_account(account: Account) -> Iterator[str]:
    """The account in lines."""
    at = account.timestamp.isoformat(" ", "seconds")
    yield f"request {account.request_id}, entered {at}"
    yield f"caller: {_caller(account)}"
    asked = [account.operation, account.model and f"the model {account.model}"]
    asked += [account.client_dialect and f"in {account.client_dialect}"]
    asked += ["streamed"] if account.stream else []
    yield f"asked for: {', '.join(filter(None, asked)) or 'not known'}"
    if account.shadow:
        yield f"shadow: the model {account.shadow} was asked too"
    if account.shadow_of:
        yield f"shadow of {account.shadow_of}: nobody got its answer"
    if account.denied:
        yield f"denied: {account.denied}"
    if account.denied_answer:
        yield f"denied of the answer: {account.denied_answer}"
    if account.decision:
        yield from _decision_lines(account.decision)
    yield from _answer_lines(account)
    yield from _attempt_lines(account.each)
    yield from _amount_lines(account)
    yield from _finding_lines(account)
    yield from (f"not in the ledger: {what}" for what in account.unsaid)


def _caller(account: Account) -> str:
    unknown = "nobody" if account.shadow_of else "not known"
    whose = [f"{subject} {name}" for subject, name in account.belongs.items()]
    return f"{account.caller or unknown}{' of ' + ', '.join(whose) if whose else ''}"


def _decision_lines(chosen: Chosen) -> Iterator[str]:
    yield f"decision: {_say(chosen.strategy)}"
    yield from (f"  {_say(note)}" for note in chosen.notes)
    for i, step in enumerate(chosen.order, 1):
        became = ""
        if step.reason:
            became = f": its answer was not used: {_say(step.reason)}"
        elif step.became:
            became = ": was asked last"
        yield f"  {i}. {step.target}{became}"
    for left in chosen.left_out:
        yield f"  left out: {left.target}: {_say(left.reason)}"


def _answer_lines(account: Account) -> Iterator[str]:
    if account.provider:
        model = f" with {account.upstream_model}" if account.upstream_model else ""
        dialect = f" in {account.upstream_dialect}" if account.upstream_dialect else ""
        yield f"asked: {account.provider}{model}{dialect}, attempts: {account.attempts}"
    else:
        yield f"asked: no upstream was reached, attempts: {account.attempts}"
    in_order = {
        quote_target(step.target) for step in (account.decision.order if account.decision else ())
    }
    for target, reason in account.fallbacks.items():
        if quote_target(target) not in in_order:
            yield f"not used: the answer of {target}: {_say(tell_reason(reason))}"
    if account.kept:
        yield f"kept: {_say(account.kept)}"
    if account.broken:
        yield f"broken: {_say(account.broken)}"
    yield f"status: {_status(account.status)}; {_say(account.details)}"
    yield from (f"flag: {_say(flag)}" for flag in account.flags)


def _attempt_lines(attempts: list[Attempt]) -> Iterator[str]:
    rows = [_row(attempt) for attempt in attempts]
    if not rows:
        return
    rows.insert(0, ("attempt", "target", "status", "at", "took"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    became = ["", *map(_became, attempts)]
    for row, words in zip(rows, became, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield f"  {'  '.join([*cells, words])}".rstrip()


def _row(attempt: Attempt) -> tuple[str, ...]:
    times = (attempt.start_ms, attempt.duration_ms)
    told = ["-" if time is None else f"{time:g} ms" for time in times]
    status = str(attempt.status) if attempt.status else "-"
    return str(attempt.number), attempt.target or "not known", status, *told


def _became(attempt: Attempt) -> str:
    """What the status alone does not say."""
    words = [_say(flag) for flag in attempt.flags]
    words += [attempt.failure] if attempt.failure else []
    words += [f"not used: {_say(attempt.reason)}"] if attempt.reason else []
    return "; ".join(words)


def _status(status: int) -> str:
    if not status:
        return "none was sent"
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _amount_lines(account: Account) -> Iterator[str]:
    if account.duration_ms is not None:
        first = account.time_to_first_byte_ms
        began = f", first byte after {first:g} ms" if first is not None else ""
        yield f"time: {account.duration_ms:g} ms{began}"
    counts = msgspec.structs.asdict(account.tokens)
    told = [f"{kind} {count:,}" for kind, count in counts.items() if count]
    yield f"tokens: {', '.join(told) or 'none'}"
    yield f"metering: {_say(account.metering)}"
    if account.cost_usd is not None:
        yield f"cost: {account.cost_usd:.9f} USD"


def _finding_lines(account: Account) -> Iterator[str]:
    for what, counts in (
        ("redacted in the request", account.redacted),
        ("redacted in the answer", account.redacted_answer),
        ("guardrails found", account.guardrails),
        ("guardrails found in the answer", account.guardrails_answer),
    ):
        if counts:
            yield f"{what}: {', '.join(f'{name} {count}' for name, count in counts.items())}"
    if account.guardrails_score is not None:
        yield f"score for prompt injection: {account.guardrails_score:g}"
    for said in account.feedback:
        yield f"feedback: {said.score} by {said.caller}"
    if account.dropped:
        yield f"left out of request or answer: {account.dropped}"


def _say(told: Told) -> str:
    return f"{told.word} ({told.meaning})" if told.meaning else told.word
