"""Rollups brought to agree with the rows again, where they differ.

In an embedded store, which nobody writes to meanwhile, whole hours are made anew (`repair`). On a server
others insert at the same time, so there the difference is added (`mend`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import polars as pl

from spanhouse import metrics
from spanhouse.store import EVERY_BLOCK, Store, plain, query_text

log = logging.getLogger(__name__)

# An insert that reached the rows and not yet the rollups is no difference to be mended. Longer than an
# insert can take (exporters/clickhouse_server.py waits a minute for one).
QUIET_SECONDS: Final = 120
# Somebody else may be mending: a difference is looked at twice, so far apart.
_LOOK_AGAIN_SECONDS: Final = 2.0
_DAY_SECONDS: Final = 86_400
# Their tables and columns of time; of those that are made of a finer one this, and the start of such a
# period as the finer one tells it, and rows.
ROLLUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "minute": {"rollup": "agent_metrics_1m_state", "period": "minute"},
    "hour": {
        "rollup": "agent_metrics_1h_state",
        "period": "hour",
        "finer": "agent_metrics_1m_state",
        "start": "toStartOfHour(minute)",
        "of_row": "toStartOfHour(ts)",
    },
    "day": {
        "rollup": "agent_metrics_1d_state",
        "period": "day",
        "finer": "agent_metrics_1h_state",
        "start": "toDate(hour)",
        "of_row": "toDate(ts)",
    },
}


def repair(store: Store) -> int:
    """Make the rollups count what `agent_events` holds; returns how many hours and days were wrong.

    An insert writes the table first and its views after; a crash between the two leaves rows that the
    rollups do not count. Such rows were not acknowledged, so their sender repeats them or not, but
    the two must agree. Repeatable: a crash in here leaves hours that differ, found again next time.
    """
    hours = [int(row) for row in store.rows(query_text("rollup_differences"))]
    if hours:
        log.warning("rollups of %d hours do not count their rows and are made anew", len(hours))
        rebuild(store, hours)
    days = [int(row) for row in store.rows(query_text("day_differences"))]
    if days:
        log.warning("rollups of %d days do not count their hours and are made anew", len(days))
        _rebuild_days(store, days)
    return len(hours) + len(days)


def rebuild(store: Store, hours: Sequence[int]) -> None:
    """Make the rollups of `hours` (unix seconds of their starts) anew from the rows, and their days'."""
    for table, column in (("agent_metrics_1m_state", "minute"), ("agent_metrics_1h_state", "hour")):
        _delete(store, table, f"toStartOfHour({column})", hours)
    days: dict[int, list[int]] = {}
    for hour in hours:
        days.setdefault(hour - hour % _DAY_SECONDS, []).append(hour)
    # A day at a time, as all of its groups are in memory. What comes into the minutes goes on to the hours.
    for number, (day, of_day) in enumerate(days.items(), 1):
        # An alias is not among `*`. The day's partition is found by its date.
        rows = (
            f"SELECT *, entry FROM agent_events WHERE toDate(ts) = toDate({day}, 'UTC') "
            f"AND toUnixTimestamp(toStartOfHour(ts)) IN ({_list(of_day)})"
        )
        _fill(store, "agent_metrics_1m", "agent_events AS e", f"({rows}) AS e")
        log.info("rollups of %d of %d days are made anew", number, len(days))
    _rebuild_days(store, list(days))


def _rebuild_days(store: Store, days: Sequence[int]) -> None:
    """Make days (unix seconds of their starts) anew from the hours."""
    _delete(store, "agent_metrics_1d_state", "toDateTime(day, 'UTC')", days)
    hours = (
        f"SELECT * FROM agent_metrics_1h_state WHERE toUnixTimestamp(toStartOfDay(hour)) IN ({_list(days)})"
    )
    _fill(store, "agent_metrics_1d", "agent_metrics_1h_state AS s", f"({hours}) AS s")


def _delete(store: Store, table: str, start: str, periods: Sequence[int]) -> None:
    where = f"toUnixTimestamp({start}) IN ({_list(periods)})"
    store.rows(f"ALTER TABLE {table} DELETE WHERE {where} SETTINGS mutations_sync = 2")


def _fill(store: Store, rollup: str, source: str, rows: str) -> None:
    """Insert into a rollup what its materialized view makes of `rows`: its own statement, so that the two
    cannot drift apart."""
    (select,) = store.rows(
        "SELECT replaceAll(as_select, '\\n', ' ') FROM system.tables "
        f"WHERE database = currentDatabase() AND name = '{rollup}_mv'"
    )
    source = f"{store.DATABASE}.{source}"
    if source not in select:
        raise RuntimeError(f"{rollup}_mv reads no {source}: {select}")
    select = select.replace("\\'", "'").replace(source, rows)
    columns = ", ".join(row.split("\t")[0] for row in store.rows(f"DESCRIBE ({select})"))
    store.rows(f"INSERT INTO {rollup}_state ({columns}) SETTINGS {EVERY_BLOCK} {select}")


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


class Server(Protocol):
    """A ClickHouse server; see `exporters.clickhouse_server`."""

    def query(self, name: str, names: Mapping[str, str] = ..., /, **parameters: Any) -> pl.DataFrame:
        """The result of `store.query_text`."""

    def run(self, name: str, token: str, names: Mapping[str, str] = ..., /, **parameters: Any) -> None:
        """Run this insert, once for all that come with this token."""


@dataclass(frozen=True, slots=True)
class Mended:
    """What `mend` did.

    Attributes:
        periods: minutes, hours and days of the rollups that were mended.
        waiting: those that differ, and into which rows came too lately to tell why.
    """

    periods: int
    waiting: int


def mend(
    server: Server, hours: Sequence[int], quiet_seconds: int = QUIET_SECONDS, days: Sequence[int] = ()
) -> Mended:
    """Make the rollups of `hours` (unix seconds of their starts) count what `agent_events` holds.

    A difference stays where a server was killed between the note of a block and its part, where a repeated
    insert came after the server had forgotten its token, and where an insert that was cut off after the
    rows was completed by one with other tokens or costs. Safe while others insert: what is
    missing (or too much) is added in one insert whose token is made of what was seen, so that two that
    mend the same do it once; periods into which rows came in the last `quiet_seconds` wait.

    Args:
        server: the server.
        hours: whose minutes, hours and days are looked at.
        quiet_seconds: for how long no rows came into what is mended.
        days: unix seconds of their starts; these days are looked at as well.

    Raises:
        Unavailable: the server could not be asked, or refused.
    """
    mended = waiting = 0
    unsettled = set()
    for hour in hours:
        for rollup in ("minute", "hour"):
            done = _mend(server, rollup, hour, quiet_seconds)
            mended += done.periods
            waiting += done.waiting
            if done.waiting:
                unsettled.add(hour - hour % _DAY_SECONDS)
                break  # what comes into these minutes goes on to the hour
    for day in sorted({hour - hour % _DAY_SECONDS for hour in hours} | set(days)):
        if day not in unsettled:
            done = _mend(server, "day", day, quiet_seconds)
            mended += done.periods
            waiting += done.waiting
    return Mended(mended, waiting)


def _mend(server: Server, rollup: str, began: int, quiet_seconds: int) -> Mended:
    """Mend an hour's minutes, or an hour or a day itself."""
    names = mending(rollup)
    question = "calls_by_minute" if rollup == "minute" else "calls_of"
    differing = _differing(server, question, names, began)
    quiet = differing.filter(pl.col("quiet_seconds") >= quiet_seconds)
    for period, rows, counted in quiet.select("period", "rows", "counted").iter_rows():
        text = "the rollup of the %s that begins at %d has %s, it should have %s; it is mended"
        log.warning(text, rollup, period, counted, rows)
        server.run("mend", f"mend {rollup} {period} {rows} {counted}", names, began=period)
        metrics.ROLLUPS_MENDED.inc()
    return Mended(quiet.height, differing.height - quiet.height)


def mending(rollup: str) -> dict[str, str]:
    """What `{…}` stands for in the statements that mend one of ROLLUPS."""
    names = ROLLUPS[rollup]
    made = "made_of_finer" if "finer" in names else "made_of_rows"
    return {**names, "made": plain(query_text(made, names))}


def _differing(server: Server, question: str, names: Mapping[str, str], began: int) -> pl.DataFrame:
    """Periods that differ, and by the same twice."""
    first = server.query(question, names, began=began)
    if first.is_empty():
        return first
    time.sleep(_LOOK_AGAIN_SECONDS)
    return server.query(question, names, began=began).join(
        first, on=["period", "rows", "counted"], how="semi"
    )
