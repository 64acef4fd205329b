"""The dashboard SLO, against numbers counted here."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.dashboards.conftest import END, HOUR, MONTH, Asker
from tests.dashboards.data import MINUTE, Row, slo

ENTRIES = [row for row in slo(END) if not row["parent_span_id"]]
# As the fixture sets them: availability, latency_ms, latency_share.
OBJECTIVES = {"shop": (0.8, 100.0, 0.4), "other": (0.99, 10_000.0, 0.95), "quiet": (0.99, 10_000.0, 0.95)}


def of(service: str, since: datetime = END - MONTH) -> list[Row]:
    return [row for row in ENTRIES if row["service"] == service and row["ts"] >= since]


def error_rate(rows: list[Row]) -> float:
    return sum(row["status"] == "error" for row in rows) / len(rows)


def burn(service: str, since: datetime) -> float | None:
    rows = of(service, since)
    return error_rate(rows) / (1 - OBJECTIVES[service][0]) if rows else None


def test_services_against_their_objectives(small: Asker) -> None:
    found = {row["service"]: row for row in small.panel("slo", "services", HOUR, tenant="slo").dicts()}
    assert set(found) == set(OBJECTIVES)
    for service, (availability, target, share) in OBJECTIVES.items():
        rows, row = of(service), found[service]
        assert (row["requests"], row["failed"]) == (len(rows), sum(r["status"] == "error" for r in rows))
        assert row["availability"] == pytest.approx(1 - error_rate(rows))
        assert (row["objective"], row["target_ms"], row["latency_objective"]) == (availability, target, share)
        assert row["budget_left"] == pytest.approx(1 - error_rate(rows) / (1 - availability))
        # Within an hour all take the same time.
        hours = {r["ts"].replace(minute=0): r["latency_ms"] for r in rows}
        within = sum(ms <= target for ms in hours.values()) / len(hours)
        assert row["within_target"] == pytest.approx(within)
        assert row["latency_budget_left"] == pytest.approx(1 - (1 - within) / (1 - share))
    assert found["quiet"]["budget_left"] == pytest.approx(-99)
    assert found["other"]["budget_left"] == 1
    worst = min(row["budget_left"] for row in found.values())
    assert small.panel("slo", "budget_left", HOUR, tenant="slo").one()["budget_left"] == worst


def test_burn_rates_of_four_windows(small: Asker) -> None:
    found = {row["service"]: row for row in small.panel("slo", "burn", MONTH, tenant="slo").dicts()}
    assert set(found) == {"shop", "other"}
    for service, row in found.items():
        windows = {"five_minutes": 5, "one_hour": 60, "six_hours": 360, "three_days": 3 * 1440}
        for name, minutes in windows.items():
            assert row[name] == pytest.approx(burn(service, END - minutes * MINUTE)), (service, name)
    assert found["other"]["state"] == "ok"
    now = small.panel("slo", "burn_now", HOUR, tenant="slo").one()["burn"]
    assert now == pytest.approx(found["shop"]["one_hour"])


@pytest.mark.parametrize(
    ("ago", "state"), [(timedelta(0), "ok"), (timedelta(days=20) - 2 * MINUTE, "burning fast")]
)
def test_a_fast_burn_is_told(small: Asker, ago: timedelta, state: str) -> None:
    # Twenty days ago the only request of `quiet` failed; nothing else was there to see then.
    end = END - ago
    rows = small.panel("slo", "burn", HOUR, end=end, tenant="slo", service=["quiet", "other"]).dicts()
    assert [row["state"] for row in rows] == [state]


def test_availability_of_the_range_is_a_ratio_of_sums(small: Asker) -> None:
    for service in ("shop", "other"):
        row = small.panel("slo", "availability", HOUR, tenant="slo", service=service).one()
        assert row["availability"] == pytest.approx(1 - error_rate(of(service, END - HOUR)))
    both = small.panel("slo", "availability", HOUR, tenant="slo").one()["availability"]
    assert both == pytest.approx(1 - error_rate(of("shop", END - HOUR) + of("other", END - HOUR)))
    assert small.panel("slo", "availability", HOUR, tenant="nobody").one()["availability"] is None


def test_minutes_within_the_target(small: Asker) -> None:
    for length in (HOUR, 4 * HOUR):
        row = small.panel("slo", "within_target", length, tenant="slo", service="shop").one()
        rows = of("shop", END - length)
        assert row["within_target"] == pytest.approx(sum(r["latency_ms"] <= 100 for r in rows) / len(rows))
    # Beyond two days by hours, also at the edges.
    row = small.panel("slo", "within_target", timedelta(days=3), tenant="slo", service="shop").one()
    hours = {r["ts"].replace(minute=0): r["latency_ms"] for r in of("shop")}
    assert row["within_target"] == pytest.approx(sum(ms <= 100 for ms in hours.values()) / len(hours))


def test_the_budget_over_time_ends_with_what_is_left_now(small: Asker) -> None:
    rows = small.panel("slo", "budget_over_time", 6 * HOUR, tenant="slo", service="shop").rows
    assert rows[-1][0] == END.strftime("%Y-%m-%d %H:%M:%S")
    left = small.panel("slo", "services", HOUR, tenant="slo", service="shop").one()["budget_left"]
    assert rows[-1][2] == pytest.approx(left)
    # At an hour's end, what the requests up to then left.
    for time, name, value in rows[:-1]:
        before = [r for r in of("shop") if r["ts"].strftime("%Y-%m-%d %H:%M:%S") < time]
        assert name == "shop"
        assert value == pytest.approx(1 - error_rate(before) / 0.2)


def test_charts_of_burn_and_latency(small: Asker) -> None:
    by_minute = {r["ts"].strftime("%Y-%m-%d %H:%M:%S"): r for r in of("shop", END - HOUR)}
    burns = small.panel("slo", "burn_over_time", HOUR, tenant="slo", service="shop").rows
    assert {time: value for time, _, value in burns} == {
        time: pytest.approx(5.0 if row["status"] == "error" else 0) for time, row in by_minute.items()
    }
    shares = small.panel("slo", "p95_of_target", HOUR, tenant="slo", service="shop").rows
    assert {time: value for time, _, value in shares} == {
        time: pytest.approx(row["latency_ms"] / 100, rel=0.011) for time, row in by_minute.items()
    }


def test_what_eats_the_budget(small: Asker) -> None:
    found = {row["route"]: row for row in small.panel("slo", "routes", HOUR, tenant="slo").dicts()}
    recent, allowed = of("shop", END - HOUR), 0.2 * len(of("shop"))
    for route in ("/0", "/1"):
        rows = [row for row in recent if row["route"] == route]
        failed = error_rate(rows) * len(rows)
        row = found[route]
        assert (row["requests"], row["failed"]) == (len(rows), failed)
        assert row["of_the_errors"] == pytest.approx(failed / (error_rate(recent) * len(recent)))
        assert row["budget_eaten"] == pytest.approx(failed / allowed)
    assert set(found) == {"/0", "/1"}
    agents = {row["agent"]: row for row in small.panel("slo", "agents", HOUR, tenant="slo").dicts()}
    failed_rows = [r for r in slo(END) if r.get("agent") and r["status"] == "error" and r["ts"] >= END - HOUR]
    for agent, row in agents.items():
        mine = [r for r in failed_rows if r["agent"] == agent]
        assert row["failed_requests"] == len(mine)
        assert row["of_the_failed"] == pytest.approx(len(mine) / len(failed_rows))
        assert row["most_frequent_error"] == "500"
        assert row["latest"] == max(mine, key=lambda r: r["ts"])["trace_id"]
    assert len(agents) == 3
