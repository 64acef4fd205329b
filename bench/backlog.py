"""How fast `spanhouse translate` catches up; run by `make bench-backlog`.

    .venv/bin/python -m bench.backlog [--rate 1000] [--minutes 60] [--workers 1 2]

Fills a Kafka topic with what came in while no translator ran, one message a trace as the Collector writes
them, and drains it: once for each number of workers, into an empty store. Broker, store and workers share
the machine. Prints a table; "times real time" is how many minutes of backlog a minute takes away.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
from confluent_kafka import Producer

from tests.chaos.ledger import SPANS, Ledger
from tests.harness import eventually
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


def drain(kafka: Kafka, folder: Path, workers: int, spans: int) -> tuple[float, float, float]:
    """Seconds until all is stored, and the most memory of a worker and of all processes, in MB."""
    with ClickHouse(folder / "clickhouse") as clickhouse:
        group = f"backlog-{workers}"
        settings = configuration(
            kafka.brokers, clickhouse.url, kafka={"topic": TOPIC, "group": group, "batch_seconds": 1}
        )
        translator = Translator(folder / "translator", settings, workers)
        ends = kafka.end_offsets(TOPIC)
        of_one = of_all = 0.0

        def drained() -> bool:
            nonlocal of_one, of_all
            sizes = [psutil.Process(pid).memory_info().rss / 1e6 for pid in translator.workers()]
            supervisor = psutil.Process(translator.process.pid).memory_info().rss / 1e6
            of_one, of_all = max(of_one, *sizes), max(of_all, sum(sizes) + supervisor)
            time.sleep(0.25)
            committed = kafka.committed_offsets(group, TOPIC)
            return all(committed.get(partition, 0) == end for partition, end in ends.items())

        with translator:
            # From the first row on: how long a start takes is another figure.
            eventually(lambda: translator.metric("spanhouse_spans_stored_total") > 0, 120)
            begin = time.monotonic()
            before = translator.metric("spanhouse_spans_stored_total")
            eventually(drained, 3600)
            seconds = (time.monotonic() - begin) * spans / (spans - before)
        stored = int(clickhouse.sql("SELECT count() AS n FROM agent_events")[0]["n"])
        assert stored == spans, f"{stored} of {spans} spans are stored"
    return seconds, of_one, of_all


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=1000, help="spans a second that came in (default 1000)")
    parser.add_argument("--minutes", type=int, default=60, help="how long (default 60)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
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
            print("| workers | drained in | spans/s | times real time | peak of a worker | peak of all |")
            print("|---|---|---|---|---|---|")
            for workers in arguments.workers:
                seconds, of_one, of_all = drain(kafka, folder / str(workers), workers, spans)
                print(
                    f"| {workers} | {seconds:.0f} s | {spans / seconds:,.0f} "
                    f"| {arguments.minutes * 60 / seconds:.0f} | {of_one:.0f} MB | {of_all:.0f} MB |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
