"""`spanhouse translate`: Kafka, OTLP or both to a ClickHouse server, in one or more worker processes.

The first process supervises (spanhouse.supervise). Each worker is a member of the consumer group, or listens
on the OTLP ports, and says once a second how it is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from spanhouse.config import Config, build_processors
from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters.clickhouse_server import ClickHouseServer, PipelineExporter
from spanhouse.processing import build_processing
from spanhouse.warm_up import warm_up

if TYPE_CHECKING:
    from spanhouse.processing import Processing

log = logging.getLogger(__name__)

_BEAT_S: Final = 1.0
_ROLLUPS_S: Final = 30.0


def hash_key(config: Config) -> str:
    """The key of the users' hashes, which must be the one that the Collector has.

    Raises:
        UserError: the configuration has none.
    """
    settings = config.processors.get("scrub", {})
    key = str(settings.get("hash_key") or "")
    if "scrub" in config.service.pipelines.traces.processors and not key:
        raise UserError(
            "processors.scrub.hash_key is not set; give it the same key as the Collector, e.g. "
            "hash_key: ${env:SPANHOUSE_HASH_KEY}"
        )
    return key


def server(config: Config) -> ClickHouseServer:
    """The ClickHouse server of the configuration.

    Raises:
        UserError: it names none.
    """
    settings = config.exporters.clickhouse
    if not settings.url:
        raise UserError("exporters.clickhouse.url is not set; name the server, e.g. http://clickhouse:8123")
    return ClickHouseServer.of(settings)


class Receiver(Protocol):
    """What a worker runs; see `receivers.kafka` and `receivers.otlp`."""

    def run(self) -> None:
        """Take spans until the worker is to stop, then store what was taken, and return."""

    def problem(self) -> str:
        """Why nothing, or not everything, is stored just now; '' where all is well."""

    def stalled(self) -> str:
        """Why the process is not getting on, however long it tries; '' where it is."""


def translate(config: Config, path: Path | None, workers: int) -> NoReturn:
    """Become the supervisor of `workers` processes; `path` is the file of `config`.

    Raises:
        UserError: the configuration cannot be used.
    """
    hash_key(config)
    server(config).close()
    sources, ports = [], {}
    if "kafka" in (names := _receivers(config)):
        from spanhouse.receivers.kafka_client import check

        kafka = config.receivers.kafka
        check(kafka)
        sources.append(f"{kafka.topic} of {kafka.brokers}")
    if "otlp" in names:
        ports = {"otlp-grpc": config.otlp_grpc, "otlp-http": config.otlp_http}
        sources.append("what comes by OTLP")
    greeting = f"translating {' and '.join(sources)} into {config.exporters.clickhouse.url}"
    # Anew, without what only the checks needed: the supervisor is there all the time and does little.
    task = {
        "config": str(path or ""),
        "workers": workers,
        "metrics": config.metrics,
        "ports": ports,
        "greeting": greeting,
    }
    os.execv(sys.executable, [sys.executable, "-m", "spanhouse.supervise", json.dumps(task)])


def run_worker(config: Config, beats: int, *, shared: bool) -> int:
    """One worker: translate until SIGTERM, or until the supervisor is gone.

    Args:
        config: the supervisor's.
        beats: file descriptor to say on, once a second, how it is.
        shared: whether there are other workers, which listen on the same ports.
    """
    for noisy in ("urllib3.connectionpool", "clickhouse_connect"):
        logging.getLogger(noisy).setLevel(logging.ERROR)  # each failure is told by us, once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_watch_supervisor, args=(stop,), daemon=True).start()
    processors = build_processors(config, hash_key=hash_key(config))
    warm_up()
    store = server(config)
    if not _check(store, stop, beats):
        return 0
    receivers = _build(
        config, build_processing(processors, config.content.kept_bytes), store, stop, shared=shared
    )

    def beat() -> None:
        while True:  # also while it stores the last
            problems = ["stopping"] if stop.is_set() else [receiver.problem() for receiver in receivers]
            stalled = [receiver.stalled() for receiver in receivers]
            _say(beats, {"problem": _joined(problems), "stalled": _joined(stalled)})
            time.sleep(_BEAT_S)

    threading.Thread(target=beat, daemon=True).start()
    keeper = threading.Thread(target=_keep_rollups, args=(store, stop), name="rollups")
    keeper.start()
    try:
        _run(receivers, stop)
    finally:
        stop.set()
        keeper.join()
        store.close()
    return 0


def _receivers(config: Config) -> list[str]:
    return config.service.pipelines.traces.receivers or ["kafka"]


def _build(
    config: Config, processing: Processing, store: ClickHouseServer, stop: threading.Event, *, shared: bool
) -> list[Receiver]:
    """The receivers of `config`; each loads only what it needs."""
    receivers: list[Receiver] = []
    names = _receivers(config)
    if "kafka" in names:
        from spanhouse.receivers.kafka import KafkaReceiver

        receivers.append(KafkaReceiver(config.receivers.kafka, processing, store, stop))
    if "otlp" in names:
        from spanhouse.receivers.otlp import OtlpReceiver

        receivers.append(OtlpReceiver(config, processing, PipelineExporter(store), stop, shared=shared))
    return receivers


def _run(receivers: Sequence[Receiver], stop: threading.Event) -> None:
    """All of them until `stop`; where one ends with an error, the others are stopped, too."""
    with ThreadPoolExecutor(len(receivers), "receive") as pool:
        runs = [pool.submit(receiver.run) for receiver in receivers]
        wait(runs, return_when=FIRST_COMPLETED)
        stop.set()
    for run in runs:
        run.result()


def _joined(problems: Sequence[str]) -> str:
    return "; ".join(problem for problem in problems if problem)


def _keep_rollups(store: ClickHouseServer, stop: threading.Event) -> None:
    """Mend rollups of repeated inserts, should they not count their rows."""
    while not stop.wait(_ROLLUPS_S):
        try:
            store.keep_rollups()
        except Unavailable as error:  # asked again next time
            log.warning("rollups were not compared with their rows: %s", error)


def _check(store: ClickHouseServer, stop: threading.Event, beats: int) -> bool:
    """Wait until the server answers and has the right tables; False when it is to stop before that.

    Raises:
        UserError: the tables are not those of this version.
    """
    told = ""
    while not stop.is_set():
        try:
            store.check()
        except Unavailable as error:
            if str(error) != told:
                told = str(error)
                log.warning("waiting for ClickHouse: %s", told)
            _say(beats, {"problem": told, "stalled": ""})
            stop.wait(_BEAT_S)
        else:
            return True
    return False


def _say(beats: int, said: dict[str, str]) -> None:
    try:
        os.write(beats, json.dumps(said).encode() + b"\n")
    except BrokenPipeError:  # the supervisor is gone; `_watch_supervisor` ends this process
        return


def _watch_supervisor(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    stop.set()
