"""A ClickHouse HTTP request: which query with which parameters, settings, formats and compressions."""

from __future__ import annotations

import asyncio
import hmac
import io
import re
import uuid
from dataclasses import dataclass
from typing import Final

from aiohttp import BasicAuth, BodyPartReader, StreamReader, web

from spanhouse.clickhouse_http import lists
from spanhouse.clickhouse_http.errors import (
    AUTHENTICATION_FAILED,
    BAD_REQUEST_PARAMETER,
    QUERY_IS_TOO_LARGE,
    ClickHouseError,
)

# As ClickHouse's own default of max_query_size; parameters in a form may have more.
MAX_QUERY_BYTES: Final = 1 << 18
_MAX_FORM_BYTES: Final = 1 << 20

_QUERY_ID: Final = re.compile(r"[\w.:-]{1,128}")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for, not yet checked against the policy.

    Attributes:
        query: the part of the query in the URL or the form; the body is the rest of it.
        body: the body as sent, with its compression.
        content_encoding: the body's compression, HTTP's way.
        framed_body: whether the body is in ClickHouse's own frames (`decompress=1`).
        accept_encoding: what the client can read, '' if it wants no compression.
        framed_answer: whether the answer is to be in ClickHouse's own frames (`compress=1`).
        protocol: the `client_protocol_version`, 0 where there is none.
        write: whether the request may write.
    """

    query: str
    body: io.BufferedIOBase
    content_encoding: str
    framed_body: bool
    database: str
    format: str
    parameters: dict[str, str]
    settings: dict[str, str]
    query_id: str
    accept_encoding: str
    framed_answer: bool
    protocol: int
    write: bool


class StreamedBody(io.RawIOBase):
    """A request's body as a file that a worker thread reads while the client still sends."""

    def __init__(self, content: StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        self._content = content
        self._loop = loop
        self._data = memoryview(b"")

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Wait for more of the body, and give what came."""
        if not self._data:
            future = asyncio.run_coroutine_threadsafe(self._content.readany(), self._loop)
            self._data = memoryview(future.result())
        length = min(len(buffer), len(self._data))
        buffer[:length] = self._data[:length]
        self._data = self._data[length:]
        return length


def authenticate(http: web.Request, user: str, password: str) -> None:
    """Compare the request's user and password, in any of ClickHouse's three places, with these.

    Raises:
        ClickHouseError: they differ; nothing is compared where none is configured.
    """
    if not user and not password:
        return
    given_user, given_password = "default", ""
    if "X-ClickHouse-User" in http.headers or "X-ClickHouse-Key" in http.headers:
        given_user = http.headers.get("X-ClickHouse-User", given_user)
        given_password = http.headers.get("X-ClickHouse-Key", "")
    elif "Authorization" in http.headers:
        try:
            basic = BasicAuth.decode(http.headers["Authorization"], encoding="utf-8")
        except ValueError as error:
            raise _unknown_user("default") from error
        given_user, given_password = basic.login, basic.password
    else:
        given_user = http.query.get("user", given_user)
        given_password = http.query.get("password", "")
    same_user = hmac.compare_digest(given_user.encode(), (user or "default").encode())
    same_password = hmac.compare_digest(given_password.encode(), password.encode())
    if not (same_user and same_password):
        raise _unknown_user(given_user)


def has_credentials(http: web.Request) -> bool:
    """Whether the client named itself at all."""
    headers = ("X-ClickHouse-User", "X-ClickHouse-Key", "Authorization")
    return any(name in http.headers for name in headers) or not {"user", "password"}.isdisjoint(http.query)


def _unknown_user(user: str) -> ClickHouseError:
    text = (
        f"{user}: Authentication failed: password is incorrect, or there is no user with such name. "
        "(AUTHENTICATION_FAILED)"
    )
    return ClickHouseError(AUTHENTICATION_FAILED, text, refused=True)


async def parse(http: web.Request, *, readonly: bool) -> Request:
    """Read the request; a reader's body is read whole, a writer's is left to be streamed.

    Raises:
        ClickHouseError: a parameter is malformed, or the query is too large.
    """
    url = dict(http.query)
    headers = http.headers
    write = not readonly and http.method == "POST"
    body: io.BufferedIOBase = io.BytesIO()
    if http.content_type == "multipart/form-data":
        url.update(await _form(http))
    elif write:
        body = io.BufferedReader(StreamedBody(http.content, asyncio.get_running_loop()), 1 << 20)
    elif http.method == "POST":
        body = io.BytesIO(await _whole(http.content))
    query_id = headers.get("X-ClickHouse-Query-Id", url.get("query_id", ""))
    compressed = url.get("enable_http_compression", "1") != "0"
    protocol = url.get("client_protocol_version", "0")
    return Request(
        query=url.get("query", ""),
        body=body,
        content_encoding=headers.get("Content-Encoding", ""),
        framed_body=url.get("decompress") == "1",
        database=url.get("database", "") or headers.get("X-ClickHouse-Database", ""),
        format=headers.get("X-ClickHouse-Format") or url.get("default_format") or "TabSeparated",
        parameters={name[6:]: value for name, value in url.items() if name.startswith("param_")},
        settings={
            name: value
            for name, value in url.items()
            if not name.startswith("param_") and name not in lists.TRANSPORT_PARAMETERS
        },
        query_id=query_id if _QUERY_ID.fullmatch(query_id) else str(uuid.uuid4()),
        accept_encoding=headers.get("Accept-Encoding", "") if compressed else "",
        framed_answer=url.get("compress") == "1",
        protocol=int(protocol) if protocol.isdecimal() else 0,
        write=write,
    )


async def _whole(content: StreamReader) -> bytes:
    body = bytearray()
    while data := await content.readany():
        body += data
        if len(body) > MAX_QUERY_BYTES:
            raise too_large()
    return bytes(body)


def too_large() -> ClickHouseError:
    """The error of a query text over the limit."""
    text = f"Query is too large: over {MAX_QUERY_BYTES} bytes. (QUERY_IS_TOO_LARGE)"
    return ClickHouseError(QUERY_IS_TOO_LARGE, text, refused=True)


async def _form(http: web.Request) -> dict[str, str]:
    """The fields of a form: the query, parameters and settings that are too long for a URL."""
    fields: dict[str, str] = {}
    room = _MAX_FORM_BYTES
    async for part in await http.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None or part.filename is not None:
            text = "External tables are not supported: put the data into the query. (BAD_REQUEST_PARAMETER)"
            raise ClickHouseError(BAD_REQUEST_PARAMETER, text, refused=True)
        value = bytearray()
        while chunk := await part.read_chunk():
            value += chunk
            room -= len(chunk)
            if room < 0:
                raise too_large()
        try:
            fields[part.name] = value.decode()
        except UnicodeDecodeError as error:
            text = f"Field {part.name} is not UTF-8. (BAD_REQUEST_PARAMETER)"
            raise ClickHouseError(BAD_REQUEST_PARAMETER, text) from error
    return fields
