"""`spanhouse sql`: one statement, asked of a running instance or of the closed store."""

from __future__ import annotations

import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from spanhouse.errors import UserError
from spanhouse.running import endpoint_of

FORMATS: Final = {"table": "PrettyCompactMonoBlock", "csv": "CSVWithNames", "json": "JSONEachRow"}


def run(query: str, form: str, *, data: Path, url: str | None, user: str, password: str) -> int:
    """Print the result of `query`; 0 on success, 1 with the engine's message on standard error."""
    url = url or endpoint_of(data)
    if url:
        return _ask(url, query, FORMATS[form], user, password)
    if not (data / "clickhouse").is_dir():
        raise UserError(f"there is no store in {data}; start one with: spanhouse up --data {data}")
    from spanhouse.store import Store

    with Store(data) as store:
        session = store.session()
        try:
            sys.stdout.write(str(session.query(query, FORMATS[form])))
        except RuntimeError as error:
            raise UserError(str(error)) from error
        finally:
            session.close()
    return 0


def _ask(url: str, query: str, form: str, user: str, password: str) -> int:
    headers = {"X-ClickHouse-Format": form}
    if user:
        headers |= {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    request = urllib.request.Request(url, data=query.encode(), headers=headers)
    try:
        with urllib.request.urlopen(request) as response:
            shutil.copyfileobj(response, sys.stdout.buffer)
            sys.stdout.flush()
    except urllib.error.HTTPError as error:
        raise UserError(error.read().decode(errors="replace").strip()) from error
    except urllib.error.URLError as error:
        raise UserError(f"{url} does not answer: {error.reason}") from error
    return 0
