"""A ClickHouse HTTP request: which query with which parameters, settings, formats and compressions."""

from __future__ import annotations

import asyncio
import hmac
import io
import re
import uuid
from dataclasses import dataclass
from typing import Final

from aiohttp import BasicAuth, StreamReader, parse_content_disposition, web

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
_MAX_FORM_FIELDS: Final = 1000

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


def authenticate(
    http: web.Request, user: str, password: str, content_reader: tuple[str, str] = ("", "")
) -> bool:
    """Compare the request's user and password, in any of ClickHouse's three places, with these.

    Returns:
        Whether they are those of the reader of content, whom there is none of without a password.

    Raises:
        ClickHouseError: they are nobody's; where no user is configured everybody else is one.
    """
    if not (user or password or content_reader[1]):
        return False
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
    reads_content = bool(content_reader[1]) and _same(given_user, content_reader[0])
    if reads_content and _same(given_password, content_reader[1]):
        return True
    if not (user or password or reads_content):
        return False
    same_user = _same(given_user, user or "default")
    same_password = _same(given_password, password)
    if not (same_user and same_password):
        raise _unknown_user(given_user)
    return False


def _same(given: str, expected: str) -> bool:
    # What is not UTF-8 in a header is there as surrogates.
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


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
        url.update(_form(http, await _whole(http.content, _MAX_FORM_BYTES)))
    elif write:
        body = io.BufferedReader(StreamedBody(http.content, asyncio.get_running_loop()), 1 << 20)
    elif http.method == "POST":
        body = io.BytesIO(await _whole(http.content, MAX_QUERY_BYTES))
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
        protocol=int(protocol) if re.fullmatch(r"[0-9]{1,9}", protocol) else 0,
        write=write,
    )


async def _whole(content: StreamReader, limit: int) -> bytes:
    body = bytearray()
    while data := await content.readany():
        body += data
        if len(body) > limit:
            raise too_large()
    return bytes(body)


def too_large() -> ClickHouseError:
    """The error of a query text over the limit."""
    text = f"Query is too large: over {MAX_QUERY_BYTES} bytes. (QUERY_IS_TOO_LARGE)"
    return ClickHouseError(QUERY_IS_TOO_LARGE, text, refused=True)


def _form(http: web.Request, body: bytes) -> dict[str, str]:
    """The fields of a form: the query, parameters and settings that are too long for a URL.

    Not by aiohttp's reader, which holds the event loop for seconds with a form of many small fields.
    """
    boundary = http.headers.getone("Content-Type").partition("boundary=")[2].partition(";")[0].strip(' "')
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode(errors="surrogateescape"))
    if not boundary or not pieces[-1].startswith(b"--") or len(pieces) - 2 > _MAX_FORM_FIELDS:
        text = f"The form is malformed, or has over {_MAX_FORM_FIELDS} fields. (BAD_REQUEST_PARAMETER)"
        raise ClickHouseError(BAD_REQUEST_PARAMETER, text)
    return dict(_field(piece) for piece in pieces[1:-1])


def _field(piece: bytes) -> tuple[str, str]:
    head, _, value = piece.partition(b"\r\n\r\n")
    try:
        headers = (line.partition(":") for line in head.decode().split("\r\n"))
        described = {name.strip().lower(): rest for name, _, rest in headers}
        _, names = parse_content_disposition(described.get("content-disposition", ""))
        if "name" not in names or "filename" in names or "filename*" in names:
            text = "External tables are not supported: put the data into the query. (BAD_REQUEST_PARAMETER)"
            raise ClickHouseError(BAD_REQUEST_PARAMETER, text, refused=True)
        return names["name"], value.decode()
    except UnicodeDecodeError as error:
        text = "A field of the form is not UTF-8. (BAD_REQUEST_PARAMETER)"
        raise ClickHouseError(BAD_REQUEST_PARAMETER, text) from error
