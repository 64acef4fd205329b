"""OTLP over HTTP: POST /v1/traces in protobuf or JSON, answered when the spans are stored."""

from __future__ import annotations

import asyncio
import gzip
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from spanhouse.errors import Malformed, Overloaded, Unavailable
from spanhouse.metrics import RECEIVED_BYTES
from spanhouse.otlp.json import json_to_protobuf
from spanhouse.receivers import intake

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from spanhouse.pipeline import Accepted, Pipeline

log = logging.getLogger(__name__)
# aiohttp logs what is not HTTP with a traceback; strangers could fill the disk with it.
log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))

_PATH: Final = "/v1/traces"
_OTHER_SIGNALS: Final = ("/v1/metrics", "/v1/logs")
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
# JSON up to this size is translated where it is read; a larger one would hold up all others.
_INLINE_JSON_BYTES: Final = 32 << 10
# What one connection may have unread in memory.
_READ_BUFFER_BYTES: Final = 64 << 10


async def start_otlp_http(
    pipeline: Pipeline, host: str, port: int, *, max_body_bytes: int, shared: bool = False
) -> OtlpHttpServer:
    """Listen; port 0 takes a free one. Raises OSError if the port cannot be opened.

    A `shared` port may be open in other processes that share it; each connection is one process's.
    """
    server = OtlpHttpServer(pipeline, max_body_bytes)
    await server.start(host, port, shared=shared)
    return server


class _Refused(Malformed):
    """The request is answered with an error of HTTP's own."""

    def __init__(self, status: int, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class OtlpHttpServer:
    """The server.

    Attributes:
        port: where it listens.
    """

    def __init__(self, pipeline: Pipeline, max_body_bytes: int) -> None:
        self.port = 0
        self._pipeline = pipeline
        self._outcomes = intake.Outcomes()
        self._limit = max_body_bytes
        self._budget = intake.Budget(intake.READ_BUDGET_BYTES)
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="otlp-http")
        self._connections = web.Server(
            self._handle,
            access_log=None,
            auto_decompress=False,
            logger=log,
            read_bufsize=_READ_BUFFER_BYTES,
        )
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int, *, shared: bool) -> None:
        """Listen; see `start_otlp_http`."""
        self._listener = await asyncio.get_running_loop().create_server(
            self._connections, host, port, reuse_port=shared
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self, grace: float = 5.0) -> None:
        """Take no new requests, give those being answered `grace` seconds, then cancel them."""
        if self._listener is not None:
            self._listener.close()
        self._connections.pre_shutdown()
        await self._connections.shutdown(grace)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            _check_route(request)
            with intake.counted("otlp_http"):
                accepted = await self._outcomes.of(await self._submit(request))
            return _answer(request, 200, intake.response(accepted))
        except _Refused as error:
            refused = error
        except intake.TooLarge as error:
            refused = _Refused(413, Code.RESOURCE_EXHAUSTED, str(error))
        except Malformed as error:
            refused = _Refused(400, Code.INVALID_ARGUMENT, str(error))
        except Overloaded as error:
            refused = _Refused(429, Code.RESOURCE_EXHAUSTED, str(error), _retry_after(error.retry_after_s))
        except Unavailable as error:
            refused = _Refused(503, Code.UNAVAILABLE, str(error), _retry_after(intake.RETRY_AFTER_S))
        answer = _answer(request, refused.status, Status(code=refused.code, message=str(refused)))
        answer.headers.update(refused.headers)
        if not request.content.is_eof():
            answer.force_close()  # says that the rest of the body need not be sent
        return answer

    async def _submit(self, request: web.BaseRequest) -> Future[Accepted]:
        """Read the body and hand it to the pipeline as protobuf, whatever form it came in."""
        content_type = _content_type(request)
        encoding = _content_encoding(request)
        if (request.content_length or 0) > self._limit:
            raise intake.TooLarge(self._limit)
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        with self._budget.share() as take:
            body = await self._read(request, take)
            RECEIVED_BYTES.labels("otlp_http").inc(len(body))
            if encoding:
                body = await intake.decompress_aside(body, encoding, self._limit, self._executor)
                take(len(body))
            if content_type == _JSON:
                body = await self._translated(body)
            return self._pipeline.submit(body)

    async def _read(self, request: web.BaseRequest, take: Callable[[int], None]) -> bytes:
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(intake.BODY_TIMEOUT_S):
                while chunk := await request.content.readany():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > self._limit:
                        raise intake.TooLarge(self._limit)
                    take(len(chunk))
        except TimeoutError:
            message = f"the body was not complete within {intake.BODY_TIMEOUT_S:g} seconds"
            raise _Refused(408, Code.DEADLINE_EXCEEDED, message) from None
        except (web.RequestPayloadError, ConnectionError) as error:
            raise Malformed(f"the body breaks off: {error}") from None
        return b"".join(chunks)

    async def _translated(self, body: bytes) -> bytes:
        if len(body) <= _INLINE_JSON_BYTES:
            return json_to_protobuf(body)
        return await asyncio.get_running_loop().run_in_executor(self._executor, json_to_protobuf, body)


def _check_route(request: web.BaseRequest) -> None:
    if request.path in _OTHER_SIGNALS:
        raise _Refused(404, Code.UNIMPLEMENTED, f"spanhouse takes traces only, at POST {_PATH}")
    if request.path != _PATH:
        raise _Refused(404, Code.NOT_FOUND, f"there is nothing here; traces are taken at POST {_PATH}")
    if request.method != hdrs.METH_POST:
        raise _Refused(405, Code.UNIMPLEMENTED, f"traces are taken by POST {_PATH}", {"Allow": "POST"})


def _content_type(request: web.BaseRequest) -> str:
    content_type = request.content_type
    utf8 = (request.charset or "utf-8").lower() in ("utf-8", "utf8", "us-ascii")
    if content_type == _PROTOBUF or (content_type == _JSON and utf8):
        return content_type
    raise _Refused(415, Code.INVALID_ARGUMENT, f"the content type must be {_PROTOBUF} or {_JSON} in UTF-8")


def _content_encoding(request: web.BaseRequest) -> str | None:
    named = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, [])).strip().lower()
    if named in ("", "identity"):
        return None
    if named in intake.ENCODINGS:
        return named
    message = f"the content encoding must be identity or one of {', '.join(intake.ENCODINGS)}"
    raise _Refused(415, Code.INVALID_ARGUMENT, message, {"Accept-Encoding": ", ".join(intake.ENCODINGS)})


def _answer(request: web.BaseRequest, status: int, message: Message) -> web.Response:
    """The answer in the request's own content type; in JSON if that is neither."""
    if request.content_type == _PROTOBUF:
        content_type, body = _PROTOBUF, message.SerializeToString()
    else:
        content_type, body = _JSON, MessageToJson(message, indent=None).encode()
    headers = {"Content-Type": content_type}
    if len(body) >= intake.COMPRESS_FROM and _accepts_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, "")):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, mtime=0)
    return web.Response(status=status, body=body, headers=headers)


def _accepts_gzip(accept_encoding: str) -> bool:
    for choice in accept_encoding.lower().split(","):
        coding, _, weight = choice.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}
