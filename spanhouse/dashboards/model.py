"""What a dashboard is made of, and the statements of its panels.

Statements are written for Grafana's ClickHouse data source: its macros (`$__fromTime`, `$__toTime`,
`$__interval_s`, `$__timeFilter(column)`, `$__conditionalAll(condition, $variable)`) are in them when they are
loaded. Some names in `sql/panels/` stand for text that many panels share:

- `${filters}`: the condition of the dashboard's filters, on columns of the table that is read;
- `${of_tenants}`: the condition that a row can be of a trace that passes the filter of tenants;
- `${traces}`: the condition that a span of the row's trace passes the filters, on `trace_id`. Filters choose
  spans: a trace's first span has a route and no model, a model call has a model and no route;
- `${rollup}`: the rollup's rows within the time range, to the minute, and filters as a table, for totals:
  whole days are read from the days, whole hours beside them from the hours, and the rest from the minutes;
- `${rollup_range_before}`: the same of the range of the same length that ends where this one begins;
- `${rollup_over_time}`: the same for charts, with the rows' start in `time`: minutes, beyond two days whole
  hours as well, beyond two weeks whole days;
- `${both_weeks}`, `${both_weeks_over_time}`: the rows of these with 0 in `before`, and those of the week
  before with 1 and with `time` moved to now;
- `${people}`, `${people_over_time}`, `${people_both_weeks}`: the states `users` and `sessions` of the rows
  that `${rollup}` and so on have, which is faster than to ask these; `${people_by_tenant}` with `tenant_id`;
- `${people_of_a_day}`, `${people_of_a_week}`, `${people_of_a_month}`: the same of the 1, 7 and 30 days before
  the end of the time range;
- `${percentiles:column}`, `${percentiles:column if condition}`: P50, P95 and P99 of the rollup's column
  `<column>_histogram` as an array, NaN where it has no times;
- `${bucket}`: `time` cut to the width of a point of the chart;
- `${period}`: `time` cut to the minute, hour or day that `${rollup_over_time}` reads, for shares of periods;
- `${seconds}`: how many seconds of the time range lie in the bucket that starts at `time`, for rates;
- `${label:column}`: the column, and `(none)` where it is empty;
- `${table:name}`: the statement `name.sql` of the same folder, as a table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from spanhouse.batch import DIMENSIONS
from spanhouse.store import quote, statement
from spanhouse.yaml_lines import FAST_LOADER

# The filters of every dashboard: variable -> column.
VARIABLES: Final = {
    "tenant": "tenant_id",
    "service": "service",
    "env": "env",
    "agent": "agent",
    "provider": "provider",
    "model": "model",
    "route": "route",
}
# How an empty value is called among a variable's values: Grafana can select no empty one.
NONE: Final = "(none)"

# In the order in which they are shown.
NAMES: Final = ("overview", "cost", "latency", "traces", "slo", "prompts", "users", "pipeline")

Kind = Literal["stat", "timeseries", "bars", "table", "gauge", "trace", "text"]
# usd and percent (of 1) as numbers, seconds and ms as durations, count and tokens as short numbers.
Unit = Literal["", "count", "usd", "ms", "seconds", "percent", "tokens", "bytes", "rate", "time"]

_WEEK_S: Final = 604_800
# Up to which ranges (seconds) a chart's points are minutes, and hours.
_MINUTES_S: Final = 172_800
_HOURS_S: Final = 1_209_600
_RANGE: Final = "$__toTime - $__fromTime"


class Strict(BaseModel):
    """With no keys but those that are known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Column(Strict):
    """How a column of a result is shown.

    Attributes:
        unit: of its numbers; the panel's where it is empty.
        title: its heading; the column's name where it is empty.
        link: `trace` and `session`: the value is such an id; a filter's name: the value filters by it;
            `dimension`: likewise by the filter that the row's column `dimension` names; `search`: leads to
            the traces in which the value occurs.
        color: `good` is green, `bad` red, `muted` grey (the week before, a forecast).
        bar: whether a table draws a bar in its cells.
    """

    unit: Unit = ""
    title: str = ""
    link: Literal[
        "",
        "trace",
        "session",
        "search",
        "dimension",
        "tenant",
        "service",
        "env",
        "agent",
        "provider",
        "model",
        "route",
    ] = ""
    color: Literal["", "good", "bad", "muted"] = ""
    bar: bool = False


class Threshold(Strict):
    """From which value on a number is coloured how."""

    value: float
    color: Literal["good", "warn", "bad"]


class Panel(Strict):
    """One panel.

    Attributes:
        id: unique in its dashboard; names the statement `sql/panels/<dashboard>/<id>.sql`.
        kind: what it is shown as, and with that the shape of its result: `timeseries` has a column `time`,
            at most one column of names, and numbers, ordered by time; `bars` has a column of names and one
            of numbers; `stat` and `gauge` have one row of numbers; `table` has any columns; `trace` has those
            of Grafana's trace view; `text` has no statement, but `text`.
        title: its heading.
        description: one sentence for those who do not know the number.
        unit: of its numbers.
        width, height: in Grafana's grid of 24 columns.
        draw: how a `timeseries` is drawn.
        stack: whether series are stacked.
        columns: how columns of the result are shown, by name.
        thresholds: colours of numbers, ascending.
        prometheus: PromQL by legend, for what only Prometheus knows; such a panel has no statement and is not
            on the page.
        text: Markdown of a `text` panel.
        max: where a gauge ends.
    """

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    kind: Kind
    title: str
    description: str = ""
    unit: Unit = ""
    width: Annotated[int, Field(ge=2, le=24)] = 12
    height: Annotated[int, Field(ge=2, le=24)] = 8
    draw: Literal["line", "bars"] = "line"
    stack: bool = False
    columns: Mapping[str, Column] = {}
    thresholds: tuple[Threshold, ...] = ()
    prometheus: Mapping[str, str] = {}
    text: str = ""
    max: float | None = None

    @property
    def has_statement(self) -> bool:
        """Whether ClickHouse is asked."""
        return self.kind != "text" and not self.prometheus


class Variable(Strict):
    """A variable that only one dashboard has, besides the filters.

    Attributes:
        name: as it stands in statements: `${name}`.
        label: what a user sees.
        default: its value at first.
        values: what can be chosen; none for free text (`kind` text).
        query: statement `sql/panels/<dashboard>/<query>.sql` that gives the values.
        kind: `choice` is one of the values; `text` is typed.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    label: str
    default: str = ""
    values: tuple[str, ...] = ()
    query: str = ""
    kind: Literal["choice", "text"] = "choice"


class Row(Strict):
    """Panels under a heading."""

    title: str = ""
    panels: tuple[Panel, ...]


class Dashboard(Strict):
    """A dashboard; `name` is its file's."""

    name: str
    title: str
    description: str
    range: str = "now-6h"
    filters: bool = True
    variables: tuple[Variable, ...] = ()
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _unique(self) -> Dashboard:
        ids = [panel.id for panel in self.panels]
        if repeated := {one for one in ids if ids.count(one) > 1}:
            raise ValueError(f"dashboard {self.name}: panels {sorted(repeated)} are there more than once")
        return self

    @property
    def panels(self) -> list[Panel]:
        """All panels, in order."""
        return [panel for row in self.rows for panel in row.panels]

    def panel(self, id: str) -> Panel:
        """The panel `id`; raises KeyError where there is none."""
        for panel in self.panels:
            if panel.id == id:
                return panel
        raise KeyError(id)

    def statement(self, query: str) -> str:
        """The statement `sql/panels/<name>/<query>.sql`, with Grafana's macros in it."""
        return _statement(self.name, query)


@cache
def dashboards() -> dict[str, Dashboard]:
    """All dashboards by name, in the order in which they are shown."""
    return {name: _load(name) for name in NAMES}


def _load(name: str) -> Dashboard:
    text = (resources.files("spanhouse") / "dashboards" / f"{name}.yaml").read_text()
    # The first browser waits for it; the loader in C, where there is one, takes a sixth of the time.
    data: dict[str, Any] = yaml.load(text, Loader=FAST_LOADER)
    return Dashboard(name=name, **data)


@cache
def _statement(dashboard: str, query: str) -> str:
    text = statement("panels", dashboard, query)
    text = re.sub(r"\$\{table:(\w+)\}", lambda found: f"({_statement(dashboard, found[1])})", text)
    return _shared(text)


def values_statement(variable: str) -> str:
    """The statement that gives the values of one of VARIABLES."""
    text = statement("panels", "values")
    return text.replace("${column}", VARIABLES[variable]).replace("${none}", quote(NONE))


def _shared(text: str) -> str:
    """With the text that the names `${…}` of this module stand for."""
    texts = {
        "filters": filters(),
        "of_tenants": _OF_TENANTS,
        "traces": _traces(),
        "rollup": _rollup(),
        "rollup_range_before": _rollup(_RANGE_BEFORE),
        "both_weeks": _both(_rollup(), _rollup(_WEEK_BEFORE)),
        "people": _people(),
        "people_by_tenant": _people(by="tenant_id"),
        "people_over_time": _people(_Span(), *_POINTS),
        "people_both_weeks": _both(_people(), _people(_WEEK_BEFORE)),
        "people_of_a_day": _people(_Span("($__toTime - 86400)")),
        "people_of_a_week": _people(_Span(f"($__toTime - {_WEEK_S})")),
        "people_of_a_month": _people(_Span("($__toTime - 2592000)")),
        "rollup_over_time": _over_time(),
        "both_weeks_over_time": _both(_over_time(), _over_time(_WEEK_BEFORE)),
        "bucket": _bucket(),
        "period": _period(),
        "seconds": _seconds(),
    }
    text = re.sub(r"\$\{label:(\w+)\}", rf"if(\1 = '', '{NONE}', \1)", text)
    text = with_percentiles(text)
    return re.sub(r"\$\{(\w+)\}", lambda found: texts.get(found[1], found[0]), text)


def filters() -> str:
    """The condition of the filters. Each is in a form in which the sorting key is used."""
    conditions = (
        f"$__conditionalAll(({column} IN (${{{name}:singlequote}}) "
        f"OR {column} = '' AND '{NONE}' IN (${{{name}:singlequote}})), ${name})"
        for name, column in VARIABLES.items()
    )
    return "(" + " AND ".join(conditions) + ")"


def _traces() -> str:
    # With all filters at "All" this is `1=1 OR …`, and the subquery does not run.
    everything = " AND ".join(f"$__conditionalAll(1=0, ${name})" for name in VARIABLES)
    return (
        f"({_OF_TENANTS} AND (({everything}) OR cityHash64(trace_id) IN "
        f"(SELECT cityHash64(trace_id) FROM agent_events WHERE $__timeFilter(ts) AND {filters()})))"
    )


# A trace whose spans pass the filter of tenants has these rows and no others: where a span says a tenant, its
# trace is of that tenant. The sorting key begins with it, so all other tenants' rows need not be read.
_OF_TENANTS: Final = "$__conditionalAll((tenant_id IN (${tenant:singlequote}) OR tenant_id = ''), $tenant)"


def with_percentiles(text: str) -> str:
    """With the expressions of `${percentiles:…}`: P50, P95 and P99 in milliseconds of the histograms of many
    rows of a rollup (sql/0012_days.sql)."""
    return re.sub(
        r"\$\{percentiles:(\w+)(?: if ([^}]+))?\}", lambda found: _percentiles(*found.groups()), text
    )


def _percentiles(column: str, condition: str | None) -> str:
    histogram = f"{column}_histogram"
    arguments = f"CAST(mapKeys({histogram}), 'Array(Float32)'), mapValues({histogram})"
    function = "quantilesExactWeightedArray"
    if condition:
        function, arguments = f"{function}If", f"{arguments}, {condition}"
    return f"arrayMap(bucket -> exp2((bucket + 0.5) / 32), {function}(0.5, 0.95, 0.99)({arguments}))"


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of time as expressions: from the minute of `first` to that of `last`, both included.

    Attributes:
        ahead_s: seconds from there to the time range.
    """

    first: str = "$__fromTime"
    last: str = "$__toTime"
    ahead_s: str = "0"


_WEEK_BEFORE: Final = _Span(f"($__fromTime - {_WEEK_S})", f"($__toTime - {_WEEK_S})", str(_WEEK_S))
# Its last minute is the one before the range's first.
_RANGE_BEFORE: Final = _Span(f"($__fromTime - ({_RANGE}))", "($__fromTime - 60)", f"({_RANGE})")


def _rollup(span: _Span = _Span()) -> str:
    return _union(span, hours="1", days="1")


def _over_time(span: _Span = _Span()) -> str:
    return _union(span, *_POINTS)


def _people(span: _Span = _Span(), hours: str = "1", days: str = "1", by: str = "") -> str:
    columns, group = (f"{by}, {_PEOPLE}", f"time, {by}") if by else (_PEOPLE, "time")
    return _union(span, hours, days, columns, f"GROUP BY {group}")


def _union(span: _Span, hours: str, days: str, columns: str = "", group: str = "") -> str:
    """Minutes, whole hours and whole days that make a span; the latter two under a condition."""
    first_hour, last_hour = f"toStartOfHour({span.first} + 3599, 'UTC')", f"toStartOfHour({span.last}, 'UTC')"
    first_day, last_day = f"toStartOfDay({span.first} + 86399, 'UTC')", f"toStartOfDay({span.last}, 'UTC')"
    of_minutes = (
        f"minute >= toStartOfMinute({span.first}) AND minute <= {span.last} "
        f"AND (NOT ({hours}) OR minute < {first_hour} OR minute >= {last_hour})"
    )
    of_hours = (
        f"({hours}) AND hour >= {first_hour} AND hour < {last_hour} "
        f"AND (NOT ({days}) OR hour < {first_day} OR hour >= {last_day})"
    )
    of_days = f"({days}) AND day >= toDate({first_day}) AND day < toDate({last_day})"
    parts = (
        f"SELECT {start} + {span.ahead_s} AS time, {columns or _COLUMNS} FROM {table} "
        f"WHERE {which} AND {filters()} {group}".rstrip()
        for table, start, which in (
            ("agent_metrics_1m_state", "minute", of_minutes),
            ("agent_metrics_1h_state", "hour", of_hours),
            ("agent_metrics_1d_state", "toDateTime(day, 'UTC')", of_days),
        )
    )
    return "(" + " UNION ALL ".join(parts) + ")"


# When the points of a chart are hours, and days.
_POINTS: Final = (f"{_RANGE} > {_MINUTES_S}", f"{_RANGE} > {_HOURS_S}")
# As the projections of the days have them (sql/0012_days.sql).
_PEOPLE: Final = "uniqMergeState(users) AS users, uniqMergeState(sessions) AS sessions"
# Of all rollups, in one order.
_COLUMNS: Final = ", ".join(
    (
        *DIMENSIONS,
        "entry, calls, errors, unpriced, latency_histogram, ttft_histogram, tokens_prompt, tokens_completion",
        "tokens_cache_read, tokens_cache_write, tokens_reasoning, cost_usd, users, sessions",
    )
)


def _both(now: str, before: str) -> str:
    return f"(SELECT *, 0 AS before FROM {now} UNION ALL SELECT *, 1 AS before FROM {before})"


def _width() -> str:
    """A point is whole minutes wide, or whole hours or days where these are read."""
    widths = (
        f"{unit} * greatest(1, intDiv($__interval_s + {unit - 1}, {unit}))" for unit in (60, 3600, 86400)
    )
    minutes, hours, days = widths
    return f"multiIf({_RANGE} <= {_MINUTES_S}, {minutes}, {_RANGE} <= {_HOURS_S}, {hours}, {days})"


def _bucket() -> str:
    return f"toStartOfInterval(time, toIntervalSecond({_width()}))"


def _period() -> str:
    hours = f"{_RANGE} <= {_HOURS_S}, toStartOfHour(time)"
    return f"multiIf({_RANGE} <= {_MINUTES_S}, time, {hours}, toStartOfDay(time))"


def _seconds() -> str:
    # Rollups end with a whole minute, so the range does.
    first = "toUnixTimestamp(toStartOfMinute($__fromTime))"
    last = "toUnixTimestamp(toStartOfMinute($__toTime)) + 60"
    start = "toUnixTimestamp(time)"
    return f"(least({start} + {_width()}, {last}) - greatest({start}, {first}))"
