"""Ready time, idle memory, and export-to-visible time of `spanhouse up`; run by `make bench`.

    .venv/bin/python -m bench.laptop [--starts 5] [--seconds 30] [--save]

Export to visible: spans arrive at 1,000 a second in requests of 50; for a
sample of requests the time runs from the start of the export until a query finds the span.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bench import results
from tests.harness import Instance, request

SPANS_PER_REQUEST = 50
REQUESTS_PER_SECOND = 20


@dataclass(frozen=True, slots=True)
class Measured:
    """What `spanhouse up` takes on a laptop."""

    ready_s: float
    ready_new_store_s: float
    idle_mb: float
    visible_p50_ms: float
    visible_p99_ms: float
    busy_mb: float
    busy_cores: float


def start(data: Path) -> tuple[Instance, float]:
    begin = time.monotonic()
    instance = Instance(data)
    return instance, time.monotonic() - begin


def visible_seconds(instance: Instance, seconds: float) -> list[float]:
    """Seconds from export to visible of each sampled request."""
    times: list[float] = []
    threads = []

    def export(sample: bool) -> None:
        message = request(
            SPANS_PER_REQUEST, gen_ai__request__model="gpt-4o-mini", gen_ai__usage__input_tokens=9
        )
        trace_id = message.resource_spans[0].scope_spans[0].spans[0].trace_id.hex()
        body = message.SerializeToString()
        begin = time.monotonic()
        status, _ = instance.post(body)
        assert status == 200
        if sample:
            while not instance.sql(f"SELECT 1 FROM agent_events WHERE trace_id = '{trace_id}' LIMIT 1"):
                time.sleep(0.005)
            times.append(time.monotonic() - begin)

    begin = time.monotonic()
    for number in range(int(seconds * REQUESTS_PER_SECOND)):
        time.sleep(max(0.0, begin + number / REQUESTS_PER_SECOND - time.monotonic()))
        threads.append(threading.Thread(target=export, args=(number % 5 == 0,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return times


def measure(starts: int, seconds: float) -> Measured:
    """Start it some times, then let 1,000 spans a second arrive."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        instance, first = start(data)
        instance.stop()
        again = []
        for _ in range(starts):
            instance, took = start(data)
            again.append(took)
            time.sleep(3)
            idle = psutil.Process(instance.process.pid).memory_info().rss
            instance.stop()
        instance, _ = start(data)
        busy = psutil.Process(instance.process.pid)
        cpu = -sum(busy.cpu_times()[:2])
        times = sorted(visible_seconds(instance, seconds))
        cpu += sum(busy.cpu_times()[:2])
        after = busy.memory_info().rss
        instance.stop()
    return Measured(
        ready_s=statistics.median(again),
        ready_new_store_s=first,
        idle_mb=idle / 1e6,
        visible_p50_ms=statistics.median(times) * 1000,
        visible_p99_ms=times[int(len(times) * 0.99)] * 1000,
        busy_mb=after / 1e6,
        busy_cores=cpu / seconds,
    )


def main() -> None:
    """Measure and print; with --save into bench/results.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=5, help="starts of an existing store (default 5)")
    parser.add_argument("--seconds", type=float, default=30, help="how long spans arrive (default 30)")
    parser.add_argument("--save", action="store_true", help="write bench/results.json")
    arguments = parser.parse_args()
    measured = measure(arguments.starts, arguments.seconds)
    for name, value in asdict(measured).items():
        print(f"{name}: {value:.4g}")
    if arguments.save:
        results.save({}, "laptop", [measured])


if __name__ == "__main__":
    main()
