"""What `agent_events` holds already: the proof that an insert which may be a repetition begins with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

# Rows whose day may have expired meanwhile are not looked for.
KEPT: Final = timedelta(days=88)
# The same of tables beside `agent_events`.
KEPT_BESIDE: Final = timedelta(days=5)

# Traces in one question; a parameter over 128 kB is refused by servers.
_TRACES: Final = 2_000
_IDS: Final = ("trace_id", "span_id")


class Stored(ABC):
    """The rows of a store. Every method raises Unavailable if the store could not be asked."""

    @abstractmethod
    def query(self, name: str, /, **parameters: Any) -> pl.DataFrame:
        """The result of `sql/queries/<name>.sql`."""

    def spans(self, topic: str, partition: int, before: int, limit: int) -> pl.DataFrame:
        """trace_id and span_id of the rows of a partition below offset `before`, the last `limit` of them."""
        lowest = max(before - limit, 0)
        return self.query(
            "recent_spans", topic=topic, partition=partition, before=before, lowest=lowest, limit=limit
        )

    def recent_spans(self) -> pl.DataFrame:
        """trace_id and span_id of the rows stored last, wherever they came from."""
        return self.query("spans_of_last_hour")

    def existing(self, keys: pl.DataFrame, table: str = "agent_events") -> pl.DataFrame:
        """Which of the spans `keys` (trace_id, span_id, ts) have rows: their trace_id and span_id."""
        found = [pl.DataFrame(schema=dict.fromkeys(_IDS, pl.String))]
        for part in keys.sort("ts").iter_slices(_TRACES):
            nanoseconds = part["ts"].dt.epoch("ns")
            stored = self.query(
                "stored_spans",
                table=table,
                traces=part["trace_id"].unique().to_list(),
                earliest=nanoseconds.min(),
                latest=nanoseconds.max(),
            )
            found.append(part.select(_IDS).join(stored, on=_IDS, how="semi"))
        return pl.concat(found).unique()

    def missing(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of `rows` that are not stored.

        Rows of one partition are looked for among its offsets; others, and those without a place in Kafka, by
        their spans, wherever these came from.
        """
        place = [name for name in ("topic", "partition") if name in rows.columns]
        placed = bool(place) and rows.select(pl.struct(place).n_unique()).item() == 1
        keys = rows.select(*_IDS, "ts", *(("offset",) if placed else ())).with_row_index("row")
        keys = keys.filter(pl.col("ts") > datetime.now(UTC) - KEPT)
        if keys.is_empty():
            return rows.clear()
        missing = (
            self._not_of_offsets(keys, rows)
            if placed
            else keys.join(self.existing(keys), on=_IDS, how="anti")
        )
        return rows[missing["row"].sort()]

    def without_stored(self, rows: pl.DataFrame, table: str) -> pl.DataFrame:
        """Those rows of a table beside `agent_events` whose span has none there; see `beside.split`."""
        keys = rows.select(*_IDS, "ts").unique(maintain_order=True)
        return rows.join(self.existing(keys, table), on=_IDS, how="anti", maintain_order="left")

    def _not_of_offsets(self, keys: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
        nanoseconds = keys["ts"].dt.epoch("ns")
        stored = self.query(
            "rows_of_offsets",
            topic=rows["topic"][0],
            partition=rows["partition"][0],
            first=keys["offset"].min(),
            last=keys["offset"].max(),
            earliest=nanoseconds.min(),
            latest=nanoseconds.max(),
        )
        # A message may hold a span twice.
        place = (*_IDS, "offset")
        keys = keys.with_columns(number=pl.int_range(pl.len()).over(place))
        joined = keys.join(stored, on=place, how="left")
        return joined.filter(pl.col("number") >= pl.col("rows").fill_null(0))
