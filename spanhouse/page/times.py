"""Time ranges as Grafana writes them into a URL: `now-6h`, `now/d`, milliseconds since 1970, ISO 8601."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Final

_EXAMPLES: Final = "now-6h, now/d, 1767225600000 or 2026-01-01T00:00:00Z"
_STEP: Final = re.compile(r"([+-])([0-9]{1,6})?([smhdwMy])|/([0-9]*)([smhdwMy])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MONTHS: Final = {"M": 1, "y": 12}
# What ClickHouse's DateTime holds.
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2106, 1, 1, tzinfo=UTC)

# Widths of a chart's point in seconds that look round on an axis.
_INTERVALS: Final = (
    1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400,
    604_800, 2_592_000, 31_536_000,
)  # fmt: skip


def time_range(start: str, end: str, now: datetime) -> tuple[datetime, datetime]:
    """The moments that `from` and `to` mean, in UTC.

    Raises:
        ValueError: with a sentence, where they cannot be read or the range is empty.
    """
    first, last = _moment("from", start, now, up=False), _moment("to", end, now, up=True)
    if first >= last:
        raise ValueError(f"The time range is empty: it starts at {start} and ends at {end}.")
    return first, last


def interval_s(start: datetime, end: datetime, points: int) -> int:
    """Seconds that a point is wide when a chart has at most so many points: a round number."""
    wanted = (end - start).total_seconds() / points
    return next((width for width in _INTERVALS if width >= wanted), _INTERVALS[-1])


def _moment(name: str, text: str, now: datetime, *, up: bool) -> datetime:
    try:
        moment = _read(text.strip(), now, up=up)
    except (ValueError, OverflowError):
        raise ValueError(f"{name}={text[:100]} is not a time. Times are written as {_EXAMPLES}.") from None
    if not _FIRST <= moment <= _LAST:
        raise ValueError(f"{name}={text[:100]} is outside the years 1970 to 2105.")
    return moment


def _read(text: str, now: datetime, *, up: bool) -> datetime:
    if text.startswith("now"):
        return _relative(text[3:], now, up=up)
    if re.fullmatch(r"-?[0-9]{1,16}", text):
        return _FIRST + timedelta(milliseconds=int(text))
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _relative(steps: str, moment: datetime, *, up: bool) -> datetime:
    at = 0
    while at < len(steps):
        step = _STEP.match(steps, at)
        if step is None or step[4] not in (None, "", "1"):
            raise ValueError
        if step[5]:
            moment = _rounded(moment, step[5], up=up)
        else:
            moment = _moved(moment, int(step[1] + (step[2] or "1")), step[3])
        at = step.end()
    return moment


def _moved(moment: datetime, count: int, unit: str) -> datetime:
    if unit in _SECONDS:
        return moment + timedelta(seconds=count * _SECONDS[unit])
    years, month = divmod(moment.year * 12 + moment.month - 1 + count * _MONTHS[unit], 12)
    last = calendar.monthrange(years, month + 1)[1]
    return moment.replace(year=years, month=month + 1, day=min(moment.day, last))


def _rounded(moment: datetime, unit: str, *, up: bool) -> datetime:
    """The start of the unit that the moment is in, or its end; weeks start on Monday."""
    if unit == "w":
        start = _rounded(moment, "d", up=False) - timedelta(days=moment.weekday())
    else:
        place = "yMdhms".index(unit) + 1
        fields = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
        start = datetime(*(*fields[:place], *(0, 1, 1, 0, 0, 0)[place:]), tzinfo=UTC)  # type: ignore[misc, arg-type]
    return _moved(start, 1, unit) - timedelta(milliseconds=1) if up else start
