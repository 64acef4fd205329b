from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanhouse.page.times import interval_s, time_range

# A Saturday.
NOW = datetime(2026, 2, 28, 13, 14, 15, 678_000, tzinfo=UTC)
LAST = datetime(2100, 1, 1, tzinfo=UTC).isoformat()


def start(text: str) -> datetime:
    return time_range(text, LAST, NOW)[0]


def end(text: str) -> datetime:
    return time_range("0", text, NOW)[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "now": NOW,
        "now-6h": NOW - timedelta(hours=6),
        "now-30d": NOW - timedelta(days=30),
        "now+1m": NOW + timedelta(minutes=1),
        "now-h": NOW - timedelta(hours=1),
        "now-1d-2h": NOW - timedelta(hours=26),
        "now-1M": datetime(2026, 1, 28, 13, 14, 15, 678_000, tzinfo=UTC),
        "now+1y": datetime(2027, 2, 28, 13, 14, 15, 678_000, tzinfo=UTC),
        "now/d": datetime(2026, 2, 28, tzinfo=UTC),
        "now/w": datetime(2026, 2, 23, tzinfo=UTC),
        "now/M": datetime(2026, 2, 1, tzinfo=UTC),
        "now/y": datetime(2026, 1, 1, tzinfo=UTC),
        "now/h": datetime(2026, 2, 28, 13, tzinfo=UTC),
        "now/m": datetime(2026, 2, 28, 13, 14, tzinfo=UTC),
        "now/s": datetime(2026, 2, 28, 13, 14, 15, tzinfo=UTC),
        "now-1d/d": datetime(2026, 2, 27, tzinfo=UTC),
        "now/1d": datetime(2026, 2, 28, tzinfo=UTC),
        "1767225600000": datetime(2026, 1, 1, tzinfo=UTC),
        "2026-01-01T00:00:00Z": datetime(2026, 1, 1, tzinfo=UTC),
        "2026-01-01T02:00:00.000+02:00": datetime(2026, 1, 1, tzinfo=UTC),
        "2026-01-01 00:00:00": datetime(2026, 1, 1, tzinfo=UTC),
        "2026-01-01": datetime(2026, 1, 1, tzinfo=UTC),
    }.items(),
)
def test_what_grafana_writes_is_understood(text: str, expected: datetime) -> None:
    assert start(text) == expected


def test_an_end_is_rounded_up() -> None:
    assert end("now/d") == datetime(2026, 2, 28, 23, 59, 59, 999_000, tzinfo=UTC)
    assert end("now/w") == datetime(2026, 3, 1, 23, 59, 59, 999_000, tzinfo=UTC)
    assert end("now/M") == datetime(2026, 2, 28, 23, 59, 59, 999_000, tzinfo=UTC)
    assert end("now-1y/y") == datetime(2025, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)


def test_a_month_has_no_day_it_does_not_have() -> None:
    leap = datetime(2028, 2, 29, tzinfo=UTC)
    assert time_range("now-1y", "now", leap)[0] == datetime(2027, 2, 28, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "never", "now-", "now-6", "now-6x", "now/2d", "now/", "now-1e9h", "now 6h", "tomorrow", "12:00",
     "NaN", "99999999999999999999", "-1", "now-999999y", "now+999999M", "9999-12-31", "0001-01-01",
     "now" + "-1d" * 50_000],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_nonsense_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"^from=.*(is not a time|is outside the years).*\.$"):
        time_range(text, "now", NOW)


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValueError, match="The time range is empty: it starts at now and ends at now-1h"):
        time_range("now", "now-1h", NOW)


@given(st.text(alphabet="now+-/0123456789smhdwMyTZ:. ", max_size=20))
def test_any_text_is_a_time_or_a_sentence(text: str) -> None:
    try:
        first, last = time_range(text, "now", NOW)
    except ValueError as error:
        assert str(error).endswith(".")  # noqa: PT017
    else:
        assert first < last == NOW


@given(st.integers(1, 86_400 * 365 * 30), st.integers(1, 10_000))
def test_a_chart_has_no_more_points_than_asked_for(seconds: int, points: int) -> None:
    width = interval_s(NOW, NOW + timedelta(seconds=seconds), points)
    assert width >= 1
    assert seconds / width <= points or width == 31_536_000
