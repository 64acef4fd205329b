"""docs/images/benchmarks.svg: spans per CPU second of the three systems, as bars."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Final

from bench.results import BASELINE, GO, OURS

FILE: Final = Path(__file__).parents[1] / "docs" / "images" / "benchmarks.svg"
_COLORS: Final = {OURS: "#2f6fdb", GO: "#d08a1d", BASELINE: "#8a8f98"}
_TITLES: Final = {
    "chat": "model calls, 500 bytes, 11 attributes",
    "prompt": "model calls with prompts of 20 KB",
    "wide": "spans of 60 attributes",
}
_WIDTH, _LEFT, _BAR, _GAP = 760, 170, 22, 6
# Of the requests that the chart shows, an SDK's.
_BATCH: Final = 512


def write(tables: dict[str, Any]) -> None:
    """Draw what was measured from OTLP/gRPC to the sink; bars of a shape are relative to its longest."""
    rows = [row for row in tables.get("grpc_to_sink", ()) if row["batch"] == _BATCH]
    parts, y = [_text(16, 28, "OTLP/gRPC to an HTTP sink: spans per CPU second", size=17, weight=600)], 62
    for shape, title in _TITLES.items():
        bars = [row for row in rows if row["shape"] == shape]
        if not bars:
            continue
        parts.append(_text(16, y, title, weight=600))
        y += 12
        longest = max(row["spans_per_cpu_s"] for row in bars)
        for row in bars:
            rate = row["spans_per_cpu_s"]
            width = max(2, round((_WIDTH - _LEFT - 110) * rate / longest))
            parts += [
                _text(_LEFT - 10, y + 16, row["system"], anchor="end"),
                f'<rect x="{_LEFT}" y="{y}" width="{width}" height="{_BAR}" rx="3" '
                f'fill="{_COLORS[row["system"]]}"/>',
                _text(_LEFT + width + 8, y + 16, f"{rate:,.0f}"),
            ]
            y += _BAR + _GAP
        y += 26
    style = "font-family:system-ui,sans-serif;font-size:13px"
    size = f'viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{style}">'
    background = f'<rect width="{_WIDTH}" height="{y}" rx="6" fill="#ffffff"/>'
    FILE.write_text("\n".join([head, background, *parts, "</svg>", ""]))


def _text(x: int, y: int, text: str, *, anchor: str = "start", size: int = 13, weight: int = 400) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="#1f2329">{escape(text)}</text>'
    )
