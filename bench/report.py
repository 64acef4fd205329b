"""Tables and chart of docs/benchmarks.md, from bench/results.json; run by `make bench-peers` at its end.

A table stands in the document between `<!-- NAME -->` and `<!-- end -->`, and is replaced there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from bench import chart, results
from bench.reads import TRACE, percentile
from bench.results import BASELINE, GO, OURS
from bench.stages import OURS_SINGLE, PROTOBUF

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"

Rows = Sequence[dict[str, Any]]


def write() -> None:
    """Bring the document and its chart up to what was measured."""
    found = results.load()
    text = DOCUMENT.read_text()
    text = _replace(text, "machine", [_machine(found)])
    for name, make in _TABLES.items():
        if name in found["tables"]:
            text = _replace(text, name, make(found["tables"][name]))
    DOCUMENT.write_text(text)
    chart.write(found["tables"])


def _replace(text: str, name: str, lines: Iterable[str]) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    assert pattern.search(text), f"docs/benchmarks.md has no place for {name}"
    inner = "\n".join(lines) + "\n"
    return pattern.sub(lambda match: match[1] + inner + match[2], text)


def _machine(found: dict[str, Any]) -> str:
    machine = found["machine"]
    return (
        f"Machine: {machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}. Measured on {found['date']}."
    )


def _stage(rows: Rows, stage: str, names: Sequence[str]) -> list[str]:
    head = [
        f"| shape | spans a request | {' | '.join(names)} | times {BASELINE} |",
        "|---" * (len(names) + 3) + "|",
    ]
    for row in rows:
        if row["stage"] == stage:
            rates = row["rates"]
            cells = " | ".join(f"{rates[name]:,.0f}" for name in names)
            head.append(
                f"| {row['shape']} | {row['batch']:,} | {cells} | {rates[OURS] / rates[BASELINE]:.1f} |"
            )
    return head


def _stages(rows: Rows) -> list[str]:
    return [
        "Decoding to columns, spans per CPU second:",
        "",
        *_stage(rows, "decode", (OURS, OURS_SINGLE, PROTOBUF, BASELINE)),
        "",
        "Decoding to Arrow ready to insert, with all processors, spans per CPU second:",
        "",
        *_stage(rows, "arrow", (OURS, OURS_SINGLE, BASELINE)),
    ]


def _grpc_to_sink(rows: Rows) -> list[str]:
    lines = [
        f"| shape | spans a request | system | spans per CPU s | times {GO} | peak memory | bytes a span |",
        "|---|---|---|---|---|---|---|",
    ]
    go = {(row["shape"], row["batch"]): row for row in rows if row["system"] == GO}
    for row in rows:
        peer = go.get((row["shape"], row["batch"]))
        times = f"{row['spans_per_cpu_s'] / peer['spans_per_cpu_s']:.2f}" if peer else ""
        lines.append(
            f"| {row['shape']} | {row['batch']:,} | {row['system']} | {row['spans_per_cpu_s']:,.0f} "
            f"| {times} | {row['peak_mb']:,.0f} MB | {row['bytes_per_span']:,.0f} |"
        )
    return lines


def _kafka_to_store(rows: Rows) -> list[str]:
    lines = ["| system | spans/s | spans per CPU s | peak memory |", "|---|---|---|---|"]
    for row in rows:
        cells = f"{row['spans_per_s']:,.0f} | {row['spans_per_cpu_s']:,.0f} | {row['peak_mb']:,.0f} MB"
        lines.append(f"| {row['system']} | {cells} |")
    return lines


def _laptop(rows: Rows) -> list[str]:
    [row] = rows
    return [
        "| what | measured | aim |",
        "|---|---|---|",
        f"| ready, existing store (median of the starts) | {row['ready_s']:.1f} s | 3 s |",
        f"| ready, new store | {row['ready_new_store_s']:.1f} s | |",
        f"| idle memory, resident | {row['idle_mb']:.0f} MB | 600 MB |",
        f"| export to visible by a query at 1,000 spans/s, median | {row['visible_p50_ms']:.0f} ms | |",
        f"| the same, 99th percentile | {row['visible_p99_ms']:.0f} ms | 1 s |",
        f"| memory after that load, resident | {row['busy_mb']:.0f} MB | |",
        f"| cores busy under that load | {row['busy_cores']:.2f} | |",
    ]


def _storage(rows: Rows) -> list[str]:
    whole = {row["table"]: row["bytes_per_span"] for row in rows if not row["name"]}
    lines = ["| table | bytes a span | biggest columns |", "|---|---|---|"]
    for table, size in whole.items():
        columns = ", ".join(
            f"`{row['name']}` {row['bytes_per_span']:.1f}"
            for row in rows
            if row["table"] == table and row["name"] and row["bytes_per_span"] >= 0.5
        )
        lines.append(f"| {table} | {size:.1f} | {columns} |")
    return lines


def _reads(rows: Rows) -> list[str]:
    lines = [
        "| statements | of | median of them | 95th percentile | longest |",
        "|---|---|---|---|---|",
    ]
    for source, name in (("rollups", "panels from rollups"), ("spans", "panels from rows")):
        for which, tenant in (("all tenants", False), ("one tenant", True)):
            chosen = [row for row in rows if row["source"] == source and bool(row["tenant"]) == tenant]
            if chosen:
                medians = [row["median_ms"] for row in chosen]
                longest = max(chosen, key=lambda row: float(row["median_ms"]))
                slowest = f"{longest['name']}, {longest['median_ms']:,.0f} ms"
                lines.append(
                    f"| {len(chosen)} {name} | {which} | {percentile(medians, 0.5):,.0f} ms "
                    f"| {percentile(medians, 0.95):,.0f} ms | {slowest} |"
                )
    return lines + [
        f"| a trace by its id: {row['name']} | all tenants | {row['median_ms']:.0f} ms "
        f"| {row['p95_ms']:.0f} ms | |"
        for row in rows
        if row["source"] == TRACE and "/" not in row["name"]
    ]


_TABLES: Final[dict[str, Callable[[Rows], list[str]]]] = {
    "stages": _stages,
    "grpc_to_sink": _grpc_to_sink,
    "kafka_to_store": _kafka_to_store,
    "laptop": _laptop,
    "storage": _storage,
    "reads": _reads,
}


if __name__ == "__main__":
    write()
