"""In the end: is everything that was acknowledged stored, once, and counted once?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.chaos.ledger import TOKENS, Ledger
from tests.parts.clickhouse import ClickHouse

_SUMS = ", ".join(f"sum({name}) AS {name}" for name in TOKENS)
_ROWS = f"SELECT count() AS calls, {_SUMS}, toString(sum(cost_usd)) AS cost_usd FROM agent_events"
_ROLLUPS = ("agent_metrics_1m", "agent_metrics_1h", "agent_metrics_1d")
_ROLLUP = "SELECT sum(calls) AS calls, {sums}, toString(sum(cost_usd)) AS cost_usd FROM {table}"


@dataclass(slots=True)
class Verdict:
    """What the comparison found.

    Attributes:
        sent: spans acknowledged.
        stored: rows in `agent_events`.
        lost: of the rows or of a rollup's calls, how many are missing.
        doubled: how many there are too many.
        problems: all that does not agree, a line each.
    """

    sent: int
    stored: int
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)


def agree(clickhouse: ClickHouse) -> bool:
    """Whether the rollups count what the rows hold."""
    rows, *rollups = _all_sums(clickhouse).values()
    return all(rollup == rows for rollup in rollups)


def compare(ledger: Ledger, clickhouse: ClickHouse, folder: Path) -> Verdict:
    """Compare the ledger with the rows and the rollups; what is wrong is also written to `folder`."""
    sums = _all_sums(clickhouse)
    expected = ledger.acknowledged
    verdict = Verdict(expected.spans, int(sums["agent_events"]["calls"]))
    lost, doubled = _spans(ledger, clickhouse, folder)
    verdict.lost, verdict.doubled = len(lost), doubled
    if lost:
        verdict.problems.append(f"{len(lost)} acknowledged spans are not in agent_events, see lost.txt")
    if doubled:
        verdict.problems.append(f"{doubled} rows too many in agent_events, see doubled.txt")
    for table, found in sums.items():
        verdict.problems += _differences(table, found, ledger)
        if table != "agent_events":
            verdict.lost = max(verdict.lost, expected.spans - int(found["calls"]))
            verdict.doubled = max(verdict.doubled, int(found["calls"]) - expected.spans)
    if len(verdict.problems) > int(bool(lost)) + int(bool(doubled)):
        (folder / "sums.json").write_text(json.dumps(sums, indent=1))
    return verdict


def _all_sums(clickhouse: ClickHouse) -> dict[str, dict[str, Any]]:
    """Calls, tokens and cost by table, the rows first."""
    queries = {table: _ROLLUP.format(sums=_SUMS, table=table) for table in _ROLLUPS}
    return {table: clickhouse.sql(query)[0] for table, query in {"agent_events": _ROWS, **queries}.items()}


def _differences(table: str, found: dict[str, Any], ledger: Ledger) -> Iterator[str]:
    expected = ledger.acknowledged
    if int(found["calls"]) != expected.spans:
        yield f"{table} has {found['calls']} calls, {expected.spans} were acknowledged"
    for name, count in expected.tokens.items():
        if int(found[name]) != count:
            yield f"{table}.{name} adds up to {found[name]}, {count} were sent"
    if Decimal(found["cost_usd"]) != expected.cost:
        yield f"{table}.cost_usd adds up to {found['cost_usd']}, {expected.cost} was sent"


def _spans(ledger: Ledger, clickhouse: ClickHouse, folder: Path) -> tuple[list[tuple[str, str]], int]:
    """Spans that are missing; how many rows there are more than spans. Span by span, into files."""
    rows = clickhouse.sql("SELECT trace_id, span_id, count() AS n FROM agent_events GROUP BY ALL")
    stored = {(row["trace_id"], row["span_id"]): int(row["n"]) for row in rows}
    lost = [span for span in ledger.spans if span not in stored]
    doubled = sum(n - 1 for n in stored.values()) + sum(span not in ledger.spans for span in stored)
    if lost:
        lines = [f"{' '.join(span)} acknowledged {ledger.spans[span]:.3f}" for span in lost]
        (folder / "lost.txt").write_text("\n".join(lines))
    if doubled:
        rows = clickhouse.sql(
            "SELECT trace_id, span_id, ts, topic, partition, offset, ingested_at, _part FROM agent_events "
            "WHERE (trace_id, span_id) IN "
            "(SELECT trace_id, span_id FROM agent_events GROUP BY trace_id, span_id HAVING count() > 1) "
            "ORDER BY partition, trace_id, span_id, offset, ingested_at"
        )
        (folder / "doubled.txt").write_text("\n".join(map(json.dumps, rows)))
    return lost, doubled
