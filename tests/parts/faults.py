"""An HTTP proxy before a ClickHouse server that breaks INSERTs as networks and servers do."""

from __future__ import annotations

import asyncio
import enum
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from tests.parts.process import free_port

# Headers of one connection; the way from the client to the server has two.
_OF_A_CONNECTION: Final = ("Connection", "Expect", "Host", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding")
_INSERT: Final = re.compile(rb"(\s|--[^\n]*\n|/\*.*?\*/)*INSERT\b", re.IGNORECASE | re.DOTALL)


class Fault(enum.StrEnum):
    """What is done to an INSERT."""

    ERROR_500 = "error_500"  # not forwarded, answered with 500
    CUT_BEFORE = "cut_before"  # not forwarded, connection closed without an answer
    ERROR_AFTER = "error_after"  # stored, answered with 500
    CUT_AFTER = "cut_after"  # stored, connection closed without an answer
    HANG_AFTER = "hang_after"  # stored, never answered


_BEFORE: Final = (Fault.ERROR_500, Fault.CUT_BEFORE)
_AFTER: Final = (Fault.ERROR_AFTER, Fault.CUT_AFTER, Fault.HANG_AFTER)


class FaultProxy:
    """The proxy, in a thread of its own; everything but the INSERTs that a fault is for is passed on.

        with FaultProxy(clickhouse.url) as proxy:
            proxy.fail(Fault.CUT_AFTER, times=2)
            ...  # a client of proxy.url inserts
            assert proxy.done[Fault.CUT_AFTER] == 2

    A fault "after" waits for an INSERT that the server stored; what it refuses is passed on. A request
    that the server does not answer, because it is not there, is cut.

    Attributes:
        url: `http://host:port`.
        done: how often each fault was done; how many INSERTs were answered as the server did (`passed`);
            how many requests of any kind the server did not answer (`unanswered`).
    """

    def __init__(self, server: str) -> None:
        self.done: Counter[str] = Counter()
        self._server = server
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._times: int | None = None
        self._hanging: set[asyncio.Event] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def fail(self, fault: Fault, times: int | None = None) -> None:
        """Do this to the next INSERTs: so many, or until `clear`. It takes the place of an earlier fault."""
        with self._lock:
            self._fault, self._times = fault, times

    def clear(self) -> None:
        """Pass on everything from now on; what hangs goes on hanging until `release`."""
        with self._lock:
            self._fault = None

    def release(self) -> None:
        """Cut what hangs now."""
        self._loop.call_soon_threadsafe(self._release)

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._wait(self._start())

    def close(self) -> None:
        """Cut all connections, and stop listening."""
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A connection to the server is used once: a kept one may be of a server that was killed since.
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            max_line_size=1 << 20,
            shutdown_timeout=0.1,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def _release(self) -> None:
        for hanging in self._hanging:
            hanging.set()

    def _take(self, kinds: tuple[Fault, ...]) -> Fault | None:
        """The fault that the INSERT at hand is to have now."""
        with self._lock:
            if self._fault not in kinds:
                return None
            fault = self._fault
            if self._times is not None:
                self._times -= 1
                if self._times == 0:
                    self._fault = None
            self.done[fault] += 1
            return fault

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        begin = await request.content.readany()
        insert = _is_insert(request, begin)
        if insert and (fault := self._take(_BEFORE)):
            await request.content.read()  # as a client sends all of it before it reads the answer
            return await self._break(request, fault)
        try:
            async with self._session.request(
                request.method,
                URL(f"{self._server}{request.raw_path}", encoded=True),
                headers=_passed_on(request.headers),
                data=_body(begin, request.content) if begin else None,
                skip_auto_headers=["Accept", "Accept-Encoding", "Content-Type", "User-Agent"],
                allow_redirects=False,
            ) as answer:
                headers = _passed_on(answer.headers)
                if not insert:
                    response = web.StreamResponse(status=answer.status, headers=headers)
                    await response.prepare(request)
                    async for data in answer.content.iter_any():
                        await response.write(data)
                    return response
                body = await answer.read()
                if answer.ok and (fault := self._take(_AFTER)):
                    return await self._break(request, fault)
                self.done["passed"] += 1
                return web.Response(status=answer.status, headers=headers, body=body)
        except aiohttp.ClientError:
            self.done["unanswered"] += 1
            return _cut(request)

    async def _break(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault in (Fault.ERROR_500, Fault.ERROR_AFTER):
            return web.Response(status=500, text=f"Code: 1002. DB::Exception: {fault}, made by a test.\n")
        if fault is Fault.HANG_AFTER:
            hanging = asyncio.Event()
            self._hanging.add(hanging)
            try:
                await hanging.wait()  # or until the client goes, or the proxy is closed
            finally:
                self._hanging.discard(hanging)
        return _cut(request)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_insert(request: web.Request, begin: bytes) -> bool:
    """Whether it is a POST with an INSERT.

    The statement is in the URL, or begins the body. Of a compressed body it cannot be seen, but data for an
    INSERT is all that clients compress.
    """
    if request.method != "POST":
        return False
    if query := request.query.get("query"):
        return _INSERT.match(query.encode()) is not None
    return "Content-Encoding" in request.headers or _INSERT.match(begin) is not None


def _passed_on(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in _OF_A_CONNECTION:
        kept.popall(name, None)
    return kept


async def _body(begin: bytes, rest: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    yield begin
    async for data in rest.iter_any():
        yield data


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # nobody gets it
