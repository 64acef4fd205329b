"""The supervisor of `spanhouse translate`: starts workers, tells how they are, passes on the wish to stop.

A worker that ends is started again. One that is silent, or gets nothing stored, makes /healthz fail.
This process imports neither the decoder nor any client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from spanhouse import metrics
from spanhouse.errors import UserError
from spanhouse.foreground import StopSignals, say
from spanhouse.telemetry import TelemetryServer

log = logging.getLogger(__name__)

_SILENT_S: Final = 30.0
_COUNT_S: Final = 5.0
_RESTART_AFTER_S: Final = (0.5, 30.0)
# A worker that ran for so long is started again at once.
_STEADY_S: Final = 60.0
_STOP_S: Final = 60.0


@dataclass(slots=True)
class _Worker:
    number: int
    process: asyncio.subprocess.Process
    started: float
    heard: float
    beats: int = 0
    problem: str = "starting"
    stalled: str = ""

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.process.pid})"


@dataclass(slots=True)
class _Supervisor:
    config: str  # path of the configuration file, '' for none
    count: int
    host: str
    port: int
    greeting: str
    folder: str
    workers: dict[int, _Worker] = field(default_factory=dict)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = 0

    async def run(self, stop: StopSignals) -> int:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=self.folder)  # type: ignore[no-untyped-call]
        for own in (ProcessCollector, PlatformCollector, GCCollector):
            own(registry=registry)
        telemetry = TelemetryServer(self.unhealthy, self.unready, registry)
        try:
            await telemetry.start(self.host, self.port)
        except OSError as error:
            text = f"--metrics {self.host}:{self.port}: the port cannot be opened ({error})"
            raise UserError(f"{text}; stop what listens there, or choose another") from error
        host = f"[{self.host}]" if ":" in self.host else self.host
        address = f"{host}:{telemetry.port}"
        say(f"{self.greeting}\nits health  http://{address}/healthz, /readyz, /metrics")
        keepers = [asyncio.create_task(self.keep(number)) for number in range(self.count)]
        counting = asyncio.create_task(self.count_unhealthy())
        say(f"ready metrics={address}")
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait([waiting, *keepers], return_when=asyncio.FIRST_COMPLETED)
        self.stopping.set()
        if waiting.done():
            say("stopping: storing what is on its way")
        else:
            waiting.cancel()
        for worker in self.workers.values():
            if worker.process.returncode is None:
                worker.process.terminate()
        _, late = await asyncio.wait(keepers, timeout=_STOP_S)
        for worker in self.workers.values() if late else ():
            if worker.process.returncode is None:
                log.error("%s does not end; killed. What it had not committed is repeated", worker)
                worker.process.kill()
        await asyncio.gather(*keepers)
        counting.cancel()
        await telemetry.stop()
        if not self.code:
            say("stopped; what is not stored is still in Kafka")
        return self.code

    async def keep(self, number: int) -> None:
        """Run a worker, and again when it ends; returns when stopping, or if it can never start."""
        pause, longest = _RESTART_AFTER_S
        while not self.stopping.is_set():
            worker = await self.start(number)
            if self.stopping.is_set():
                worker.process.terminate()
            code = await worker.process.wait()
            mark_process_dead(worker.process.pid, self.folder)  # type: ignore[no-untyped-call]
            metrics.WORKERS.dec()
            if self.stopping.is_set():
                return
            if code == 1 and not worker.beats:
                self.code = 1  # it has said why
                return
            worker.problem = f"ended with code {code}; it is started again"
            log.error("%s %s", worker, worker.problem)
            metrics.WORKER_RESTARTS.inc()
            pause = _RESTART_AFTER_S[0] if time.monotonic() - worker.started > _STEADY_S else pause
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), pause)
            pause = min(2 * pause, longest)

    async def start(self, number: int) -> _Worker:
        beats, write = os.pipe()
        arguments = ["translate", "--worker", str(write)]
        if self.config:
            arguments += ["--config", self.config]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "spanhouse", *arguments,
            # Its end is the end of this process, however that comes.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=[write],
            # A Ctrl-C in the terminal is for this process, which tells its workers.
            start_new_session=True,
        )  # fmt: skip
        os.close(write)
        metrics.WORKERS.inc()
        now = time.monotonic()
        worker = self.workers[number] = _Worker(number, process, now, now)
        threading.Thread(target=_listen, args=(worker, beats), daemon=True).start()
        return worker

    async def count_unhealthy(self) -> None:
        while True:
            metrics.WORKERS_UNHEALTHY.set(len(self.problems()))
            await asyncio.sleep(_COUNT_S)

    def problems(self) -> list[str]:
        """One line for each worker that does not get on."""
        now = time.monotonic()
        problems = []
        for worker in self.workers.values():
            if worker.process.returncode is not None:
                problems.append(f"{worker} {worker.problem}")
            elif now - worker.heard > _SILENT_S and worker.beats:
                problems.append(f"{worker} says nothing for {now - worker.heard:.0f} s")
            elif worker.stalled:
                problems.append(f"{worker}: {worker.stalled}")
        return problems

    def unhealthy(self) -> str:
        return "\n".join(self.problems())

    def unready(self) -> str:
        if self.stopping.is_set():
            return "shutting down"
        problems = [f"{worker}: {worker.problem}" for worker in self.workers.values() if worker.problem]
        return "\n".join(problems) or self.unhealthy()


def _listen(worker: _Worker, beats: int) -> None:
    """Note what a worker says of itself, until it ends."""
    with os.fdopen(beats) as lines:
        for line in lines:
            said = json.loads(line)
            worker.problem, worker.stalled = said["problem"], said["stalled"]
            worker.heard = time.monotonic()
            worker.beats += 1


def main(config: str, workers: str, host: str, port: str, greeting: str) -> int:
    """Supervise until one of STOP_SIGNALS; exit code 1 where it cannot begin."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    try:
        supervisor = _Supervisor(config, int(workers), host, int(port), greeting, folder)
        return asyncio.run(supervisor.run(StopSignals()))
    except UserError as error:
        print(f"spanhouse: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
