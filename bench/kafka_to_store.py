"""From Kafka into the embedded store: how fast a topic is drained, rows, rollups and all in one process.

    .venv/bin/python -m bench.kafka_to_store [--spans 1000000] [--rounds 3] [--save]

`spanhouse up` with all its processors, and a dict per span. The topic is filled before, with a trace a
message as the Collector writes them. Each gets an empty store; the time and the CPU seconds (the embedded
ClickHouse's with them) run from the first rows stored to the last. The Collector has no store of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import psutil
import yaml

from bench import results
from bench.payloads import requests
from bench.results import BASELINE, OURS
from tests.harness import Instance, eventually
from tests.parts.kafka import Kafka
from tests.parts.process import Process

_TOPIC: Final = "otel-spans"
_PARTITIONS: Final = 4
_MESSAGE_SPANS: Final = 8  # a trace


@dataclass(frozen=True, slots=True)
class Measured:
    """How a system drained the topic."""

    system: str
    spans_per_s: float
    spans_per_cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Drain:
    """A process that drains the topic.

    Attributes:
        pid: its process.
        stored: how many spans it has stored.
    """

    pid: int
    stored: Callable[[], float]


def fill(kafka: Kafka, topic: str, spans: int) -> int:
    """Make a topic and write traces to it; returns how many spans they are."""
    kafka.create_topic(topic, _PARTITIONS)
    kafka.create_topic(f"{topic}.dlq")
    messages = -(-spans // _MESSAGE_SPANS)
    made = islice(requests("chat", _MESSAGE_SPANS, time.time_ns()), messages)
    kafka.produce(topic, ((None, message) for message in made))
    return messages * _MESSAGE_SPANS


@contextmanager
def spanhouse(kafka: Kafka, topic: str, folder: Path, group: str) -> Iterator[Drain]:
    """`spanhouse up`."""
    config = folder / "spanhouse.yaml"
    settings = {
        "receivers": {"kafka": {"brokers": kafka.brokers, "topic": topic, "group": group}},
        "service": {"pipelines": {"traces": {"receivers": ["kafka"]}}},
    }
    config.write_text(yaml.safe_dump(settings))
    with Instance(folder / "data", config=config) as instance:
        yield Drain(instance.process.pid, lambda: instance.metric("spanhouse_spans_stored_total"))
        assert instance.stop() == 0


@contextmanager
def baseline(kafka: Kafka, topic: str, folder: Path, group: str) -> Iterator[Drain]:
    """See bench/baseline_kafka.py."""
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "bench.baseline_kafka",
        kafka.brokers,
        topic,
        group,
        folder / "data",
    ]
    process = Process(command, folder / "system.log")
    process.start()

    def stored() -> float:
        assert process.running(), process.tail()
        return sum(kafka.committed_offsets(group, topic).values()) * _MESSAGE_SPANS

    try:
        yield Drain(process.pid, stored)
    finally:
        process.kill()


SYSTEMS: Final = {OURS: spanhouse, BASELINE: baseline}


def measure(name: str, kafka: Kafka, topic: str, spans: int, group: str) -> Measured:
    """Let a system drain the topic into an empty store."""
    with (
        tempfile.TemporaryDirectory(prefix="spanhouse-bench-") as folder,
        SYSTEMS[name](kafka, topic, Path(folder), group) as drain,
    ):
        process = psutil.Process(drain.pid)
        eventually(lambda: drain.stored() > 0, 120)
        begin, cpu, first = time.monotonic(), sum(process.cpu_times()[:2]), drain.stored()
        assert first < spans, "all was stored before anything could be measured"
        peak = 0
        deadline = begin + 600
        while drain.stored() < spans:
            assert time.monotonic() < deadline, f"{drain.stored()} of {spans} spans are stored"
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.1)
        seconds, used = time.monotonic() - begin, sum(process.cpu_times()[:2]) - cpu
    return Measured(name, (spans - first) / seconds, (spans - first) / used, peak / 1e6)


def run(systems: Sequence[str], spans: int, rounds: int) -> Iterator[Measured]:
    """Measure these systems; figures are the medians of the rounds."""
    with tempfile.TemporaryDirectory(prefix="spanhouse-bench-") as name, Kafka(Path(name)) as kafka:
        written = fill(kafka, _TOPIC, spans)
        turns = [
            [measure(system, kafka, _TOPIC, written, f"{number} {system}") for system in systems]
            for number in range(rounds)
        ]
    yield from map(results.median, zip(*turns, strict=True))


def main() -> None:
    """Measure and print; with --save into bench/results.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--spans", type=int, default=1_000_000, help="of the topic (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each system (default 3)")
    parser.add_argument("--save", action="store_true", help="write bench/results.json")
    arguments = parser.parse_args()
    found = list(run(arguments.systems, arguments.spans, arguments.rounds))
    for one in found:
        print(
            f"{one.system:15} {one.spans_per_s:9,.0f} spans/s {one.spans_per_cpu_s:9,.0f} spans/CPU s "
            f"{one.peak_mb:6.0f} MB"
        )
    if arguments.save:
        ours = {one.system: one.spans_per_s for one in found}
        figures = {"kafka_to_store_spans_s": ours[OURS]} if OURS in ours else {}
        results.save(figures, "kafka_to_store", found)


if __name__ == "__main__":
    main()
