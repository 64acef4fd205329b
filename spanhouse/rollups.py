"""Rollups brought to agree with the rows again, where they differ.

In an embedded store, which nobody writes to meanwhile, whole hours are made anew (`repair`). On a server
others insert at the same time, so there the difference is added (`mend`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import polars as pl

from spanhouse import metrics
from spanhouse.store import EVERY_BLOCK, Store, query_text

log = logging.getLogger(__name__)

# An insert that reached the rows and not yet the rollups is no difference to be mended. Longer than an
# insert can take (exporters/clickhouse_server.py waits a minute for one).
QUIET_SECONDS: Final = 120
# Somebody else may be mending: a difference is looked at twice, so far apart.
_LOOK_AGAIN_SECONDS: Final = 2.0


def repair(store: Store) -> int:
    """Make the rollups count what `agent_events` holds; returns how many hours were wrong.

    An insert writes the table first and its views after; a crash between the two leaves rows that the
    rollups do not count. Such rows were not acknowledged, so their sender repeats them or not, but
    the two must agree. Repeatable: a crash in here leaves hours that differ, found again next time.
    """
    hours = [int(row) for row in store.rows(query_text("rollup_differences"))]
    if hours:
        rebuild(store, hours)
        log.warning("rollups of %d hours were made anew after an unclean stop", len(hours))
    return len(hours)


def rebuild(store: Store, hours: Sequence[int]) -> None:
    """Make the minute and hour rollups of `hours` (unix seconds of their starts) anew from the rows."""
    within = ", ".join(str(hour) for hour in hours)
    for table, column in (("agent_metrics_1m_state", "minute"), ("agent_metrics_1h_state", "hour")):
        store.rows(
            f"ALTER TABLE {table} DELETE WHERE toUnixTimestamp(toStartOfHour({column})) IN ({within}) "
            "SETTINGS mutations_sync = 2"
        )
    # The statement that fills the minutes is the materialized view's own, so the two cannot drift apart;
    # what it inserts reaches the hours through their view.
    (select,) = store.rows(
        "SELECT replaceAll(as_select, '\\n', ' ') FROM system.tables "
        "WHERE database = currentDatabase() AND name = 'agent_metrics_1m_mv'"
    )
    source = f"{store.DATABASE}.agent_events AS e"
    if source not in select:
        raise RuntimeError(f"agent_metrics_1m_mv reads no {source}: {select}")
    # An alias is not among `*`.
    rows = f"(SELECT *, entry FROM agent_events WHERE toUnixTimestamp(toStartOfHour(ts)) IN ({within})) AS e"
    select = select.replace("\\'", "'").replace(source, rows)
    columns = ", ".join(row.split("\t")[0] for row in store.rows(f"DESCRIBE ({select})"))
    store.rows(f"INSERT INTO agent_metrics_1m_state ({columns}) SETTINGS {EVERY_BLOCK} {select}")


class Server(Protocol):
    """A ClickHouse server; see `exporters.clickhouse_server`."""

    def query(self, name: str, **parameters: Any) -> pl.DataFrame:
        """The result of `sql/queries/<name>.sql`."""

    def run(self, name: str, token: str, **parameters: Any) -> None:
        """Run the insert `sql/queries/<name>.sql`, once for all that come with this token."""


@dataclass(frozen=True, slots=True)
class Mended:
    """What `mend` did.

    Attributes:
        periods: minutes and hours of the rollups that were mended.
        waiting: minutes and hours that differ, and into which rows came too lately to tell why.
    """

    periods: int
    waiting: int


def mend(server: Server, hours: Sequence[int], quiet_seconds: int = QUIET_SECONDS) -> Mended:
    """Make the rollups of `hours` (unix seconds of their starts) count what `agent_events` holds.

    A difference stays where a server was killed between the note of a block and its part, where a repeated
    insert came after the server had forgotten its token, and where an insert that was cut off after the
    rows was completed by one with other tokens or costs. Safe while others insert: what is
    missing (or too much) is added in one insert whose token is made of what was seen, so that two that
    mend the same do it once; minutes and hours into which rows came in the last `quiet_seconds` wait.
    Sums and distinct users are exact afterwards, percentiles of a mended group close.

    Raises:
        Unavailable: the server could not be asked, or refused.
    """
    mended = waiting = 0
    for hour in hours:
        for table, question in (("minute", "calls_by_minute"), ("hour", "calls_of_hour")):
            differing = _differing(server, question, hour)
            quiet = differing.filter(pl.col("quiet_seconds") >= quiet_seconds)
            for period, rows, counted in quiet.select("period", "rows", "counted").iter_rows():
                text = "the rollup of the %s that begins at %d has %s, the rows have %s; it is mended"
                log.warning(text, table, period, counted, rows)
                server.run(f"mend_{table}", f"mend {table} {period} {rows} {counted}", period=period)
                metrics.ROLLUPS_MENDED.inc()
            mended += quiet.height
            waiting += differing.height - quiet.height
            if differing.height > quiet.height:
                break  # what comes into these minutes goes on to the hour
    return Mended(mended, waiting)


def _differing(server: Server, question: str, hour: int) -> pl.DataFrame:
    """Minutes of an hour, or the hour, that differ, and by the same twice."""
    first = server.query(question, hour=hour)
    if first.is_empty():
        return first
    time.sleep(_LOOK_AGAIN_SECONDS)
    return server.query(question, hour=hour).join(first, on=["period", "rows", "counted"], how="semi")
