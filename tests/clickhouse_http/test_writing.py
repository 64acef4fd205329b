# ruff: noqa: E501 (one statement, one line)
"""The endpoint opened for writing: tables of the store, and still no files, network or processes."""

from __future__ import annotations

import gzip
import json
import resource
import socket
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import requests

from spanhouse.clickhouse_http.compression import frame
from spanhouse.clickhouse_http.insert import is_insert, split
from tests.clickhouse_http.conftest import Door, Doors, start
from tests.harness import eventually


@pytest.fixture
def table(write: Door) -> Iterator[str]:
    write.text(
        "CREATE TABLE wt (n UInt64, s String DEFAULT 'd', `a b` Array(UInt8)) ENGINE = MergeTree ORDER BY n"
    )
    yield "wt"
    write.text("DROP TABLE wt")


def parquet(folder: Path) -> bytes:
    file = folder / "rows.parquet"
    pl.DataFrame({"n": [1, 2], "s": ["a\n\nb", "c"]}, schema={"n": pl.UInt64, "s": pl.String}).write_parquet(
        file
    )
    return file.read_bytes()


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("JSONEachRow", b'{"n": 1, "s": "a\\n\\nb"}\n{"n": 2, "s": "c"}\n'),
        ("TabSeparated", b"1\ta\\n\\nb\n2\tc\n"),
        ("CSV", b'1,"a\n\nb"\n2,"c"\n'),
        ("RowBinary", b"\x01" + bytes(7) + b"\x04a\n\nb\x02" + bytes(7) + b"\x01c"),
        ("Values", b"(1, 'a\n\nb'), (2, 'c')"),
    ],
)
def test_formats_in_the_body_and_behind_the_statement(
    write: Door, table: str, form: str, data: bytes
) -> None:
    expected = [[1, "a\n\nb"], [2, "c"]]
    sql = f"INSERT INTO {table} (n, s) FORMAT {form}"
    ways = [
        requests.post(write.url, params={"query": sql}, data=data, timeout=30),
        requests.post(write.url, data=sql.encode() + b"\n" + data, timeout=30),
        requests.post(write.url, params={"query": sql}, data=iter([data[:3], data[3:]]), timeout=30),
        requests.post(write.url, params={"query": sql}, data=gzip.compress(data), headers={"Content-Encoding": "gzip"}, timeout=30),
        requests.post(write.url, params={"query": sql, "decompress": "1"}, data=frame(data), timeout=30),
    ]  # fmt: skip
    assert [(way.status_code, way.text) for way in ways] == [(200, "")] * 5
    assert '"written_rows": "2"' in ways[0].headers["X-ClickHouse-Summary"]
    rows = requests.get(write.url, params={"query": f"SELECT n, s FROM {table} ORDER BY n FORMAT JSONCompactEachRow "
                                           "SETTINGS output_format_json_quote_64bit_integers = 0"}, timeout=30)  # fmt: skip
    assert rows.text.splitlines() == [line for row in expected for line in [json.dumps(row)] * 5]


def test_parquet_and_values(write: Door, table: str, tmp_path: Path) -> None:
    assert write.ask(parquet(tmp_path), query=f"INSERT INTO {table} (n, s) FORMAT Parquet").status_code == 200
    write.text(f"INSERT INTO {table} (n, `a b`) VALUES (3, [1, 2]), (4, [])")
    write.text(f"INSERT INTO spanhouse.{table} SELECT n + 10, s, [] FROM {table} WHERE n < 3")
    assert write.text(f"SELECT n, s FROM {table} ORDER BY n FORMAT CSV") == (
        '1,"a\n\nb"\n2,"c"\n3,"d"\n4,"d"\n11,"a\n\nb"\n12,"c"\n'
    )


def test_a_large_insert_is_streamed(write: Door, table: str) -> None:
    rows = b"".join(b"%d\tsome text\t[1,2]\n" % number for number in range(500_000))
    answer = write.ask(rows, query=f"INSERT INTO {table} FORMAT TSV")
    assert answer.status_code == 200, answer.text
    assert write.text(f"SELECT count(), sum(n) FROM {table}") == "500000\t124999750000\n"


def test_a_malformed_row_is_an_error_and_the_endpoint_lives(write: Door, table: str) -> None:
    answer = write.ask("1\tx\n", query=f"INSERT INTO {table} (n) FORMAT TSV")
    assert answer.status_code == 400, answer.text
    assert answer.headers["X-ClickHouse-Exception-Code"] in ("27", "117")
    assert (
        write.ask(b"1\n", query="INSERT INTO nope FORMAT TSV").headers["X-ClickHouse-Exception-Code"] == "60"
    )
    assert write.text("SELECT 1") == "1\n"


def test_an_insert_that_cannot_be_written_is_clickhouses_error(write: Door, table: str) -> None:
    for bytes_free, status in ((10**18, 500), (0, 200)):
        write.text(f"ALTER TABLE {table} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {bytes_free}")
        answer = write.ask(b"1\n", query=f"INSERT INTO {table} (n) FORMAT TSV")
        assert answer.status_code == status, answer.text
    assert write.text(f"SELECT count() FROM {table}") == "1\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_a_full_disk_under_the_insert_is_clickhouses_error(tmp_path: Path) -> None:
    # The data do not fit: RLIMIT_FSIZE stands for a full disk where the body is kept.
    doors = start(tmp_path / "data")
    try:
        doors.write.text("CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY s")
        resource.prlimit(doors.process.pid, resource.RLIMIT_FSIZE, (1 << 20, -1))
        answer = doors.write.ask(b"x\n" * (1 << 20), query="INSERT INTO t FORMAT TSV")
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (500, "243")
        assert answer.text.startswith("Code: 243. DB::Exception: Cannot keep the data to insert")
        doors.write.ask(b"x\n", query="INSERT INTO t FORMAT TSV")
        assert doors.write.text("SELECT count() FROM t") == "1\n"
    finally:
        assert doors.stop() == 0


def test_an_error_names_the_row_and_no_file_of_ours(write: Door, table: str) -> None:
    answer = write.ask("1\nx\n", query=f"INSERT INTO {table} (n) FORMAT TSV")
    assert "(at row 2)" in answer.text
    assert "/dev/fd" not in answer.text


def test_an_insert_whose_sender_leaves_midway_stores_nothing(write: Door, doors: Doors, table: str) -> None:
    query = urllib.parse.urlencode({"query": f"INSERT INTO {table} (n) FORMAT TSV"})
    with socket.create_connection(("127.0.0.1", write.port)) as connection:
        head = f"POST /?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        connection.sendall(head.encode() + b"1\n" * 1000)
        eventually(lambda: doors.running()["write"] == 1)
    eventually(lambda: doors.running()["write"] == 0)
    assert write.text(f"SELECT count() FROM {table}") == "0\n"


def test_settings_of_a_translator_are_taken(write: Door, table: str) -> None:
    settings = {
        "insert_deduplication_token": "t", "insert_deduplicate": "1", "async_insert": "0",
        "deduplicate_blocks_in_dependent_materialized_views": "1", "wait_end_of_query": "1",
        "insert_quorum": "2", "insert_quorum_timeout": "1000", "distributed_foreground_insert": "1",
    }  # fmt: skip
    answer = write.ask(b"1\n", query=f"INSERT INTO {table} (n) FORMAT TSV", **settings)
    assert (answer.status_code, answer.text) == (200, "")
    assert '"written_rows": "1"' in answer.headers["X-ClickHouse-Summary"]


def test_a_token_deduplicates(write: Door) -> None:
    write.text("CREATE TABLE dedup (n UInt64) ENGINE = MergeTree ORDER BY n "
               "SETTINGS non_replicated_deduplication_window = 10")  # fmt: skip
    for _ in range(2):
        write.ask("1\n", query="INSERT INTO dedup FORMAT TSV", insert_deduplication_token="a")
    write.text("INSERT INTO dedup SETTINGS insert_deduplication_token = 'a' VALUES (1)")
    assert write.text("SELECT count() FROM dedup") == "1\n"


def test_tables_and_views_can_be_made_and_changed(write: Door) -> None:
    write.text(
        "CREATE TABLE IF NOT EXISTS spanhouse.made (ts DateTime DEFAULT now(), k LowCardinality(String) CODEC(ZSTD(1)), "
        "v Nullable(Float64), q AggregateFunction(quantiles(0.5, 0.9), Float64), e Enum8('a' = 1, 'b' = 2), "
        "INDEX i k TYPE bloom_filter GRANULARITY 1) ENGINE = ReplacingMergeTree(ts) PARTITION BY toDate(ts) "
        "ORDER BY (k, ts) TTL ts + INTERVAL 1 DAY SETTINGS index_granularity = 1024, ttl_only_drop_parts = 1"
    )
    write.text(
        "CREATE TABLE summed (k String, c SimpleAggregateFunction(sum, UInt64)) ENGINE = SummingMergeTree ORDER BY k"
    )
    write.text("CREATE MATERIALIZED VIEW made_mv TO summed AS SELECT k, count() AS c FROM made GROUP BY k")
    write.text("CREATE VIEW made_v AS SELECT k, sum(c) AS total FROM summed GROUP BY k")
    write.text("INSERT INTO made (k, v) VALUES ('x', 1), ('x', 2)")
    assert write.text("SELECT * FROM made_v") == "x\t2\n"
    write.text("ALTER TABLE made ADD COLUMN z UInt8 DEFAULT 3, COMMENT COLUMN k 'key'")
    write.text("ALTER TABLE made UPDATE v = 5 WHERE k = 'x'", mutations_sync="1")
    assert write.text("SELECT DISTINCT z, v FROM made") == "3\t5\n"
    write.text("OPTIMIZE TABLE made FINAL")
    write.text("DELETE FROM made WHERE 1")
    write.text("RENAME TABLE summed TO summed2")
    write.text("TRUNCATE TABLE summed2")
    for name in ("made_mv", "made_v", "made", "summed2"):
        write.text(f"DROP TABLE IF EXISTS {name} SYNC")


REFUSED = [
    "INSERT INTO FUNCTION file('{o}', CSV, 'a UInt8') SELECT 1",
    "INSERT INTO FUNCTION file('{o}', CSV, 'a UInt8') VALUES (1)",
    "INSERT INTO FUNCTION file('{o}', CSV, 'a UInt8') FORMAT CSV\n1\n",
    "INSERT INTO FUNCTION url('http://127.0.0.1:1/', CSV, 'a UInt8') FORMAT CSV\n1\n",
    "INSERT INTO t (s) SELECT * FROM file('{f}', LineAsString)",
    "INSERT INTO t (s) SELECT file('{f}')",
    "INSERT INTO t (s) FROM INFILE '{f}' FORMAT LineAsString",
    "INSERT INTO t (s) FROM INFILE '{f}' FORMAT CSV\n",
    "INSERT INTO default.x SELECT 1",
    "INSERT INTO default.`{o}` FORMAT CSV\n1\n",
    "INSERT INTO system.one SELECT 1",
    "INSERT INTO t (s) SELECT * FROM default.`{f}`",
    "INSERT INTO t (n) SETTINGS readonly = 0 VALUES (1)",
    "INSERT INTO t (s) SETTINGS input_format_record_errors_file_path = '{o}' FORMAT CSV\nx\n",
    "INSERT INTO t (s) FORMAT Template\n1\n",
    "SELECT * FROM file('{f}')",
    "SELECT 1 INTO OUTFILE '{o}'",
    "CREATE TABLE c (a String) ENGINE = File(CSV, '{f}')",
    "CREATE TABLE c (a String) ENGINE = URL('http://127.0.0.1:1/', CSV)",
    "CREATE TABLE c (a String) ENGINE = Executable('x', TSV)",
    "CREATE TABLE c (a String) ENGINE = Merge('default', '.*')",
    "CREATE TABLE c (a String) ENGINE = Distributed('c', 'd', 't')",
    "CREATE TABLE c (a String) ENGINE = Python(store)",
    "CREATE TABLE c (a String) ENGINE = ReplicatedMergeTree('/x', 'y') ORDER BY a",
    "CREATE TABLE c AS file('{f}')",
    "CREATE TABLE c ENGINE = Memory AS SELECT * FROM file('{f}')",
    "CREATE TABLE c (a String DEFAULT file('{f}')) ENGINE = Memory",
    "CREATE TABLE c (a String MATERIALIZED file('{f}')) ENGINE = Memory",
    "CREATE TABLE c (a String ALIAS file('{f}')) ENGINE = Memory",
    "CREATE TABLE c (a String) ENGINE = MergeTree ORDER BY file('{f}')",
    "CREATE TABLE c (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{o}/')",
    "CREATE TABLE c (a String) ENGINE = MergeTree ORDER BY a SETTINGS storage_policy = 'x'",
    "CREATE TABLE c (a String, d Date) ENGINE = MergeTree ORDER BY a TTL d TO DISK 'x'",
    "CREATE TABLE c (a String, CONSTRAINT k CHECK a != file('{f}')) ENGINE = Memory",
    "CREATE TABLE c (a String, PROJECTION p (SELECT file('{f}'))) ENGINE = MergeTree ORDER BY a",
    "CREATE TABLE default.c (a String) ENGINE = Memory",
    "CREATE TABLE system.c (a String) ENGINE = Memory",
    "CREATE TEMPORARY TABLE c (a String)",
    "CREATE VIEW c AS SELECT * FROM file('{f}')",
    "CREATE MATERIALIZED VIEW c TO default.`{o}` AS SELECT 1",
    "CREATE MATERIALIZED VIEW c ENGINE = File(CSV, '{o}') AS SELECT 1",
    "CREATE MATERIALIZED VIEW c REFRESH EVERY 1 SECOND TO t AS SELECT 1",
    "CREATE LIVE VIEW c AS SELECT 1",
    "CREATE DATABASE c",
    "CREATE DATABASE c ENGINE = Filesystem('/')",
    "CREATE DICTIONARY c (a UInt8) PRIMARY KEY a SOURCE(FILE(PATH '{f}' FORMAT CSV)) LAYOUT(FLAT()) LIFETIME(1)",
    "CREATE FUNCTION c AS x -> file(x)",
    "CREATE USER c",
    "CREATE NAMED COLLECTION c AS a = 1",
    "ATTACH TABLE c FROM '{o}' (a UInt8) ENGINE = MergeTree ORDER BY a",
    "DETACH TABLE t",
    "DROP DATABASE spanhouse",
    "DROP TABLE system.one",
    "ALTER TABLE t ATTACH PARTITION 1 FROM u",
    "ALTER TABLE t MODIFY SETTING storage_policy = 'x'",
    "ALTER TABLE t MODIFY SETTING disk = 'x'",
    "ALTER TABLE t MODIFY SETTING non_replicated_deduplication_window = 1, storage_policy = 'x'",
    "ALTER TABLE t FREEZE",
    "ALTER TABLE t ADD COLUMN c String DEFAULT file('{f}')",
    "ALTER TABLE t MODIFY TTL ts TO DISK 'x'",
    "ALTER TABLE t UPDATE s = file('{f}') WHERE 1",
    "ALTER TABLE t DELETE WHERE file('{f}') != ''",
    "ALTER TABLE default.x ADD COLUMN c String",
    "DELETE FROM t WHERE file('{f}') != ''",
    "RENAME TABLE t TO default.t",
    "RENAME DATABASE spanhouse TO s",
    "BACKUP TABLE t TO File('{o}')",
    "SYSTEM FLUSH LOGS",
    "KILL QUERY WHERE 1",
    "SET readonly = 0",
    "GRANT ALL ON *.* TO x",
]  # fmt: skip


@pytest.mark.parametrize("template", REFUSED)
def test_is_refused(write: Door, tmp_path: Path, template: str) -> None:
    canary, out = tmp_path / "canary.csv", tmp_path / "out"
    canary.write_text("canary-4711\n")
    answer = write.ask(template.format(f=canary, o=out))
    assert answer.status_code in (400, 403, 404, 500), answer.text
    assert answer.text.startswith("Code: ")
    assert not out.exists()
    assert "canary-4711" not in answer.text + write.text("SELECT s FROM t WHERE s LIKE '%canary%'")


def test_what_follows_inline_data_is_not_run(write: Door, table: str) -> None:
    write.ask(f"INSERT INTO {table} (n) VALUES (1); DROP TABLE {table}")
    assert write.text(f"SELECT n FROM {table}") == "1\n"


def test_get_never_writes(write: Door) -> None:
    answer = requests.get(write.url, params={"query": "INSERT INTO t (n) SELECT 1"}, timeout=10)
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


def test_where_an_inserts_data_begins() -> None:
    cases = {
        b"INSERT INTO t FORMAT CSV\n1,2\n": ("INSERT INTO t ", "CSV", b"1,2\n"),
        b"insert into t (`format`, b) format RowBinary \x01": ("insert into t (`format`, b) ", "RowBinary", b"\x01"),
        b"INSERT INTO t (a, format) VALUES (1, ';')": ("INSERT INTO t (a, format) ", "Values", b" (1, ';')"),
        b"/* FORMAT */ INSERT INTO t -- FORMAT x\n FORMAT TSV": ("/* FORMAT */ INSERT INTO t -- FORMAT x\n ", "TSV", b""),
        b"INSERT INTO t SETTINGS a = 'FORMAT \\' x' FORMAT TSV\n\n1": (
            "INSERT INTO t SETTINGS a = 'FORMAT \\' x' ", "TSV", b"\n1",
        ),
    }  # fmt: skip
    for text, (header, form, data) in cases.items():
        insert = split(text)
        assert insert is not None
        assert (insert.header, insert.format, text[insert.data_at :]) == (header, form, data)
    assert split(b"INSERT INTO t SELECT 1 FORMAT CSV") is None
    assert split(b"INSERT INTO t (a) WITH 1 AS x SELECT x") is None
    assert is_insert(b"-- x\n INSERT INTO t")
    assert not is_insert(b"SELECT 'INSERT'")
    for endless in (
        b"INSERT INTO t (`a FORMAT CSV",
        b"INSERT INTO t /* FORMAT CSV",
        b"INSERT INTO 't FORMAT x",
    ):
        assert split(endless) is None
