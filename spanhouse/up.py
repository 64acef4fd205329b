"""`spanhouse up`: the whole pipeline in one process on an embedded ClickHouse."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import secrets
import sys
from pathlib import Path

from spanhouse import dedup, rollups, running
from spanhouse.batch import Processor
from spanhouse.clickhouse_http.server import Limits, start_clickhouse_http
from spanhouse.config import Address, Config, build_processors
from spanhouse.exporters.clickhouse import EmbeddedClickHouse
from spanhouse.foreground import StopSignals, say
from spanhouse.objectives import set_statements
from spanhouse.otlp import decode
from spanhouse.page.access import is_loopback
from spanhouse.page.server import PageServer
from spanhouse.pipeline import Pipeline
from spanhouse.ports import Start, Stop, allow_connections, open_port, otlp_servers
from spanhouse.processing import build_processing
from spanhouse.processors.guard import Guard
from spanhouse.store import Store, query_text
from spanhouse.telemetry import TelemetryServer


def up(config: Config, *, demo: bool) -> None:
    """Run until one of STOP_SIGNALS, then drain, store and leave.

    Raises:
        UserError: the store or a port is taken, or the configuration cannot be used.
    """
    # Before the store, so that a Ctrl-C need not wait for a compiler.
    say("loading the decoder (the very first start compiles it, about half a minute)")
    decode.warm_up()
    dedup.warm_up()
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
            asyncio.run(_serve(config, store, stop, demo=demo))
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


def build_pipeline(config: Config, store: Store) -> Pipeline:
    """The pipeline of `config` into the embedded store."""
    processing = build_processing(store_processors(config, store))
    return Pipeline(processing, EmbeddedClickHouse(store), max_queue_bytes=config.max_queue_bytes)


async def _serve(config: Config, store: Store, stop: StopSignals, *, demo: bool) -> None:
    pipeline = await asyncio.to_thread(build_pipeline, config, store)
    ready = False
    telemetry = TelemetryServer(
        lambda: "" if pipeline.healthy() else "the pipeline's threads have ended; restart, and see the log",
        lambda: "" if ready else "starting or shutting down",
    )
    stops: list[Stop] = []
    demo_process: asyncio.subprocess.Process | None = None
    try:
        ports: dict[str, Address] = {}
        token = page_token(config)
        for name, address, start in _servers(config, store, pipeline, telemetry, token, ports):
            ports[name], stop_server = await open_port(name, address, start)
            stops.append(stop_server)
        running.mark(config.data, str(ports["clickhouse-http"]))
        ready = True
        url = f"http://{ports['page'].local}/" + (f"?token={token}" if token else "")
        _announce(ports, config.data, url)
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
        await asyncio.to_thread(pipeline.close)
        for stop_server in reversed(stops):
            await stop_server()
    say("stopped; everything acknowledged is stored")


def _servers(
    config: Config,
    store: Store,
    pipeline: Pipeline,
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
            ports["otlp-http"],
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
        *otlp_servers(config, pipeline),
        # After those whose addresses it tells.
        ("page", config.page.listen, page),
    ]


def _announce(ports: dict[str, Address], data: Path, page: str) -> None:
    where = "" if data == Config().data else f" --data {data}"
    say(
        f"""
  open in a browser
                {page}

  send spans    OTLP/gRPC  {ports["otlp-grpc"]}
                OTLP/HTTP  http://{ports["otlp-http"]}/v1/traces
  ask           ClickHouse http://{ports["clickhouse-http"]}
                or: spanhouse sql{where} "SELECT count() FROM agent_events"
  its health    metrics    http://{ports["metrics"]}/metrics
  stop with Ctrl-C
"""
    )
    order = ("page", "otlp-grpc", "otlp-http", "clickhouse-http", "metrics")
    say("ready " + " ".join(f"{name}={ports[name]}" for name in order))


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
