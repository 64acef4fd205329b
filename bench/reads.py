"""Times every panel of every dashboard over 30 days, and a trace by its id; run by `make bench-reads`.

    .venv/bin/python -m bench.reads --data /tmp/spanhouse-bench [--save]

Asks the statements as the page does, in the engine of this process, of a store that `bench.fill` has filled:
first without filters, then with one tenant. Prints a line a panel, the slowest first.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from bench import results
from spanhouse.dashboards.model import dashboards
from spanhouse.page.panels import panel_statement
from spanhouse.page.trace import MAX_SPANS
from spanhouse.store import Store, query_text, quote

DAYS: Final = 30
TRACES: Final = 100
# Ways to ask for a trace.
TRACE: Final = "trace"
_PAGE: Final = {"the page": "trace", "the page, to export": "trace_rows"}
_GRAFANA: Final = "Grafana, of otel_traces"
_OF_ONE_TRACE: Final = ("summary", "waterfall", "spans", "events")
# As the page asks.
_FORM: Final = "JSONCompactEachRowWithNamesAndTypes"
# What Grafana's ClickHouse data source asks of the OpenTelemetry tables for a trace.
_GRAFANA_TRACE: Final = """
WITH {trace_id} AS trace_id,
    (SELECT min(Start) FROM otel_traces_trace_id_ts WHERE TraceId = trace_id) AS trace_start,
    (SELECT max(End) + 1 FROM otel_traces_trace_id_ts WHERE TraceId = trace_id) AS trace_end
SELECT TraceId AS traceID, SpanId AS spanID, ParentSpanId AS parentSpanID, ServiceName AS serviceName,
    SpanName AS operationName, Timestamp AS startTime, Duration AS duration,
    arrayMap(key -> map('key', key, 'value', SpanAttributes[key]), mapKeys(SpanAttributes)) AS tags,
    arrayMap(key -> map('key', key, 'value', ResourceAttributes[key]), mapKeys(ResourceAttributes))
        AS serviceTags
FROM otel_traces
WHERE traceID = trace_id AND Timestamp >= trace_start AND Timestamp <= trace_end
LIMIT 1000
"""


@dataclass(frozen=True, slots=True)
class Timed:
    """How long a statement took, and what it read.

    Attributes:
        name: dashboard/panel, or who asks for a trace.
        tenant: the one that was filtered by, or ''.
        source: `rollups`, `spans`, `other`, or `trace` for a trace by its id.
        median_ms, p95_ms: of all times it was asked.
        rows, mb: what it read, the last time.
    """

    name: str
    tenant: str
    source: str
    median_ms: float
    p95_ms: float
    rows: int
    mb: float


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    return sorted(values)[max(0, -int(-len(values) * share // 1) - 1)]


def source(statement: str) -> str:
    """What a statement reads: spans, rollups, or something else."""
    if re.search(r"\bFROM agent_events\b", statement):
        return "spans"
    return "rollups" if "agent_metrics_" in statement else "other"


def panels(
    session: Any, end: datetime, repeat: int, tenant: str, trace_id: str, slow_ms: float
) -> list[Timed]:
    """Every panel's statement over the DAYS before `end`; what takes over `slow_ms` is asked once."""
    asked = {"from": [(end - timedelta(days=DAYS)).isoformat()], "to": [end.isoformat()]}
    if tenant:
        asked["var-tenant"] = [tenant]
    found = []
    for dashboard in dashboards().values():
        for panel in dashboard.panels:
            if not panel.has_statement:
                continue
            of_trace = dashboard.name == "traces" and panel.id in _OF_ONE_TRACE
            own = {"var-trace_id": [trace_id]} if of_trace else {}
            statement = panel_statement(dashboard.name, panel.id, asked | own)
            kind = TRACE if of_trace else source(statement)
            name = f"{dashboard.name}/{panel.id}"
            found.append(_timed(session, name, tenant, kind, [statement] * repeat, slow_ms))
            print(".", end="", flush=True)
    return found


def traces(session: Any, ids: Sequence[str]) -> list[Timed]:
    """What the page and Grafana ask for one trace, for each of the ids."""
    found = []
    for name in (*_PAGE, _GRAFANA, *(f"traces/{panel}" for panel in _OF_ONE_TRACE)):
        asked = [_trace_statement(name, trace_id) for trace_id in ids]
        found.append(_timed(session, name, "", TRACE, asked))
    return found


def _trace_statement(name: str, trace_id: str) -> str:
    if name in _PAGE:
        text = query_text(_PAGE[name]).replace("{trace_id:String}", quote(trace_id))
        return text.replace("{limit:UInt64}", str(MAX_SPANS + 1))
    if name == _GRAFANA:
        return _GRAFANA_TRACE.replace("{trace_id}", quote(trace_id))
    dashboard, _, panel = name.partition("/")
    return panel_statement(dashboard, panel, {"from": ["now-1h"], "to": ["now"], "var-trace_id": [trace_id]})


def _timed(
    session: Any, name: str, tenant: str, kind: str, asked: Sequence[str], slow_ms: float = float("inf")
) -> Timed:
    times = []
    for statement in asked:
        begin = time.monotonic()
        result = session.query(statement, _FORM)
        result.bytes()
        times.append((time.monotonic() - begin) * 1000)
        if times[-1] > slow_ms:
            break
    rows, size = result.storage_rows_read(), result.storage_bytes_read()
    return Timed(name, tenant, kind, statistics.median(times), percentile(times, 0.95), rows, size / 1e6)


def table(title: str, timed: Sequence[Timed]) -> None:
    """Print a table, the slowest first."""
    print(f"\n{title}\n| statement | reads | median ms | 95th | rows read | MB |\n|---|---|---|---|---|---|")
    for one in sorted(timed, key=lambda one: -one.median_ms):
        times = f"{one.median_ms:.1f} | {one.p95_ms:.1f}"
        print(f"| {one.name} | {one.source} | {times} | {one.rows:,} | {one.mb:.1f} |")
    for kind in dict.fromkeys(one.source for one in timed):
        medians = [one.median_ms for one in timed if one.source == kind]
        print(
            f"of {kind}: {len(medians)} statements, 50th percentile {percentile(medians, 0.5):.0f} ms, "
            f"95th {percentile(medians, 0.95):.0f} ms, longest {max(medians):.0f} ms",
            flush=True,
        )


def measure(
    store: Store, repeat: int = 5, trace_count: int = TRACES, slow_ms: float = 1500
) -> tuple[list[Timed], dict[str, float]]:
    """All statements, with their tables printed, and the figures that are compared."""
    (newest,) = store.rows("SELECT toUnixTimestamp(max(minute)) FROM agent_metrics_1m_state")
    end = datetime.fromtimestamp(int(newest) + 60, UTC)
    (tenant,) = store.rows(
        "SELECT tenant_id FROM agent_metrics_1h_state GROUP BY tenant_id ORDER BY sum(calls) DESC "
        "LIMIT 1 OFFSET 5"
    )
    ids = store.rows(
        "SELECT trace_id FROM agent_events WHERE parent_span_id = '' "
        f"ORDER BY cityHash64(trace_id) LIMIT {trace_count}"
    )
    # What is merged meanwhile would be in the times.
    store.rows("SYSTEM STOP MERGES")
    session = store.session()
    of_traces = traces(session, ids)
    everything = panels(session, end, repeat, "", ids[0], slow_ms)
    of_one = panels(session, end, repeat, tenant, ids[0], slow_ms)
    session.close()
    store.rows("SYSTEM START MERGES")
    table(f"Panels over {DAYS} days", everything)
    table(f"The same for {tenant}", of_one)
    table(f"One trace by its id, of {len(ids)}", of_traces)
    medians = [one.median_ms for one in (*everything, *of_one) if one.source == "rollups"]
    figures = {
        "panels_p95_ms": percentile(medians, 0.95),
        # Grafana's asks three times for a trace: when it began, when it ended, and for its spans.
        "trace_by_id_p95_ms": max(one.p95_ms for one in of_traces if one.name != _GRAFANA),
    }
    print(figures)
    return [*everything, *of_one, *of_traces], figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the store")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="put the figures into bench/results.json")
    arguments = parser.parse_args()
    with Store(arguments.data) as store:
        timed, figures = measure(store, arguments.repeat)
    if arguments.save:
        results.save(figures, "reads", timed)


if __name__ == "__main__":
    main()
