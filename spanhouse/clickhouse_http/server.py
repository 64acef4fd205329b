"""The endpoint itself: `start_clickhouse_http`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from spanhouse import metrics
from spanhouse.clickhouse_http import formats
from spanhouse.clickhouse_http.compression import encoder
from spanhouse.clickhouse_http.errors import (
    ABORTED,
    AUTHENTICATION_FAILED,
    QUERY_WAS_CANCELLED,
    TOO_MANY_SIMULTANEOUS_QUERIES,
    ClickHouseError,
)
from spanhouse.clickhouse_http.execution import DISPLAY_NAME, Execution, Head, Server
from spanhouse.clickhouse_http.policy import Policy
from spanhouse.clickhouse_http.request import Request, authenticate, has_credentials, parse
from spanhouse.store import Store, quote

_KILL_AGAIN_S: Final = 0.05
_SHUTDOWN_S: Final = 2.0
_MAX_URL_BYTES: Final = 1 << 20  # as the server's http_max_uri_size


@dataclass(frozen=True, slots=True)
class Limits:
    """What one query may use, and how many may run.

    Attributes:
        max_rows: rows of a result.
        max_seconds: seconds a query may run.
        max_memory_bytes: memory of one query in the engine.
        max_result_bytes: size of a result in a format that must be made in one piece (JSON, Arrow,
            Parquet, Pretty ...); results in the others are streamed and have no such limit.
        max_threads: threads of one query.
        max_concurrent: queries that run at the same time.
        max_waiting: queries that wait for their turn; those over it are refused with code 202.
    """

    max_rows: int = 10_000_000
    max_seconds: int = 60
    max_memory_bytes: int = 1 << 30
    max_result_bytes: int = 256 << 20
    # Half of the cores: ingest is to get its share while heavy queries run.
    max_threads: int = max(1, (os.cpu_count() or 2) // 2)
    max_concurrent: int = 4
    max_waiting: int = 100

    def settings(self) -> dict[str, int]:
        """The engine's settings that hold a query to its limits; a client may lower them."""
        return {
            "max_result_rows": self.max_rows,
            "max_execution_time": self.max_seconds,
            "max_memory_usage": self.max_memory_bytes,
            "max_threads": self.max_threads,
            "max_block_size": 65_409,
            "max_temporary_data_on_disk_size_for_query": 4 * self.max_memory_bytes,
        }


class ClickHouseHttp:
    """A running endpoint; made by `start_clickhouse_http`.

    Attributes:
        port: the port it listens on.
    """

    def __init__(
        self,
        server: Server,
        limits: Limits,
        *,
        user: str,
        password: str,
        content_reader: tuple[str, str],
        readonly: bool,
    ) -> None:
        self.port = 0
        self._server = server
        self._content_server = replace(server, policy=server.policy.with_content())
        self._content_reader = content_reader
        self._limits = limits
        self._credentials = (user, password)
        self._readonly = readonly
        self._stopping = False
        self._waiting = 0
        self._slots = asyncio.Semaphore(limits.max_concurrent)
        self._workers = ThreadPoolExecutor(limits.max_concurrent, "clickhouse-http")
        # Kills are done from a session of their own, by one thread, as a session serialises.
        self._killer = ThreadPoolExecutor(1, "clickhouse-http-kill")
        self._kill_session = server.store.session()
        self._running: dict[Execution, asyncio.Future[None]] = {}
        self._kills: set[asyncio.Task[None]] = set()
        app = web.Application()
        app.router.add_get("/ping", self._ok)
        app.router.add_get("/replicas_status", self._ok)
        app.router.add_route("*", "/", self._root)
        app.router.add_route("*", "/{path:.*}", self._unknown)
        self._runner = web.AppRunner(
            app,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            shutdown_timeout=_SHUTDOWN_S,
            max_line_size=_MAX_URL_BYTES,
        )

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be used.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse new queries, kill those that run, and wait until their threads are done."""
        self._stopping = True
        for execution in list(self._running):
            self._cancel(execution)
        while self._running or self._kills:
            await asyncio.wait([*self._running.values(), *self._kills])
        await self._runner.cleanup()
        self._workers.shutdown()
        self._killer.shutdown()
        self._kill_session.close()

    async def _ok(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n", headers={"X-ClickHouse-Server-Display-Name": DISPLAY_NAME})

    async def _unknown(self, http: web.Request) -> web.Response:
        text = f"There is no handle {http.path}\n\nUse / or /ping for health checks.\n"
        return web.Response(status=404, text=text)

    async def _root(self, http: web.Request) -> web.StreamResponse:
        if http.method == "HEAD" or (http.method == "GET" and not http.query.get("query")):
            return await self._ok(http)
        if http.method not in ("GET", "POST"):
            return web.Response(status=501, text=f"HTTP method {http.method} is not supported\n")
        started = time.monotonic()
        outcome = "cancelled"
        try:
            outcome, response = await self._answer(http)
        finally:
            metrics.QUERIES.labels(outcome).inc()
            metrics.QUERY_SECONDS.observe(time.monotonic() - started)
        return response

    async def _answer(self, http: web.Request) -> tuple[str, web.StreamResponse]:
        request: Request | None = None
        try:
            reads_content = authenticate(http, *self._credentials, self._content_reader)
            # Who may write tables may read all of them.
            server = self._server if self._readonly and not reads_content else self._content_server
            request = await parse(http, readonly=self._readonly)
            return await self._in_turn(lambda: self._run(http, server, request))
        except ClickHouseError as error:
            return _outcome(error), self._failure(http, request, error)

    async def _in_turn(
        self, run: Callable[[], Awaitable[tuple[str, web.StreamResponse]]]
    ) -> tuple[str, web.StreamResponse]:
        """Run when there is a slot; it is given back when the thread is done and the answer is sent.

        A thread ends with the last pieces still to be sent: were they not counted, clients that do not
        read would fill the memory.
        """
        if self._stopping:
            raise ClickHouseError(ABORTED, "The endpoint is stopping. (ABORTED)", refused=True)
        if self._slots.locked() and self._waiting >= self._limits.max_waiting:
            text = f"Too many simultaneous queries: {self._limits.max_waiting} wait already."
            raise ClickHouseError(
                TOO_MANY_SIMULTANEOUS_QUERIES, f"{text} (TOO_MANY_SIMULTANEOUS_QUERIES)", refused=True
            )
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        if self._stopping:
            self._slots.release()
            raise ClickHouseError(ABORTED, "The endpoint is stopping. (ABORTED)", refused=True)
        return await run()

    async def _run(
        self, http: web.Request, server: Server, request: Request
    ) -> tuple[str, web.StreamResponse]:
        loop = asyncio.get_running_loop()
        execution = Execution(server, request, loop)
        future = loop.run_in_executor(self._workers, execution.run)
        self._running[execution] = future
        metrics.QUERIES_RUNNING.inc()
        future.add_done_callback(lambda _: self._done(execution))
        try:
            return await self._send(http, request, execution)
        finally:
            if future.done():
                self._slots.release()
            else:
                future.add_done_callback(lambda _: self._slots.release())
                self._cancel(execution)

    def _done(self, execution: Execution) -> None:
        del self._running[execution]
        metrics.QUERIES_RUNNING.dec()

    async def _send(
        self, http: web.Request, request: Request, execution: Execution
    ) -> tuple[str, web.StreamResponse]:
        item = await execution.get()
        response: web.StreamResponse | None = None
        while True:
            if isinstance(item, Head):
                response = web.StreamResponse(headers=self._headers(request, execution, item))
                await response.prepare(http)
            elif isinstance(item, bytes):
                assert response is not None
                try:
                    await asyncio.wait_for(response.write(item), self._limits.max_seconds)
                except OSError:  # a TimeoutError, or the client is gone
                    if http.transport is not None:
                        http.transport.abort()
                    return "cancelled", response
            else:
                break
            item = await execution.get()
        if response is None:
            assert item.error is not None
            raise item.error
        if item.error is None:
            return "ok", response
        # The answer has begun: its end without the last chunk tells the client, besides the block.
        if http.transport is not None:
            http.transport.close()
        return _outcome(item.error), response

    def _headers(self, request: Request, execution: Execution, head: Head) -> dict[str, str]:
        headers = {
            "Content-Type": formats.content_type(head.format),
            "X-ClickHouse-Format": head.format,
            "X-ClickHouse-Query-Id": request.query_id,
            "X-ClickHouse-Server-Display-Name": DISPLAY_NAME,
            "X-ClickHouse-Timezone": self._server.timezone,
            "X-ClickHouse-Summary": head.summary,
            "X-ClickHouse-Exception-Tag": execution.tag,
        }
        if head.content_encoding:
            headers["Content-Encoding"] = head.content_encoding
        return headers

    def _failure(self, http: web.Request, request: Request | None, error: ClickHouseError) -> web.Response:
        status = error.status
        headers = {
            "Content-Type": "text/plain; charset=UTF-8",
            "X-ClickHouse-Exception-Code": str(error.code),
            "X-ClickHouse-Server-Display-Name": DISPLAY_NAME,
            "X-ClickHouse-Timezone": self._server.timezone,
        }
        if error.code == AUTHENTICATION_FAILED and not has_credentials(http):
            status = 401
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        body = error.body
        if request is not None:
            headers["X-ClickHouse-Query-Id"] = request.query_id
            if request.framed_answer:
                body = encoder("", frames=True)[1].encode(body)
        return web.Response(status=status, body=body, headers=headers)

    def _cancel(self, execution: Execution) -> None:
        execution.cancel()
        task = asyncio.get_running_loop().create_task(self._kill(execution))
        self._kills.add(task)
        task.add_done_callback(self._kills.discard)

    async def _kill(self, execution: Execution) -> None:
        """Kill until the thread is done: the query may not have reached the engine at the first time."""
        loop = asyncio.get_running_loop()
        sql = f"KILL QUERY WHERE Settings['log_comment'] = {quote(execution.id)} ASYNC"
        while future := self._running.get(execution):
            await loop.run_in_executor(self._killer, self._kill_session.query, sql)
            await asyncio.wait([future], timeout=_KILL_AGAIN_S)


def _outcome(error: ClickHouseError) -> str:
    if error.refused:
        return "refused"
    return "cancelled" if error.code == QUERY_WAS_CANCELLED else "failed"


async def start_clickhouse_http(
    store: Store,
    host: str,
    port: int,
    *,
    user: str = "",
    password: str = "",
    content_reader: tuple[str, str] = ("", ""),
    readonly: bool = True,
    limits: Limits | None = None,
) -> ClickHouseHttp:
    """Start the ClickHouse-compatible HTTP endpoint of the store.

    With `user` or `password` a client must give both (an empty `user` is ClickHouse's `default`). Only
    who gives the user and password of `content_reader` may read prompts and completions, and nobody
    where that password is empty. With
    `readonly=False` POST requests may also insert into tables of the store and create, change and drop
    them; files, the network and other processes stay out of reach.

    Raises:
        OSError: the address cannot be used.
        UserError: the engine is of a version that the endpoint's lists were not made for.
    """
    limits = limits or Limits()
    session = store.session()
    try:
        policy = Policy(session, Store.DATABASE, limits.settings())
        version, timezone = session.query("SELECT version(), timezone()", "TSV").bytes().decode().split()
    finally:
        session.close()
    server = Server(store, policy, limits.settings(), limits.max_result_bytes, version, timezone)
    endpoint = ClickHouseHttp(
        server, limits, user=user, password=password, content_reader=content_reader, readonly=readonly
    )
    await endpoint.start(host, port)
    return endpoint
