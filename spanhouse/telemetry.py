"""spanhouse's own health over HTTP: /metrics for Prometheus, /healthz and /readyz for probes."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest


class TelemetryServer:
    """The server; `unhealthy` and `unready` are asked at each probe and say what is wrong, '' if nothing.

    /healthz answers 200 while the process gets on and 503 when it should be restarted; /readyz answers 503
    while it does not do its work for the moment. Both say why.
    """

    def __init__(
        self,
        unhealthy: Callable[[], str],
        unready: Callable[[], str],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._unhealthy = unhealthy
        self._unready = unready
        self._registry = registry
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
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        return _probe(self._unhealthy())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _probe(self._unready())


def _probe(problem: str) -> web.Response:
    return web.Response(text=f"{problem or 'ok'}\n", status=503 if problem else 200)
