"""Costs of stored rows made anew, on a server and in a store: exact, repeatable, rollups included."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from spanhouse import reprice as module
from spanhouse.config import Config, load
from spanhouse.errors import UserError
from spanhouse.exporters.clickhouse_server import ClickHouseServer
from spanhouse.processors.price import Price
from spanhouse.reprice import reprice
from tests.exporters.conftest import rows
from tests.harness import Instance, request
from tests.parts.clickhouse import ClickHouse

TODAY = dt.datetime.now(dt.UTC).date()
# Two days, so that nothing is younger than `rollups.QUIET_SECONDS` but by when it was stored.
FIRST, LAST = TODAY - dt.timedelta(days=3), TODAY - dt.timedelta(days=2)
START = dt.datetime.combine(FIRST, dt.time(1), dt.UTC)
MODELS = [
    ("openai", "gpt-5"), ("openai", "gpt-4o"), ("", "gpt-4o"), ("anthropic", "claude-sonnet-4-5"),
    ("gcp.gemini", "gemini-2.5-pro"), ("deepseek", "deepseek-chat"), ("ollama", "house-large"),
    ("ollama", "house-small"), ("openai", "no'such\\ model\n"), ("openai", "__other__"),
]  # fmt: skip
TIERS = ["", "flex", "priority", "batch", "nonsense"]
PRICES = """
prices:
  - {model: house-large, input: 0.000000123457, cache_read: 0.000000000003, output: 0.3, per_request: 0.0007,
     tiers: [{above: 100, input: 0.7}, {above: 100000, output: 9, input: 0.8}]}
"""
TOKENS = ("tokens_prompt", "tokens_completion", "tokens_cache_read", "tokens_cache_write", "tokens_reasoning")


def calls(count: int, seed: int) -> pl.DataFrame:
    """Rows with random models, tiers, tokens and times, whose costs are wrong."""
    rng = np.random.default_rng(seed)
    picked = [MODELS[i] for i in rng.integers(len(MODELS), size=count)]
    parts = rng.integers(0, 10 ** rng.integers(0, 6, (5, count)))
    parts[:, : count // 10] = 0
    uncached, read, write, answer, reasoning = parts
    tokens = (uncached + read + write, answer + reasoning, read, write, reasoning)
    tiers = [TIERS[i] for i in rng.integers(len(TIERS), size=count)]
    table = rows(count, start=START, step=dt.timedelta(days=2) / count * 0.95)
    attribute = {"key": "openai.response.service_tier", "type": 1}
    return table.with_columns(
        pl.Series("provider", [provider for provider, _ in picked]),
        pl.Series("model", [model for _, model in picked]),
        *(pl.Series(name, values.astype(np.uint64)) for name, values in zip(TOKENS, tokens, strict=True)),
        pl.Series(
            "attrs", [[attribute | {"value": tier}] if tier else [] for tier in tiers], table.schema["attrs"]
        ),
        pl.Series(
            "cost_source",
            np.where(
                tokens[0] + tokens[1] == 0, "none", rng.choice(["computed", "unpriced", "reported"], count)
            ),
        ),
        service_tier=pl.Series(tiers),
    )


def expected(table: pl.DataFrame, price: Price) -> dict[str, tuple[Any, ...]]:
    batch = table.with_columns(
        start_ns=table["ts"].dt.epoch("ns").cast(pl.UInt64), reported_cost_usd=pl.lit(None, pl.Float64)
    )
    priced = price(batch)
    kept = table["cost_source"].is_in(["reported", "none"]) | (table["model"] == "__other__")
    frame = pl.DataFrame([table["span_id"], table["model"]]).with_columns(
        cost=pl.when(pl.lit(kept)).then(table["cost_usd"]).otherwise(priced["cost_usd"]),
        source=pl.when(pl.lit(kept)).then(table["cost_source"]).otherwise(priced["cost_source"]),
        computed=pl.when(pl.col("model") != "__other__").then(priced["cost_computed_usd"]),
    )
    frame = frame.drop("model")
    return {row[0]: row[1:] for row in frame.with_columns(pl.col("cost", "computed").cast(pl.String)).rows()}


def stored(clickhouse: ClickHouse) -> dict[str, tuple[Any, ...]]:
    text = "toDecimalString(cost_usd, 10) AS cost, toDecimalString(cost_computed_usd, 10) AS computed"
    found = clickhouse.sql(f"SELECT span_id, {text}, cost_source AS source FROM agent_events")
    return {row["span_id"]: (row["cost"], row["source"], row["computed"]) for row in found}


def by_model(clickhouse: ClickHouse) -> list[list[dict[str, Any]]]:
    """Costs, calls and unpriced calls per model, by rows, by minutes and by hours."""
    tables = {
        "agent_events": "count() AS n, countIf(cost_source = 'unpriced') AS u",
        "agent_metrics_1m": "sum(calls) AS n, sum(unpriced) AS u",
        "agent_metrics_1h": "sum(calls) AS n, sum(unpriced) AS u",
        "agent_metrics_1d": "sum(calls) AS n, sum(unpriced) AS u",
    }
    text = "SELECT provider, model, toString(sum(cost_usd)) AS usd"
    return [
        clickhouse.sql(f"{text}, {what} FROM {table} GROUP BY ALL ORDER BY ALL")
        for table, what in tables.items()
    ]


def percentiles(clickhouse: ClickHouse) -> list[dict[str, Any]]:
    states = "sumMap(latency_histogram) AS p, uniqMerge(sessions), sum(tokens_prompt)"
    return [
        clickhouse.sql(f"SELECT {states} FROM {table}_state")[0]
        for table in ("agent_metrics_1m", "agent_metrics_1h", "agent_metrics_1d")
    ]


@pytest.fixture
def config(clickhouse: ClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(module.rollups, "QUIET_SECONDS", 0)
    (tmp_path / "prices.yaml").write_text(PRICES)
    path = tmp_path / "spanhouse.yaml"
    clickhouse_section = f"exporters: {{clickhouse: {{url: '{clickhouse.url}'}}}}"
    path.write_text(f"processors: {{price: {{file: prices.yaml}}}}\n{clickhouse_section}\n")
    return load(path, {})


def run(config: Config, *, dry_run: bool = False, agreed: bool = True) -> tuple[int, list[str]]:
    said: list[str] = []
    return reprice(config, FIRST, LAST, said.append, dry_run=dry_run, agreed=lambda: agreed), said


@pytest.mark.parametrize("seed", [1, 2])
def test_rows_cost_what_they_would_now_and_rollups_agree(
    server: ClickHouseServer, clickhouse: ClickHouse, config: Config, seed: int
) -> None:
    table = calls(1500, seed)
    server.insert(table.drop("service_tier"), token="a")
    before, states = stored(clickhouse), percentiles(clickhouse)
    assert run(config, dry_run=True)[0] == 0
    assert run(config, agreed=False)[0] == 1
    assert stored(clickhouse) == before
    code, said = run(config)
    assert code == 0, said
    wanted = expected(table, Price(config.processors["price"]["file"]))
    assert stored(clickhouse) == wanted
    in_rows, *in_rollups = by_model(clickhouse)
    assert in_rollups == [in_rows] * 3
    assert percentiles(clickhouse) == states
    assert any("replaced their model" in line for line in said)
    parts = clickhouse.sql(
        "SELECT name FROM system.parts WHERE table = 'agent_events' AND active ORDER BY name"
    )
    code, said = run(config)
    assert (code, said[-3].split(", ")[-1]) == (0, "0 get other costs")
    assert by_model(clickhouse) == [in_rows] * 4
    again = clickhouse.sql("SELECT count() AS n FROM agent_metrics_1m_state WHERE calls = 0")
    assert len(parts) == 2
    assert again


def test_cut_off_anywhere_and_run_again_nothing_counts_twice(
    server: ClickHouseServer, clickhouse: ClickHouse, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = calls(300, 3)
    server.insert(table.drop("service_tier"), token="a")
    do, done = module.Target.do, 0
    wanted = expected(table, Price(config.processors["price"]["file"]))

    class CutOff(Exception):  # noqa: N818
        pass

    for at in range(20):
        number = 0

        def stop(self: module.Target, *arguments: Any, **parameters: Any) -> None:
            nonlocal number
            number += 1
            do(self, *arguments, **parameters)
            if number > at:  # noqa: B023
                raise CutOff

        server_empty(clickhouse)
        server.insert(table.drop("service_tier"), token=f"again {at}")
        monkeypatch.setattr(module.Target, "do", stop)
        try:
            run(config)
        except CutOff:
            done += 1
        else:
            break
        monkeypatch.setattr(module.Target, "do", do)
        assert run(config)[0] == 0
        assert stored(clickhouse) == wanted
        in_rows, *in_rollups = by_model(clickhouse)
        assert in_rollups == [in_rows] * 3
    assert done >= 3


def server_empty(clickhouse: ClickHouse) -> None:
    for name in (
        "agent_events",
        "agent_metrics_1m_state",
        "agent_metrics_1h_state",
        "agent_metrics_1d_state",
    ):
        clickhouse.sql(f"TRUNCATE TABLE {name}")


def test_prices_to_and_fro_come_to_agree(
    server: ClickHouseServer, clickhouse: ClickHouse, config: Config
) -> None:
    server.insert(calls(200, 4).drop("service_tier"), token="a")
    file = config.processors["price"]["file"]
    sums = []
    for price in ("1", "2", "1", "2", "1"):
        file.write_text(f"prices: [{{model: house-small, input: {price}, output: 3}}]")
        assert run(config)[0] == 0
        in_rows, *in_rollups = by_model(clickhouse)
        assert in_rollups == [in_rows] * 3
        sums.append(in_rows)
    assert sums[0] == sums[2] == sums[4] != sums[1] == sums[3]


def test_rollups_into_which_rows_come_wait(
    server: ClickHouseServer, clickhouse: ClickHouse, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.rollups, "QUIET_SECONDS", 3600)
    server.insert(calls(50, 5).drop("service_tier"), token="a")
    code, said = run(config)
    assert code == 1
    assert "run this again" in said[-1]
    monkeypatch.setattr(module.rollups, "QUIET_SECONDS", 0)
    assert run(config)[0] == 0
    in_rows, *in_rollups = by_model(clickhouse)
    assert in_rollups == [in_rows] * 3


def spanhouse(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spanhouse", *arguments],
        capture_output=True, text=True, timeout=120, check=False, cwd=cwd, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def costs(data: Path, cwd: Path) -> Sequence[str]:
    tables = ("agent_events", "agent_metrics_1m", "agent_metrics_1h", "agent_metrics_1d")
    query = " UNION ALL ".join(f"SELECT '{name}', toString(sum(cost_usd)) FROM {name}" for name in tables)
    done = spanhouse("sql", "--data", str(data), "--format", "csv", query, cwd=cwd)
    return sorted(line.split(",")[1].strip('"') for line in done.stdout.splitlines()[1:])


def test_the_command_on_a_store(tmp_path: Path) -> None:
    data, today = tmp_path / "data", str(TODAY)
    days = ("--data", str(data), "--from", str(TODAY - dt.timedelta(days=1)), "--to", today)
    usage = {"gen_ai__usage__input_tokens": 1000, "gen_ai__usage__output_tokens": 100}
    with Instance(data) as instance:
        message = request(3, gen_ai__request__model="house", gen_ai__provider__name="vllm", **usage)
        assert instance.post(message.SerializeToString())[0] == 200
        running = spanhouse("reprice", *days, "--yes", cwd=tmp_path)
        assert running.returncode == 1
        assert "stop it until this is done" in running.stderr
        assert instance.stop() == 0
    unpriced = spanhouse("prices", "--unpriced", "--data", str(data), cwd=tmp_path)
    assert unpriced.stdout.splitlines()[1].split()[:4] == ["vllm", "house", "3", "3,300"], unpriced.stderr
    (tmp_path / "prices.yaml").write_text("prices:\n  - {model: house, input: 1, output: 10}\n")
    (tmp_path / "spanhouse.yaml").write_text("processors: {price: {file: prices.yaml}}\n")
    dry = spanhouse("reprice", *days, "--dry-run", cwd=tmp_path)
    assert "3 -> 0" in dry.stdout, dry.stderr
    assert costs(data, tmp_path) == ["0"] * 4
    assert "add --yes" in spanhouse("reprice", *days, cwd=tmp_path).stderr
    done = spanhouse("reprice", *days, "--yes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert costs(data, tmp_path) == ["0.006"] * 4
    assert not (data / "running.json").exists()


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no store"):
        run(Config(data=tmp_path))
    assert spanhouse("reprice", "--from", "2026-11-02", "--to", "2026-11-01", cwd=tmp_path).returncode == 2
