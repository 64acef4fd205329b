"""What both OTLP doors share: limits, decompression with a cap, and how an error is counted."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import lz4.frame
import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from spanhouse import metrics
from spanhouse.errors import Malformed, Overloaded
from spanhouse.receivers import snappy

if TYPE_CHECKING:
    from spanhouse.pipeline import Accepted

# Payload bytes that one door holds while requests are read and decompressed. What is handed to the
# pipeline counts against the pipeline's own queue instead.
READ_BUDGET_BYTES: Final = 256 << 20
# A body must be complete this long after its headers, or a slow sender holds memory for ever.
BODY_TIMEOUT_S = 30.0
# What a sender is told to wait where the error itself says nothing.
RETRY_AFTER_S: Final = 1.0
# Bodies up to this size are decompressed where they are read; a larger one would hold up all others.
INLINE_BYTES: Final = 4096
# zstd gives no way to cap one call's output, so it gets little at a time: 256 bytes are 8 MiB at worst.
_ZSTD_SLICE: Final = 256
# Small enough that a body of many tiny gzip members is not copied over and over for each of them.
_SLICE: Final = 8192
# RFC 9659: a decoder of Content-Encoding zstd need not support larger windows.
_ZSTD_WINDOW: Final = 8 << 20

# Content-Encodings that are taken: all that the Collector's exporters offer. zlib is its other name for
# deflate.
ENCODINGS: Final = ("gzip", "deflate", "zstd", "snappy", "x-snappy-framed", "lz4", "zlib")

# Responses shorter than this do not get smaller by compression.
COMPRESS_FROM: Final = 512


class TooLarge(Malformed):
    """The body, or what it decompresses to, is over the limit; the text names the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the request is larger than {limit} bytes, the limit (decompressed, if compressed)")


@contextmanager
def counted(receiver: str) -> Iterator[None]:
    """Count the request that is taken inside by how it ends."""
    outcome = "unavailable"
    try:
        yield
        outcome = "stored"
    except TooLarge:
        outcome = "too_large"
        raise
    except Malformed:
        outcome = "malformed"
        raise
    except Overloaded:
        outcome = "overloaded"
        raise
    except asyncio.CancelledError:
        outcome = "cancelled"
        raise
    finally:
        metrics.REQUESTS.labels(receiver, outcome).inc()


class Outcomes:
    """Brings what becomes of payloads from the pipeline's threads to the event loop that this is made in.

    Many come at a time, and waking the loop for each took a tenth of what a small request takes.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._come: deque[asyncio.Future[None]] = deque()
        self._waking = False

    async def of(self, future: Future[Accepted]) -> Accepted:
        """The future's result, or its exception."""
        told = self._loop.create_future()
        future.add_done_callback(lambda _: self._put(told))
        await told
        return future.result()

    def _put(self, told: asyncio.Future[None]) -> None:
        self._come.append(told)
        # After the append: `_tell` sets it back before it looks.
        if not self._waking and not self._loop.is_closed():
            self._waking = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._waking = False
        while self._come:
            told = self._come.popleft()
            if not told.done():  # the sender may have gone
                told.set_result(None)


class Budget:
    """Bytes that one door's requests may hold together; for use in the event loop only."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """A function that takes bytes for one request, raising Overloaded; all go back at the end."""
        held = 0

        def take(size: int) -> None:
            nonlocal held
            if size > self._left:
                raise Overloaded("too many bytes are being received at once; send again later")
            self._left -= size
            held += size

        try:
            yield take
        finally:
            self._left += held


def response(accepted: Accepted) -> ExportTraceServiceResponse:
    """OTLP's answer; empty where all spans are stored and there is nothing to warn of."""
    if not accepted.rejected and not accepted.message:
        return ExportTraceServiceResponse()
    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(
            rejected_spans=accepted.rejected, error_message=accepted.message
        )
    )


async def decompress_aside(data: bytes, encoding: str, limit: int, executor: Executor) -> bytes:
    """`decompress`, on the executor where it may take long."""
    if len(data) <= INLINE_BYTES:
        return decompress(data, encoding, limit)
    return await asyncio.get_running_loop().run_in_executor(executor, decompress, data, encoding, limit)


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """Decompress a whole body of one of ENCODINGS; other than snappy's it may have several members.

    Raises:
        TooLarge: more than `limit` bytes come out; no more than the limit (zstd: and 8 MiB) is produced.
        Malformed: the data is damaged or ends early.
    """
    if encoding in ("snappy", "x-snappy-framed"):
        try:
            return snappy.decompress(data, limit)
        except snappy.TooLongError:
            raise TooLarge(limit) from None
    start = _decompressor(data, encoding)
    step = _ZSTD_SLICE if encoding == "zstd" else _SLICE
    chunks: list[bytes] = []
    size = 0
    member: Any = None
    try:
        for at in range(0, len(data), step):
            piece = data[at : at + step]
            while piece:
                if member is None or member.eof:
                    member = start()
                # One byte more than fits is asked for, so what does not fit shows.
                room = () if encoding == "zstd" else (limit - size + 1,)
                chunk = member.decompress(piece, *room)
                chunks.append(chunk)
                size += len(chunk)
                if size > limit:
                    raise TooLarge(limit)
                piece = member.unused_data
    except (zlib.error, zstandard.ZstdError, RuntimeError) as error:  # lz4 has no error of its own
        raise Malformed(f"the body is not valid {encoding}: {error}") from None
    if member is None or not member.eof:
        raise Malformed(f"the body is not valid {encoding}: it ends early")
    return b"".join(chunks)


def _decompressor(data: bytes, encoding: str) -> Callable[[], Any]:
    if encoding == "zstd":
        return _zstd
    return lz4.frame.LZ4FrameDecompressor if encoding == "lz4" else _zlib(data, encoding)


def _zlib(data: bytes, encoding: str) -> Callable[[], Any]:
    if encoding == "gzip":
        return lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)
    # "deflate" is the zlib format (RFC 9110, 8.4.1.2), but some senders leave its two header bytes out.
    has_header = len(data) >= 2 and data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
    return lambda: zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def _zstd() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
