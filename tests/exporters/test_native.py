"""The Native block: what is in it is tested by tests/test_rows.py, through the store and back."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from spanhouse.exporters import native
from spanhouse.exporters.clickhouse import EmbeddedClickHouse
from spanhouse.rows import ROW
from spanhouse.store import Store
from spanhouse.views import arrays
from tests.exporters.conftest import rows


def columns(frame: pl.DataFrame) -> list[tuple[str, str, object]]:
    made = native._Columns()
    for name, column in arrays(frame).items():
        made.add(name, column)
    return [*made.columns]


def test_types_are_those_of_the_table(tmp_path: Path) -> None:
    """Of other types the engine would take them as well, and convert every value."""
    with Store(tmp_path) as store:
        found = dict(
            row.split("\t")
            for row in store.rows("SELECT name, type FROM system.columns WHERE table = 'agent_events'")
        )
    made = {name: kind for name, kind, _ in columns(rows(3))}
    assert {name: found[name].replace("\\'", "'") for name in made} == made


def test_every_column_of_rows_is_written() -> None:
    made = [name for name, _, _ in columns(rows(1))]
    assert made == native.names([*ROW, "topic", "partition", "offset"])


@pytest.mark.parametrize("count", [1, 200, 300, 66_000])
def test_numbers_are_as_wide_as_needed(count: int, tmp_path: Path) -> None:
    frame = rows(count).with_columns(name="span_id")
    with Store(tmp_path) as store:
        exporter = EmbeddedClickHouse(store)
        exporter.insert(frame)
        exporter.close()
        (found,) = store.rows("SELECT count(), countIf(name = span_id), uniqExact(name) FROM agent_events")
    assert found == f"{count}\t{count}\t{count}"
