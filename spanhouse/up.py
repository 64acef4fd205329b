"""`spanhouse up`: the whole pipeline in one process on an embedded ClickHouse."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import secrets
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spanhouse import rollups, running
from spanhouse.batch import Processor
from spanhouse.clickhouse_http.server import Limits, start_clickhouse_http
from spanhouse.config import Address, Config, build_processors
from spanhouse.errors import UserError
from spanhouse.exporters.clickhouse import EmbeddedClickHouse
from spanhouse.foreground import StopSignals, say
from spanhouse.objectives import set_statements
from spanhouse.page.access import is_loopback
from spanhouse.page.server import PageServer
from spanhouse.pipeline import Pipeline
from spanhouse.ports import Start, Stop, allow_connections, open_port, otlp_servers
from spanhouse.processing import build_processing
from spanhouse.processors.guard import Guard
from spanhouse.store import Store, query_text
from spanhouse.telemetry import TelemetryServer
from spanhouse.warm_up import warm_up

if TYPE_CHECKING:
    from spanhouse.receivers.kafka import KafkaReceiver

log = logging.getLogger(__name__)


def up(config: Config, *, demo: bool) -> None:
    """Run until one of STOP_SIGNALS, then drain, store and leave.

    Raises:
        UserError: the store or a port is taken, or the configuration cannot be used.
    """
    receivers = config.service.pipelines.traces.receivers or ["otlp"]
    if demo and "otlp" not in receivers:
        raise UserError("--demo sends by OTLP: add otlp to service.pipelines.traces.receivers")
    if "kafka" in receivers:
        from spanhouse.receivers.kafka_client import check  # loads librdkafka

        check(config.receivers.kafka)
    # Before the store, so that a Ctrl-C need not wait for a compiler.
    say("loading the decoder (the very first start compiles it, about half a minute)")
    warm_up()
    allow_connections()
    stop = StopSignals()
    say(f"opening the store in {config.data}")
    store = Store(config.data)
    try:
        if running.was_unclean(config.data):
            rollups.repair(store)
        for statement in set_statements(config):
            store.rows(statement)
        running.mark(config.data)
        if not stop.seen:
            asyncio.run(_serve(config, receivers, store, stop, demo=demo))
    finally:
        store.close()
    if not store.rollups_doubtful:
        running.unmark(config.data)
    stop.ignore()


def hash_key(data: Path) -> str:
    """The key that user ids are hashed with: made once for a data folder, readable by its owner only."""
    return _secret(data / "hash.key")


def page_token(config: Config) -> str:
    """What a browser has to give: nothing on loopback, unless the ClickHouse endpoint has a password."""
    settings = config.exporters.clickhouse
    if is_loopback(config.page.listen.host) and not (settings.user or settings.password):
        return ""
    return _secret(config.data / "page.token")


def _secret(path: Path) -> str:
    if not path.exists():
        fresh = path.with_suffix(".new")
        with open(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        fresh.rename(path)
    return path.read_text().strip()


def store_processors(config: Config, store: Store) -> list[tuple[str, Processor]]:
    """(name, callable) of the processors of `config`, for rows of the embedded store."""
    processors = build_processors(config, hash_key=hash_key(config.data))
    for _, processor in processors:
        if isinstance(processor, Guard):
            found = [json.loads(row) for row in store.rows(query_text("dimension_values"))]
            processor.seed({row["column"]: row["values"] for row in found})
    return processors


class _Inlets:
    """What brings spans into the store: the pipeline behind the OTLP ports, the Kafka receiver, or both.

    Attributes:
        pipeline: for the OTLP servers; None without them.
    """

    def __init__(self, config: Config, receivers: Sequence[str], store: Store) -> None:
        exporter = EmbeddedClickHouse(store)
        # One for both: limits of distinct values are the store's, and a trace may come both ways.
        processing = build_processing(store_processors(config, store), config.content.kept_bytes)
        self.pipeline: Pipeline | None = None
        if "otlp" in receivers:
            self.pipeline = Pipeline(processing, exporter, max_queue_bytes=config.max_queue_bytes)
        self._stopping = threading.Event()
        self._kafka: KafkaReceiver | None = None
        self._reading = threading.Thread(target=self._read, name="kafka")
        self._ended = ""
        if "kafka" in receivers:
            from spanhouse.receivers.kafka import KafkaReceiver

            self._kafka = KafkaReceiver(config.receivers.kafka, processing, exporter, self._stopping)

    def start_reading(self) -> None:
        """Begin with Kafka; the pipeline takes what it gets from the start."""
        if self._kafka is not None:
            self._reading.start()

    def unhealthy(self) -> str:
        """Why the process should be started again; '' where it should not."""
        if self.pipeline is not None and not self.pipeline.healthy():
            return "the pipeline's threads have ended; restart, and see the log"
        return self._ended or (self._kafka.stalled() if self._kafka is not None else "")

    def unready(self) -> str:
        """Why nothing, or not everything, is stored just now; '' where all is well."""
        return self._ended or (self._kafka.problem() if self._kafka is not None else "")

    def close(self) -> None:
        """Refuse what comes, store what has come, and answer."""
        self._stopping.set()
        if self.pipeline is not None:
            self.pipeline.close()
        if self._reading.ident is not None:
            self._reading.join()

    def _read(self) -> None:
        assert self._kafka is not None
        try:
            self._kafka.run()
        except Exception as error:
            log.exception("nothing is read from Kafka any more")
            self._ended = f"nothing is read from Kafka any more; restart, and see the log: {error}"


async def _serve(
    config: Config, receivers: Sequence[str], store: Store, stop: StopSignals, *, demo: bool
) -> None:
    inlets = await asyncio.to_thread(_Inlets, config, receivers, store)
    ready = False
    telemetry = TelemetryServer(
        inlets.unhealthy, lambda: inlets.unready() if ready else "starting or shutting down"
    )
    stops: list[Stop] = []
    demo_process: asyncio.subprocess.Process | None = None
    try:
        ports: dict[str, Address] = {}
        token = page_token(config)
        for name, address, start in _servers(config, store, inlets.pipeline, telemetry, token, ports):
            ports[name], stop_server = await open_port(name, address, start)
            stops.append(stop_server)
        running.mark(config.data, str(ports["clickhouse-http"]))
        inlets.start_reading()
        ready = True
        url = f"http://{ports['page'].local}/" + (f"?token={token}" if token else "")
        _announce(config, receivers, ports, url)
        if demo:
            demo_process = await _start_demo(ports["otlp-grpc"], url)
        await stop.wait()
        say("stopping: storing what has come in")
    finally:
        ready = False
        if demo_process is not None and demo_process.returncode is None:
            demo_process.terminate()
            await demo_process.wait()
        # First the pipeline, which answers all that wait; then the doors.
        await asyncio.to_thread(inlets.close)
        for stop_server in reversed(stops):
            await stop_server()
    say("stopped; everything acknowledged is stored")


def _servers(
    config: Config,
    store: Store,
    pipeline: Pipeline | None,
    telemetry: TelemetryServer,
    token: str,
    ports: dict[str, Address],
) -> list[tuple[str, Address, Start]]:
    """(flag, address, how to start it) of every port, in the order of starting; `ports` has those started."""

    async def clickhouse_http(address: Address) -> tuple[int, Stop]:
        settings = config.exporters.clickhouse
        server = await start_clickhouse_http(
            store,
            address.host,
            address.port,
            user=settings.user,
            password=settings.password,
            content_reader=(config.content.user, config.content.password),
            limits=Limits(
                max_rows=settings.max_rows,
                max_seconds=settings.max_seconds,
                max_memory_bytes=settings.max_memory_bytes,
            ),
        )
        return server.port, server.stop

    async def page(address: Address) -> tuple[int, Stop]:
        settings = config.exporters.clickhouse
        server = PageServer(
            ports["clickhouse-http"],
            ports.get("otlp-http"),
            user=settings.user,
            password=settings.password,
            token=token,
            grafana=config.page.grafana,
        )
        try:
            await server.start(address.host, address.port)
        except OSError as error:
            # Many things listen on 8080; nobody needs the page there who has not asked for it.
            if error.errno != errno.EADDRINUSE or address != Config().page.listen:
                raise
            return await page(Address(address.host, 0))
        return server.port, server.stop

    async def metrics(address: Address) -> tuple[int, Stop]:
        await telemetry.start(address.host, address.port)
        return telemetry.port, telemetry.stop

    return [
        ("metrics", config.metrics, metrics),
        ("clickhouse-http", config.clickhouse_http, clickhouse_http),
        *(otlp_servers(config, pipeline) if pipeline is not None else ()),
        # After those whose addresses it tells.
        ("page", config.page.listen, page),
    ]


def _announce(config: Config, receivers: Sequence[str], ports: dict[str, Address], page: str) -> None:
    kafka = config.receivers.kafka
    lines = [f"open in a browser\n                {page}\n"]
    if "otlp" in receivers:
        lines += [f"send spans    OTLP/gRPC  {ports['otlp-grpc']}"]
        lines += [f"              OTLP/HTTP  http://{ports['otlp-http']}/v1/traces"]
    if "kafka" in receivers:
        lines += [f"read spans    Kafka      {kafka.topic} of {kafka.brokers}"]
    where = "" if config.data == Config().data else f" --data {config.data}"
    lines += [f"ask           ClickHouse http://{ports['clickhouse-http']}"]
    lines += [f'              or: spanhouse sql{where} "SELECT count() FROM agent_events"']
    lines += [f"its health    metrics    http://{ports['metrics']}/metrics", "stop with Ctrl-C"]
    say("\n" + "\n".join(f"  {line}" for line in lines) + "\n")
    order = ("page", "otlp-grpc", "otlp-http", "clickhouse-http", "metrics")
    say("ready " + " ".join(f"{name}={ports[name]}" for name in order if name in ports))


async def _start_demo(endpoint: Address, page: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "spanhouse", "demo", "--endpoint", str(endpoint), "--parent", str(os.getpid()),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        # A Ctrl-C in the terminal is for spanhouse, which ends its child itself.
        start_new_session=True,
    )  # fmt: skip
    say(
        f"the demo agent is sending about 2 requests a second; watch them at {page}\n"
        'or ask: spanhouse sql "SELECT agent, model, sum(cost_usd) FROM agent_metrics_1m GROUP BY ALL"'
    )
    return process
