"""`bench/results.json`: what the benchmarks measured last, for docs/benchmarks.md and whoever compares.

At the top level are the figures that are compared from release to release, in `FIGURES`' order, then the
machine, the date, and under `tables` all that was measured, by benchmark.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")

FILE: Final = Path(__file__).with_name("results.json")
# The three that are compared.
OURS: Final = "spanhouse"
GO: Final = "clickhouseexporter"
BASELINE: Final = "dict per span"

FIGURES: Final = (
    "decode_spans_per_core_s",
    "arrow_spans_per_core_s",
    "grpc_to_sink_ratio",
    "kafka_to_store_spans_s",
    "panels_p95_ms",
    "trace_by_id_p95_ms",
    "bytes_per_span_ratio",
)


def load() -> dict[str, Any]:
    """All that is there."""
    found: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    return found


def save(figures: Mapping[str, float], table: str, rows: Sequence[Any]) -> None:
    """Put figures and one table (dataclasses, a row each) beside what other benchmarks have saved."""
    assert set(figures) <= set(FIGURES), figures
    found = load()
    found |= {name: _short(value) for name, value in figures.items()}
    tables = found.get("tables", {})
    tables[table] = [{key: _short(value) for key, value in asdict(row).items()} for row in rows]
    ordered: dict[str, Any] = {name: found[name] for name in FIGURES if name in found}
    ordered |= {"machine": machine(), "date": datetime.date.today().isoformat(), "tables": tables}
    FILE.write_text(json.dumps(ordered, indent=2) + "\n")


def median(turns: Sequence[T]) -> T:
    """One row for the same in several turns: the median of each float, all else as in the first."""
    first: Any = turns[0]
    numbers = [field.name for field in fields(first) if isinstance(getattr(first, field.name), float)]
    medians = {name: statistics.median(getattr(turn, name) for turn in turns) for name in numbers}
    one: T = replace(first, **medians)
    return one


def machine() -> dict[str, Any]:
    """What it was measured on."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": models[0].partition(": ")[2] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
    }


def _short(value: Any) -> Any:
    """Four digits are more than any of it is worth."""
    if isinstance(value, Mapping):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, float):
        rounded = float(f"{value:.4g}")
        return int(rounded) if rounded.is_integer() else rounded
    return value
