"""How fast spans are taken from Kafka; run by `make bench-backlog`.

    .venv/bin/python -m bench.backlog [--rate 1000] [--minutes 60] [--workers 0 1 2]

Fills a Kafka topic with what came in while nobody read it, one message a trace as the Collector writes them,
and drains it into an empty store: with `spanhouse up` (0 workers), and with `spanhouse translate` once for
each number of workers. Broker, store and workers share the machine. Prints a table; "times real time" is how
many minutes of backlog a minute takes away, CPU is that of spanhouse: with `up` the embedded store's, too.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import yaml
from confluent_kafka import Producer

from tests.chaos.ledger import SPANS, Ledger
from tests.harness import Instance, eventually
from tests.parts.cache import say
from tests.parts.clickhouse import ClickHouse
from tests.parts.kafka import Kafka
from tests.parts.translate import Translator, configuration

TOPIC: Final = "otel-spans"
PARTITIONS: Final = 8
_TEMPLATES: Final = 50


class Template:
    """A trace whose ids can be exchanged for others without making it anew."""

    def __init__(self, body: bytes, ids: set[bytes]) -> None:
        self._body = body
        self._places = {number: list(_places(body, found)) for number, found in enumerate(sorted(ids))}
        self._lengths = [len(found) for found in sorted(ids)]

    def make(self, chance: random.Random) -> bytes:
        body = bytearray(self._body)
        for number, places in self._places.items():
            new = chance.randbytes(self._lengths[number])
            for place in places:
                body[place : place + len(new)] = new
        return bytes(body)


def _places(body: bytes, found: bytes) -> Iterator[int]:
    place = body.find(found)
    while place >= 0:
        yield place
        place = body.find(found, place + 1)


def templates(ledger: Ledger, start_ns: int) -> list[Template]:
    """Traces that begin at this time."""
    made = []
    for _ in range(_TEMPLATES):
        request = ledger.make(traces=1, start_ns=start_ns)
        ids = {bytes.fromhex(name) for span in request.spans for name in span}
        made.append(Template(request.body, ids))
    return made


def fill(kafka: Kafka, rate: int, minutes: int) -> tuple[int, int]:
    """Write the backlog of the last `minutes`; returns its spans and bytes."""
    ledger, chance = Ledger(1), random.Random(1)
    producer = Producer(
        {"bootstrap.servers": kafka.brokers, "compression.type": "zstd", "linger.ms": 50,
         "queue.buffering.max.messages": 1_000_000}
    )  # fmt: skip
    begin = time.time_ns() - minutes * 60_000_000_000
    spans = size = 0
    for minute in range(minutes):
        made = templates(ledger, begin + minute * 60_000_000_000)
        while spans < (minute + 1) * 60 * rate:
            body = chance.choice(made).make(chance)
            while True:
                try:
                    producer.produce(TOPIC, body, chance.randbytes(16))
                    break
                except BufferError:
                    producer.poll(0.1)
            spans += SPANS
            size += len(body)
        producer.poll(0)
        if minute % 10 == 9:
            say(f"  {spans} spans written")
    assert producer.flush(300) == 0
    return spans, size


@dataclass(slots=True)
class Drained:
    """Seconds by the clock and of CPU, and the most memory of one process and of all, in MB."""

    seconds: float
    cpu: float
    of_one: float
    of_all: float


def drain(
    kafka: Kafka, group: str, spans: int, stored: Callable[[], float], pids: Callable[[], list[int]]
) -> Drained:
    """Wait until all is stored, from the first row on: how long a start takes is another figure."""
    ends = kafka.end_offsets(TOPIC)
    eventually(lambda: stored() > 0, 120)
    begin, before, used = time.monotonic(), stored(), cpu(pids())

    def drained() -> bool:
        time.sleep(0.25)
        committed = kafka.committed_offsets(group, TOPIC)
        return all(committed.get(partition, 0) == end for partition, end in ends.items())

    eventually(drained, 3600)
    share = spans / (spans - before)
    peaks = [peak(pid) for pid in pids()]
    seconds, used = time.monotonic() - begin, cpu(pids()) - used
    return Drained(seconds * share, used * share, max(peaks), sum(peaks))


def cpu(pids: list[int]) -> float:
    """Seconds of CPU of these processes so far."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(one.user + one.system for one in times)


def peak(pid: int) -> float:
    """The most memory that a process has had, in MB."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) * 1024 / 1e6


def drain_by_translate(kafka: Kafka, folder: Path, workers: int, spans: int) -> Drained:
    with ClickHouse(folder / "clickhouse") as clickhouse:
        group = f"backlog-{workers}"
        settings = configuration(
            kafka.brokers, clickhouse.url, kafka={"topic": TOPIC, "group": group, "batch_seconds": 1}
        )
        translator = Translator(folder / "translator", settings, workers)
        with translator:
            result = drain(
                kafka, group, spans,
                lambda: translator.metric("spanhouse_spans_stored_total"),
                lambda: [translator.process.pid, *translator.workers()],
            )  # fmt: skip
        check(int(clickhouse.sql("SELECT count() AS n FROM agent_events")[0]["n"]), spans)
    return result


def drain_by_up(kafka: Kafka, folder: Path, spans: int) -> Drained:
    folder.mkdir()
    settings = configuration(
        kafka.brokers, "", kafka={"topic": TOPIC, "group": "backlog-up", "batch_seconds": 1},
        service={"pipelines": {"traces": {"receivers": ["kafka"]}}},
    )  # fmt: skip
    config = folder / "spanhouse.yaml"
    config.write_text(yaml.safe_dump(settings))
    with Instance(folder / "data", config=config) as instance:
        result = drain(
            kafka, "backlog-up", spans,
            lambda: instance.metric("spanhouse_spans_stored_total"),
            lambda: [instance.process.pid],
        )  # fmt: skip
        check(int(instance.sql("SELECT count() AS n FROM agent_events")[0]["n"]), spans)
        instance.stop()
    return result


def check(stored: int, spans: int) -> None:
    assert stored == spans, f"{stored} of {spans} spans are stored"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=1000, help="spans a second that came in (default 1000)")
    parser.add_argument("--minutes", type=int, default=60, help="how long (default 60)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0 stands for `up`")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spanhouse-backlog-") as name:
        folder = Path(name)
        with Kafka(folder / "kafka") as kafka:
            kafka.create_topic(TOPIC, PARTITIONS)
            kafka.create_topic(f"{TOPIC}.dlq")
            begin = time.monotonic()
            spans, size = fill(kafka, arguments.rate, arguments.minutes)
            say(
                f"{spans} spans, {size / 1e6:.0f} MB ({size / spans:.0f} bytes a span) written in "
                f"{time.monotonic() - begin:.0f} s"
            )
            print(
                "| | drained in | spans/s | times real time | spans per CPU second | peak of one | of all |"
            )
            print("|---|---|---|---|---|---|---|")
            for workers in arguments.workers:
                name = f"`translate`, {workers} workers" if workers else "`up`"
                if workers:
                    done = drain_by_translate(kafka, folder / str(workers), workers, spans)
                else:
                    done = drain_by_up(kafka, folder / "up", spans)
                print(
                    f"| {name} | {done.seconds:.0f} s | {spans / done.seconds:,.0f} "
                    f"| {arguments.minutes * 60 / done.seconds:.0f} | {spans / done.cpu:,.0f} "
                    f"| {done.of_one:.0f} MB | {done.of_all:.0f} MB |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
