"""`spanhouse translate`: Kafka to a ClickHouse server, in one or more worker processes.

The first process supervises (spanhouse.supervise). Each worker is a member of the consumer group and says
once a second how it is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final, NoReturn

from spanhouse import dedup
from spanhouse.config import Config, build_processors
from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters.clickhouse_server import ClickHouseServer
from spanhouse.exporters.dead_letters import DeadLetters
from spanhouse.otlp import decode
from spanhouse.processing import build_processing
from spanhouse.receivers.kafka import KafkaReceiver
from spanhouse.receivers.kafka_client import check, connection
from spanhouse.receivers.kafka_work import Work

log = logging.getLogger(__name__)

_BEAT_S: Final = 1.0
_ROLLUPS_S: Final = 30.0
_SILENT_S: Final = 30.0
_RESTART_AFTER_S: Final = (0.5, 30.0)
# A worker that ran for so long is started again at once.
_STEADY_S: Final = 60.0
_STOP_S: Final = 60.0


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
    return ClickHouseServer(
        settings.url, settings.database, settings.user, settings.password, settings.cluster
    )


def translate(config: Config, path: Path | None, workers: int) -> NoReturn:
    """Become the supervisor of `workers` processes; `path` is the file of `config`.

    Raises:
        UserError: the configuration cannot be used.
    """
    hash_key(config)
    server(config).close()
    check(config.receivers.kafka)
    # Anew, without what only the check needed: the supervisor is there all the time and does little.
    kafka = config.receivers.kafka
    greeting = f"translating {kafka.topic} of {kafka.brokers} into {config.exporters.clickhouse.url}"
    arguments = [str(path or ""), str(workers), config.metrics.host, str(config.metrics.port), greeting]
    os.execv(sys.executable, [sys.executable, "-m", "spanhouse.supervise", *arguments])


def run_worker(config: Config, beats: int) -> int:
    """One worker: translate until SIGTERM, or until the supervisor is gone.

    Args:
        config: the supervisor's.
        beats: file descriptor to say on, once a second, how it is.
    """
    for noisy in ("urllib3.connectionpool", "clickhouse_connect"):
        logging.getLogger(noisy).setLevel(logging.ERROR)  # each failure is told by us, once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_watch_supervisor, args=(stop,), daemon=True).start()
    processors = build_processors(config, hash_key=hash_key(config))
    decode.warm_up()
    dedup.warm_up()
    store = server(config)
    if not _check(store, stop, beats):
        return 0
    kafka = config.receivers.kafka
    letters = DeadLetters(kafka.dead_letters, connection(kafka))
    receiver = KafkaReceiver(kafka, Work(build_processing(processors), store, letters), stop)

    def beat() -> None:
        while True:  # also while it stores the last
            problem = "stopping" if stop.is_set() else receiver.problem()
            _say(beats, {"problem": problem, "stalled": receiver.stalled()})
            time.sleep(_BEAT_S)

    threading.Thread(target=beat, daemon=True).start()
    keeper = threading.Thread(target=_keep_rollups, args=(store, stop), name="rollups")
    keeper.start()
    receiver.run()
    keeper.join()
    store.close()
    return 0


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
