"""Until `spanhouse translate` takes OTLP: the pipeline from OTLP/gRPC to a ClickHouse server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import polars as pl
import pyarrow as pa
from prometheus_client import start_http_server

from spanhouse import dedup
from spanhouse.config import Config, build_processors
from spanhouse.exporters.clickhouse_server import ClickHouseServer
from spanhouse.otlp import decode
from spanhouse.pipeline import Pipeline
from spanhouse.processing import build_processing
from spanhouse.receivers.otlp_grpc import start_otlp_grpc


class Exporter:
    def __init__(self, url: str) -> None:
        self._server = ClickHouseServer(url, "spanhouse", "", "")
        self._number = 0

    def insert(self, table: pa.Table) -> None:
        self._number += 1
        self._server.insert(table, token=f"{os.getpid()} {self._number}")

    def recent_spans(self) -> pl.DataFrame:
        return pl.DataFrame(schema={"trace_id": pl.String, "span_id": pl.String})


async def _serve(port: int, metrics: int, url: str) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    decode.warm_up()
    dedup.warm_up()
    processing = build_processing(build_processors(Config(), hash_key="a key for benchmarks, of 32 bytes."))
    pipeline = Pipeline(processing, Exporter(url), max_queue_bytes=64 << 20)
    await start_otlp_grpc(pipeline, "127.0.0.1", port, max_body_bytes=16 << 20)
    start_http_server(metrics)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
