"""The three that are compared, each a process that takes OTLP/gRPC and writes to a ClickHouse server."""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil
import requests
import yaml

from bench import collector
from bench.results import BASELINE, GO, OURS
from tests.harness import eventually
from tests.parts.process import Process, free_port

HASH_KEY: Final = "a key for benchmarks, of 32 bytes."
# The first start in a checkout compiles.
_START_SECONDS: Final = 300
_SAMPLE_SECONDS: Final = 0.1


class System:
    """A running system.

    Args:
        folder: for its configuration and log.
        command: what to run.
        grpc: where it takes OTLP/gRPC.
        stored: its metric's address and name that counts stored spans; None where an answer says so.
        environment: more variables for it.

    Attributes:
        grpc: `host:port` of OTLP/gRPC.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str | Path],
        grpc: str,
        stored: tuple[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.grpc = grpc
        self._stored = stored
        self._process = Process(command, folder / "system.log", environment)

    def wait_stored(self, spans: int) -> None:
        """Return when so many spans in all are stored."""
        if self._stored is not None:
            eventually(lambda: self._metric() >= spans, 120)

    def tree(self) -> list[psutil.Process]:
        """Its processes."""
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """CPU seconds that its processes have taken."""
        return sum(sum(process.cpu_times()[:2]) for process in self.tree())

    def _metric(self) -> float:
        assert self._stored
        url, name = self._stored
        lines = requests.get(url, timeout=10).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(rf"{name}[{{ ]", line))

    def _listens(self) -> bool:
        assert self._process.running(), f"it ended:\n{self._process.tail()}"
        host, _, port = self.grpc.partition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def __enter__(self) -> Self:
        self._process.start()
        try:
            eventually(self._listens, _START_SECONDS)
        except AssertionError:
            self._process.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()


class Peak:
    """The most memory that a system has while this is open.

    Attributes:
        bytes: resident, of all its processes together.
    """

    def __init__(self, system: System) -> None:
        self.bytes = 0
        self._system = system
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.bytes = max(self.bytes, sum(p.memory_info().rss for p in self._system.tree()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()


def spanhouse(folder: Path, url: str) -> System:
    """`spanhouse translate` from OTLP, one worker."""
    grpc, http, metrics = (f"127.0.0.1:{free_port()}" for _ in range(3))
    config = folder / "spanhouse.yaml"
    settings = {
        "processors": {"scrub": {"hash_key": HASH_KEY}},
        "exporters": {"clickhouse": {"url": url}},
        "service": {"pipelines": {"traces": {"receivers": ["otlp"]}}},
    }
    config.write_text(yaml.safe_dump(settings))
    flags = [f"--config={config}", f"--otlp-grpc={grpc}", f"--otlp-http={http}", f"--metrics={metrics}"]
    command = [sys.executable, "-m", "spanhouse", "translate", *flags]
    return System(folder, command, grpc, (f"http://{metrics}/metrics", "spanhouse_spans_stored_total"))


def clickhouseexporter(folder: Path, url: str) -> System:
    """The Go peer, see bench/collector.py."""
    grpc, metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
    config = folder / "collector.yaml"
    config.write_text(yaml.safe_dump(collector.configuration(grpc, metrics, url)))
    stored = (f"http://{metrics}/metrics", "otelcol_exporter_sent_spans")
    return System(folder, [collector.fetch(), "--config", config], grpc, stored, collector.ENVIRONMENT)


def baseline(folder: Path, url: str) -> System:
    """See bench/baseline.py."""
    grpc = free_port()
    return System(folder, [sys.executable, "-m", "bench.baseline", str(grpc), url], f"127.0.0.1:{grpc}")


SYSTEMS: Final[Mapping[str, Callable[[Path, str], System]]] = {
    OURS: spanhouse,
    GO: clickhouseexporter,
    BASELINE: baseline,
}
