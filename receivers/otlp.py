"""Both OTLP servers with a pipeline of their own: what `translate` runs beside or instead of Kafka."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from spanhouse.pipeline import Pipeline
from spanhouse.ports import Stop, allow_connections, open_port, otlp_servers

if TYPE_CHECKING:
    from spanhouse.config import Config
    from spanhouse.exporters.clickhouse_server import PipelineExporter
    from spanhouse.processing import Processing

_LOOK_EVERY_S: Final = 2.0


class OtlpReceiver:
    """Takes OTLP until `stopping` is set. `run` is for one thread; the rest may be called from others.

    Args:
        config: where to listen, and how much to take.
        processing: makes rows of payloads.
        exporter: where rows go.
        stopping: once set, `run` refuses what comes, stores and answers what is queued, and returns.
        shared: whether other processes listen on the same ports.
    """

    def __init__(
        self,
        config: Config,
        processing: Processing,
        exporter: PipelineExporter,
        stopping: threading.Event,
        *,
        shared: bool,
    ) -> None:
        self._config = config
        self._processing = processing
        self._exporter = exporter
        self._stopping = stopping
        self._shared = shared
        self._pipeline: Pipeline | None = None
        self._open = False

    def problem(self) -> str:
        """Why nothing is taken or stored just now; '' where all is well."""
        return self._exporter.problem if self._open else "the OTLP ports are not open"

    def stalled(self) -> str:
        """Why the process is not getting on, however long it tries; '' where it is."""
        healthy = self._pipeline is None or self._pipeline.healthy()
        return "" if healthy else "the pipeline's threads have ended"

    def run(self) -> None:
        """Listen until `stopping`.

        Raises:
            UserError: a port cannot be opened.
            Unavailable: the store does not tell what it has.
        """
        asyncio.run(self._run())

    async def _run(self) -> None:
        allow_connections()
        pipeline = await asyncio.to_thread(
            Pipeline, self._processing, self._exporter, max_queue_bytes=self._config.max_queue_bytes
        )
        self._pipeline = pipeline
        stops: list[Stop] = []
        try:
            for server in otlp_servers(self._config, pipeline, shared=self._shared):
                _, stop_server = await open_port(*server)
                stops.append(stop_server)
            self._open = True
            while not await asyncio.to_thread(self._stopping.wait, _LOOK_EVERY_S):
                if self._exporter.problem:
                    await asyncio.to_thread(self._exporter.look_again)
        finally:
            self._open = False
            # First the pipeline, which answers all that wait; then the doors.
            await asyncio.to_thread(pipeline.close)
            for stop_server in reversed(stops):
                await stop_server()
