"""Steady load: senders that repeat what was not acknowledged, as SDKs do."""

from __future__ import annotations

import random
import threading
import time
from typing import Final

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.chaos.ledger import Ledger, Request

SENDERS: Final = 4
# Of this many acknowledged requests one is sent again, as if its acknowledgement had been lost.
_ANSWER_LOST: Final = 20
_PAUSE_S: Final = (0.1, 2.0)


class Door:
    """OTLP/HTTP to a Collector; one for each thread."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/traces"
        self._session = requests.Session()

    def send(self, request: Request) -> bool:
        """Acknowledged is 200 without a partial success (OTLP specification, "OTLP/HTTP Response")."""
        try:
            answer = self._session.post(
                self._url,
                data=request.body,
                headers={"Content-Type": "application/x-protobuf"},
                timeout=10,  # as SDKs have it
            )
        except requests.RequestException:
            return False
        if answer.status_code != 200:
            return False
        return not ExportTraceServiceResponse.FromString(answer.content).partial_success.rejected_spans


class Load:
    """`SENDERS` threads that together make `rate` spans a second, as long as these are taken."""

    def __init__(self, ledger: Ledger, doors: list[Door], rate: float, seed: int) -> None:
        self._ledger = ledger
        self._rate = rate
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(door, random.Random(f"{seed}/{i}")), daemon=True)
            for i, door in enumerate(doors)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self, seconds: float) -> bool:
        """Make nothing more, and wait until all that was made is acknowledged; whether it was."""
        self._stopping.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, door: Door, chance: random.Random) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            request = self._ledger.make()
            self._send(door, request)
            self._ledger.confirm(request)
            if chance.randrange(_ANSWER_LOST) == 0:
                self._send(door, request)
            due = max(due + len(self._threads) * request.totals.spans / self._rate, time.monotonic() - 1)
            self._stopping.wait(max(0.0, due - time.monotonic()))

    def _send(self, door: Door, request: Request) -> None:
        """Send it until it is acknowledged."""
        pause, longest = _PAUSE_S
        self._ledger.attempted()
        while not door.send(request):
            time.sleep(pause)
            pause = min(2 * pause, longest)
            self._ledger.attempted()
