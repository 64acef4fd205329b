"""Rows into ClickHouse's `agent_events`; the rollups follow through its materialized views."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from spanhouse.errors import Unavailable
from spanhouse.store import Store

TABLE: Final = "agent_events"


class EmbeddedClickHouse:
    """Inserts Arrow tables through a session of its own. For one thread, like that session."""

    def __init__(self, store: Store) -> None:
        self._session: Any = store.session()

    def insert(self, table: pa.Table) -> None:
        """Store `table` (columns of `agent_events`); when it returns, rows and rollups are there.

        Raises:
            Unavailable: the engine refused or failed; nothing, or a part of it, may have been stored.
        """
        columns = ", ".join(f"`{name}`" for name in table.column_names)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        try:
            inserter = self._session.send_insert(f"INSERT INTO {TABLE} ({columns})", "ArrowStream")
            inserter.append(sink.getvalue().to_pybytes())
            inserter.finish()
        except RuntimeError as error:
            raise Unavailable(f"the store refused the rows: {error}") from error

    def close(self) -> None:
        """Close the session."""
        self._session.close()
