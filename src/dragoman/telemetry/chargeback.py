"""What was used and what it cost, by period and subject, out of the ledger's lines.

Columns have FOCUS's names (version 1.3) where it has one, and begin with `x_` where it has none.
Lines are read one by one: time is linear in them, memory in the rows that come out.

Source: https://focus.finops.org/focus-specification/
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, BinaryIO, Literal

import msgspec

from dragoman.catalog.costs import NANODOLLARS
from dragoman.errors import DragomanError
from dragoman.telemetry import names
from dragoman.telemetry.ledger import REQUEST, SHADOW
from dragoman.telemetry.ledger_lines import Broken, read_lines

Period = Literal["hour", "day", "month"]
MOST_ROWS = 1_000_000
_CHARGED = (REQUEST, SHADOW)
"""A copy is its payer's, or nobody's; the provider bills it in any case."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula, where a cell begins so."""


_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
"""What is before or after is no time of a request."""
Number = Annotated[int, msgspec.Meta(ge=0)]


class TooManyRows(DragomanError):
    """The export would hold more rows than it may; `per` fewer subjects, or in a shorter time."""

    code = "too_many_rows"


class _Line(
    msgspec.Struct,
    frozen=True,
    rename={
        **names.SUBJECTS,
        "input_tokens": names.INPUT_TOKENS,
        "output_tokens": names.OUTPUT_TOKENS,
        "cache_read": names.CACHE_READ_INPUT_TOKENS,
        "cache_creation": names.CACHE_CREATION_INPUT_TOKENS,
        "reasoning": names.REASONING_OUTPUT_TOKENS,
        "cost_usd": names.COST_USD,
        "metering": names.METERING,
    },
):
    """A line of the ledger, as far as it matters here."""

    event: str
    timestamp: datetime
    caller: str = ""
    organization: str = ""
    team: str = ""
    user: str = ""
    application: str = ""
    model: str = ""
    provider: str = ""
    upstream_model: str = ""
    operation: str = ""
    input_tokens: Number = 0
    output_tokens: Number = 0
    cache_read: Number = 0
    cache_creation: Number = 0
    reasoning: Number = 0
    cost_usd: Annotated[float, msgspec.Meta(ge=0)] | None = None
    metering: str = ""


class _Sums(msgspec.Struct):
    """One row while it grows."""

    nanodollars: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_creation: int = 0
    reasoning: int = 0
    estimated: int = 0
    unpriced: int = 0

    def add(self, line: _Line) -> None:
        self.requests += 1
        self.input_tokens += line.input_tokens
        self.output_tokens += line.output_tokens
        self.cache_read += line.cache_read
        self.cache_creation += line.cache_creation
        self.reasoning += line.reasoning
        self.estimated += line.metering == "estimated"
        if line.cost_usd is not None:
            self.nanodollars += round(line.cost_usd * NANODOLLARS)
        elif line.metering != "none":
            self.unpriced += 1


class Counted(msgspec.Struct):
    """What became of the lines that were read."""

    charged: int = 0
    unanswered: int = 0
    """No provider was reached, so that there is nothing to charge."""
    outside: int = 0
    """Of another time than was asked for."""
    others: int = 0
    """Of other logs: no requests."""
    broken: Broken = msgspec.field(default_factory=Broken)


class Chargeback:
    """Sums up lines, period by period and subject by subject."""

    def __init__(
        self,
        period: Period = "day",
        per: Collection[str] = tuple(names.SUBJECTS),
        since: datetime = _FIRST,
        until: datetime = _LAST,
    ) -> None:
        """`per` are some of `names.SUBJECTS`; `since` is the first moment that counts, `until` the
        first that does not."""
        self._period: Period = period
        self._per = [subject for subject in names.SUBJECTS if subject in per]
        self._span = since, until
        self._sums: dict[tuple[datetime, tuple[str, ...]], _Sums] = {}
        self._decode = msgspec.json.Decoder(_Line).decode
        self.counted = Counted()

    def read(self, lines: BinaryIO, name: str) -> None:
        """Add the lines of a file that is called `name`. Raises `TooManyRows`."""
        broken = functools.partial(self.counted.broken.add, name)
        for number, line in read_lines(lines, self._decode, broken):
            if line.timestamp.tzinfo is None or not _FIRST <= line.timestamp < _LAST:
                broken(number)
            else:
                self._add(line)

    def _add(self, line: _Line) -> None:
        since, until = self._span
        if line.event not in _CHARGED:
            self.counted.others += 1
        elif not since <= line.timestamp < until:
            self.counted.outside += 1
        elif not line.provider:
            self.counted.unanswered += 1
        else:
            self.counted.charged += 1
            self._sums_of(line).add(line)

    def _sums_of(self, line: _Line) -> _Sums:
        start = _start(self._period, line.timestamp.astimezone(UTC))
        key = start, tuple([getattr(line, subject) for subject in self._per])
        sums = self._sums.get(key)
        if sums is None:
            if len(self._sums) >= MOST_ROWS:
                raise TooManyRows(f"more than {MOST_ROWS:,} rows: choose fewer subjects or days")
            sums = self._sums[key] = _Sums()
        return sums

    def rows(self) -> Iterator[dict[str, object]]:
        """What was summed up, in order of time, under the names of its columns."""
        for start, values in sorted(self._sums):
            subjects = dict(zip(self._per, values, strict=True))
            yield self._row(start, subjects, self._sums[start, values])

    def _row(self, start: datetime, subjects: Mapping[str, str], sums: _Sums) -> dict[str, object]:
        month = _start("month", start)
        cost = Decimal(sums.nanodollars).scaleb(-9)
        return {
            "BilledCost": cost,
            "EffectiveCost": cost,
            "BillingCurrency": "USD",
            "BillingPeriodStart": _time(month),
            "BillingPeriodEnd": _time(_end("month", month)),
            "ChargeCategory": "Usage",
            "ChargePeriodStart": _time(start),
            "ChargePeriodEnd": _time(_end(self._period, start)),
            "ConsumedQuantity": sums.input_tokens + sums.output_tokens,
            "ConsumedUnit": "Tokens",
            "ServiceCategory": "AI and Machine Learning",
            "ServiceName": subjects.get("operation") or None,
            "ServiceProviderName": subjects.get("provider") or None,
            "SkuId": subjects.get("upstream_model") or None,
            "ResourceId": subjects.get("model") or None,
            "Tags": {tag: subjects[tag] for tag in names.TAGS if subjects.get(tag)},
            "x_Requests": sums.requests,
            "x_InputTokens": sums.input_tokens,
            "x_OutputTokens": sums.output_tokens,
            "x_CacheReadTokens": sums.cache_read,
            "x_CacheCreationTokens": sums.cache_creation,
            "x_ReasoningTokens": sums.reasoning,
            "x_EstimatedRequests": sums.estimated,
            "x_UnpricedRequests": sums.unpriced,
        }


def to_csv(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """A head and a line a row, as a spreadsheet reads it: what it would take for a formula has an
    apostrophe before it."""
    out, writer = io.StringIO(), None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(out, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow({name: _cell(value) for name, value in row.items()})
        yield out.getvalue()
        out.seek(0)
        out.truncate()


def to_json_lines(rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """A JSON object a row; no digit of a cost is lost."""
    encode = msgspec.json.Encoder(decimal_format="number").encode
    return (encode(row).decode() + "\n" for row in rows)


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _start(period: Period, at: datetime) -> datetime:
    day = datetime(at.year, at.month, 1 if period == "month" else at.day, tzinfo=UTC)
    return day.replace(hour=at.hour) if period == "hour" else day


def _end(period: Period, start: datetime) -> datetime:
    if period == "month":
        return (start + timedelta(days=32)).replace(day=1)
    return start + (timedelta(hours=1) if period == "hour" else timedelta(days=1))


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
