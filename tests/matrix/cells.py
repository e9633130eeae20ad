"""Tries one feature with one pair of dialects."""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from dragoman.dialects import ChatDialect, StreamOptions
from dragoman.dialects.registry import client_dialect
from dragoman.errors import DragomanError, Unrepresentable, UpstreamError
from dragoman.ir import Request, Response
from dragoman.ir.losses import Losses
from tests import sdk
from tests.differential.conversations import CONVERSATIONS, spoken
from tests.fuzz.seeds import events_of
from tests.matrix.features import Feature, Way
from tests.properties.cases import ALL_USAGE, decode_stream, encode_stream

Status = Literal["passed", "refused", "dropped", "not applicable", "failed"]
ERROR = UpstreamError("Slow down.", status=429, kind="rate_limit_error")


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it; the reason of a refusal, the paths of what was dropped."""

    status: Status
    reason: str = ""


PASSED = Cell(status="passed")


def try_feature(feature: Feature, client: ChatDialect, provider: ChatDialect) -> Cell:
    """The worst of all that the feature takes."""
    found = PASSED
    for name in feature.asked:
        cell = _ask(CONVERSATIONS[name], feature, client, provider)
        if cell.status == "refused" and len(feature.asked) > 1:
            cell = msgspec.structs.replace(cell, reason=f"{name}: {cell.reason}")
        if cell.status != "passed":
            found = cell
        if cell.status in ("refused", "not applicable"):
            return cell
    for way in feature.ways:
        cell = _answer(feature.answer, way, client, provider)
        if cell.status != "passed":
            return cell
    return found


def is_asked(feature: Feature, client: ChatDialect) -> bool:
    """Whether a client of the dialect can ask for it."""
    return all(_said(client, CONVERSATIONS[name], feature) is not None for name in feature.asked)


def _said(client: ChatDialect, asked: Request, feature: Feature) -> Request | None:
    found = spoken(client, asked)
    return None if found is None or (feature.is_hint and found[1]) else found[0]


def _ask(asked: Request, feature: Feature, client: ChatDialect, provider: ChatDialect) -> Cell:
    read = _said(client, asked, feature)
    if read is None:
        return Cell(status="not applicable")
    losses = Losses(provider.name)
    try:
        provider.encode_request(read, losses)
    except Unrepresentable as refusal:
        return Cell(status="refused", reason=_why(refusal))
    if feature.is_hint and losses.paths:
        return Cell(status="dropped", reason=", ".join(losses.paths))
    return PASSED


def _why(refusal: Unrepresentable) -> str:
    _, _, why = refusal.message.partition(f"cannot be expressed in {refusal.dialect}")
    return why.removeprefix(": ") or "it has no such thing"


def _answer(answer: Response, way: Way, client: ChatDialect, provider: ChatDialect) -> Cell:
    """The provider says `answer`, and the client's SDK must read what the provider's reads."""
    if way == "error":
        return _error(client, provider)
    try:
        body = provider.encode_response(answer, Losses(provider.name))
    except DragomanError:
        return PASSED  # such a provider never answers so
    try:
        pair = (
            _bodies(body, client, provider)
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
    body: dict[str, Any], client: ChatDialect, provider: ChatDialect
) -> tuple[sdk.Wire, sdk.Wire]:
    told = client.encode_response(provider.decode_response(body), Losses(client.name))
    return sdk.Wire(json.dumps(body).encode()), sdk.Wire(json.dumps(told).encode())


def _streams(
    answer: Response, way: Way, client: ChatDialect, provider: ChatDialect
) -> tuple[sdk.Wire, sdk.Wire]:
    wire = encode_stream(provider, list(events_of(answer)))
    options = ALL_USAGE if way == "stream" else StreamOptions()
    encoder = client.stream_encoder(options)
    told = b"".join(map(encoder.feed, decode_stream(provider, [wire]))) + encoder.close()
    return sdk.stream(provider.name, wire), sdk.stream(client.name, told)


def _without_usage(said: sdk.Said) -> sdk.Said:
    return msgspec.structs.replace(said, input_tokens=0, output_tokens=0, cached_tokens=0)


def _error(client: ChatDialect, provider: ChatDialect) -> Cell:
    said = provider.encode_error(ERROR)
    told = client.encode_error(provider.decode_error(said.status, said.body))
    status, message = sdk.read_error(client.name, sdk.Wire(told.body, status=told.status))
    if status != ERROR.status or ERROR.message not in message:
        return Cell(status="failed", reason=f"{status} {message}")
    return PASSED


def dialect(name: str) -> ChatDialect:
    found: ChatDialect = client_dialect(name)
    return found
