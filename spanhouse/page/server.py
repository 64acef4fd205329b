"""The server of the page: its files, and its questions as JSON."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Final

from aiohttp import web
from aiohttp.http import HttpProcessingError

from spanhouse import __version__, metrics
from spanhouse.config import Address
from spanhouse.dashboards.model import VARIABLES
from spanhouse.page import panels
from spanhouse.page.access import Access, is_loopback
from spanhouse.page.ask import MAX_PARQUET_BYTES, Endpoint, Result
from spanhouse.page.errors import Problem
from spanhouse.page.trace import MAX_SPANS, otlp_json, waterfall
from spanhouse.store import query_text

_LOG: Final = logging.getLogger(__name__)
# aiohttp logs what is not HTTP with a traceback; strangers could fill the disk with it.
_LOG.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
_FILES: Final[Traversable] = resources.files("spanhouse") / "page" / "static"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
    "txt": "text/plain; charset=utf-8",
}
_FILE: Final = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*\.([a-z0-9]+)")
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")
# Points of all series of a chart; rows of a table that a browser still scrolls.
_MAX_PANEL_ROWS: Final = 50_000
_MAX_SQL_ROWS: Final = 10_000
_MAX_VALUES: Final = 1_000
_MAX_SQL_BYTES: Final = 1 << 19  # a statement of 256 KiB as JSON
_MAX_URL_BYTES: Final = 1 << 16
_SHUTDOWN_S: Final = 2.0
# A result of so many rows is made into JSON aside, as it would hold up all others.
_INLINE_ROWS: Final = 1_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """The server.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self,
        clickhouse: Address,
        otlp: Address | None,
        *,
        user: str,
        password: str,
        token: str,
        grafana: str,
    ) -> None:
        """`clickhouse` is asked; `otlp` is where spans are sent by HTTP, for those who have sent none yet.

        `token` is what a browser needs, '' for nothing; `grafana` is linked to.
        """
        self.port = 0
        self._clickhouse = clickhouse
        self._otlp = otlp
        self._credentials = (user, password)
        self._token = token
        self._grafana = grafana
        self._endpoint: Endpoint
        self._access: Access
        app = web.Application(middlewares=[self._answer], client_max_size=_MAX_SQL_BYTES)
        app.on_response_prepare.append(_add_headers)
        for path in ("/", "/d/{dashboard}", "/trace/{trace}", "/sql"):
            app.router.add_get(path, self._page)
        app.router.add_get("/static/{name:.+}", self._static)
        app.router.add_get("/api/dashboards", self._dashboards)
        app.router.add_get("/api/values/{variable}", self._values)
        app.router.add_get("/api/values/{dashboard}/{variable}", self._own_values)
        app.router.add_get("/api/panels/{dashboard}/{panel}", self._panel)
        app.router.add_get("/api/traces/{trace}.json", self._export)
        app.router.add_get("/api/traces/{trace}", self._trace)
        app.router.add_post("/api/sql", self._sql)
        self._runner = web.AppRunner(
            app,
            # The queries of those who leave are cancelled.
            handler_cancellation=True,
            access_log=None,
            logger=_LOG,
            shutdown_timeout=_SHUTDOWN_S,
            max_line_size=_MAX_URL_BYTES,
        )

    async def start(self, host: str, port: int) -> None:
        """Listen; raises OSError if the port is taken. Port 0 takes a free one, see `port`."""
        self._endpoint = Endpoint(self._clickhouse, *self._credentials)
        self._access = Access(loopback=is_loopback(host), token=self._token)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError:
            await self.stop()
            raise
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening; what is being answered has a moment to end."""
        await self._runner.cleanup()
        await self._endpoint.close()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may come in, and turn problems into answers."""
        try:
            self._access.check_host(request)
            if request.path.startswith("/api/"):
                self._access.check_api(request)
            response = await handler(request)
        except Problem as problem:
            response = _failure(request, problem)
        except web.HTTPException as error:
            response = _failure(
                request, Problem(error.status, _PROBLEMS.get(error.status, f"{error.reason}."))
            )
        except Exception:  # noqa: BLE001 (logged, and the browser shows more than nothing)
            _LOG.exception("The page failed to answer %s", request.path)
            response = _failure(request, Problem(500, "The page failed here. The log of spanhouse says why."))
        metrics.PAGE_REQUESTS.labels(_kind(request), f"{response.status // 100}xx").inc()
        return response

    async def _page(self, request: web.Request) -> web.StreamResponse:
        return self._access.admit(request) or _file(request, "index.html")

    async def _static(self, request: web.Request) -> web.StreamResponse:
        return _file(request, request.match_info["name"])

    async def _dashboards(self, _: web.Request) -> web.StreamResponse:
        return _json(
            {
                "version": __version__,
                "grafana_url": self._grafana,
                "sql_url": f"http://{self._clickhouse.local}",
                "otlp_url": f"http://{self._otlp.local}" if self._otlp else "",
                "variables": list(VARIABLES),
                "dashboards": panels.described(),
            }
        )

    async def _values(self, request: web.Request) -> web.StreamResponse:
        return await self._listed(panels.values_of(request.match_info["variable"], _asked(request)))

    async def _own_values(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info
        return await self._listed(panels.own_values(names["dashboard"], names["variable"], _asked(request)))

    async def _listed(self, values: str | list[str]) -> web.StreamResponse:
        if isinstance(values, str):
            result = await self._endpoint.rows(values, _MAX_VALUES)
            values = [str(row[0]) for row in result.rows if row[0] is not None]
        return _json({"values": values})

    async def _panel(self, request: web.Request) -> web.StreamResponse:
        dashboard, panel = request.match_info["dashboard"], request.match_info["panel"]
        statement = panels.panel_statement(dashboard, panel, _asked(request))
        if _wants_csv(request.query.get("format")):
            return await self._csv(request, statement, f"{dashboard}-{panel}.csv")
        return await _rows(await self._endpoint.rows(statement, _MAX_PANEL_ROWS))

    async def _sql(self, request: web.Request) -> web.StreamResponse:
        # A form of another site can have any content type but this one.
        if request.content_type != "application/json":
            raise Problem(415, "Send the query with Content-Type: application/json.")
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            raise Problem(400, "The body is not JSON.") from None
        query = body.get("query") if isinstance(body, dict) else None
        if not isinstance(query, str):
            raise Problem(400, 'The body has to be {"query": "SELECT …"}.')
        if _wants_csv(request.query.get("format")):
            return await self._csv(request, query, "spanhouse.csv")
        return await _rows(await self._endpoint.rows(query, _MAX_SQL_ROWS))

    async def _csv(self, request: web.Request, statement: str, name: str) -> web.StreamResponse:
        response = web.StreamResponse(headers=_attachment(name, "text/csv; charset=utf-8; header=present"))
        try:
            async with self._endpoint.csv(statement) as pieces:
                await response.prepare(request)
                async for piece in pieces:
                    await response.write(piece)
        except Problem:
            if not response.prepared:
                raise
            # It has begun: an end without the last chunk is what tells that it is not whole.
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _trace(self, request: web.Request) -> web.StreamResponse:
        trace_id = _trace_id(request)
        parameters = {"trace_id": trace_id, "limit": str(MAX_SPANS + 1)}
        result = await self._endpoint.rows(query_text("trace"), MAX_SPANS, parameters)
        if not result.rows:
            raise _no_trace(trace_id)
        return await asyncio.to_thread(lambda: _json(waterfall(trace_id, result)))

    async def _export(self, request: web.Request) -> web.StreamResponse:
        trace_id = _trace_id(request)
        parameters = {"trace_id": trace_id, "limit": str(MAX_SPANS + 1)}
        try:
            rows = await self._endpoint.parquet(query_text("trace_rows"), parameters)
        except Problem as problem:
            if problem.status != 507:
                raise
            size = f"{MAX_PARQUET_BYTES >> 20} MiB"
            raise Problem(507, f"This trace is over {size}, too large to export.", problem.detail) from None
        body, spans = await asyncio.to_thread(otlp_json, rows)
        if not spans:
            raise _no_trace(trace_id)
        part = f"-first-{MAX_SPANS}-spans" if spans > MAX_SPANS else ""
        headers = _attachment(f"trace-{trace_id}{part}.json", "application/json")
        return web.Response(body=body, headers=headers)


_PROBLEMS: Final = {
    404: "There is nothing at this address.",
    405: "This address does not take such a request.",
    413: "The request is too large.",
}


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers.setdefault("Cache-Control", "no-store" if _is_api(request) else "no-cache")


def _is_api(request: web.Request) -> bool:
    return request.path.startswith("/api/")


def _kind(request: web.Request) -> str:
    """What is counted together: the address without its names."""
    if request.match_info.http_exception is not None:
        return "unknown"
    parts = request.path.split("/")
    if parts[1] == "static":
        return "static"
    return parts[2] if parts[1] == "api" else "page"


def _failure(request: web.Request, problem: Problem) -> web.Response:
    if _is_api(request):
        return _json({"error": str(problem), "detail": problem.detail}, problem.status)
    return web.Response(status=problem.status, text=f"{problem}\n")


def _json(data: Any, status: int = 200) -> web.Response:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return web.Response(
        status=status, body=text.encode(errors="replace"), content_type="application/json", charset="utf-8"
    )


async def _rows(result: Result) -> web.Response:
    answer = {
        "columns": [{"name": name, "type": kind} for name, kind in result.columns],
        "rows": result.rows,
        "seconds": round(result.seconds, 4),
        "truncated": result.truncated,
    }
    if len(result.rows) <= _INLINE_ROWS:
        return _json(answer)
    return await asyncio.to_thread(_json, answer)


def _file(request: web.Request, name: str) -> web.Response:
    """A file of the front-end; a browser asks each time whether it has changed."""
    found = _FILE.fullmatch(name)
    try:
        if found is None or found[1] not in _TYPES:
            raise FileNotFoundError
        body = _FILES.joinpath(*name.split("/")).read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise Problem(404, f"The page has no file {name[:100]}.") from None
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers={"ETag": tag})
    return web.Response(body=body, headers={"ETag": tag, "Content-Type": _TYPES[found[1]]})


def _attachment(name: str, content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type, "Content-Disposition": f'attachment; filename="{name}"'}


def _asked(request: web.Request) -> dict[str, list[str]]:
    return {name: request.query.getall(name) for name in request.query}


def _wants_csv(form: str | None) -> bool:
    if form not in (None, "", "json", "csv"):
        raise Problem(400, f"format={form[:20]} is not known. It is json or csv.")
    return form == "csv"


def _trace_id(request: web.Request) -> str:
    trace_id = request.match_info["trace"].lower()
    if not _TRACE_ID.fullmatch(trace_id):
        raise Problem(400, f"{trace_id[:50]} is not a trace id: that has 32 hexadecimal digits.")
    return trace_id


def _no_trace(trace_id: str) -> Problem:
    return Problem(404, f"No span of trace {trace_id} is stored. Spans are kept for 90 days.")
