"""Bytes per span on disk, beside what the clickhouseexporter's table takes for the same spans.

    .venv/bin/python -m bench.storage --data /tmp/spanhouse-bench [--save]

The spans of one day, one that `bench.fill` has filled, are copied into a table with the exporter's columns,
codecs, indexes and order, through the view `otel_traces`: attributes that have become columns are attributes
again, under their own names. Both are merged to one part. What is counted are files as they lie on the disk:
columns, marks, and indexes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import collector, results
from spanhouse.store import Store

OURS: Final = "agent_events"
ROLLUPS: Final = "rollups"
THEIRS: Final = "otel_traces"
_BIGGEST: Final = 12


@dataclass(frozen=True, slots=True)
class Part:
    """What one thing of a table takes, in bytes a span."""

    table: str
    name: str
    bytes_per_span: float


def measure(store: Store) -> list[Part]:
    """The tables whole, and the biggest of their columns and indexes, of the last whole day."""
    (day, spans) = store.rows(
        "SELECT toDate(ts), count() FROM agent_events "
        "WHERE toDate(ts) < (SELECT toDate(max(ts)) FROM agent_events) GROUP BY 1 ORDER BY 1 DESC LIMIT 1"
    )[0].split("\t")
    store.rows("DROP DATABASE IF EXISTS bench")
    store.rows("CREATE DATABASE bench ENGINE = Atomic")
    store.rows(collector.create_table("bench.otel_traces"))
    store.rows(
        f"INSERT INTO bench.otel_traces SELECT * FROM otel_traces WHERE toDate(Timestamp) = '{day}' "
        "SETTINGS max_threads = 1, max_insert_threads = 1"
    )
    store.rows(f"OPTIMIZE TABLE agent_events PARTITION '{day}' FINAL")
    store.rows("OPTIMIZE TABLE bench.otel_traces FINAL")
    parts = []
    for table, where in (
        (OURS, f"database = currentDatabase() AND table = 'agent_events' AND partition = '{day}'"),
        (THEIRS, "database = 'bench' AND table = 'otel_traces'"),
    ):
        parts += _of(store, table, where, int(spans))
    # Rollups are small, and a day's are not told apart in their months' and years' parts.
    (rollups, all_spans) = store.rows(
        "SELECT sumIf(bytes_on_disk, table LIKE 'agent_metrics_%'), sumIf(rows, table = 'agent_events') "
        "FROM system.parts WHERE active AND database = currentDatabase()"
    )[0].split("\t")
    parts.append(Part(ROLLUPS, "", int(rollups) / int(all_spans)))
    store.rows("DROP DATABASE bench SYNC")
    return parts


def _of(store: Store, table: str, where: str, spans: int) -> list[Part]:
    (total,) = store.rows(f"SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND {where}")
    found = [
        *store.rows(
            "SELECT column, sum(column_bytes_on_disk) FROM system.parts_columns "
            f"WHERE active AND {where} GROUP BY 1"
        ),
        *store.rows(
            "SELECT 'indexes', sum(secondary_indices_compressed_bytes + secondary_indices_marks_bytes) "
            f"FROM system.parts WHERE active AND {where}"
        ),
    ]
    sizes = sorted(((int(size), name) for name, size in (row.split("\t") for row in found)), reverse=True)
    return [
        Part(table, "", int(total) / spans),
        *(Part(table, name, size / spans) for size, name in sizes[:_BIGGEST]),
    ]


def table(parts: list[Part]) -> None:
    """Print a table."""
    print("| table | column | bytes a span |\n|---|---|---|")
    for part in parts:
        print(f"| {part.table} | {part.name or 'all'} | {part.bytes_per_span:.2f} |")


def figures(parts: list[Part]) -> dict[str, float]:
    """What is compared: ours without rollups."""
    whole = {part.table: part.bytes_per_span for part in parts if not part.name}
    return {"bytes_per_span_ratio": whole[OURS] / whole[THEIRS]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the store")
    parser.add_argument("--save", action="store_true", help="put the figures into bench/results.json")
    arguments = parser.parse_args()
    with Store(arguments.data) as store:
        parts = measure(store)
    table(parts)
    print(figures(parts))
    if arguments.save:
        results.save(figures(parts), "storage", parts)


if __name__ == "__main__":
    main()
