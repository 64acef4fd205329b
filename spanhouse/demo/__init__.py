"""A realistic agent application that sends its spans with the OpenTelemetry SDK: the first real client.

`world` says who there is, `workflows` what happens in a request, `calls` what a single call looks like in
telemetry, `trace` keeps the request's clock and spans, `send` gives them to the SDK, `totals` keeps count.
A request takes no time here: its spans are sent at its end, with start and end times of the just-past.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from spanhouse.demo.totals import DemoTotals
from spanhouse.demo.workflows import request
from spanhouse.demo.world import World
from spanhouse.errors import UserError

__all__ = ["DemoTotals", "main", "run"]

PROGRESS_SECONDS: Final = 2.0
# Requests that could not be sent in time (a sleeping laptop) are left out rather than sent at once.
MAX_LATE_SECONDS: Final = 5.0
CLEAR_LINE: Final = "\r\x1b[K"


def run(
    endpoint: str,
    *,
    qps: float,
    users: int,
    duration: float | None,
    seed: int | None,
    stop: threading.Event,
    progress: Callable[[DemoTotals], None] | None = None,
) -> DemoTotals:
    """Send `qps` requests a second to the OTLP/gRPC `endpoint` until `duration` seconds passed or `stop`.

    With a duration exactly `qps * duration` requests are sent. `progress` is called every two seconds.
    Returns when everything was acknowledged or given up; `DemoTotals.delivered` says which.

    Raises:
        UserError: a value makes no sense, or the OpenTelemetry SDK is not installed.
    """
    if qps <= 0 or users < 1 or (duration is not None and duration <= 0):
        raise UserError("--qps and --duration must be above 0 and --users at least 1")
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        from spanhouse.demo.send import Sender
    except ModuleNotFoundError as error:
        raise UserError(
            f"the demo needs the OpenTelemetry SDK ({error.name} is missing): pip install 'spanhouse[demo]'"
        ) from error

    world = World(users, random.Random(seed))
    totals = DemoTotals()
    sender = Sender(lambda: OTLPSpanExporter(endpoint=endpoint, insecure=True))
    next_progress = time.monotonic()
    try:
        for _ in _paced(qps, duration, stop):
            root = request(world)
            totals.add(root)
            sender.send(root, time.time_ns())
            if progress and time.monotonic() >= next_progress:
                next_progress += PROGRESS_SECONDS
                totals.delivered = sender.delivered
                progress(totals)
    finally:
        sender.close()
        totals.delivered = sender.delivered
    return totals


def _paced(qps: float, duration: float | None, stop: threading.Event) -> Iterator[int]:
    count = itertools.count() if duration is None else range(max(1, round(qps * duration)))
    due = time.monotonic()
    for number in count:
        late = time.monotonic() - due
        if late > MAX_LATE_SECONDS:
            due += late
        if stop.wait(max(0.0, -late)):
            return
        yield number
        due += 1 / qps


def main(
    endpoint: str,
    *,
    qps: float,
    users: int,
    duration: float | None,
    seed: int | None,
    parent: int | None = None,
) -> int:
    """`spanhouse demo`: run until done or told to stop, and print the totals; 1 if spans got lost.

    With `parent` it stops as well when the process of that id, which must have started it, is gone.
    """
    stop = threading.Event()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent, stop), daemon=True).start()

    def on_signal(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    tty = sys.stdout.isatty()
    print(f"sending {qps:g} requests a second to {endpoint}; stop with Ctrl-C", flush=True)
    totals = run(
        endpoint, qps=qps, users=users, duration=duration, seed=seed, stop=stop,
        progress=_print_progress if tty else None,
    )  # fmt: skip
    print(f"{CLEAR_LINE if tty else ''}sent {totals}", flush=True)
    if lost := totals.spans - totals.delivered:
        print(f"spanhouse: {lost:,} spans were not acknowledged by {endpoint}", file=sys.stderr)
    return 1 if lost else 0


def _follow(parent: int, stop: threading.Event) -> None:
    while os.getppid() == parent:
        if stop.wait(1):
            return
    stop.set()


def _print_progress(totals: DemoTotals) -> None:
    print(f"{CLEAR_LINE}{totals}", end="", flush=True)
