"""One query's work in a worker thread: check, run in a session of its own, hand over the result in pieces."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import secrets
import string
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Final

from spanhouse.clickhouse_http import formats, native
from spanhouse.clickhouse_http import insert as inserts
from spanhouse.clickhouse_http.compression import DECOMPRESSION_ERRORS, decoder, encoder
from spanhouse.clickhouse_http.errors import (
    BAD_REQUEST_PARAMETER,
    CANNOT_DECOMPRESS,
    NOT_ENOUGH_SPACE,
    QUERY_WAS_CANCELLED,
    TIMEOUT_EXCEEDED,
    TOO_MANY_ROWS_OR_BYTES,
    UNKNOWN_EXCEPTION,
    ClickHouseError,
)
from spanhouse.clickhouse_http.policy import Policy, Statement
from spanhouse.clickhouse_http.request import MAX_QUERY_BYTES, Request, too_large
from spanhouse.clickhouse_http.walk import Node
from spanhouse.store import Store, quote

_LOG: Final = logging.getLogger(__name__)
_HELLO: Final = re.compile(
    r"SELECT\s+displayName\(\),\s*version\(\),\s*revision\(\),\s*timezone\(\)", re.IGNORECASE
)
_SETTINGS_QUERY: Final = re.compile(
    r"SELECT name, value, readonly FROM system\.settings LIMIT \d+(?:\s+FORMAT Native)?"
)
_PIECE: Final = 1 << 20
_HELD_BYTES: Final = 1 << 20
# A fifth of the engine's own limit, which a text made for it reaches after many seconds.
_MAX_BACKTRACKS: Final = 200_000
_TAG_LETTERS: Final = string.ascii_lowercase
DISPLAY_NAME: Final = "spanhouse"


@dataclass(frozen=True, slots=True)
class Head:
    """What the answer begins with, once its first bytes are there."""

    format: str
    content_encoding: str | None
    summary: str


@dataclass(frozen=True, slots=True)
class End:
    """The query's end; `error` is None where it succeeded."""

    error: ClickHouseError | None


@dataclass(frozen=True, slots=True)
class Server:
    """What all queries share."""

    store: Store
    policy: Policy
    limits: Mapping[str, int]
    max_result_bytes: int
    version: str
    timezone: str


class Cancelled(Exception):  # noqa: N818
    """The client is gone, or the endpoint stops."""


class _Pipe:
    """A few pieces between the worker thread and the event loop; the thread waits where there is no room."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._room = threading.Semaphore(4)
        self._items: asyncio.Queue[Head | bytes | End] = asyncio.Queue()
        self.cancelled = False

    def put(self, item: Head | bytes, seconds: float) -> None:
        if not self._room.acquire(timeout=max(seconds, 0.001)) and not self.cancelled:
            text = "Timeout exceeded: the client reads the result too slowly. (TIMEOUT_EXCEEDED)"
            raise ClickHouseError(TIMEOUT_EXCEEDED, text)
        if self.cancelled:
            raise Cancelled
        self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    def end(self, item: End) -> None:
        self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def get(self) -> Head | bytes | End:
        item = await self._items.get()
        self._room.release()
        return item

    def cancel(self) -> None:
        self.cancelled = True
        self._room.release()


class Execution:
    """A query from its request to its last byte. `run` is for a worker thread, the rest for the event loop.

    Attributes:
        id: names the query in `system.processes` (as its `log_comment`), so that it can be killed.
        tag: the secret name of the exception block, should the query fail after its head was sent.
    """

    def __init__(self, server: Server, request: Request, loop: asyncio.AbstractEventLoop) -> None:
        self.id = secrets.token_hex(16)
        self.tag = "".join(secrets.choice(_TAG_LETTERS) for _ in range(16))
        self._server = server
        self._request = request
        self._pipe = _Pipe(loop)
        self._encoding, self._encoder = encoder(request.accept_encoding, frames=request.framed_answer)
        self._deadline = 0.0
        self._head: Head | None = None
        self._held = bytearray()
        self._format = ""
        self._rows_read = 0
        self.get = self._pipe.get
        self.cancel = self._pipe.cancel

    def run(self) -> None:
        """Do it all; whatever happens, the last item of the pipe is an `End`."""
        error: ClickHouseError | None = None
        try:
            self._deadline = time.monotonic() + self._server.limits["max_execution_time"] + 5
            self._execute()
            if self._head is None:
                self._release()
        except Cancelled:
            error = ClickHouseError(QUERY_WAS_CANCELLED, "Query was cancelled. (QUERY_WAS_CANCELLED)")
        except ClickHouseError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 (the engine's own; what is none is logged)
            error = ClickHouseError.from_engine(failure)
            if error.code == UNKNOWN_EXCEPTION:
                _LOG.exception("A query on the ClickHouse endpoint failed unexpectedly")
        if error is not None and self._pipe.cancelled:
            error = ClickHouseError(QUERY_WAS_CANCELLED, "Query was cancelled. (QUERY_WAS_CANCELLED)")
        elif self._head is not None:
            error = self._finish(error)
        self._pipe.end(End(error))

    def _finish(self, error: ClickHouseError | None) -> ClickHouseError | None:
        """Send what the compression holds back, and an error that comes after the head."""
        block = self._encoder.encode(self._exception_block(error)) if error else b""
        try:
            if rest := block + self._encoder.finish():
                self._pipe.put(rest, self._deadline - time.monotonic())
        except (Cancelled, ClickHouseError) as failure:
            return error or (failure if isinstance(failure, ClickHouseError) else None)
        return error

    def _exception_block(self, error: ClickHouseError) -> bytes:
        message, tag = error.body, self.tag.encode()
        length = str(len(message)).encode()
        return b"\r\n__exception__\r\n%b\r\n%b%b %b\r\n__exception__\r\n" % (tag, message, length, tag)

    def _execute(self) -> None:
        request, policy = self._request, self._server.policy
        database = policy.database(request.database)
        body = decoder(request.body, request.content_encoding, frames=request.framed_body)
        session = self._server.store.session()
        try:
            # Twice the size, and again, for the text is also parsed as a literal with all its escapes.
            parsing = f"max_query_size = {4 * MAX_QUERY_BYTES}, max_parser_backtracks = {_MAX_BACKTRACKS}"
            session.query(f"SET {parsing}, log_comment = {quote(self.id)}")
            if database != Store.DATABASE:
                session.query(f"USE {database}")
            start = self._start(body)
            if request.write and inserts.is_insert(start) and (insert := inserts.split(start)):
                self._insert(session, database, insert, start[insert.data_at :], body)
                return
            if _read(body, 1):
                raise too_large()
            text = start.decode()
            if request.format == "Native" and _HELLO.fullmatch(text.strip()):
                self._emit("Native", self._hello(), 1)
                return
            statement = policy.check(session, text, database, request.parameters, write=request.write)
            self._statement(session, statement)
        except UnicodeDecodeError:
            raise ClickHouseError(BAD_REQUEST_PARAMETER, "The query is not UTF-8.") from None
        finally:
            session.close()

    def _start(self, body: io.BufferedIOBase) -> bytes:
        """The query's text, or as much as a text may have: the URL's part, then the body's."""
        prefix = self._request.query.encode()
        pieces = [prefix + b"\n"] if prefix else []
        room = MAX_QUERY_BYTES - len(prefix)
        if room < 0:
            raise too_large()
        while room > 0 and (piece := _read(body, room)):
            pieces.append(piece)
            room -= len(piece)
        return b"".join(pieces)

    def _hello(self) -> bytes:
        server = self._server
        return native.hello_block(DISPLAY_NAME, server.version, server.timezone, self._request.protocol)

    def _set(self, session: Any, settings: Mapping[str, str], *, readonly: int) -> None:
        names = {**settings, **{f"param_{name}": value for name, value in self._request.parameters.items()}}
        if bad := [name for name in names if not re.fullmatch(r"\w+", name)]:
            raise ClickHouseError(BAD_REQUEST_PARAMETER, f"{bad[0]!r} is not a name. (BAD_REQUEST_PARAMETER)")
        changes = [f"{name} = {quote(value)}" for name, value in names.items()]
        if readonly:
            changes.append(f"readonly = {readonly}")
        session.query(f"SET {', '.join(changes)}")

    def _client_settings(self, *, write: bool) -> dict[str, str]:
        kept = {
            name: self._server.policy.setting(name, value, write=write, clamp=True)
            for name, value in self._request.settings.items()
        }
        return {name: value for name, value in kept.items() if value is not None}

    def _statement(self, session: Any, statement: Statement) -> None:
        chosen = statement.format or self._server.policy.format(self._request.format)
        settings = {**self._client_settings(write=not statement.reads), **statement.settings}
        if statement.reads:
            # A comparison gives LowCardinality(UInt8), which the header of an empty result could not have.
            settings.setdefault("allow_suspicious_low_cardinality_types", "1")
        limits = {name: str(value) for name, value in self._server.limits.items()}
        self._set(session, {**limits, **settings}, readonly=_readonly(statement))
        if self._pipe.cancelled:
            raise Cancelled
        complete = _chunks_are_complete(statement, settings)
        if statement.is_select and complete and formats.streams(chosen):
            self._stream(session, statement, chosen)
        elif statement.is_select:
            self._whole(session, statement, chosen, complete=complete)
        else:
            result = session.query(statement.sql, chosen)
            self._emit(chosen, result.bytes(), result.storage_rows_read())

    def _stream(self, session: Any, statement: Statement, chosen: str) -> None:
        header = None
        for chunk in session.send_query(statement.sql, chosen):
            data = chunk.bytes()
            if header is None:
                header = data[: formats.header_length(chosen, data)]
            elif data.startswith(header):
                data = data[len(header) :]
            else:
                raise ClickHouseError(UNKNOWN_EXCEPTION, f"The header of {chosen} changed midway")
            self._emit(chosen, data, chunk.storage_rows_read())
        if header is None:
            self._emit(chosen, self._empty(session, statement, chosen), 0)

    def _whole(self, session: Any, statement: Statement, chosen: str, *, complete: bool) -> None:
        """A result that must be made in one piece, which the engine does without counting its memory.

        So its size is found first by a stream: a result of a single chunk is then already there, a larger
        one is asked for again. `complete` says that a chunk lacks neither totals nor extremes.
        """
        first, size, chunks, rows_read = b"", 0, 0, 0
        limit = self._server.max_result_bytes
        for chunk in session.send_query(statement.sql, chosen):
            size += chunk.size()
            if size > limit or self._pipe.cancelled:
                break
            chunks += 1
            rows_read += chunk.storage_rows_read()
            first = first or chunk.bytes()
        if size > limit:
            text = f"Limit for result exceeded: {chosen} is made in one piece, and is over {limit} bytes; "
            text += "ask for a format that can be streamed (TabSeparated, JSONEachRow, Native, RowBinary)."
            raise ClickHouseError(TOO_MANY_ROWS_OR_BYTES, f"{text} (TOO_MANY_ROWS_OR_BYTES)")
        if self._pipe.cancelled:
            raise Cancelled
        if chunks == 0:
            first = self._empty(session, statement, chosen)
        elif chunks > 1 or not complete:
            first = session.query(statement.sql, chosen).bytes()
        self._emit(chosen, first, rows_read)

    def _empty(self, session: Any, statement: Statement, chosen: str) -> bytes:
        """A result without rows, which the engine gives without the header it has in this format."""
        if not formats.has_header(chosen):
            return b""
        tail = ("format_ast", "settings_ast")
        plain = _sql(session, {key: node for key, node in statement.tree.items() if key not in tail})
        described = session.query(f"DESCRIBE ({plain})", "JSONCompactEachRow").bytes().decode()
        columns = [tuple(json.loads(line)[:2]) for line in described.splitlines()]
        if chosen == "Native":
            return native.empty_block(columns)
        structure = ", ".join(f"{_identifier(name)} {kind}" for name, kind in columns)
        result: bytes = session.query(f"SELECT * FROM null({quote(structure)})", chosen).bytes()
        return result

    def _insert(
        self, session: Any, database: str, insert: inserts.Insert, start: bytes, body: io.BufferedIOBase
    ) -> None:
        """Store the data that follows an INSERT; nothing of it is stored unless all of it has come.

        By a file of ours, for `send_insert` reports success where rows could not be written (chDB 26.9, a
        full disk). The policy refuses an INFILE of the client's own.
        """
        policy = self._server.policy
        chosen = policy.format(insert.format)
        statement = policy.check(
            session, f"{insert.header} FORMAT {chosen}", database, self._request.parameters, write=True
        )
        memory = {"max_memory_usage": str(self._server.limits["max_memory_usage"])}
        self._set(session, {**memory, **self._client_settings(write=True)}, readonly=0)
        with tempfile.TemporaryFile(dir=self._server.store.path) as file:
            for piece in _pieces(start, body):
                if self._pipe.cancelled:
                    raise Cancelled
                _write(file, piece)
            _write(file, b"", flush=True)
            path = {"type": "Literal", "value": {"field_type": "String", "value": f"/dev/fd/{file.fileno()}"}}
            result = session.query(_sql(session, {**statement.tree, "infile": path}))
        summary = {"written_rows": str(result.rows_written()), "written_bytes": str(result.bytes_written())}
        self._begin(Head(chosen, self._encoding, _summary(**summary)))

    def _begin(self, head: Head) -> None:
        self._head = head
        self._pipe.put(head, self._deadline - time.monotonic())

    def _emit(self, chosen: str, data: bytes, rows_read: int) -> None:
        """Send data; the first is held back a while, so that an error that follows can have its status."""
        self._rows_read += rows_read
        self._format = chosen
        if self._head is None:
            self._held += data
            if len(self._held) >= _HELD_BYTES:
                self._release()
            return
        self._send(data)

    def _release(self) -> None:
        held, self._held = bytes(self._held), bytearray()
        self._begin(Head(self._format, self._encoding, _summary(read_rows=str(self._rows_read))))
        self._send(held)

    def _send(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            if packed := self._encoder.encode(data[start : start + _PIECE]):
                self._pipe.put(packed, self._deadline - time.monotonic())


def _readonly(statement: Statement) -> int:
    # clickhouse-connect takes from system.settings which settings it may send, and in a session with
    # readonly = 1 that would be none.
    if not statement.reads:
        return 0
    return 2 if _SETTINGS_QUERY.fullmatch(statement.sql) else 1


def _chunks_are_complete(statement: Statement, settings: Mapping[str, str]) -> bool:
    """Whether the chunks of a stream make the whole result: totals and extremes are missing in them."""
    if settings.get("extremes", "0") != "0" or settings.get("output_format_json_array_of_rows", "0") != "0":
        return False
    return not statement.totals


def _write(file: IO[bytes], data: bytes, *, flush: bool = False) -> None:
    try:
        file.write(data)
        if flush:
            file.flush()
    except OSError as error:
        text = f"Cannot keep the data to insert: {error.strerror}. (NOT_ENOUGH_SPACE)"
        raise ClickHouseError(NOT_ENOUGH_SPACE, text) from error


def _sql(session: Any, tree: Node) -> str:
    """The text of a statement's tree."""
    result = session.query(f"SELECT formatQueryFromJSON({quote(json.dumps(tree))})", "TSVRaw")
    text: str = result.bytes().decode()
    return text


def _pieces(start: bytes, body: io.BufferedIOBase) -> Iterator[bytes]:
    if start:
        yield start
    while piece := _read(body, _PIECE):
        yield piece


def _read(body: io.BufferedIOBase, size: int) -> bytes:
    try:
        return body.read(size)
    except DECOMPRESSION_ERRORS as error:
        raise ClickHouseError(CANNOT_DECOMPRESS, f"Cannot decompress the body: {error}") from error


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _summary(**known: str) -> str:
    names = ("read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read", "result_rows",
             "result_bytes", "elapsed_ns")  # fmt: skip
    return json.dumps(dict.fromkeys(names, "0") | known)
