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
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from spanhouse import metrics
from spanhouse.errors import UserError, port_taken
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
    metrics: tuple[str, int]
    ports: dict[str, tuple[str, int]]  # that workers open, by flag
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
        host, port = self.metrics
        try:
            await telemetry.start(host, port)
        except OSError as error:
            raise port_taken("metrics", _text(host, port), error) from error
        address = _text(host, telemetry.port)
        held = [self.hold(flag) for flag in self.ports]
        say(f"{self.greeting}\nits health  http://{address}/healthz, /readyz, /metrics")
        for flag, name in (("otlp-grpc", "OTLP/gRPC"), ("otlp-http", "OTLP/HTTP")):
            if flag in self.ports:
                say(f"{name}   {_text(*self.ports[flag])}")
        keepers = [asyncio.create_task(self.keep(number)) for number in range(self.count)]
        counting = asyncio.create_task(self.count_unhealthy())
        told = "".join(f" {flag}={_text(*where)}" for flag, where in self.ports.items())
        say(f"ready metrics={address}{told}")
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
        for sockets in held:
            for one in sockets:
                one.close()
        if not self.code:
            say("stopped; what was acknowledged is stored, what is in Kafka and not stored is still there")
        return self.code

    def hold(self, flag: str) -> list[socket.socket]:
        """Bind a port that workers open, so that it stays theirs while none does; port 0 becomes a free one.

        Workers can listen there, for a port that may be reused is taken only by those who listen.

        Raises:
            UserError: somebody listens there.
        """
        host, port = self.ports[flag]
        held = []
        try:
            for family, *_, found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                where = (found[0], port, *found[2:])
                # One that shares would not notice others that share: the workers of another supervisor.
                _bind(family, where, shared=False).close()
                held.append(_bind(family, where, shared=self.count > 1))
                port = held[-1].getsockname()[1]
        except OSError as error:
            raise port_taken(flag, _text(host, port), error) from error
        self.ports[flag] = host, port
        return held

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
        arguments = ["translate", "--worker", str(write), "--workers", str(self.count)]
        arguments += [f"--{flag}={_text(*where)}" for flag, where in self.ports.items()]
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


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(family: int, where: tuple[str | int, ...], *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(where)
    except BaseException:
        bound.close()
        raise
    return bound


def main(task: str) -> int:
    """Supervise until one of STOP_SIGNALS; exit code 1 where it cannot begin.

    `task` is JSON: config, workers, metrics, ports and greeting, see `translate.translate`.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    told = json.loads(task)
    ports = {flag: tuple(where) for flag, where in told["ports"].items()}
    try:
        supervisor = _Supervisor(
            told["config"], told["workers"], tuple(told["metrics"]), ports, told["greeting"], folder
        )
        return asyncio.run(supervisor.run(StopSignals()))
    except UserError as error:
        print(f"spanhouse: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
