"""Compression of bodies: HTTP's content encodings, and ClickHouse's own frames (`compress`, `decompress`)."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from typing import Final, Protocol

import lz4.block
import lz4.frame
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from spanhouse.clickhouse_http.errors import (
    CANNOT_DECOMPRESS,
    UNKNOWN_COMPRESSION_METHOD,
    ClickHouseError,
)

_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90
_HEADER: Final = struct.Struct("<BII")
_CHECKSUM_BYTES: Final = 16
_FRAME_DATA: Final = 1 << 20  # as the server cuts them
_MAX_FRAME: Final = 256 << 20
_LEVEL: Final = 3


class Encoder(Protocol):
    """Turns the pieces of a body into the pieces to send."""

    def encode(self, data: bytes) -> bytes:
        """What can be sent after `data`, possibly nothing yet."""

    def finish(self) -> bytes:
        """The rest."""


class _Identity:
    def encode(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, wbits)

    def encode(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def finish(self) -> bytes:
        return self._compressor.flush()


class _Zstd:
    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL).compressobj()

    def encode(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def finish(self) -> bytes:
        return self._compressor.flush()


class _Lz4:
    def __init__(self) -> None:
        self._compressor = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def encode(self, data: bytes) -> bytes:
        begin = b"" if self._begun else bytes(self._compressor.begin())
        self._begun = True
        return begin + bytes(self._compressor.compress(data))

    def finish(self) -> bytes:
        return self.encode(b"") + bytes(self._compressor.flush())


class _Frames:
    def encode(self, data: bytes) -> bytes:
        return b"".join(
            frame(data[start : start + _FRAME_DATA]) for start in range(0, len(data), _FRAME_DATA)
        )

    def finish(self) -> bytes:
        return b""


def _checksum(data: bytes) -> bytes:
    # The package gives the two 64-bit halves as one number, the first half as the high one.
    return struct.pack("<QQ", *divmod(CityHash128(data), 1 << 64))


def frame(data: bytes) -> bytes:
    """One frame of ClickHouse's own: CityHash128 of the rest, method, sizes, LZ4 block."""
    packed: bytes = lz4.block.compress(data, store_size=False)
    body = _HEADER.pack(_LZ4, len(packed) + _HEADER.size, len(data)) + packed
    return _checksum(body) + body


def encoder(accept_encoding: str, *, frames: bool) -> tuple[str | None, Encoder]:
    """The Content-Encoding to announce, if any, and what makes it, for a client that accepts these."""
    if frames:
        return None, _Frames()
    accepted = {part.partition(";")[0].strip().lower() for part in accept_encoding.split(",")}
    if "zstd" in accepted:
        return "zstd", _Zstd()
    if "lz4" in accepted:
        return "lz4", _Lz4()
    if "gzip" in accepted:
        return "gzip", _Zlib(31)
    if "deflate" in accepted:
        return "deflate", _Zlib(15)
    return None, _Identity()


class _FrameReader(io.RawIOBase):
    """The data inside a sequence of ClickHouse's frames."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        self._source = source
        self._data = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._data:
            start = self._source.read(_CHECKSUM_BYTES + _HEADER.size)
            if not start:
                return 0
            self._data = memoryview(self._next(start))
        length = min(len(buffer), len(self._data))
        buffer[:length] = self._data[:length]
        self._data = self._data[length:]
        return length

    def _next(self, start: bytes) -> bytes:
        if len(start) < _CHECKSUM_BYTES + _HEADER.size:
            raise ClickHouseError(CANNOT_DECOMPRESS, "Truncated compressed block")
        method, size, length = _HEADER.unpack_from(start, _CHECKSUM_BYTES)
        if size > _MAX_FRAME or length > _MAX_FRAME or size < _HEADER.size:
            raise ClickHouseError(CANNOT_DECOMPRESS, f"Compressed block over {_MAX_FRAME} bytes or damaged")
        packed = self._source.read(size - _HEADER.size)
        if _checksum(start[_CHECKSUM_BYTES:] + packed) != start[:_CHECKSUM_BYTES]:
            raise ClickHouseError(CANNOT_DECOMPRESS, "Checksum of a compressed block does not match")
        if method == _LZ4:
            return bytes(lz4.block.decompress(packed, uncompressed_size=length))
        if method == _ZSTD:
            return bytes(zstandard.ZstdDecompressor().decompress(packed, max_output_size=length))
        if method == _NONE:
            return packed
        raise ClickHouseError(UNKNOWN_COMPRESSION_METHOD, f"Unknown compression method of a block: {method}")


DECOMPRESSION_ERRORS: Final = (
    zlib.error, zstandard.ZstdError, gzip.BadGzipFile, lz4.block.LZ4BlockError, EOFError, RuntimeError,
)  # fmt: skip


def decoder(source: io.BufferedIOBase, content_encoding: str, *, frames: bool) -> io.BufferedIOBase:
    """A reader of `source`'s data without its compression; it never unpacks more than is read.

    Raises:
        ClickHouseError: the encoding is not known.
    """
    encoding = content_encoding.strip().lower()
    reader: io.BufferedIOBase
    if encoding in ("", "identity"):
        reader = source
    elif encoding == "gzip":
        reader = gzip.GzipFile(fileobj=source)
    elif encoding == "deflate":
        reader = io.BufferedReader(_Inflate(source))
    elif encoding == "zstd":
        unpacker = zstandard.ZstdDecompressor()
        reader = io.BufferedReader(unpacker.stream_reader(source, read_across_frames=True))  # type: ignore[arg-type]
    elif encoding == "lz4":
        reader = lz4.frame.LZ4FrameFile(source)
    else:
        raise ClickHouseError(UNKNOWN_COMPRESSION_METHOD, f"Unknown Content-Encoding: {content_encoding}")
    return io.BufferedReader(_FrameReader(reader), _FRAME_DATA) if frames else reader


class _Inflate(io.RawIOBase):
    def __init__(self, source: io.BufferedIOBase) -> None:
        self._source = source
        self._unpacker = zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = b""
        while not data and not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._source.read(65536)
            if not packed:
                raise EOFError("Truncated deflate stream")
            data = self._unpacker.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)
