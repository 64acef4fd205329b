"""Rollups made anew from the rows, for the hours where they differ."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from spanhouse.store import Store, query_text

log = logging.getLogger(__name__)


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
    rows = f"(SELECT * FROM agent_events WHERE toUnixTimestamp(toStartOfHour(ts)) IN ({within})) AS e"
    select = select.replace("\\'", "'").replace(source, rows)
    store.rows(f"INSERT INTO agent_metrics_1m_state {select}")
