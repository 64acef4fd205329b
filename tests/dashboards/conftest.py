from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pytest
import requests
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanhouse.config import Config
from spanhouse.dashboards.macros import Chosen, Query, expand
from spanhouse.dashboards.model import VARIABLES, Dashboard, dashboards
from spanhouse.demo.send import Sender
from spanhouse.demo.workflows import request
from spanhouse.demo.world import World
from spanhouse.exporters import native
from spanhouse.exporters.beside import split
from spanhouse.objectives import set_statements
from spanhouse.processing import Processed, build_processing
from spanhouse.processors.guard import Guard
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.price import Price
from spanhouse.processors.scrub import Scrub
from tests.clickhouse_http.conftest import Door, Doors, start
from tests.dashboards import data, known

# The time ranges end here; rows of the future are refused, those of 90 days ago dropped.
END: Final = datetime.now(UTC).replace(second=0, microsecond=0)
HOUR: Final = timedelta(hours=1)
MONTH: Final = timedelta(days=30)
# Points of a chart.
POINTS: Final = 500


@dataclass
class Answer:
    """A result: names and types of its columns, its rows."""

    columns: dict[str, str]
    rows: list[list[Any]]

    def dicts(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def one(self) -> dict[str, Any]:
        (row,) = self.dicts()
        return row


@dataclass
class Asker:
    """Asks what dashboards ask, as a reader on the endpoint."""

    door: Door
    # Values of dashboards' own variables that have no good default.
    own: dict[str, str] = field(default_factory=dict)

    def select(self, statement: str) -> Answer:
        answer = self.door.ask(
            statement,
            default_format="JSONCompactEachRowWithNamesAndTypes",
            output_format_json_quote_64bit_integers="0",
            # What is not a finite number comes as text, and is found out.
            output_format_json_quote_denormals="1",
        )
        assert answer.status_code == 200, f"{answer.text}\n{statement}"
        # Not `splitlines`, which ends lines at more than a line feed.
        names, types, *rows = (json.loads(line) for line in answer.text.rstrip("\n").split("\n"))
        return Answer(dict(zip(names, types, strict=True)), rows)

    def panel(
        self,
        dashboard: str,
        panel: str,
        length: timedelta = HOUR,
        /,
        end: datetime = END,
        **chosen: str | Sequence[str],
    ) -> Answer:
        """What a panel shows of the time up to `end`; other variables are at All or their default."""
        found = dashboards()[dashboard]
        values: dict[str, Chosen] = {
            name: [value] if isinstance(value, str) else value for name, value in chosen.items()
        }
        query = self.query(found, length, end, values)
        return self.select(expand(found.statement(panel), query))

    def query(
        self, dashboard: Dashboard, length: timedelta, end: datetime, chosen: Mapping[str, Chosen]
    ) -> Query:
        interval_s = max(1, int(length.total_seconds()) // POINTS)
        values: dict[str, Chosen] = dict.fromkeys(VARIABLES)
        for variable in dashboard.variables:
            value = self.own.get(variable.name) or variable.default
            if not value and variable.query:
                statement = expand(dashboard.statement(variable.query), Query(end - length, end, interval_s))
                value = next((row[0] for row in self.select(statement).rows), "")
            values[variable.name] = [value]
        return Query(end - length, end, interval_s, values | dict(chosen))


def demo_payloads() -> list[bytes]:
    """The demo's requests: a busy hour, the same a week before, and little over five weeks."""
    exporters: list[InMemorySpanExporter] = []

    def exporter() -> InMemorySpanExporter:
        exporters.append(InMemorySpanExporter())
        return exporters[-1]

    chance = random.Random(11)
    sender, world = Sender(exporter), World(40, random.Random(12))
    ages = [chance.uniform(1, 3600) for _ in range(120)]
    ages += [7 * 86_400 + chance.uniform(1, 3600) for _ in range(80)]
    ages += [chance.uniform(3600, 37 * 86_400) for _ in range(250)]
    for age in sorted(ages, reverse=True):
        sender.send(request(world), int((END.timestamp() - age) * 1e9))
    sender.close()
    return [encode_spans(one.get_finished_spans()).SerializeToString() for one in exporters]


def store(door: Door, payloads: Sequence[bytes]) -> None:
    """Put spans through all processors into the tables."""
    steps = [("normalize", Normalize()), ("price", Price()), ("scrub", Scrub("key")), ("guard", Guard())]
    for result in build_processing(steps).run(payloads):
        assert isinstance(result, Processed)
        assert result.finished.rejected.is_empty(), result.finished.rejected
        insert_rows(door, result.finished.rows)


def insert_rows(door: Door, rows: pl.DataFrame) -> None:
    """Insert what processing made."""
    of_spans, beside = split(rows)
    for table, part in {"agent_events": of_spans, **beside}.items():
        columns = ", ".join(f"`{name}`" for name in native.names(part.columns))
        post(door, f"INSERT INTO {table} ({columns}) FORMAT Native", b"".join(native.block(part)))


def insert(door: Door, table: pa.Table) -> None:
    """Insert columns of `agent_events`."""
    columns = ", ".join(f"`{name}`" for name in table.column_names)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    post(door, f"INSERT INTO agent_events ({columns}) FORMAT ArrowStream", sink.getvalue().to_pybytes())


def post(door: Door, query: str, data: bytes) -> None:
    """Run an insert with its data."""
    answer = requests.post(door.url, data=data, params={"query": query}, timeout=120)
    assert answer.status_code == 200, answer.text


def _doors(folder: Path) -> Iterator[Doors]:
    doors = start(folder / "data")
    yield doors
    assert doors.stop() == 0


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    """A store with nothing in it."""
    for doors in _doors(tmp_path_factory.mktemp("dashboards-empty")):
        yield Asker(doors.read)


@pytest.fixture(scope="session")
def sent() -> pl.DataFrame:
    """The known spans, as they should be stored."""
    return known.table(known.known(END))


@pytest.fixture(scope="session")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    """A store with the demo's spans and the known ones, and two budgets."""
    config = Config.model_validate(
        {"budgets": [{"usd_per_month": 4}, {"tenant_id": known.TENANTS[0], "usd_per_month": 1}]}
    )
    for doors in _doors(tmp_path_factory.mktemp("dashboards")):
        store(doors.write, [*demo_payloads(), known.payload(known.known(END))])
        for statement in set_statements(config):
            doors.write.text(statement)
        # As if each span had been stored a while after its end.
        stored = "ts + toIntervalMillisecond(toInt64(latency_ms) + 1500)"
        doors.write.text(
            f"ALTER TABLE agent_events UPDATE ingested_at = {stored} WHERE 1", mutations_sync="2"
        )
        asker = Asker(doors.read)
        (trace,) = asker.select(
            "SELECT trace_id FROM agent_events WHERE kind = 'llm' AND status = 'error' "
            "ORDER BY ts DESC LIMIT 1"
        ).rows
        asker.own["trace_id"] = trace[0]
        yield asker


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    """A store with the rows of `data`, and two objectives."""
    shop = {"service": "shop", "availability": 0.8, "latency_ms": 100, "latency_share": 0.4}
    config = Config.model_validate({"objectives": [{}, shop]})
    for doors in _doors(tmp_path_factory.mktemp("dashboards-small")):
        rows = [*data.slo(END), *data.prompts(END), *data.users(END)]
        insert = "INSERT INTO agent_events FORMAT JSONEachRow"
        answer = doors.write.ask(data.json_lines(rows), query=insert)
        assert answer.status_code == 200, answer.text
        for statement in set_statements(config):
            doors.write.text(statement)
        yield Asker(doors.read)
