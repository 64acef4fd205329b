"""`spanhouse replay` of files: OTLP in all its forms, and rows that become the rows they were."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import zstandard
from hypothesis import HealthCheck, given, settings
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from spanhouse.config import Config, build_processors
from spanhouse.exporters.clickhouse import EmbeddedClickHouse
from spanhouse.otlp.encode import _plain
from spanhouse.processing import Processed, Processing, build_processing
from spanhouse.receivers.replay import Item
from spanhouse.receivers.replay_files import Files
from spanhouse.replay import _Replay
from spanhouse.store import Store
from tests.harness import Instance, request
from tests.otlp.json_text import to_json
from tests.test_rows import messages

COMMAND = [sys.executable, "-m", "spanhouse", "replay"]


def replay(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=200, check=False)


def items(*paths: Path) -> list[Item]:
    found = []
    source = Files(paths)
    read = 0
    for batch in source.batches(threading.Event()):
        found += batch.items + batch.refused
        read += batch.read
    assert read == source.total
    return found


def framed(parts: list[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def binary(messages: list[TracesData]) -> list[bytes]:
    return [message.SerializeToString() for message in messages]


def text(messages: list[TracesData], **options: Any) -> list[bytes]:
    return [to_json(message, **options).encode() for message in messages]


# Such as the Collector's file exporter writes, and what people make of it.
FORMS: dict[str, Callable[[list[TracesData]], bytes]] = {
    "protobuf, framed": lambda m: framed(binary(m)),
    "protobuf, framed, each zstd": lambda m: framed([zstandard.compress(b) for b in binary(m)]),
    "json lines": lambda m: b"".join(line + b"\n" for line in text(m)),
    "json lines, a stream of zstd frames": lambda m: b"".join(zstandard.compress(b + b"\n") for b in text(m)),
    "json lines, gzip, empty lines": lambda m: gzip.compress(b"\n\n".join(text(m))),
    "json lines with \\r\\n": lambda m: b"\r\n".join(text(m)) + b"\r\n",
    "protobuf, one after the other": lambda m: b"".join(binary(m)),
    "protobuf, several gzip members": lambda m: b"".join(gzip.compress(b) for b in binary(m)),
}


def spans(found: list[Item]) -> list[str]:
    """Spans with their resource, in no order."""
    assert not [item for item in found if item.refused]
    return sorted(
        str((resource_spans.resource, span))
        for item in found
        for resource_spans in TracesData.FromString(item.payload).resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    )


def several() -> list[TracesData]:
    parts = [[request(2, service=f"{i}{j}") for j in range(2)] for i in range(3)]
    return [TracesData.FromString(b"".join(p.SerializeToString() for p in part)) for part in parts]


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_otlp(tmp_path: Path, form: str) -> None:
    sent = several()
    path = tmp_path / "spans"
    path.write_bytes(FORMS[form](sent))
    assert spans(items(path)) == spans([Item("", message.SerializeToString()) for message in sent])


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf", b"  \n"])
def test_a_json_document_of_many_lines(tmp_path: Path, prefix: bytes) -> None:
    (sent,) = several()[:1]
    path = tmp_path / "spans.json"
    path.write_bytes(prefix + to_json(sent, indent=2).encode())
    assert spans(items(path)) == spans([Item("", sent.SerializeToString())])


def test_what_the_file_exporter_wrote() -> None:
    paths = [
        path for path in (Path(__file__).parent / "data/file_exporter").iterdir() if path.suffix != ".md"
    ]
    assert len(paths) == 6
    found = [spans(items(path)) for path in paths]
    assert len(found[0]) == 8
    assert all(some == found[0] for some in found)


def test_an_empty_file_and_one_without_spans(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "logs.json").write_text('{"resourceLogs":[{"scopeLogs":[]}]}\n')
    assert spans(items(tmp_path / "empty", tmp_path / "logs.json")) == []


@pytest.mark.parametrize("form", [form for form in FORMS if "one after" not in form])
def test_of_a_file_that_was_cut_off_the_rest_is_read(tmp_path: Path, form: str) -> None:
    path = tmp_path / "spans"
    path.write_bytes(FORMS[form](several())[:-7])
    found = items(path)
    (refused,) = [item.refused for item in found if item.refused]
    assert refused
    if "gzip" not in form and "stream" not in form:  # of which nothing this short comes out
        assert len(spans([item for item in found if not item.refused])) >= 8


def test_a_damaged_line_costs_itself_only(tmp_path: Path) -> None:
    lines = text(several())
    lines[1] = lines[1][:50] + b"}"
    path = tmp_path / "spans.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = items(path)
    assert [item.name for item in found if item.refused] == [f"{path} message 2"]
    assert len(found) == 3


def test_a_length_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "framed").write_bytes(b"\x09\xff\xff\xff" + b"x" * 100)
    (tmp_path / "proto").write_bytes(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 100)
    (tmp_path / "other").write_bytes(b"\xff" * 100)
    found = items(tmp_path / "framed", tmp_path / "proto")
    assert len(found) == 2
    assert all(item.refused for item in found)
    done = replay(tmp_path / "framed", tmp_path / "proto", tmp_path / "other", "--data", tmp_path / "data")
    assert done.returncode == 1
    assert len(re.findall("^not stored: 1 message", done.stdout, re.M)) == 3
    assert "Traceback" not in done.stderr


def test_wrong_files_are_sentences(tmp_path: Path) -> None:
    pq.write_table(pa.table({"trace_id": ["a"]}), tmp_path / "else.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    for name, said in {
        "none.json": "none.json cannot be read: ",
        "else.parquet": "else.parquet lacks columns of agent_events (agent, attr_types, attrs …)",
        "broken.parquet": "broken.parquet cannot be read: ",
        ".": "cannot be read: ",
    }.items():
        done = replay(tmp_path / name, "--data", tmp_path / "data")
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.json", "--dead-letters"],
        ["--topic", "t", "--from-offset", "3"],
        ["--topic", "t", "--partition", "0", "--from-offset", "3", "--since", "2h"],
        ["--dead-letters", "--partition", "3"],
        ["a.json", "--since", "2h"],
        ["--topic", "t", "--reason", "x"],
        ["--dead-letters", "--since", "yesterday"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = replay(*arguments)
    assert done.returncode == 2
    assert "usage: spanhouse replay" in done.stderr


def test_help_has_examples() -> None:
    assert "examples:\n  spanhouse replay --dead-letters" in replay("--help").stdout


# Rows.


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("replay")) as store:
        yield store


@pytest.fixture(scope="module")
def target(store: Store) -> Iterator[EmbeddedClickHouse]:
    target = EmbeddedClickHouse(store)
    yield target
    target.close()


def processing() -> Processing:
    return build_processing(build_processors(Config(), hash_key="a key"))


def stored(store: Store) -> pl.DataFrame:
    client = store.client()
    try:
        return pl.DataFrame(client.query_arrow("SELECT * FROM agent_events"))
    finally:
        client.close()


def export(store: Store, path: Path) -> None:
    session = store.session()
    path.write_bytes(session.query("SELECT * FROM agent_events", "Parquet").bytes())
    session.close()


def replayed(target: EmbeddedClickHouse, path: Path) -> _Replay:
    run = _Replay(processing(), target, threading.Event(), dry_run=False, replicas=False)
    for batch in Files([path]).batches(threading.Event()):
        run.run(batch)
    return run


def comparable(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """All columns but `ingested_at`, which says when the row was stored."""
    found = _plain(rows.drop("ingested_at")).sort("trace_id", "span_id", "ts", "name").to_dicts()
    for row in found:
        promoted = json.loads(row["promoted"] or "{}")
        # By which the hash came back, where the row was not made so itself.
        promoted.pop("span:spanhouse.user_id_hash", None)
        row["promoted"] = promoted
    return found


def differences(before: pl.DataFrame, after: pl.DataFrame) -> list[tuple[str, Any, Any]]:
    """(column, before, after)"""
    rows = zip(comparable(before), comparable(after), strict=True)
    return [(name, old[name], new[name]) for old, new in rows for name in old if old[name] != new[name]]


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(messages())
def test_rows_become_the_rows_they_were(
    store: Store, target: EmbeddedClickHouse, tmp_path: Path, message: TracesData
) -> None:
    store.rows("TRUNCATE TABLE agent_events")
    all_spans = (s for r in message.resource_spans for scope in r.scope_spans for s in scope.spans)
    for number, span in enumerate(all_spans, 1):
        span.span_id = number.to_bytes(8)  # the same one twice is stored once
    (result,) = processing().run([message.SerializeToString()])
    assert isinstance(result, Processed)
    number = pl.int_range(pl.len())
    rows = result.finished.rows.with_columns(
        topic=pl.when(number % 2 == 1).then(pl.lit("some topic")).otherwise(pl.lit("")),
        partition=(number % 3 - 1).cast(pl.Int32),
        offset=number,
    )
    exporter = EmbeddedClickHouse(store)
    exporter.insert(rows)
    exporter.close()
    before = stored(store)
    export(store, tmp_path / "rows.parquet")
    store.rows("TRUNCATE TABLE agent_events")
    outcome = replayed(target, tmp_path / "rows.parquet").outcome
    assert not outcome.problems
    assert (outcome.spans, outcome.stored) == (before.height, before.height)
    assert differences(before, stored(store)) == []
    again = replayed(target, tmp_path / "rows.parquet").outcome
    assert (again.stored, again.known) == (0, before.height)


def test_a_row_that_is_none_costs_itself_only(
    store: Store, target: EmbeddedClickHouse, tmp_path: Path
) -> None:
    store.rows("TRUNCATE TABLE agent_events")
    (result,) = processing().run([request(9).SerializeToString()])
    assert isinstance(result, Processed)
    exporter = EmbeddedClickHouse(store)
    exporter.insert(result.finished.rows)
    exporter.close()
    export(store, tmp_path / "rows.parquet")
    rows = pl.read_parquet(tmp_path / "rows.parquet", use_pyarrow=True)
    ids = rows["span_id"].to_list()
    for bad, value in {2: "not hex", 5: "abc"}.items():
        ids[bad] = value
    promoted = ["{", *rows["promoted"].to_list()[1:]]
    broken = pq.read_table(tmp_path / "rows.parquet")
    for name, values in (("span_id", ids), ("promoted", promoted)):
        broken = broken.set_column(broken.column_names.index(name), name, pa.array(values))
    pq.write_table(broken, tmp_path / "broken.parquet")
    store.rows("TRUNCATE TABLE agent_events")
    outcome = replayed(target, tmp_path / "broken.parquet").outcome
    assert (outcome.spans, outcome.stored) == (6, 6)
    assert outcome.problems == {
        ("message", f"not a row of agent_events ({kind})"): (
            count,
            f"{tmp_path / 'broken.parquet'} row {first}",
        )
        for kind, count, first in (("JSONDecodeError", 1, 1), ("ValueError", 2, 3))
    }


def test_a_store_moves(tmp_path: Path) -> None:
    """All rows of one into another, by Parquet: rows, costs and rollups are the same."""
    totals = (
        "SELECT sum(calls) AS calls, sum(tokens_total) AS tokens, toString(sum(cost_usd)) AS cost, "
        "sum(users) AS users FROM agent_metrics_1m"
    )
    hashes = "SELECT user_id_hash, count() AS n FROM agent_events GROUP BY user_id_hash ORDER BY user_id_hash"
    with Instance(tmp_path / "one") as one:
        subprocess.run(
            [sys.executable, "-m", "spanhouse", "demo", "--qps", "50", "--duration", "6", "--seed", "7",
             "--endpoint", one.addresses["otlp-grpc"]],
            check=True, timeout=120, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        rows = one.sql("SELECT count() AS n, countIf(cost_source = 'computed') AS computed FROM agent_events")
        before = (rows, one.sql(totals), one.sql(hashes))
        (tmp_path / "rows.parquet").write_bytes(get_bytes(one.url("clickhouse-http", PARQUET)))
        refused = replay(tmp_path / "rows.parquet", "--data", tmp_path / "one")
        assert refused.returncode == 1
        assert f"process {one.process.pid} has the store in" in refused.stderr
    dry = replay(tmp_path / "rows.parquet", "--data", tmp_path / "two", "--dry-run")
    assert dry.returncode == 0
    assert not (tmp_path / "two").exists()
    first = replay(tmp_path / "rows.parquet", "--data", tmp_path / "two")
    assert first.returncode == 0, first
    assert f" {int(rows[0]['n']):,} stored, 0 stored already" in first.stdout
    again = replay(tmp_path / "rows.parquet", "--data", tmp_path / "two")
    assert "0 stored" in again.stdout
    assert "nothing new" in again.stdout
    with Instance(tmp_path / "two") as two:
        after = (
            two.sql("SELECT count() AS n, countIf(cost_source = 'computed') AS computed FROM agent_events"),
            two.sql(totals),
            two.sql(hashes),
        )
    assert int(rows[0]["computed"]) > 0
    assert after == before


PARQUET = "/?query=SELECT+*+FROM+agent_events+FORMAT+Parquet"


def get_bytes(url: str) -> bytes:
    answer = requests.get(url, timeout=60)
    assert answer.ok, answer.text
    return answer.content
