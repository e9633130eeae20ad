"""Tries one feature with one pair of dialects."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from dragoman.dialects import AnyDialect, StreamOptions, read_answer
from dragoman.dialects.registry import client_dialect
from dragoman.errors import DragomanError, Unrepresentable, UpstreamError
from dragoman.ir import Request, Response
from dragoman.ir.losses import Losses
from tests import sdk
from tests.differential.conversations import CONVERSATIONS, spoken
from tests.fuzz.seeds import events_of
from tests.matrix.features import Feature, Way
from tests.matrix.unary import QUESTIONS as UNARY
from tests.properties.cases import ALL_USAGE, decode_stream, encode_stream

Status = Literal["passed", "refused", "dropped", "not applicable", "failed"]
QUESTIONS: dict[str, Any] = {**CONVERSATIONS, **UNARY}
ERROR = UpstreamError("Slow down.", status=429, kind="rate_limit_error")


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it; the reason of a refusal, the paths of what was dropped."""

    status: Status
    reason: str = ""


PASSED = Cell(status="passed")


def try_feature(feature: Feature, client: AnyDialect, provider: AnyDialect) -> Cell:
    """The worst of all that the feature takes."""
    found = PASSED
    for name in feature.asked:
        cell = _ask(QUESTIONS[name], feature, client, provider)
        if cell.status == "refused" and len(feature.asked) > 1:
            cell = msgspec.structs.replace(cell, reason=f"{name}: {cell.reason}")
        if cell.status != "passed":
            found = cell
        if cell.status in ("refused", "not applicable"):
            return cell
    for way in feature.ways:
        cell = _answer(feature, way, client, provider)
        if cell.status != "passed":
            return cell
    return found


def is_asked(feature: Feature, client: AnyDialect) -> bool:
    """Whether a client of the dialect can ask for it."""
    return all(_said(client, QUESTIONS[name], feature) is not None for name in feature.asked)


def _said(client: AnyDialect, asked: Any, feature: Feature) -> Any:
    found = spoken(client, asked)
    if found is None or (feature.is_hint and _more(found[1], _unsaid(client, feature))):
        return None
    return found[0]


def _unsaid(client: AnyDialect, feature: Feature) -> list[str]:
    """What the client's dialect has no words for of the plain request already."""
    plain = spoken(client, QUESTIONS[feature.base]) if feature.base else None
    return plain[1] if plain else []


def _more(paths: list[str], usual: list[str]) -> list[str]:
    return [path for path in paths if path not in usual]


def _ask(asked: Any, feature: Feature, client: AnyDialect, provider: AnyDialect) -> Cell:
    read = _said(client, asked, feature)
    if read is None:
        return Cell(status="not applicable")
    losses, usual = Losses(provider.name), Losses(provider.name)
    try:
        provider.encode_request(read, losses)
        if feature.base and (plain := _said(client, QUESTIONS[feature.base], feature)) is not None:
            provider.encode_request(plain, usual)
    except Unrepresentable as refusal:
        return Cell(status="refused", reason=_why(refusal))
    if feature.is_hint and (dropped := _more(losses.paths, usual.paths)):
        return Cell(status="dropped", reason=", ".join(dropped))
    return PASSED


def _why(refusal: Unrepresentable) -> str:
    _, _, why = refusal.message.partition(f"cannot be expressed in {refusal.dialect}")
    return why.removeprefix(": ") or "it has no such thing"


def _answer(feature: Feature, way: Way, client: AnyDialect, provider: AnyDialect) -> Cell:
    """The provider says `answer`, and the client's SDK must read what the provider's reads."""
    if way == "error":
        return _error(client, provider)
    answer = feature.answer
    try:
        body = provider.encode_response(answer, Losses(provider.name))
    except DragomanError:
        return PASSED  # such a provider never answers so
    try:
        pair = (
            _bodies(msgspec.json.encode(body), feature, client, provider)
            if way == "body"
            else _streams(answer, way, client, provider)
        )
    except Unrepresentable as refusal:
        return Cell(status="refused", reason=_why(refusal))
    said = sdk.read(provider.name, pair[0])
    names = (provider.name, client.name)
    one = sdk.comparable(said, *names, like=said)
    other = sdk.comparable(sdk.read(client.name, pair[1]), *names, like=said)
    if way == "stream without usage":
        one, other = _without_usage(one), _without_usage(other)
    if one != other:
        return Cell(status="failed", reason=f"{one} became {other}")
    return PASSED


def _bodies(
    raw: bytes, feature: Feature, client: AnyDialect, provider: AnyDialect
) -> tuple[sdk.Wire, sdk.Wire]:
    read = provider.decode_response(read_answer(provider, raw))
    asked = _said(client, QUESTIONS[feature.asked[0]], feature)
    if not isinstance(asked, Request):
        read = asked.complete(read)
    told = client.encode_response(read, Losses(client.name))
    return sdk.Wire(raw), sdk.Wire(msgspec.json.encode(told))


def _streams(
    answer: Response, way: Way, client: AnyDialect, provider: AnyDialect
) -> tuple[sdk.Wire, sdk.Wire]:
    wire = encode_stream(provider, list(events_of(answer)))
    options = ALL_USAGE if way == "stream" else StreamOptions()
    encoder = client.stream_encoder(options)
    told = b"".join(map(encoder.feed, decode_stream(provider, [wire]))) + encoder.close()
    return sdk.stream(provider.name, wire), sdk.stream(client.name, told)


def _without_usage(said: sdk.Said) -> sdk.Said:
    return msgspec.structs.replace(said, input_tokens=0, output_tokens=0, cached_tokens=0)


def _error(client: AnyDialect, provider: AnyDialect) -> Cell:
    said = provider.encode_error(ERROR)
    told = client.encode_error(provider.decode_error(said.status, said.body))
    status, message = sdk.read_error(client.name, sdk.Wire(told.body, status=told.status))
    if status != ERROR.status or ERROR.message not in message:
        return Cell(status="failed", reason=f"{status} {message}")
    return PASSED


def dialect(name: str) -> AnyDialect:
    return client_dialect(name)
