"""Rows into the embedded ClickHouse's `agent_events`; the rollups follow through its materialized views."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections import deque
from datetime import datetime
from typing import IO, Any, Final

import polars as pl
import pyarrow as pa

from spanhouse import rollups
from spanhouse.errors import Unavailable
from spanhouse.exporters import native
from spanhouse.exporters.beside import split
from spanhouse.exporters.stored import Stored
from spanhouse.store import EVERY_BLOCK, Store, query_text, quote

TABLE: Final = "agent_events"
# Inserts of this process that are known by their token. A second attempt comes within minutes.
_TOKENS: Final = 1_000


class EmbeddedClickHouse(Stored):
    """Inserts rows, one batch after the other. Any number of threads.

    Nobody else writes to the store, so an insert that may be a repetition begins with a look at what is
    there. The engine's own tokens would not do: rollups that were made anew after a crash do not know them,
    and would count the repetition.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        # A session runs one query at a time.
        self._inserting: Any = store.session()
        self._insert_lock = threading.Lock()
        self._asking: Any = store.session()
        self._ask_lock = threading.Lock()
        self._tokens: deque[str] = deque(maxlen=_TOKENS)

    def insert(self, rows: pl.DataFrame, *, token: str = "", repeated: datetime | None = None) -> None:
        """Store rows (columns of `rows.ROW` and `rows.BESIDE`); they and the rollups are there then, once.

        Args:
            rows: with a token or `repeated`, such as `Stored.missing` takes.
            token: names these rows where this process may insert them again, at the same time, too.
            repeated: since when an earlier process may have stored the rows or a part of them.

        Raises:
            Unavailable: the engine refused or failed; nothing, or a part of it, may have been stored.
        """
        with self._insert_lock:
            self._repair()
            if repeated is not None or token in self._tokens:
                rows = self.missing(rows)
            if token:
                self._tokens.append(token)
            rows, beside = split(rows)
            # First, as the spans' own rows then tell that all is there. Whoever sends a span again is not
            # known, so what is there is always looked for.
            for table, more in beside.items():
                if (more := self.without_stored(more, table)).height:
                    self._insert(more, table)
            if rows.height:
                self._insert(rows, TABLE)

    def _repair(self) -> None:
        """After a failed insert: its rows may be there and the rollups not count them, as after a crash."""
        if not self._store.in_place():
            # The engine would make new folders, and lose them at the next start.
            raise Unavailable(f"the store's folder {self._store.path} was removed; start spanhouse again")
        if self._store.rollups_doubtful:
            try:
                rollups.repair(self._store)
            except RuntimeError as error:
                raise Unavailable(f"the store's rollups cannot be made anew: {error}") from error
            self._store.rollups_doubtful = False

    def _insert(self, rows: pl.DataFrame, table: str) -> None:
        columns = ", ".join(f"`{name}`" for name in native.names(rows.columns))
        try:
            with _memory_file() as file:
                for part in native.block(rows):
                    file.write(part)
                file.flush()
                # Not by `send_insert`: it reports success where the rows could not be written (chDB 26.9,
                # a full disk).
                self._inserting.query(
                    f"INSERT INTO {table} ({columns}) FROM INFILE '/dev/fd/{file.fileno()}' "
                    f"SETTINGS {EVERY_BLOCK} FORMAT Native"
                )
        except (RuntimeError, OSError) as error:
            self._store.rollups_doubtful = True
            raise Unavailable(f"the store refused the rows: {error}") from error

    def query(self, name: str, /, **parameters: Any) -> pl.DataFrame:
        """The result of `sql/queries/<name>.sql`.

        Raises:
            Unavailable: the engine refused or failed.
        """
        values = {key: _parameter(value) for key, value in parameters.items()}
        try:
            with self._ask_lock:
                answer = self._asking.query(query_text(name), "ArrowStream", values)
        except RuntimeError as error:
            raise Unavailable(f"the store cannot be read: {error}") from error
        return pl.DataFrame(pa.ipc.open_stream(answer.bytes()).read_all())

    def close(self) -> None:
        """Close both sessions."""
        self._inserting.close()
        self._asking.close()


def _parameter(value: object) -> str:
    """A query's parameter as the engine reads it; a list is one of texts."""
    return f"[{', '.join(quote(one) for one in value)}]" if isinstance(value, list) else str(value)


def _memory_file() -> IO[bytes]:
    """A file without a name, in memory where the system can do that."""
    if sys.platform == "linux":
        return open(os.memfd_create("rows"), "w+b")
    return tempfile.TemporaryFile()
