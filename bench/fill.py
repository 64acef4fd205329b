"""Fills a store with events of the last 30 days; what `bench.storage` and `bench.reads` measure.

    .venv/bin/python -m bench.fill --data /tmp/spanhouse-bench --events 2000000

The events are copies of the demo's traces, which have passed all processors, with ids, people, times and
numbers of their own: the same ones for the same number of events and the same seed. The engine makes them
itself, from numbers, and the materialized views run as for any insert.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bench.stages import processing
from spanhouse.demo.send import Sender
from spanhouse.demo.workflows import request
from spanhouse.demo.world import World
from spanhouse.exporters import native
from spanhouse.exporters.beside import split
from spanhouse.processing import Processed
from spanhouse.store import EVERY_BLOCK, Store, statements

DAYS: Final = 30
# Requests of the demo that are copied.
_TEMPLATES: Final = 400
# How much later each of them ends than the one before, so that none begins before another has ended.
_APART_NS: Final = 3_600_000_000_000
_DAY_NS: Final = 86_400_000_000_000
_FILL: Final = Path(__file__).with_name("fill.sql")
_POSITIONS: Final = """
CREATE TABLE bench.spans ENGINE = Memory AS
WITH
    begun AS (SELECT *, min(ts) OVER (PARTITION BY trace_id) AS began FROM bench.rows),
    numbered AS
    (
        SELECT
            *,
            toUInt64(row_number() OVER (ORDER BY began, ts, latency_ms DESC, name) - 1) AS position,
            toUInt64(dense_rank() OVER (ORDER BY began) - 1) AS trace,
            toUnixTimestamp64Nano(ts) - toUnixTimestamp64Nano(began) AS after_ns
        FROM begun
    )
SELECT
    n.* REPLACE (
        CAST(n.attrs, 'Map(String, String)') AS attrs, CAST(n.resource, 'Map(String, String)') AS resource
    ),
    if(p.span_id = '', -1, toInt64(p.position)) AS parent,
    -- Attributes that are no span's but its own.
    CAST(
        arrayFirst(
            key -> mapContains(n.attrs, key), ['gen_ai.response.id', 'gen_ai.tool.call.id', 'mcp.session.id']
        ),
        'String'
    ) AS id_key,
    transform(id_key, ['gen_ai.response.id', 'gen_ai.tool.call.id'], ['resp_', 'call_'], '') AS id_prefix,
    if(id_prefix = '', 16, 12) AS id_length,
    toFloat64OrZero(n.attrs['gen_ai.response.time_to_first_chunk']) AS first_chunk,
    arrayConcat(
        if(id_key = '', [], [id_key]), if(first_chunk = 0, [], ['gen_ai.response.time_to_first_chunk'])
    ) AS own_keys
FROM numbered AS n
LEFT JOIN (SELECT trace_id, span_id, position FROM numbered) AS p
    ON p.trace_id = n.trace_id AND p.span_id = n.parent_span_id
ORDER BY position
"""
_ROLLUPS: Final = ("agent_metrics_1m_state", "agent_metrics_1h_state", "agent_metrics_1d_state")
# Rows of one insert, which are in memory at once: a part of a day, unless that is little.
_INSERTS: Final = 3 * DAYS
_LEAST: Final = 1_000_000


def templates(seed: int) -> pl.DataFrame:
    """Rows of `agent_events` of requests of the demo, as the processors make them."""
    exporters: list[InMemorySpanExporter] = []

    def exporter() -> InMemorySpanExporter:
        exporters.append(InMemorySpanExporter())
        return exporters[-1]

    sender, world = Sender(exporter), World(40, random.Random(seed))
    # From midnight on; not long ago, for `guard` takes no spans that are.
    first = (time.time_ns() // _DAY_NS - 20) * _DAY_NS
    for number in range(_TEMPLATES):
        sender.send(request(world), first + number * _APART_NS)
    sender.close()
    # One batch, so that a trace's parents know of their children's usage.
    payloads = [encode_spans(one.get_finished_spans()).SerializeToString() for one in exporters]
    (result,) = processing().run(payloads)
    assert isinstance(result, Processed)
    rows, _ = split(result.finished.rows)
    return rows


def fill(store: Store, events: int, end: datetime, *, seed: int = 1, progress: bool = False) -> None:
    """Store `events` events of the DAYS before `end`, in parts as few as they become with time."""
    session = store.session()
    # Merged once instead of again and again.
    for table in _ROLLUPS:
        session.query(f"SYSTEM STOP MERGES {table}")
    _templates_to(session, templates(seed))
    (statement,) = statements(_FILL.read_text())
    start = int((end - timedelta(days=DAYS)).timestamp()) * 10**9
    begin = time.monotonic()
    insert = max(_LEAST, -(-events // _INSERTS))
    # A block an insert.
    block = f"min_insert_block_size_rows = {insert}, min_insert_block_size_bytes = 0"
    threads = "max_threads = 1, max_insert_threads = 1"
    for first in range(0, events, insert):
        count = min(insert, events - first)
        values = {"seed": seed, "first": first, "count": count, "total": events, "start": start}
        for name, value in values.items():
            session.query(f"SET param_{name} = {value}")
        session.query(f"{statement} SETTINGS {EVERY_BLOCK}, {block}, {threads}")
        if progress:
            took, cpu = time.monotonic() - begin, time.process_time()
            print(f"{first + count:,} of {events:,} events, {took:.0f} s, {cpu:.0f} s of CPU", flush=True)
    session.query("DROP DATABASE bench")
    for table in _ROLLUPS:
        session.query(f"SYSTEM START MERGES {table}")
    for table in _ROLLUPS[1:]:
        session.query(f"OPTIMIZE TABLE {table} FINAL")
    session.close()


def _templates_to(session: Any, rows: pl.DataFrame) -> None:
    """The table bench.spans: rows trace by trace with their `position`, the number of their `trace`, the
    position of their `parent` (-1 for none), and `after_ns`, their time since the trace began."""
    session.query("DROP DATABASE IF EXISTS bench")
    session.query("CREATE DATABASE bench ENGINE = Atomic")
    session.query("CREATE TABLE bench.rows ENGINE = Memory AS SELECT * FROM agent_events LIMIT 0")
    columns = ", ".join(f"`{name}`" for name in native.names(rows.columns))
    with open(os.memfd_create("rows"), "w+b") as file:
        for part in native.block(rows):
            file.write(part)
        file.flush()
        into = f"INSERT INTO bench.rows ({columns}) FROM INFILE '/dev/fd/{file.fileno()}' FORMAT Native"
        session.query(into)
    session.query(_POSITIONS)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the store")
    parser.add_argument("--events", type=int, default=100_000_000)
    parser.add_argument("--seed", type=int, default=1, help="another one fills in more events beside them")
    arguments = parser.parse_args()
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with Store(arguments.data) as store:
        fill(store, arguments.events, midnight, seed=arguments.seed, progress=True)


if __name__ == "__main__":
    main()
