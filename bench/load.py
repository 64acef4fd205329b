"""Sends OTLP/gRPC requests as fast as they are taken, from a process of its own.

`python -m bench.load HOST:PORT SHAPE BATCH` reads how many seconds to send from each line of its input,
sends so long, waits for the answers to all, and writes a line of JSON: spans, requests and seconds.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import grpc

from bench.payloads import SPAN_BYTES, requests
from tests.parts.process import hold

_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_CHANNELS: Final = 4
# What waits for its answer; less than every receiver's queue has room for.
_IN_FLIGHT_BYTES: Final = 32 << 20
_MAX_IN_FLIGHT: Final = 1024
# An ExportTraceServiceResponse that says of no span that it was not taken.
_TAKEN: Final = (b"", b"\n\x00")


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent and answered."""

    spans: int
    requests: int
    seconds: float


class Load:
    """The running process."""

    def __init__(self, address: str, shape: str, batch: int) -> None:
        self._command = [sys.executable, "-m", "bench.load", address, shape, str(batch)]

    def send(self, seconds: float) -> Sent:
        """Send so long; returns when all is answered."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        print(seconds, file=stdin, flush=True)
        line = stdout.readline()
        assert line, "the load generator ended, see above"
        return Sent(**json.loads(line))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        hold(self._process.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


async def _send(address: str, shape: str, batch: int) -> None:
    made = requests(shape, batch, time.time_ns())
    next(made)  # takes its time
    in_flight = max(2, min(_MAX_IN_FLIGHT, _IN_FLIGHT_BYTES // (SPAN_BYTES[shape] * batch)))
    # With settings that differ, or they would all share a connection.
    channels = [grpc.aio.insecure_channel(address, (("number", n),)) for n in range(_CHANNELS)]
    exports = [channel.unary_unary(_EXPORT) for channel in channels]

    async def export(number: int, end: float) -> int:
        sent = 0
        while time.monotonic() < end:
            answer = await exports[number % _CHANNELS](next(made), wait_for_ready=True)
            assert answer in _TAKEN, answer
            sent += 1
        return sent

    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        begin = time.monotonic()
        counts = await asyncio.gather(*(export(n, begin + float(line)) for n in range(in_flight)))
        sent = sum(counts)
        result = {"spans": sent * batch, "requests": sent, "seconds": time.monotonic() - begin}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(_send(sys.argv[1], sys.argv[2], int(sys.argv[3])))
