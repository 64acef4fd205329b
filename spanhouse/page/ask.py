"""Asks the ClickHouse endpoint of this process as any client does: one door, one policy, the same limits."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import aiohttp

from spanhouse.config import Address
from spanhouse.page.errors import Problem, from_clickhouse

# The endpoint runs four queries at once; one place is left for others.
MAX_AT_ONCE: Final = 3
# What a browser can show.
MAX_RESULT_BYTES: Final = 32 << 20
# Of rows in the engine's memory.
MAX_PARQUET_BYTES: Final = 128 << 20
# A result up to this size is made into JSON where it is read; a larger one would hold up all others.
_INLINE_BYTES: Final = 64 << 10

_ROWS: Final = "JSONCompactEachRowWithNamesAndTypes"
_CSV: Final = "CSVWithNames"
_SETTINGS: Final = {
    "output_format_json_quote_64bit_integers": "0",
    "date_time_output_format": "iso",
    "enable_http_compression": "0",
}
# RFC 4180 ends lines so.
_CSV_SETTINGS: Final = {"output_format_csv_crlf_end_of_line": "1", "enable_http_compression": "0"}
_WIDE: Final = re.compile(r"Int(?:64|128|256)")
# Beyond it a browser's number is not exact.
_MAX_NUMBER: Final = 2**53
_DIGITS: Final = 15


@dataclass(frozen=True, slots=True)
class Result:
    """Rows of a query.

    Attributes:
        columns: name and ClickHouse type of each.
        rows: values in the columns' order; numbers that JavaScript cannot hold are text.
        seconds: how long it took.
        truncated: whether there are more rows than these.
    """

    columns: list[tuple[str, str]]
    rows: list[list[Any]]
    seconds: float
    truncated: bool


class Endpoint:
    """The ClickHouse endpoint at an address; at most MAX_AT_ONCE queries run, others wait in their order.

    A query is cancelled with the task that waits for it.
    """

    def __init__(self, address: Address, user: str, password: str) -> None:
        self._url = f"http://{address.local}/"
        self._headers = {"X-ClickHouse-User": user or "default", "X-ClickHouse-Key": password}
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)
        # The endpoint itself ends what runs too long.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        # A kept connection may be closed just when it is asked on, and a POST is not sent twice.
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def rows(self, statement: str, limit: int, parameters: Mapping[str, str] | None = None) -> Result:
        """The first `limit` rows of a statement; fewer if they have over MAX_RESULT_BYTES.

        Args:
            statement: one reading statement.
            limit: rows to give.
            parameters: values of its `{name:Type}`.

        Raises:
            Problem: the statement failed.
        """
        settings = {**_SETTINGS, "limit": str(limit + 1), **_named(parameters)}
        async with self._turns:
            started = time.monotonic()
            async with self._ask(statement, _ROWS, settings) as response:
                body, complete = await _read(response)
            seconds = time.monotonic() - started
        make = asyncio.to_thread if len(body) > _INLINE_BYTES else _inline
        columns, rows = await make(_parsed, body)
        return Result(columns, rows[:limit], seconds, not complete or len(rows) > limit)

    @asynccontextmanager
    async def csv(self, statement: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The whole result as CSV with a header line, in pieces; raises Problem, also between them."""
        async with self._turns, self._ask(statement, _CSV, _CSV_SETTINGS) as response:
            yield response.content.iter_any()

    async def parquet(self, statement: str, parameters: Mapping[str, str]) -> bytes:
        """The whole result as Parquet; raises Problem."""
        settings = {"max_result_bytes": str(MAX_PARQUET_BYTES), **_named(parameters)}
        async with self._turns, self._ask(statement, "Parquet", settings) as response:
            return await response.read()

    @asynccontextmanager
    async def _ask(
        self, statement: str, form: str, settings: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A statement's answer, once it has begun."""
        headers = {**self._headers, "X-ClickHouse-Format": form}
        body = statement.encode(errors="replace")
        try:
            async with self._session.post(self._url, params=settings, data=body, headers=headers) as response:
                if response.status != 200:
                    raise from_clickhouse(await response.text(errors="replace"))
                if (given := response.headers.get("X-ClickHouse-Format")) != form:
                    raise Problem(400, f"Leave out FORMAT {given}: the page shows a table and downloads CSV.")
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            sentence = "The ClickHouse endpoint does not answer. Is spanhouse shutting down?"
            raise Problem(502, sentence, repr(error)) from error


def _named(parameters: Mapping[str, str] | None) -> dict[str, str]:
    return {f"param_{name}": value for name, value in (parameters or {}).items()}


async def _inline(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


async def _read(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body, and whether that is all of it; what is over the limit is cut after a line."""
    body = bytearray()
    try:
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > MAX_RESULT_BYTES:
                response.close()
                return bytes(body[: body.rfind(b"\n", 0, MAX_RESULT_BYTES) + 1]), False
    except aiohttp.ClientPayloadError:
        # A query that fails after its first rows says why at the end.
        tag = response.headers.get("X-ClickHouse-Exception-Tag", "")
        _, found, rest = bytes(body).partition(f"\r\n__exception__\r\n{tag}\r\n".encode())
        if not found:
            raise
        raise from_clickhouse(rest.decode(errors="replace").partition("\n")[0]) from None
    return bytes(body), True


def _parsed(body: bytes) -> tuple[list[tuple[str, str]], list[list[Any]]]:
    names, types, *rows = (
        json.loads(line, parse_float=_float) for line in body.decode(errors="replace").split("\n") if line
    )
    for place, kind in enumerate(types):
        if _WIDE.search(kind):
            for row in rows:
                row[place] = _exact(row[place])
    return list(zip(names, types, strict=True)), rows


def _float(text: str) -> float | str:
    value = float(text)
    # A double has been written so that it reads back the same; a Decimal may have more digits.
    return value if len(text) <= _DIGITS or Decimal(text) == Decimal(repr(value)) else text


def _exact(value: Any) -> Any:
    match value:
        case int():
            return value if -_MAX_NUMBER <= value <= _MAX_NUMBER else str(value)
        case list():
            return [_exact(one) for one in value]
        case dict():
            return {key: _exact(one) for key, one in value.items()}
    return value
