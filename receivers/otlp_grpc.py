"""OTLP over gRPC: `TraceService/Export`, answered when the spans are stored."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from spanhouse.errors import Malformed, Overloaded, Unavailable
from spanhouse.metrics import RECEIVED_BYTES
from spanhouse.receivers import intake

if TYPE_CHECKING:
    from spanhouse.pipeline import Accepted, Pipeline

_TRACES: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_OTHER_SIGNALS: Final = (
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
)
_HEALTH: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = b"\x08\x01"  # HealthCheckResponse{status: SERVING}

_OPTIONS: Final = (
    # `intake.decompress` does it: older gRPC puts no limit on what comes out, and says INTERNAL, which is
    # neither counted nor explained, where INVALID_ARGUMENT is meant.
    ("grpc.per_message_decompression", 0),
    # A message is held back by flow control until it is read, 64 KiB of it at most; with the bandwidth
    # probe gRPC would take in megabytes of every one unasked.
    ("grpc.http2.bdp_probe", 0),
    # Senders' usual keep-alive settings are no reason to hang up on them.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


async def start_otlp_grpc(
    pipeline: Pipeline, host: str, port: int, *, max_body_bytes: int, shared: bool = False
) -> OtlpGrpcServer:
    """Listen; port 0 takes a free one. Raises RuntimeError if the port cannot be opened.

    A `shared` port may be open in other processes that share it; each connection is one process's.
    """
    server = OtlpGrpcServer(pipeline, max_body_bytes, shared=shared)
    await server.start(host, port)
    return server


class OtlpGrpcServer(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """The server, and the table of its methods.

    Methods take their request as a stream of raw bytes, which is the same on the wire: so they decide
    themselves whether and when it is read into memory, and no protobuf object is made of it.

    Attributes:
        port: where it listens.
    """

    def __init__(self, pipeline: Pipeline, max_body_bytes: int, *, shared: bool) -> None:
        self.port = 0
        self._pipeline = pipeline
        self._outcomes = intake.Outcomes()
        self._limit = max_body_bytes
        # A message's size is known only once it is read, so each reader counts as the largest.
        self._readers = asyncio.Semaphore(max(1, intake.READ_BUDGET_BYTES // max_body_bytes))
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="otlp-grpc")
        options = (
            *_OPTIONS,
            ("grpc.max_receive_message_length", max_body_bytes),
            # gRPC's default is 1: a second process would share the port instead of failing to open it.
            ("grpc.so_reuseport", int(shared)),
        )
        self._server = grpc.aio.server(handlers=(self,), options=options)
        methods = {_TRACES: self._export, _HEALTH: _check_health} | dict.fromkeys(
            _OTHER_SIGNALS, _only_traces
        )
        self._methods = {
            path: grpc.stream_unary_rpc_method_handler(method) for path, method in methods.items()
        }

    async def start(self, host: str, port: int) -> None:
        """Listen; see `start_otlp_grpc`."""
        self.port = self._server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        await self._server.start()

    async def stop(self, grace: float = 5.0) -> None:
        """Take no new requests, give those being answered `grace` seconds, then cancel them."""
        await self._server.stop(grace)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The method's handler; gRPC answers UNIMPLEMENTED for None."""
        return self._methods.get(handler_call_details.method)

    async def _export(self, _requests: Any, context: grpc.aio.ServicerContext) -> bytes:
        try:
            with intake.counted("otlp_grpc"):
                accepted = await self._outcomes.of(await self._submit(context))
            return _response(accepted, context)
        except intake.TooLarge as error:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except Malformed as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Overloaded as error:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), error.retry_after_s)
        except Unavailable as error:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, str(error), intake.RETRY_AFTER_S)

    async def _submit(self, context: grpc.aio.ServicerContext) -> Future[Accepted]:
        """Read the request's one message and hand it to the pipeline."""
        try:
            async with asyncio.timeout(intake.BODY_TIMEOUT_S), self._readers:
                message = await context.read()
                if message is grpc.aio.EOF:
                    # gRPC itself has refused the message for its size, or there was none.
                    raise intake.TooLarge(self._limit)
                RECEIVED_BYTES.labels("otlp_grpc").inc(len(message))
                if encoding := _encoding(message):
                    message = await intake.decompress_aside(message, encoding, self._limit, self._executor)
                return self._pipeline.submit(message)
        except TimeoutError:
            raise Overloaded(f"the request was not read within {intake.BODY_TIMEOUT_S:g} seconds") from None


def _encoding(message: bytes) -> str | None:
    """The message's compression; gRPC does not tell, but no ExportTraceServiceRequest begins like these."""
    if message.startswith(b"\x1f\x8b"):
        return "gzip"
    if message[:1] == b"\x78" and int.from_bytes(message[:2]) % 31 == 0:
        return "deflate"
    return None


def _response(accepted: Accepted, context: grpc.aio.ServicerContext) -> bytes:
    response: bytes = intake.response(accepted).SerializeToString()
    if len(response) >= intake.COMPRESS_FROM:
        context.set_compression(grpc.Compression.Gzip)
    return response


async def _abort(
    context: grpc.aio.ServicerContext,
    code: grpc.StatusCode,
    message: str,
    retry_after_s: float | None = None,
) -> NoReturn:
    """End the call with an error; RetryInfo tells senders that they may send RESOURCE_EXHAUSTED again."""
    status = Status(code=code.value[0], message=message)
    trailer = []
    if retry_after_s is not None:
        retry = RetryInfo()
        retry.retry_delay.FromTimedelta(timedelta(seconds=retry_after_s))
        status.details.add().Pack(retry)
        # Where OpenTelemetry's Python exporter looks for it.
        trailer.append(("google.rpc.retryinfo-bin", retry.SerializeToString()))
    trailer.append(("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(code, message, tuple(trailer))
    raise AssertionError("abort raises")


async def _only_traces(_requests: Any, context: grpc.aio.ServicerContext) -> NoReturn:
    await _abort(
        context,
        grpc.StatusCode.UNIMPLEMENTED,
        "spanhouse takes traces only; switch the exporters of metrics and logs off, or send them elsewhere",
    )


async def _check_health(_requests: Any, _context: grpc.aio.ServicerContext) -> bytes:
    """Whatever service is asked for."""
    return _SERVING
