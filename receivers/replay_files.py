"""Files that `spanhouse replay` reads: rows in Parquet, OTLP in protobuf and JSON."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from spanhouse.errors import Malformed, UserError
from spanhouse.exporters.native import names
from spanhouse.otlp.decode import MAX_BYTES
from spanhouse.otlp.encode import rows_to_otlp
from spanhouse.otlp.json import json_to_protobuf
from spanhouse.receivers.intake import decompress
from spanhouse.receivers.replay import BATCH_BYTES, IDS, PLACE, Batch, Item, Place, batches
from spanhouse.rows import ROW

_ROWS: Final = 2000

_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_COMPRESSED: Final = {"gzip": b"\x1f\x8b", "zstd": _ZSTD}
_PARQUET: Final = b"PAR1"
# The first byte of a protobuf TracesData: its field 1, `resource_spans`.
_RESOURCE_SPANS: Final = b"\x0a"
_BOM: Final = b"\xef\xbb\xbf"

# As an attribute it is the user's hash, whoever made it (processors/mappings/otel.yaml).
_HASH: Final = '"span:spanhouse.user_id_hash":"user_id_hash"'


class Files:
    """Files of spans, told apart by what is in them.

    Parquet: rows of `agent_events`, which become the spans that they were. OTLP: a protobuf TracesData; a
    JSON document; or what the Collector's file exporter writes, in protobuf or JSON, message after message.
    OTLP may be compressed with gzip or zstd.

    Raises:
        UserError: a file cannot be read, or is Parquet of something else.
    """

    unit = "bytes"

    def __init__(self, paths: Sequence[Path]) -> None:
        self.notes: list[str] = []
        self._paths = paths
        self.total = 0
        for path in paths:
            try:
                self.total += path.stat().st_size
                with path.open("rb") as file:
                    lacks = set(names(ROW)) - set(pq.read_schema(file).names) if _is_parquet(file) else ()
            except (OSError, pa.ArrowInvalid) as error:
                raise UserError(f"{path} cannot be read: {error}") from error
            if lacks:
                raise UserError(
                    f"{path} lacks columns of agent_events ({', '.join(sorted(lacks)[:3])} …); write it with "
                    "SELECT * FROM agent_events … FORMAT Parquet"
                )

    def batches(self, stop: Event) -> Iterator[Batch]:
        """Read one file after the other, until the end or until `stop`."""
        for path in self._paths:
            self._at = before = 0
            with path.open("rb") as file:
                items = self._rows(path, file) if _is_parquet(file) else self._otlp(path, file)
                for batch in batches(items):
                    if stop.is_set():
                        return
                    batch.read, before = self._at - before, self._at
                    yield batch

    def _rows(self, path: Path, file: io.BufferedReader) -> Iterator[Item]:
        parquet = pq.ParquetFile(file, buffer_size=1 << 20)
        size, total, done = path.stat().st_size, parquet.metadata.num_rows, 0
        for some in parquet.iter_batches(_ROWS):
            rows = pl.DataFrame(some).with_columns(_with_hash())
            rows = rows.with_columns(
                pl.lit(value, PLACE[name]).alias(name)
                for name, value in Place()._asdict().items()
                if name not in rows.columns
            )
            few = max(1, int(_ROWS * BATCH_BYTES / max(rows.estimated_size(), BATCH_BYTES)))
            for part in rows.iter_slices(few):
                yield from _encoded(part, f"{path} row", done)
                done += part.height
                self._at = size * done // total

    def _otlp(self, path: Path, file: io.BufferedReader) -> Iterator[Item]:
        number = 0
        try:
            for number, record in enumerate(_records(_decompressed(file)), 1):
                yield _message(f"{path} message {number}", record)
                self._at = file.tell()
        except (Malformed, OSError) as error:
            yield Item(f"{path} message {number + 1}", refused=f"the file is damaged: {error}")
            self._at = file.seek(0, io.SEEK_END)


def _is_parquet(file: io.BufferedReader) -> bool:
    found = file.read(len(_PARQUET)) == _PARQUET
    file.seek(0)
    return found


def _with_hash() -> pl.Expr:
    """Column `promoted`, by which also the hash of the user's id goes through the pipeline.

    The id itself is gone.
    """
    promoted = pl.col("promoted").cast(pl.String)
    wanted = (pl.col("user_id_hash") != "") & ~promoted.str.contains('"user_id_hash"', literal=True)
    more = pl.when(promoted == "").then(pl.lit("{")).otherwise(promoted.str.strip_suffix("}") + ",")
    return pl.when(wanted).then(more + _HASH + "}").otherwise(promoted).alias("promoted")


def _encoded(rows: pl.DataFrame, name: str, before: int) -> Iterator[Item]:
    """Rows as one payload; those that are none of `agent_events` are told one by one."""
    try:
        payload = rows_to_otlp(rows).SerializeToString()
    except (ValueError, TypeError, KeyError) as error:
        if rows.height == 1:
            yield Item(f"{name} {before + 1}", refused=f"not a row of agent_events ({type(error).__name__})")
            return
        half = rows.height // 2
        yield from _encoded(rows[:half], name, before)
        yield from _encoded(rows[half:], name, before + half)
    else:
        yield Item(f"{name} {before + 1}", payload, rows=rows.select(*IDS, *PLACE))


def _decompressed(file: io.BufferedReader) -> io.BufferedReader:
    head = file.read(4)
    file.seek(0)
    for name, start in _COMPRESSED.items():
        if head.startswith(start):
            return io.BufferedReader(pa.CompressedInputStream(file, name))
    return file


def _records(stream: io.BufferedReader) -> Iterator[bytes]:
    """The messages of a file; raises Malformed where it cannot be told where one ends."""
    head = stream.peek(1)[:1]
    if head > _RESOURCE_SPANS:
        yield from _documents(stream)
    elif head == _RESOURCE_SPANS:
        # Each of its resource_spans, with the tag before it, is a TracesData of its own.
        while tag := stream.read(1):
            prefix, size = b"", 0
            while tag == _RESOURCE_SPANS and len(prefix) < 10 and (byte := stream.read(1)):
                size |= (byte[0] & 0x7F) << 7 * len(prefix)
                prefix += byte
                if byte[0] < 0x80:
                    break
            yield tag + prefix + _read(stream, size)
    else:
        # The file exporter's: four bytes, most significant first, say how long a message is.
        while size_bytes := stream.read(4):
            yield _read(stream, int.from_bytes(size_bytes))


def _documents(stream: io.BufferedReader) -> Iterator[bytes]:
    """JSON: a document in each line, or one of many lines."""
    line = stream.readline(MAX_BYTES + 1)
    if line.rstrip().endswith(b"}"):
        while line:
            if line.strip():
                yield line
            line = stream.readline(MAX_BYTES + 1)
    else:
        yield line + stream.read(MAX_BYTES + 1)


def _read(stream: io.BufferedReader, size: int) -> bytes:
    if size > MAX_BYTES:
        raise Malformed(f"a message of {size} bytes; at most {MAX_BYTES} can be read")
    data = stream.read(size)
    if len(data) < size:
        raise Malformed("it ends within a message")
    return data


def _message(name: str, record: bytes) -> Item:
    try:
        if record.startswith(_ZSTD):
            record = decompress(record, "zstd", MAX_BYTES)
        if len(record) > MAX_BYTES:
            raise Malformed(f"more than {MAX_BYTES} bytes cannot be read at once")
        text = record.removeprefix(_BOM).lstrip()
        return Item(name, json_to_protobuf(text) if text.startswith(b"{") else record)
    except Malformed as error:
        return Item(name, refused=str(error))
