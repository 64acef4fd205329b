"""Rows into ClickHouse's `agent_events`; the rollups follow through its materialized views."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import IO, Any, Final

import polars as pl
import pyarrow as pa

from spanhouse import rollups
from spanhouse.errors import Unavailable
from spanhouse.exporters import native
from spanhouse.store import EVERY_BLOCK, Store, query_text

TABLE: Final = "agent_events"


class EmbeddedClickHouse:
    """Inserts Arrow tables through a session of its own. For one thread, like that session."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._session: Any = store.session()

    def insert(self, rows: pl.DataFrame) -> None:
        """Store rows (columns of `rows.ROW`); when it returns, they and the rollups are there.

        Raises:
            Unavailable: the engine refused or failed; nothing, or a part of it, may have been stored.
        """
        if not self._store.in_place():
            # The engine would make new folders, and lose them at the next start.
            raise Unavailable(f"the store's folder {self._store.path} was removed; start spanhouse again")
        columns = ", ".join(f"`{name}`" for name in native.names(rows.columns))
        try:
            if self._store.rollups_doubtful:
                rollups.repair(self._store)
                self._store.rollups_doubtful = False
            with _memory_file() as file:
                for part in native.block(rows):
                    file.write(part)
                file.flush()
                # Not by `send_insert`: it reports success where the rows could not be written (chDB 26.9,
                # a full disk).
                self._session.query(
                    f"INSERT INTO {TABLE} ({columns}) FROM INFILE '/dev/fd/{file.fileno()}' "
                    f"SETTINGS {EVERY_BLOCK} FORMAT Native"
                )
        except (RuntimeError, OSError) as error:
            # The rows may be there and their views' not, as after a crash.
            self._store.rollups_doubtful = True
            raise Unavailable(f"the store refused the rows: {error}") from error

    def recent_spans(self) -> pl.DataFrame:
        """trace_id and span_id of what was stored last.

        Raises:
            Unavailable: the engine refused or failed.
        """
        try:
            answer = self._session.query(query_text("spans_of_last_hour"), "ArrowStream")
        except RuntimeError as error:
            raise Unavailable(f"the store cannot be read: {error}") from error
        if not answer.bytes():  # no rows, no header either
            return pl.DataFrame(schema={"trace_id": pl.String, "span_id": pl.String})
        return pl.DataFrame(pa.ipc.open_stream(answer.bytes()).read_all())

    def close(self) -> None:
        """Close the session."""
        self._session.close()


def _memory_file() -> IO[bytes]:
    """A file without a name, in memory where the system can do that."""
    if sys.platform == "linux":
        return open(os.memfd_create("rows"), "w+b")
    return tempfile.TemporaryFile()
