"""Rows of `agent_events` of which everything is known, to count in: one tenant for each dashboard."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

Row = dict[str, Any]

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)


class Rows:
    """Collects rows; ids are numbers."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(
        self, ts: datetime, trace: str, parent: str = "", latency_ms: float = 10.0, **columns: Any
    ) -> Row:
        row: Row = {
            "ts": ts, "trace_id": trace, "span_id": f"{len(self.rows) + 1:016x}", "parent_span_id": parent,
            "latency_ms": latency_ms, "status": "ok", "kind": "other", "cost_usd": 0.0,
            "ingested_at": ts + timedelta(milliseconds=latency_ms + 2000), **columns,
        }  # fmt: skip
        self.rows.append(row)
        return row


def slo(end: datetime) -> list[Row]:
    """Of three services `shop` has errors and slow hours, `other` has none, `quiet` had one request."""
    made = Rows()
    for number in range(1, 6 * 60):
        ts = end - number * MINUTE
        failed = number % 10 == 0 or number <= 4
        slow = ts.hour % 2 == 1
        root = made.add(
            ts, f"slo-{number}", latency_ms=300.0 if slow else 50.0, tenant_id="slo", service="shop",
            route=f"/{number % 2}", span_kind="server", status="error" if failed else "ok",
        )  # fmt: skip
        made.add(
            ts, f"slo-{number}", root["span_id"], tenant_id="slo", service="shop", kind="agent",
            agent=f"agent-{number % 3}", status=root["status"], error_type="500" if failed else "",
        )  # fmt: skip
        made.add(ts, f"slo-other-{number}", latency_ms=20.0, tenant_id="slo", service="other", route="/")
    made.add(end - 20 * DAY, "slo-quiet", tenant_id="slo", service="quiet", status="error")
    return made.rows


def prompts(end: datetime) -> list[Row]:
    """Calls with versions v9, v10 and v11 (one call) of a prompt; and an experiment of 60 tasks."""
    made, chance = Rows(), random.Random(3)
    for number in range(91):
        version = "v9" if number < 40 else "v10" if number < 90 else "v11"
        later = number >= 40
        failed = number % 4 == 0 if later else number % 5 == 0
        reason = '["length"]' if number % 3 else '["stop"]'
        made.add(
            end - (number + 1) * timedelta(seconds=30), f"prompt-{number}", "p",
            latency_ms=chance.uniform(200, 400) * (1.5 if later else 1), tenant_id="prompts", service="s",
            kind="llm", model=f"model-{number % 2}", prompt_name="answer", prompt_version=version,
            status="error" if failed else "ok", ttft_ms=None if failed else chance.uniform(10, 20),
            tokens_prompt=100, tokens_completion=0 if failed else chance.randint(10, 20),
            cost_usd=0.0 if failed else chance.randint(10, 30) / 1000,
            attrs={} if failed else {"gen_ai.response.finish_reasons": reason},
        )  # fmt: skip
        if number % 2 == 0:
            _evaluate(made, number, end, chance.uniform(0.5, 1.0), "p", tenant_id="prompts", service="s")
    for number in range(60):
        variant = "control" if number < 30 else "bold" if number < 59 else "shy"
        common = {
            "tenant_id": "experiments", "service": "s", "experiment": "tone", "variant": variant,
        }  # fmt: skip
        ts = end - (number + 1) * MINUTE * 0.9
        failed = number % (3 if variant == "bold" else 5) == 0
        root = made.add(
            ts, f"prompt-task-{number}", latency_ms=chance.uniform(100, 300), kind="agent", agent="a",
            status="error" if failed else "ok", **common,
        )  # fmt: skip
        # A call that failed and was tried again is no failed task.
        made.add(ts, f"prompt-task-{number}", root["span_id"], kind="llm", model="m", status="error",
                 cost_usd=chance.randint(5, 50) / 1000, **common)  # fmt: skip
        if number % 3:
            low = 0.6 if variant == "bold" else 0.2
            _evaluate(
                made, f"task-{number}", end, chance.uniform(low, low + 0.3), root["span_id"], ts=ts, **common
            )
    return made.rows


def _evaluate(
    made: Rows,
    number: object,
    end: datetime,
    score: float,
    parent: str,
    ts: datetime | None = None,
    **columns: Any,
) -> None:
    attrs = {"gen_ai.evaluation.name": "truth", "gen_ai.evaluation.score.value": repr(score)}
    when = ts or end - (int(str(number)) + 1) * timedelta(seconds=30)
    made.add(when, f"prompt-{number}", parent, kind="evaluation", attrs=attrs, **columns)


def users(end: datetime) -> list[Row]:
    """Ten users; user k comes every k+1 days, on a day with k tools called, and one task in five fails."""
    made, number = Rows(), 0
    for user in range(10):
        for day in range(0, 70 - 3 * user, user + 1):
            number += 1
            ts = end - day * DAY - (user + 1) * timedelta(minutes=5)
            failed = number % 5 == 0
            common = {
                "tenant_id": "users", "service": "s", "user_id_hash": f"user-{user}",
                "session_id": f"session-{user}-{day // 7}",
            }  # fmt: skip
            root = made.add(ts, f"user-{number}", latency_ms=1000.0, route=f"/{user % 2}", cost_usd=0.0,
                            status="error" if failed else "ok", **common)  # fmt: skip
            if user < 8:
                made.add(
                    ts, f"user-{number}", root["span_id"], kind="agent", agent=f"agent-{user % 3}", **common
                )
            for tool in range(user % 3 if user < 8 else 0):
                made.add(ts, f"user-{number}", root["span_id"], kind="tool", tool_name=f"tool-{tool}",
                         agent=f"agent-{user % 3}", cost_usd=0.25,
                         status="error" if user == 4 else "ok", **common)  # fmt: skip
    return made.rows


def json_lines(rows: Iterable[Row]) -> bytes:
    """The rows as ClickHouse's format JSONEachRow."""

    def text(value: object) -> str:
        assert isinstance(value, datetime)
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")

    return "\n".join(json.dumps(row, default=text) for row in rows).encode()
