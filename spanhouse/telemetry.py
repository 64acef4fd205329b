"""spanhouse's own health over HTTP: /metrics for Prometheus, /healthz and /readyz for probes."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


class TelemetryServer:
    """The server; `healthy` and `ready` are asked at each probe.

    /healthz answers 200 while the process can work and 503 when it must be restarted; /readyz answers
    200 once all ports answer and 503 before and while it shuts down.
    """

    def __init__(self, healthy: Callable[[], bool], ready: Callable[[], bool]) -> None:
        self._healthy = healthy
        self._ready = ready
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; raises OSError if the port is taken. Port 0 takes a free one, see `port`."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        return _probe(self._healthy(), "the pipeline's threads have ended; restart the process, see its log")

    async def _readyz(self, _: web.Request) -> web.Response:
        return _probe(self._ready(), "starting or shutting down")


def _probe(good: bool, problem: str) -> web.Response:
    return web.Response(text="ok\n") if good else web.Response(text=f"{problem}\n", status=503)
