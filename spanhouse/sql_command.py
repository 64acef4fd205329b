"""`spanhouse sql`: one statement, asked of a running instance or of the closed store."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spanhouse.errors import UserError
from spanhouse.foreground import reader_left
from spanhouse.running import endpoint_of

# The most an answer that fails midway says of why, at its end.
_ERROR_BYTES: Final = 1 << 20
FORMATS: Final = {"table": "PrettyCompactMonoBlock", "csv": "CSVWithNames", "json": "JSONEachRow"}


def run(query: str, form: str, *, data: Path, url: str | None, user: str, password: str) -> int:
    """Print the result of `query`; 0 on success, 1 with the engine's message on standard error."""
    try:
        return _run(query, FORMATS[form], data, url or endpoint_of(data), user, password)
    except BrokenPipeError:
        return reader_left()


def _run(query: str, form: str, data: Path, url: str | None, user: str, password: str) -> int:
    if url:
        return _ask(url, query, form, user, password)
    if not (data / "clickhouse").is_dir():
        raise UserError(f"there is no store in {data}; start one with: spanhouse up --data {data}")
    from spanhouse.store import Store

    with Store(data) as store:
        session = store.session()
        try:
            sys.stdout.write(str(session.query(query, form)))
            sys.stdout.flush()
        except RuntimeError as error:
            raise UserError(str(error)) from error
        finally:
            session.close()
    return 0


def _ask(url: str, query: str, form: str, user: str, password: str) -> int:
    with asked(url, query, form, user, password) as response:
        _print(response)
    return 0


@contextmanager
def asked(
    url: str, query: str, form: str, user: str, password: str, timeout: float | None = None
) -> Iterator[http.client.HTTPResponse]:
    """The answer of an endpoint to a query; the user is told where one is given.

    Raises:
        UserError: it refuses, or does not answer.
    """
    headers = {"X-ClickHouse-Format": form}
    if user:
        headers |= {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    request = urllib.request.Request(url, data=query.encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            yield response
    except urllib.error.HTTPError as error:
        raise UserError(error.read().decode(errors="replace").strip()) from error
    except urllib.error.URLError as error:
        raise UserError(f"{url} does not answer: {error.reason}") from error


def _print(response: http.client.HTTPResponse) -> None:
    held, failure = b"", ""
    while True:
        try:
            piece = response.read1(1 << 16)
        except (http.client.HTTPException, ConnectionError):
            mark = f"\r\n__exception__\r\n{response.headers['X-ClickHouse-Exception-Tag']}\r\n".encode()
            held, _, block = held.partition(mark)
            reason = block.decode(errors="replace").partition("\n")[0]
            failure = f"the result is not complete: {reason or 'the connection broke'}"
            break
        if not piece:
            break
        held += piece
        sys.stdout.buffer.write(held[:-_ERROR_BYTES])
        held = held[-_ERROR_BYTES:]
    sys.stdout.buffer.write(held)
    sys.stdout.flush()
    if failure:
        raise UserError(failure)
