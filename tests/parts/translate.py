"""The real `spanhouse translate`, in processes that tests kill, pause and start again."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil
import requests
import yaml

from tests.parts.process import Process, free_port, hold

_REPOSITORY: Final = Path(__file__).parents[2]


class Translator:
    """A supervisor and its workers. `folder` has the configuration and the log, of all its lives.

        with Translator(tmp_path / "one", configuration(kafka.brokers, clickhouse.url)) as translator:
            translator.kill_worker()
            assert translator.stop() == 0

    Attributes:
        url: where it answers /metrics, /healthz and /readyz; the same over restarts.
        log: what it and its workers said.
    """

    def __init__(self, folder: Path, configuration: Mapping[str, Any], workers: int = 1) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "spanhouse.yaml"
        self.config.write_text(yaml.safe_dump(dict(configuration)))
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        self.log = folder / "translate.log"
        command = [
            sys.executable, "-m", "spanhouse", "translate",
            f"--config={self.config}", f"--workers={workers}", f"--metrics={address}",
        ]  # fmt: skip
        self.process = Process(command, self.log, {"PYTHONPATH": str(_REPOSITORY)})
        self._held: set[int] = set()

    def start(self) -> None:
        """Start it and wait until it serves its health; its workers come later."""
        self.process.start()
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.running(), f"translate ended:\n{self.process.tail()}"
            assert time.monotonic() < deadline, f"translate does not answer:\n{self.process.tail()}"
            time.sleep(0.05)

    def addresses(self) -> dict[str, str]:
        """Where it takes OTLP, by flag."""
        (*_, ready) = re.findall(r"^ready (.*)$", self.log.read_text(), re.MULTILINE)
        return dict(re.findall(r"(\S+)=(\S+)", ready))

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of /healthz, /readyz or /metrics."""
        answer = requests.get(self.url + path, timeout=30)
        return answer.status_code, answer.text

    def ready(self) -> bool:
        """Whether /readyz says so."""
        return self._answers() and self.get("/readyz")[0] == 200

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric over the labels that are not given."""
        found = 0.0
        for line in self.get("/metrics")[1].splitlines():
            match = re.match(rf"{name}(?:\{{(.*)\}})? (\S+)$", line)
            if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
                found += float(match[2])
        return found

    def workers(self) -> list[int]:
        """Process ids of its workers."""
        try:
            children = psutil.Process(self.process.pid).children()
            found = [child.pid for child in children if "--worker" in " ".join(child.cmdline())]
        except psutil.NoSuchProcess:
            return []
        for pid in set(found) - self._held:
            hold(pid)  # a worker that is paused would outlive its supervisor
        self._held.update(found)
        return found

    def kill(self) -> None:
        """SIGKILL the supervisor; its workers notice it and end by themselves."""
        self.process.kill()

    def kill_worker(self, index: int = 0) -> int:
        """SIGKILL a worker; returns its process id."""
        return self._signal(signal.SIGKILL, index)

    def pause_worker(self, index: int = 0) -> int:
        """SIGSTOP a worker; returns its process id, for `resume`."""
        return self._signal(signal.SIGSTOP, index)

    def resume(self, pid: int) -> None:
        """SIGCONT a worker, if it is still there."""
        if pid in self._held and psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)

    def stop(self, seconds: float = 90) -> int:
        """SIGTERM; what is being stored is stored, and the exit code given back."""
        return self.process.stop(seconds)

    def _signal(self, number: signal.Signals, index: int) -> int:
        pid = self.workers()[index]
        os.kill(pid, number)
        return pid

    def _answers(self) -> bool:
        try:
            return bool(self.get("/metrics"))
        except requests.RequestException:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self.workers() if self.process.running() else ():
            self.resume(pid)
        if self.process.running():
            self.kill()


def configuration(
    brokers: str,
    url: str,
    *,
    kafka: Mapping[str, Any] | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """A spanhouse.yaml as tests need it: sessions are short, so that a dead worker is missed soon.

    Args:
        brokers: Kafka's address.
        url: ClickHouse's.
        kafka: more of receivers.kafka.
        sections: more of the top level.
    """
    of_kafka = {
        "brokers": brokers,
        "batch_seconds": 0.2,
        **(kafka or {}),
        "options": {
            "session.timeout.ms": "6000",
            "heartbeat.interval.ms": "500",
            **(kafka or {}).get("options", {}),
        },
    }
    document = {
        "receivers": {"kafka": of_kafka},
        "processors": {"scrub": {"hash_key": "a key for tests"}},
        "exporters": {"clickhouse": {"url": url}},
    } | sections
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]
