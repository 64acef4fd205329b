"""The stand-in: the providers' HTTP APIs with known usage, and an OTLP/HTTP door that keeps what comes in.

`POST /scenario/<name>` begins a scenario: what is answered and kept from then on belongs to it.
"""

from __future__ import annotations

import gzip
import threading
from asyncio import AbstractEventLoop, Event, new_event_loop

from aiohttp import web
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tests.dialects.standin import anthropic, bedrock, cohere, google, mistral, ollama, openai
from tests.dialects.standin.state import ProblemError, State

PORT = 14318  # fixed: server.port is in what libraries send
URL = f"http://127.0.0.1:{PORT}"


def app(state: State, ended: list[State]) -> web.Application:
    """The application; states of scenarios that are over are appended to `ended`."""

    async def scenario(request: web.Request) -> web.Response:
        if state.name:
            over = State()
            vars(over).update(vars(state))
            ended.append(over)
        state.begin(request.match_info["name"])
        return web.Response()

    async def traces(request: web.Request) -> web.Response:
        state.traces.append(await _body(request))
        return web.Response(content_type="application/x-protobuf")

    async def logs(request: web.Request) -> web.Response:
        for resource in ExportLogsServiceRequest.FromString(await _body(request)).resource_logs:
            for scope in resource.scope_logs:
                state.events |= {record.event_name or "(no name)" for record in scope.log_records}
        return web.Response(content_type="application/x-protobuf")

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(content_type="application/x-protobuf")

    async def other(request: web.Request) -> web.Response:
        state.problems.append(f"{request.method} {request.path}")
        return web.Response(status=404)

    @web.middleware
    async def problems(request: web.Request, handler):  # type: ignore[no-untyped-def]
        try:
            return await handler(request)
        except ProblemError as problem:
            return web.Response(status=404, text=str(problem))

    application = web.Application(middlewares=[problems], client_max_size=64 << 20)
    application.add_routes([web.post("/scenario/{name:.*}", scenario)])
    for provider in (openai, anthropic, google, bedrock, mistral, cohere, ollama):
        application.add_routes(provider.routes(state))
    application.add_routes(
        [
            web.post("/{prefix:.*}v1/traces", traces),
            web.post("/{prefix:.*}v1/logs", logs),
            web.post("/{prefix:.*}v1/metrics", metrics),
            web.route("*", "/{path:.*}", other),
        ]
    )
    return application


async def _body(request: web.Request) -> bytes:
    body = await request.read()  # aiohttp has undone the request's Content-Encoding
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


class Standin:
    """The stand-in in a thread of its own, for a `with` block.

    Attributes:
        ended: what happened in each scenario that is over.
    """

    def __init__(self) -> None:
        self.ended: list[State] = []
        self._loop: AbstractEventLoop
        self._stop: Event
        self._error: OSError | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self._loop = new_event_loop()
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = Event()
        runner = web.AppRunner(app(State(), self.ended), shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", PORT).start()
        except OSError as error:
            self._error = error
        self._ready.set()
        if not self._error:
            await self._stop.wait()
        await runner.cleanup()

    def __enter__(self) -> Standin:
        self._thread.start()
        self._ready.wait()
        if self._error:
            self._thread.join()
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
