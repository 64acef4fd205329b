"""From OTLP/gRPC to an HTTP sink that discards, on the same machine in the same run.

    .venv/bin/python -m bench.grpc_to_sink [--systems spanhouse ...] [--seconds 8] [--rounds 3] [--save]

spanhouse with all its processors, the official Collector's clickhouseexporter, and a dict per span get the
same payloads from the same generator. CPU seconds are those of the system alone, from the first request
after a warm-up until the last span is stored; memory is the most that it had meanwhile. The systems take
turns; each figure is the median of the turns.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import collector, results
from bench.load import Load
from bench.payloads import SHAPES
from bench.results import GO, OURS
from bench.sink import Sink
from bench.stages import USUAL
from bench.systems import SYSTEMS, Peak
from tests.parts.clickhouse import ClickHouse

# What is sent by SDKs (512 is their usual batch), one at a time, and by a Collector.
CASES: Final = (
    *((shape, 512) for shape in SHAPES),
    *(("chat", batch) for batch in (1, 64, 8192)),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a system took for requests of `batch` spans of a shape."""

    system: str
    shape: str
    batch: int
    spans_per_cpu_s: float
    spans_per_s: float
    peak_mb: float
    bytes_per_span: float  # on the wire to ClickHouse
    spans_per_insert: float


def measure(name: str, sink: Sink, shape: str, batch: int, warm_up: float, seconds: float) -> Measured:
    """Start a system and send to it for so long."""
    with (
        tempfile.TemporaryDirectory(prefix="spanhouse-bench-") as folder,
        SYSTEMS[name](Path(folder), sink.url) as system,
        Load(system.grpc, shape, batch) as load,
        Peak(system) as peak,
    ):
        before = load.send(warm_up)
        system.wait_stored(before.spans)
        begin, inserts, size = system.cpu_seconds(), *sink.counted()
        sent = load.send(seconds)
        system.wait_stored(before.spans + sent.spans)
        used = system.cpu_seconds() - begin
        inserts, size = sink.counted()[0] - inserts, sink.counted()[1] - size
    return Measured(
        name,
        shape,
        batch,
        sent.spans / used,
        sent.spans / sent.seconds,
        peak.bytes / 1e6,
        size / sent.spans,
        sent.spans / inserts,
    )


def run(
    systems: Sequence[str], cases: Sequence[tuple[str, int]], warm_up: float, seconds: float, rounds: int
) -> Iterator[Measured]:
    """Measure all of these systems with all of these cases."""
    with tempfile.TemporaryDirectory(prefix="spanhouse-bench-") as name:
        folder = Path(name)
        with ClickHouse(folder / "clickhouse") as clickhouse, Sink(folder, clickhouse.url) as sink:
            clickhouse.sql(collector.create_table())
            for shape, batch in cases:
                turns = [
                    [measure(system, sink, shape, batch, warm_up, seconds) for system in systems]
                    for _ in range(rounds)
                ]
                yield from map(results.median, zip(*turns, strict=True))


def main() -> None:
    """Measure and print; with --save into bench/results.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES)
    parser.add_argument("--batches", nargs="+", type=int, default=sorted({batch for _, batch in CASES}))
    parser.add_argument("--warm-up", type=float, default=4, help="seconds (default 4)")
    parser.add_argument("--seconds", type=float, default=8, help="seconds of a turn (default 8)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each system (default 3)")
    parser.add_argument("--save", action="store_true", help="write bench/results.json")
    arguments = parser.parse_args()
    cases = [case for case in CASES if case[0] in arguments.shapes and case[1] in arguments.batches]
    found = []
    for one in run(arguments.systems, cases, arguments.warm_up, arguments.seconds, arguments.rounds):
        found.append(one)
        print(
            f"{one.shape:6} {one.batch:5} {one.system:20} {one.spans_per_cpu_s:9,.0f} spans/CPU s "
            f"{one.spans_per_s:9,.0f} spans/s {one.peak_mb:6.0f} MB {one.bytes_per_span:6.0f} B/span "
            f"{one.spans_per_insert:8,.0f} spans/insert",
            flush=True,
        )
    if arguments.save:
        usual = {one.system: one.spans_per_cpu_s for one in found if (one.shape, one.batch) == USUAL}
        figures = {}
        if {OURS, GO} <= set(usual):
            figures["grpc_to_sink_ratio"] = usual[OURS] / usual[GO]
        results.save(figures, "grpc_to_sink", found)


if __name__ == "__main__":
    main()
