"""The dashboard Users, against numbers counted here."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from statistics import mean

import pytest

from tests.dashboards.conftest import END, MONTH, Asker
from tests.dashboards.data import DAY, users

ROWS = users(END)
ROOTS = [row for row in ROWS if not row["parent_span_id"]]
IN_RANGE = [row for row in ROWS if row["ts"] >= END - MONTH]
TASKS = [row for row in ROOTS if row["ts"] >= END - MONTH]


def hour(ts: datetime) -> datetime:
    return ts.replace(minute=0, second=0, microsecond=0)


def active(first: datetime, last: datetime) -> set[str]:
    """Users of days, both included."""
    days = first.date(), last.date()
    return {row["user_id_hash"] for row in ROOTS if days[0] <= row["ts"].date() <= days[1]}


def test_active_users(small: Asker) -> None:
    row = small.panel("users", "active", MONTH, tenant="users").one()
    for name, days in (("daily", 1), ("weekly", 7), ("monthly", 30)):
        assert row[name] == len({r["user_id_hash"] for r in ROOTS if hour(r["ts"]) > END - days * DAY}), name
    assert row["stickiness"] == pytest.approx(row["daily"] / row["monthly"])
    nobody = small.panel("users", "active", MONTH, tenant="nobody").one()
    assert (nobody["monthly"], nobody["stickiness"]) == (0, None)
    # Users and sessions of the range.
    row = small.panel("users", "sessions", MONTH, tenant="users").one()
    assert row["users"] == len({r["user_id_hash"] for r in IN_RANGE})
    assert row["sessions"] == len({r["session_id"] for r in IN_RANGE})


def test_active_users_over_time(small: Asker) -> None:
    rows = small.panel("users", "active_over_time", 10 * DAY, tenant="users").dicts()
    days = [END - (10 - number) * DAY for number in range(11)]
    assert [row["time"][:10] for row in rows] == [f"{day:%Y-%m-%d}" for day in days]
    sticky = small.panel("users", "stickiness_over_time", 10 * DAY, tenant="users").rows
    for row, day, (_, share) in zip(rows, days, sticky, strict=True):
        for name, length in (("daily", 1), ("weekly", 7), ("monthly", 30)):
            assert row[name] == len(active(day - (length - 1) * DAY, day)), (name, day)
        assert share == pytest.approx(row["daily"] / row["monthly"])


def test_retention(small: Asker) -> None:
    def week(ts: datetime) -> datetime:
        return (hour(ts) - ts.weekday() * DAY).replace(hour=0)

    weeks: dict[str, set[datetime]] = {}
    for row in ROOTS:
        weeks.setdefault(row["user_id_hash"], set()).add(week(row["ts"]))
    cohorts: dict[datetime, list[str]] = {}
    for user, seen in weeks.items():
        cohorts.setdefault(min(seen), []).append(user)
    shown = {start: found for start, found in cohorts.items() if start > END - 56 * DAY}
    rows = small.panel("users", "retention", MONTH, tenant="users").dicts()
    assert [row["cohort"] for row in rows] == [f"{start:%Y-%m-%d}" for start in sorted(shown)]
    assert len(rows) > 1
    for row, (start, found) in zip(rows, sorted(shown.items()), strict=True):
        assert row["users"] == len(found)
        for number in range(8):
            later = start + number * timedelta(days=7)
            share = sum(later in weeks[user] for user in found) / len(found)
            assert row[f"week_{number}"] == (pytest.approx(share) if later <= END else None), (start, number)


def test_the_funnel(small: Asker) -> None:
    spans: dict[str, list[str]] = {}
    answered = set()
    for row in IN_RANGE:
        spans.setdefault(row["trace_id"], []).append(row["kind"])
        if row["kind"] == "tool" and row["status"] != "error":
            answered.add(row["trace_id"])
    done = {row["trace_id"] for row in TASKS if row["status"] != "error"}
    expected = [
        len(spans),
        sum("agent" in kinds for kinds in spans.values()),
        sum("tool" in kinds for kinds in spans.values()),
        len(answered),
        len(answered & done),
    ]
    assert [row[1] for row in small.panel("users", "funnel", MONTH, tenant="users").rows] == expected
    assert len(set(expected)) == 5
    # A filter chooses tasks by any of their spans.
    chosen = small.panel("users", "funnel", MONTH, tenant="users", agent="agent-2").rows
    of_agent = {row["trace_id"] for row in IN_RANGE if row.get("agent") == "agent-2"}
    assert chosen[0][1] == chosen[1][1] == len(of_agent)
    by_agent = {
        row["agent"]: row for row in small.panel("users", "funnel_by_agent", MONTH, tenant="users").dicts()
    }
    row = by_agent["agent-2"]
    assert row["tasks"] == len(of_agent)
    assert row["succeeded_share"] == pytest.approx(len(of_agent & done) / len(of_agent))
    assert row["called_a_tool"] == 1
    assert row["users"] == len({r["user_id_hash"] for r in TASKS if r["trace_id"] in of_agent})
    assert by_agent["agent-0"]["tools_answered"] is None


@pytest.mark.parametrize(("panel", "column"), [("route", "route"), ("agent", "agent"), ("tool", "tool_name")])
def test_adoption(small: Asker, panel: str, column: str) -> None:
    everybody = len({row["user_id_hash"] for row in IN_RANGE})
    found = {
        row[panel]: row for row in small.panel("users", f"adoption_{panel}", MONTH, tenant="users").dicts()
    }
    rows = [row for row in IN_RANGE if row.get(column) and (panel != "tool" or row["kind"] == "tool")]
    assert set(found) == {row[column] for row in rows}
    for name, row in found.items():
        mine = [r for r in rows if r[column] == name]
        using = {r["user_id_hash"] for r in mine}
        assert (row["users"], row["calls"]) == (len(using), len(mine))
        assert row["of_all_users"] == pytest.approx(len(using) / everybody)
        assert row["calls_per_user"] == pytest.approx(len(mine) / len(using))
        assert row["error_rate"] == pytest.approx(sum(r["status"] == "error" for r in mine) / len(mine))


def test_sessions(small: Asker) -> None:
    tasks = Counter(row["session_id"] for row in TASKS)
    costs: Counter[str] = Counter()
    for row in IN_RANGE:
        costs[row["session_id"]] += row["cost_usd"]
    numbers = small.panel("users", "session_numbers", MONTH, tenant="users").one()
    assert numbers["tasks_per_session"] == pytest.approx(mean(tasks.values()))
    assert numbers["usd_per_session"] == pytest.approx(mean(costs.values()))
    assert None in small.panel("users", "session_numbers", MONTH, tenant="nobody").rows[0]
    lengths = dict(small.panel("users", "session_lengths", MONTH, tenant="users").rows)
    assert lengths == {str(length): count for length, count in Counter(tasks.values()).items()}
    dearest = small.panel("users", "session_list", MONTH, tenant="users").dicts()[0]
    assert dearest["usd"] == pytest.approx(max(costs.values()))
    mine = [row for row in IN_RANGE if row["session_id"] == dearest["session"]]
    end = max(row["ts"].timestamp() + row["latency_ms"] / 1000 for row in mine)
    assert dearest["seconds"] == pytest.approx(end - min(row["ts"].timestamp() for row in mine), abs=1e-3)
    assert dearest["failed"] == sum(row["status"] == "error" for row in mine if not row["parent_span_id"])


def test_errors_of_users(small: Asker) -> None:
    failed = Counter(row["user_id_hash"] for row in TASKS if row["status"] == "error")
    row = small.panel("users", "users_with_errors", MONTH, tenant="users").one()
    everybody = {row["user_id_hash"] for row in TASKS}
    assert row == {
        "users": len(everybody),
        "with_a_failed_request": len(failed),
        "share": pytest.approx(len(failed) / len(everybody)),
    }
    for row in small.panel("users", "user_list", MONTH, tenant="users").dicts():
        mine = [task for task in TASKS if task["user_id_hash"] == row["user"]]
        assert (row["requests"], row["failed"]) == (len(mine), failed[row["user"]])
        assert row["sessions"] == len({task["session_id"] for task in mine})
        wrong = [task for task in mine if task["status"] == "error"]
        assert row["latest_failed"] == (max(wrong, key=lambda task: task["ts"])["trace_id"] if wrong else "")
