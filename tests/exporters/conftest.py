from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import polars as pl
import pytest

from spanhouse import rollups
from spanhouse.batch import CONTENT, EVALUATIONS
from spanhouse.exporters.clickhouse_server import ClickHouseServer
from spanhouse.otlp.decode import Decoder
from spanhouse.processors.normalize import Normalize
from spanhouse.rows import finish
from tests.harness import COUNTED, request
from tests.parts.clickhouse import ClickHouse

# All tables that an insert writes to.
STORED = (
    "agent_events",
    "agent_metrics_1m_state",
    "agent_metrics_1h_state",
    "agent_metrics_1d_state",
    "content",
    "evaluations",
)
NORMALIZE = Normalize()
DECODER = Decoder(NORMALIZE.wanted)
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


def rows(
    count: int = 3,
    *,
    first: int = 0,
    partition: int = 0,
    start: dt.datetime = NOW,
    step: dt.timedelta = dt.timedelta(0),
) -> pl.DataFrame:
    """Rows of one span per offset, `step` apart in time, of half a dollar each."""
    message = request(count, gen_ai__request__model="gpt-4o-mini", gen_ai__usage__input_tokens=7)
    for number, span in enumerate(message.resource_spans[0].scope_spans[0].spans):
        span.start_time_unix_nano = int((start + number * step).timestamp()) * 1_000_000_000
        span.end_time_unix_nano = span.start_time_unix_nano + 250_000_000
    decoded = DECODER.decode([message.SerializeToString()]).batch
    return finish(NORMALIZE(decoded), NORMALIZE.targets).rows.with_columns(
        cost_usd=pl.lit(Decimal("0.5"), pl.Decimal(18, 10)),
        topic=pl.lit("spans"),
        partition=pl.lit(partition, pl.Int32),
        offset=pl.int_range(first, first + count, dtype=pl.Int64),
    )


def with_content(table: pl.DataFrame, texts: int = 2) -> pl.DataFrame:
    """The rows, every other one with so many texts of content."""
    one = {"kind": "input", "event": "", "key": "gen_ai.prompt", "type": 1, "bytes": 5, "truncated": False}
    content = [
        [one | {"value": f"text {i}"} for i in range(texts if row % 2 == 0 else 0)]
        for row in range(table.height)
    ]
    return table.with_columns(pl.Series("content", content, dtype=CONTENT))


def with_evaluations(table: pl.DataFrame) -> pl.DataFrame:
    """The rows, each with a score and the first ones with a user's feedback of their parent as well."""
    score = {
        "type": "evaluation",
        "name": "tone",
        "score": 0.5,
        "label": "",
        "explanation": "",
        "evaluator": "x",
    }
    feedback = score | {"type": "feedback", "score": None, "label": "good", "of_parent": True}
    told = [[score | {"of_parent": False}, *([feedback] if row < 2 else [])] for row in range(table.height)]
    return table.with_columns(pl.Series("evaluations", told, dtype=EVALUATIONS))


def totals(clickhouse: ClickHouse) -> list[tuple[int, int]]:
    """(spans, input tokens) by the rows and by the rollups."""
    found = []
    for table, calls in COUNTED.items():
        (row,) = clickhouse.sql(
            f"SELECT {calls} AS calls, sum(tokens_prompt) AS tokens FROM {table} "
            "SETTINGS output_format_json_quote_64bit_integers = 0"
        )
        found.append((row["calls"], row["tokens"]))
    return found


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "_LOOK_AGAIN_SECONDS", 0.0)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with ClickHouse(tmp_path_factory.mktemp("clickhouse")) as clickhouse:
        yield clickhouse


@pytest.fixture
def server(clickhouse: ClickHouse) -> Iterator[ClickHouseServer]:
    """An exporter into empty tables that remember no insert."""
    for table in STORED:
        clickhouse.sql(f"TRUNCATE TABLE {table}")
    server = ClickHouseServer(clickhouse.url, "spanhouse", "", "")
    yield server
    server.close()
