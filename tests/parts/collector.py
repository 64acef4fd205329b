"""A real OpenTelemetry Collector with the configuration of `otel-collector/`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import requests
import yaml

from tests.parts.cache import part, run
from tests.parts.process import Process, free_port

VERSION: Final = "0.155.0"
HASH_KEY: Final = "a key for tests, of 32 bytes or more"

_GO: Final = Path(__file__).parent / "go"
_SHIPPED: Final = Path(__file__).parents[2] / "otel-collector"


def fetch() -> Path:
    """The program, see `build`."""
    return build("collector", VERSION, _GO)


def build(name: str, version: str, folder: Path) -> Path:
    """A Collector, built with Go from the modules of builder.yaml, go.mod and go.sum in `folder`.

    It takes minutes the first time.

    Raises:
        PartError: Go is not installed, or the build failed.
    """
    sources = [folder / name for name in ("builder.yaml", "go.mod", "go.sum")]

    def make(place: Path) -> None:
        for source in sources:
            shutil.copy(source, place)
        builder = f"go.opentelemetry.io/collector/cmd/builder@v{version}"
        # It may write the program's source only: it would ask for all modules' tests as well.
        skip = ["--skip-get-modules", "--skip-compilation"]
        run(["go", "run", builder, "--config=builder.yaml", *skip], place)
        run(["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "otelcol", "."], place)

    return part(name, version, make, sources=sources) / "otelcol"


class Collector:
    """A Collector as shipped, on ports and with a queue of its own that stay the same over restarts.

        with Collector(tmp_path / "collector", kafka.brokers) as collector:
            requests.post(f"{collector.url}/v1/traces", ...)

    Args:
        folder: for its queue and its log.
        brokers: where Kafka is; it need not run.
        topic: to write to.
        config: configuration merged over that which is shipped.
        environment: variables for it beside those made of the arguments.

    Attributes:
        url: of OTLP/HTTP.
        grpc: address of OTLP/gRPC.
        metrics: URL of its own metrics.
    """

    def __init__(
        self,
        folder: Path,
        brokers: str = "127.0.0.1:1",
        topic: str = "otel-spans",
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        grpc, http, health, metrics = (f"127.0.0.1:{free_port()}" for _ in range(4))
        self.url, self.grpc, self.metrics = f"http://{http}", grpc, f"http://{metrics}/metrics"
        self._health = f"http://{health}"
        ports = folder / "ports.yaml"
        ports.write_text(yaml.safe_dump(_ports(grpc, http, health, metrics)))
        own = folder / "own.yaml"
        own.write_text(yaml.safe_dump(dict(config or {})))
        files = (_SHIPPED / "config.yaml", _SHIPPED / "scrub.yaml", ports, own)
        variables = {
            "SPANHOUSE_HASH_KEY": HASH_KEY,
            "SPANHOUSE_KAFKA_BROKERS": brokers,
            "SPANHOUSE_KAFKA_TOPIC": topic,
            "SPANHOUSE_QUEUE_DIR": str(folder / "queue"),
            **(environment or {}),
        }
        command = [fetch(), *(f"--config={file}" for file in files)]
        self.process = Process(command, folder / "collector.log", variables)

    def start(self) -> None:
        """Start it, and wait until it takes spans."""
        self.process.start()
        deadline = time.monotonic() + 60
        while not self.healthy():
            assert self.process.running(), f"the Collector ended:\n{self.process.tail()}"
            assert time.monotonic() < deadline, f"the Collector does not answer:\n{self.process.tail()}"
            time.sleep(0.05)

    def healthy(self) -> bool:
        """What its health check says."""
        try:
            return requests.get(self._health, timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def stop(self) -> int:
        """SIGTERM; it leaves orderly, and its exit code is returned."""
        return self.process.stop()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def metric(self, name: str) -> float:
        """Sum of one of its own metrics over all labels; 0 while there is none."""
        lines = requests.get(self.metrics, timeout=10).text.splitlines()
        found = (line for line in lines if line.startswith((f"{name} ", f"{name}{{")))
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.running():
            self.kill()


def _ports(grpc: str, http: str, health: str, metrics: str) -> dict[str, Any]:
    host, _, port = metrics.partition(":")
    prometheus = {"host": host, "port": int(port)}
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": grpc}, "http": {"endpoint": http}}}},
        "extensions": {"health_check": {"endpoint": health}},
        "service": {
            "telemetry": {"metrics": {"readers": [{"pull": {"exporter": {"prometheus": prometheus}}}]}}
        },
    }
