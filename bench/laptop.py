"""Ready time, idle memory, and export-to-visible time of `spanhouse up`; run by `make bench`.

    .venv/bin/python -m bench.laptop [--seconds 30]

Prints one line per figure. Export to visible: spans arrive at 1,000 a second in requests of 50; for a
sample of requests the time runs from the start of the export until a query finds the span.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tests.harness import Instance, request

SPANS_PER_REQUEST = 50
REQUESTS_PER_SECOND = 20


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        instance, first = start(data)
        instance.stop()
        print(f"ready, new store: {first:.2f} s")
        again = []
        for _ in range(5):
            instance, took = start(data)
            again.append(took)
            time.sleep(3)
            idle = psutil.Process(instance.process.pid).memory_info().rss
            instance.stop()
        print(f"ready, existing store: {statistics.median(again):.2f} s (median of 5)")
        print(f"idle memory: {idle / 1e6:.0f} MB resident")
        instance, _ = start(data)
        times = sorted(visible_seconds(instance, seconds))
        busy = psutil.Process(instance.process.pid)
        cpu = sum(busy.cpu_times()[:2])
        print(
            f"export to visible at 1,000 spans/s: median {statistics.median(times) * 1000:.0f} ms, "
            f"99th percentile {times[int(len(times) * 0.99)] * 1000:.0f} ms, {len(times)} samples"
        )
        print(f"memory after: {busy.memory_info().rss / 1e6:.0f} MB resident; CPU: {cpu / seconds:.2f} cores")
        instance.stop()


if __name__ == "__main__":
    main()
