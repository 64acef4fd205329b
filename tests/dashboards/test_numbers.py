"""The numbers of the panels, against what was sent: the known spans, chosen by their tenants."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import polars as pl
import pytest

from tests.dashboards import known
from tests.dashboards.conftest import END, HOUR, MONTH, POINTS, Answer, Asker

WEEK = timedelta(days=7)
# Half of 2^(1/32).
BUCKET = 0.011
# Charts are made of minutes, of hours and minutes, and of all three.
RANGES = pytest.mark.parametrize("length", [HOUR, WEEK, MONTH], ids=["hour", "week", "month"])
MODEL_CALL = pl.col("kind") == "llm"
# By dimension: which spans are counted, and the column of its names.
OF = {
    "tenant": (pl.col("entry"), "tenant_id"),
    "service": (pl.col("entry"), "service"),
    "agent": (pl.col("kind") == "agent", "agent"),
    "model": (MODEL_CALL, "model"),
}
CHOICES = {"all": {}, "service": {"service": ["known-agent"]}, "route": {"route": ["/known/ask"]}}


def within(sent: pl.DataFrame, length: timedelta, before: timedelta = timedelta()) -> pl.DataFrame:
    """What lies in the time range; it is cut to the minute."""
    return sent.filter(
        pl.col("ts") >= END - length - before, pl.col("ts") < END - before + timedelta(minutes=1)
    )


def ask(asker: Asker, dashboard: str, panel: str, length: timedelta, **chosen: str | Sequence[str]) -> Answer:
    return asker.panel(dashboard, panel, length, **{"tenant": known.CHOSEN, **chosen})


def by(answer: Answer, *names: str) -> dict[Any, dict[str, Any]]:
    rows = answer.dicts()
    found = {row[names[0]] if len(names) == 1 else tuple(row[name] for name in names): row for row in rows}
    assert len(found) == len(rows)
    return found


def near_quantile(value: float, latencies: pl.Series, share: float) -> bool:
    """A histogram gives the value itself, but for the width of its buckets."""
    exact = latencies.sort()[ceil(share * len(latencies)) - 1]
    return bool(value == pytest.approx(exact, rel=BUCKET))


def total(frame: pl.DataFrame, column: str) -> float:
    return float(frame[column].sum())


@RANGES
def test_requests_and_model_calls(asker: Asker, sent: pl.DataFrame, length: timedelta) -> None:
    now, before = within(sent, length), within(sent, length, WEEK)
    for panel, column, condition in (
        ("requests", "requests", pl.col("entry")),
        ("model_calls", "model_calls", MODEL_CALL),
    ):
        calls, earlier = now.filter(condition).height, before.filter(condition).height
        assert calls > earlier > 0
        row = ask(asker, "overview", panel, length).one()
        assert row[column] == calls
        assert row["change"] == pytest.approx(calls / earlier - 1)


@RANGES
def test_failed_requests(asker: Asker, sent: pl.DataFrame, length: timedelta) -> None:
    rate = within(sent, length).filter("entry")["failed"].mean()
    earlier = within(sent, length, WEEK).filter("entry")["failed"].mean()
    assert ask(asker, "overview", "error_rate", length).one() == pytest.approx(
        {"error_rate": rate, "week_before": earlier}
    )
    assert ask(asker, "latency", "error_rate", length).one() == pytest.approx({"error_rate": rate})


@RANGES
def test_latency_of_requests(asker: Asker, sent: pl.DataFrame, length: timedelta) -> None:
    latencies = within(sent, length).filter("entry")["latency_ms"]
    shown = ask(asker, "latency", "latency", length).one()
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert near_quantile(shown[name], latencies, share), name
    assert ask(asker, "overview", "p95", length).one()["p95"] == pytest.approx(shown["p95"], rel=0.01)


@RANGES
def test_tokens_and_cost(asker: Asker, sent: pl.DataFrame, length: timedelta) -> None:
    now, before = within(sent, length), within(sent, length, WEEK)
    tokens, earlier = (total(one, "tokens_prompt") + total(one, "tokens_completion") for one in (now, before))
    assert ask(asker, "overview", "tokens", length).one() == pytest.approx(
        {"tokens": tokens, "change": tokens / earlier - 1}
    )
    usd, earlier = total(now, "cost_usd"), total(before, "cost_usd")
    for dashboard in ("overview", "cost"):
        shown = ask(asker, dashboard, "cost", length).one()
        assert shown == pytest.approx({"cost": usd, "change": usd / earlier - 1})


@RANGES
@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_rates_over_time_come_to_the_totals(
    asker: Asker, sent: pl.DataFrame, length: timedelta, choice: dict[str, list[str]]
) -> None:
    """A rate times the seconds of its point, over all points, is the total; also at the range's ends."""
    for column, value in choice.items():
        sent = sent.filter(pl.col(column).is_in(value))
    width = max(60, -(-int(length.total_seconds() // POINTS) // 60) * 60)
    if length > timedelta(days=2):
        whole = 3600 if length <= timedelta(days=14) else 86_400
        width = -(-width // whole) * whole
    first, last = (END - length).timestamp(), END.timestamp() + 60

    def summed(panel: str, column: str, per: int) -> float:
        value = 0.0
        for row in ask(asker, "overview", panel, length, **choice).dicts():
            start = datetime.fromisoformat(row["time"]).replace(tzinfo=UTC).timestamp()
            assert start % width == 0
            value += row[column] * (min(start + width, last) - max(start, first)) / per
        return value

    for before, column in ((timedelta(), None), (WEEK, "week_before")):
        of = within(sent, length, before)
        assert summed("calls", column or "requests", 1) == pytest.approx(of.filter("entry").height)
        assert summed("cost_per_minute", column or "cost", 60) == pytest.approx(total(of, "cost_usd"))
    now = within(sent, length)
    assert summed("tokens_per_minute", "output", 60) == pytest.approx(total(now, "tokens_completion"))
    cached = total(now, "tokens_cache_read")
    assert summed("tokens_per_minute", "cache_read", 60) == pytest.approx(cached)
    assert summed("tokens_per_minute", "input", 60) == pytest.approx(total(now, "tokens_prompt") - cached)
    assert summed("calls_by_model", "calls", 60) == pytest.approx(now.filter(MODEL_CALL).height)


def test_movers(asker: Asker, sent: pl.DataFrame) -> None:
    now, before = within(sent, HOUR), within(sent, HOUR, WEEK)
    shown = by(ask(asker, "overview", "movers_cost", HOUR), "dimension", "value")
    differences = [abs(row["difference"]) for row in shown.values()]
    assert differences == sorted(differences, reverse=True)
    for (dimension, value), row in shown.items():
        column = "tenant_id" if dimension == "tenant" else dimension
        name = "" if value == "(none)" else value
        usd, earlier = (total(one.filter(pl.col(column) == name), "cost_usd") for one in (now, before))
        assert (row["cost"], row["week_before"]) == pytest.approx((usd, earlier)), (dimension, value)
        assert row["change"] == pytest.approx(usd / earlier - 1)
    assert {name for name, _ in shown} == {"tenant", "model", "agent", "service"}

    def those(dimension: str, value: str) -> pl.Expr:
        of, column = OF[dimension]
        return of & (pl.col(column) == ("" if value == "(none)" else value))

    for key, row in by(ask(asker, "overview", "movers_errors", HOUR), "dimension", "value").items():
        chosen = those(*key)
        assert row["errors"] == now.filter(chosen, "failed").height
        assert row["week_before"] == before.filter(chosen, "failed").height
        assert row["error_rate"] == pytest.approx(now.filter(chosen)["failed"].mean())
    movers = by(ask(asker, "overview", "movers_latency", HOUR), "dimension", "value")
    assert ("service", "known-gateway") in movers
    for key, row in movers.items():
        chosen = those(*key)
        assert row["calls"] == now.filter(chosen).height >= 20
        assert near_quantile(row["p95"], now.filter(chosen)["latency_ms"], 0.95)
        assert near_quantile(row["week_before"], before.filter(chosen)["latency_ms"], 0.95)


@RANGES
def test_cost_of_sessions_and_tasks(asker: Asker, sent: pl.DataFrame, length: timedelta) -> None:
    now = within(sent, length)
    usd = total(now, "cost_usd")
    sessions = now["session_id"].n_unique()
    assert ask(asker, "cost", "per_session", length).one()["cost"] == pytest.approx(usd / sessions)
    tasks = now.filter("root", ~pl.col("failed")).height
    assert ask(asker, "cost", "per_task", length).one() == pytest.approx(
        {"total": usd, "tasks": tasks, "cost": usd / tasks}
    )
    shown = by(ask(asker, "cost", "tenants", length), "tenant")
    assert set(shown) == set(known.CHOSEN)
    for tenant, row in shown.items():
        of = now.filter(pl.col("tenant_id") == ("" if tenant == "(none)" else tenant))
        cost, tasks = total(of, "cost_usd"), of.filter("root", ~pl.col("failed")).height
        expected = {
            "cost": cost,
            "share": cost / usd,
            "sessions": of["session_id"].n_unique(),
            "per_session": cost / of["session_id"].n_unique(),
            "tasks": tasks,
            "per_task": cost / tasks,
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_a_task_belongs_to_a_filter_that_one_of_its_spans_passes(asker: Asker, sent: pl.DataFrame) -> None:
    of_model = within(sent, HOUR).filter(pl.col("model") == "gpt-4o")
    traces = of_model["trace_id"].unique().to_list()
    tasks = within(sent, HOUR).filter("root", ~pl.col("failed"), pl.col("trace_id").is_in(traces)).height
    row = ask(asker, "cost", "per_task", HOUR, model=["gpt-4o"]).one()
    assert row == pytest.approx(
        {"total": total(of_model, "cost_usd"), "tasks": tasks, "cost": total(of_model, "cost_usd") / tasks}
    )


@RANGES
@pytest.mark.parametrize(
    ("panel", "columns", "shown"),
    [
        ("models", ["provider", "model"], ["provider", "model"]),
        ("prompts", ["prompt_name", "prompt_version"], ["prompt", "version"]),
    ],
    ids=["models", "prompts"],
)
def test_cost_of_model_calls(
    asker: Asker, sent: pl.DataFrame, length: timedelta, panel: str, columns: list[str], shown: list[str]
) -> None:
    rows = by(ask(asker, "cost", panel, length), *shown)
    calls = within(sent, length).filter(MODEL_CALL)
    groups = dict(calls.group_by(columns).__iter__())
    assert set(rows) == set(groups)
    for key, of in groups.items():
        usd, n = total(of, "cost_usd"), of.height
        tokens = total(of, "tokens_prompt") + total(of, "tokens_completion")
        expected = {
            "calls": n,
            "cost": usd,
            "share": usd / total(calls, "cost_usd"),
            "per_call": usd / n,
        }
        if panel == "models":
            expected |= {
                "cached": total(of, "tokens_cache_read") / total(of, "tokens_prompt"),
                "per_million": 1e6 * usd / tokens,
            }
        else:
            expected |= {"input_per_call": total(of, "tokens_prompt") / n}
        assert {name: rows[key][name] for name in expected} == pytest.approx(expected)


@RANGES
@pytest.mark.parametrize("column", ["agent", "workflow"])
def test_cost_of_runs(asker: Asker, sent: pl.DataFrame, length: timedelta, column: str) -> None:
    now = within(sent, length)
    rows = by(ask(asker, "cost", f"{column}s", length), column)
    groups = {key: of for (key,), of in now.group_by(column) if key}
    assert groups.keys() <= rows.keys()
    for key, of in groups.items():
        runs = of.filter(pl.col("kind") == column).height
        usd = total(of, "cost_usd")
        assert (rows[key]["runs"], rows[key]["cost"]) == pytest.approx((runs, usd))
        assert rows[key]["per_run"] == (pytest.approx(usd / runs) if runs else None)


def test_cached_share(asker: Asker, sent: pl.DataFrame) -> None:
    now = within(sent, HOUR)
    share = total(now, "tokens_cache_read") / total(now, "tokens_prompt")
    assert ask(asker, "cost", "cached_share", HOUR).one()["cached"] == pytest.approx(share)


def test_models_without_a_price(asker: Asker, sent: pl.DataFrame) -> None:
    of = within(sent, HOUR).filter(pl.col("cost_source") == "unpriced")
    row = ask(asker, "cost", "unpriced", HOUR).one()
    assert (row["provider"], row["model"], row["calls"]) == ("vllm", "nobody-knows-it", of.height)
    assert (row["input"], row["output"]) == (total(of, "tokens_prompt"), total(of, "tokens_completion"))


def test_the_month_and_its_budget(asker: Asker, sent: pl.DataFrame) -> None:
    month = END.replace(day=1, hour=0, minute=0)
    hour = pl.col("ts").dt.truncate("1h")
    before = sent.filter(hour < END - WEEK, hour >= min(month, END - 2 * WEEK))
    assert total(before, "cost_usd") > 0  # so the pace is that of the whole week
    spent = total(sent.filter(hour >= month), "cost_usd")
    pace = total(sent.filter(hour >= END - WEEK), "cost_usd") / WEEK.total_seconds()
    left = month + timedelta(days=monthrange(END.year, END.month)[1]) - END
    forecast = spent + pace * left.total_seconds()
    assert ask(asker, "cost", "month", HOUR).one() == pytest.approx(
        {"spent": spent, "forecast": forecast}, rel=0.02
    )
    used = ask(asker, "cost", "budget", HOUR, budget="2").one()
    assert used == pytest.approx({"spent": spent / 2, "forecast": forecast / 2})
    used = ask(asker, "cost", "budget", HOUR, budget="").one()
    assert used == pytest.approx({"spent": spent / 4, "forecast": forecast / 4})
    tenants = ask(asker, "cost", "month_by_tenant", HOUR).dicts()
    assert sum(row["spent"] for row in tenants) == pytest.approx(spent)
    assert {row["tenant"] for row in tenants} > {known.TENANTS[0]}
    for row in tenants:
        budget = 1 if row["tenant"] == known.TENANTS[0] else 4
        assert row["share"] == pytest.approx(row["forecast"] / budget)


@RANGES
def test_routes_models_and_agents(asker: Asker, sent: pl.DataFrame, length: timedelta) -> None:
    now = within(sent, length)
    for panel, names, columns, of_kind, count in (
        ("routes", ["service", "route"], ["service", "route"], pl.col("entry"), "requests"),
        ("models", ["provider", "model"], ["provider", "model"], MODEL_CALL, "calls"),
        ("agents", ["agent"], ["agent"], pl.col("kind") == "agent", "runs"),
    ):
        rows = by(ask(asker, "latency", panel, length), *names)
        groups = {
            tuple(one or "(none)" for one in key) if len(key) > 1 else key[0]: of
            for key, of in now.filter(of_kind).group_by(columns)
        }
        assert rows.keys() == groups.keys()
        for key, of in groups.items():
            row = rows[key]
            assert row[count] == of.height
            assert row["error_rate"] == pytest.approx(of["failed"].mean())
            assert near_quantile(row["p95"], of["latency_ms"], 0.95)
            assert near_quantile(row["p50"], of["latency_ms"], 0.5)
        if panel == "models":
            assert all(near_quantile(rows[key]["ttft"], of["ttft_ms"], 0.95) for key, of in groups.items())


def test_latency_over_time(asker: Asker, sent: pl.DataFrame) -> None:
    """Each point has the percentile of its minute."""
    now = within(sent, HOUR)
    for panel, column, of in (
        ("by_route", "route", pl.col("entry") & (pl.col("route") != "")),
        ("by_model", "model", MODEL_CALL),
        ("ttft_by_model", "model", MODEL_CALL),
    ):
        latency = "ttft_ms" if panel == "ttft_by_model" else "latency_ms"
        points = by(ask(asker, "latency", panel, HOUR), "time", column)
        groups = dict(now.filter(of).group_by(pl.col("ts").dt.truncate("1m"), column).__iter__())
        assert len(points) == len(groups)
        for (minute, name), group in groups.items():
            shown = points[f"{minute:%Y-%m-%d %H:%M:%S}", name]["p95"]
            assert near_quantile(shown, group[latency], 0.95)


def test_errors_and_their_types(asker: Asker, sent: pl.DataFrame) -> None:
    failed = within(sent, HOUR).filter("failed")
    rows = by(ask(asker, "latency", "error_types", HOUR), "error", "kind", "service")
    groups = dict(failed.group_by("error_type", "kind", "service").__iter__())
    assert rows.keys() == groups.keys()
    for key, of in groups.items():
        latest = of.sort("ts").row(-1, named=True)
        assert rows[key]["errors"] == of.height
        assert rows[key]["traces"] == of["trace_id"].n_unique()
        assert rows[key]["trace"] == latest["trace_id"]
        assert rows[key]["message"] == f"{latest['name']} broke"
    points = ask(asker, "latency", "errors_by_type", HOUR).dicts()
    assert sum(point["errors"] for point in points) == pytest.approx(failed.height)


@RANGES
def test_tools(asker: Asker, sent: pl.DataFrame, length: timedelta) -> None:
    runs = within(sent, length).filter(pl.col("kind") == "tool")
    success = 1 - runs["failed"].mean()  # type: ignore[operator]
    assert ask(asker, "latency", "tool_success", length).one()["success"] == pytest.approx(success)
    row = ask(asker, "latency", "tools", length).one()
    assert (row["tool"], row["service"], row["runs"]) == ("known-search", "known-agent", runs.height)
    assert row["success"] == pytest.approx(success)
    assert row["errors"] == runs.filter("failed").height


def test_slowest_traces(asker: Asker, sent: pl.DataFrame) -> None:
    roots = within(sent, HOUR).filter("root").sort("latency_ms", "trace_id", descending=[True, False])
    rows = ask(asker, "latency", "slowest", HOUR).dicts()
    assert [row["trace"] for row in rows] == roots["trace_id"].to_list()[:25]
    assert rows[0]["duration"] == roots["latency_ms"][0]
    of_model = within(sent, HOUR).filter(pl.col("model") == "gpt-4o")["trace_id"].unique().to_list()
    roots = roots.filter(pl.col("trace_id").is_in(of_model))
    rows = ask(asker, "latency", "slowest", HOUR, model=["gpt-4o"]).dicts()
    assert [row["trace"] for row in rows] == roots["trace_id"].to_list()[:25]


def found(asker: Asker, length: timedelta = HOUR, **asked: str | Sequence[str]) -> set[str]:
    rows = ask(asker, "traces", "traces", length, **{"trace_id": "", **asked}).dicts()
    assert len(rows) < 100  # or some may be missing
    assert ask(asker, "traces", "found", length, **{"trace_id": "", **asked}).one()["traces"] == len(rows)
    return {row["trace"] for row in rows}


def test_traces_are_found_by_what_is_known_of_a_span(asker: Asker, sent: pl.DataFrame) -> None:
    now = within(sent, HOUR)

    def having(*conditions: pl.Expr) -> set[str]:
        return set(now.filter(*conditions)["trace_id"])

    everything = having()
    failing = having(pl.col("failed"))
    assert found(asker) == everything
    assert found(asker, search="BROKE", status="an error") == failing
    assert found(asker, status="an error") == failing
    assert found(asker, status="no error") == everything - failing
    assert found(asker, status="failed") == having(pl.col("root"), pl.col("failed"))
    assert found(asker, min_ms="9000") == having(pl.col("latency_ms") >= 9000)
    assert found(asker, search="KNOWN-search") == everything
    assert found(asker, search="timeout", model=[]) == having(pl.col("error_type") == "timeout")
    assert found(asker, model=["gpt-4o"]) == having(pl.col("model") == "gpt-4o")
    assert found(asker, search="' OR 1=1 --") == set()
    one = now.filter(MODEL_CALL).row(7, named=True)
    assert found(asker, search=f"known.number={int(one['span_id'], 16)}") >= {one["trace_id"]}
    assert found(asker, trace_id=f" {one['trace_id'].upper()} ") == {one["trace_id"]}


def test_a_named_trace_or_session_is_found_whenever_it_was(asker: Asker, sent: pl.DataFrame) -> None:
    old = sent.sort("ts").row(0, named=True)
    assert old["ts"] < END - MONTH
    assert found(asker, trace_id=old["trace_id"]) == {old["trace_id"]}
    of_session = set(sent.filter(pl.col("session_id") == old["session_id"])["trace_id"])
    assert found(asker, session_id=old["session_id"]) == of_session


def test_one_trace(asker: Asker, sent: pl.DataFrame) -> None:
    trace = within(sent, HOUR).filter("failed", MODEL_CALL.not_())["trace_id"][0]
    spans = sent.filter(pl.col("trace_id") == trace).sort(
        "ts", "latency_ms", "span_id", descending=[False, True, False]
    )
    chosen = {"trace_id": trace}
    (row,) = ask(asker, "traces", "traces", HOUR, **chosen).dicts()
    root = spans.filter("root").row(0, named=True)
    assert (row["first_span"], row["entered"], row["session"]) == (
        "POST",
        "known-gateway",
        root["session_id"],
    )
    assert row["tenant"] == (root["tenant_id"] or "(none)")
    summary = ask(asker, "traces", "summary", HOUR, **chosen).one()
    expected = {
        "spans": spans.height,
        "model_calls": spans.filter(MODEL_CALL).height,
        "tokens": total(spans, "tokens_prompt") + total(spans, "tokens_completion"),
        "cost": total(spans, "cost_usd"),
        "errors": spans.filter("failed").height,
    }
    for shown in (summary, row):
        assert {name: shown[name] for name in expected} == pytest.approx(expected)
        assert shown["duration"] == pytest.approx(root["latency_ms"], abs=0.01)

    waterfall = ask(asker, "traces", "waterfall", HOUR, **chosen).dicts()
    assert [one["spanID"] for one in waterfall] == spans["span_id"].to_list()
    assert [one["parentSpanID"] for one in waterfall] == spans["parent_span_id"].to_list()
    assert [one["serviceName"] for one in waterfall] == spans["service"].to_list()
    assert [one["duration"] for one in waterfall] == spans["latency_ms"].to_list()
    starts = spans["ts"].dt.epoch("us") / 1000
    assert [one["startTime"] for one in waterfall] == pytest.approx(starts.to_list(), rel=1e-15, abs=0.001)
    assert [one["statusCode"] == 2 for one in waterfall] == spans["failed"].to_list()
    tags = {tag["key"]: tag["value"] for tag in waterfall[0]["tags"]}
    assert tags["known.number"] == str(int(spans["span_id"][0], 16))

    for one, failed in zip(waterfall, spans["failed"], strict=True):
        message = {"key": "exception.message", "value": f"{one['operationName']} broke"}
        assert [event["fields"] for event in one["logs"]] == ([[message]] if failed else [])

    table = ask(asker, "traces", "spans", HOUR, **chosen).dicts()
    assert [one["duration"] for one in table] == spans["latency_ms"].to_list()
    assert table[0]["after"] == 0
    events = ask(asker, "traces", "events", HOUR, **chosen).dicts()
    assert len(events) == spans.filter("failed").height
    assert {one["event"] for one in events} == {"exception"}
