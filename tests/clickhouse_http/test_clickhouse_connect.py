"""clickhouse-connect over HTTP: the client of most Python users."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import clickhouse_connect
import polars as pl
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.clickhouse_http.conftest import Door, Doors


def connect(door: Door, **options: object) -> Client:
    return clickhouse_connect.get_client(host="127.0.0.1", port=door.port, **options)  # type: ignore[arg-type]


@pytest.fixture(params=[False, "lz4", "zstd", "gzip", True])
def client(request: pytest.FixtureRequest, read: Door) -> Iterator[Client]:
    with connect(read, compress=request.param) as client:
        yield client


@pytest.fixture
def writer(write: Door) -> Iterator[Client]:
    with connect(write) as client:
        client.command(
            "CREATE TABLE IF NOT EXISTS w (n UInt64, s String, a Array(LowCardinality(String))) "
            "ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100"
        )
        client.command("TRUNCATE TABLE w")
        yield client


def test_all_types_come_through(client: Client) -> None:
    rows = client.query("SELECT * FROM t WHERE n IN (4, 5) ORDER BY n").result_rows
    utc = dt.UTC
    assert [(*row[:2], row[2].replace(tzinfo=utc), *row[3:]) for row in rows] == [
        (
            4,
            "s4",
            dt.datetime(2025, 1, 1, 0, 0, 4, tzinfo=utc),
            {"k": "4"},
            [2.0, 1.0],
            Decimal("0.4"),
            "1",
            None,
        ),
        (
            5,
            "s5",
            dt.datetime(2025, 1, 1, 0, 0, 5, tzinfo=utc),
            {"k": "5"},
            [2.5, 1.0],
            Decimal("0.5"),
            "2",
            5,
        ),
    ]


def test_an_empty_result_has_its_columns(client: Client) -> None:
    result = client.query("SELECT n, s FROM t WHERE n > 100000")
    assert result.column_names == ("n", "s")
    assert result.result_rows == []
    assert client.query("SELECT n, s FROM t LIMIT 0").column_names == ("n", "s")


def test_large_results_stream(client: Client) -> None:
    with client.query_row_block_stream("SELECT number, toString(number) FROM numbers(500000)") as stream:
        assert sum(row[0] for block in stream for row in block) == sum(range(500_000))


def test_arrow_and_data_frames(client: Client) -> None:
    assert client.query_arrow("SELECT n, s FROM t").num_rows == 1000
    frame = client.query_df_arrow("SELECT n, s FROM t WHERE n < 3 ORDER BY n", dataframe_library="polars")
    assert frame["n"].to_list() == [0, 1, 2]


def test_parameters_settings_and_commands(client: Client) -> None:
    sql = "SELECT {n:UInt64}, {s:String}, {a:Array(String)}"
    values = {"n": 3, "s": "it's\n\\ a\ttab", "a": ["x", "y'z"]}
    assert client.query(sql, parameters=values).result_rows == [(3, "it's\n\\ a\ttab", ["x", "y'z"])]
    assert client.query("SELECT n FROM t WHERE s = %(s)s", parameters={"s": "s7"}).result_rows == [(7,)]
    assert client.command("SELECT getSetting('max_execution_time')", settings={"max_execution_time": 9}) == 9
    assert client.command("SELECT count() FROM t") == 1000
    assert client.raw_query("SELECT 1", fmt="JSONCompactEachRow") == b"[1]\n"
    assert client.ping()


def test_long_parameters_go_in_a_form(read: Door) -> None:
    with connect(read, form_encode_query_params=True) as client:
        assert client.query("SELECT length({s:String})", parameters={"s": "x" * 100_000}).result_rows == [
            (100_000,)
        ]


def test_errors_are_raised(client: Client) -> None:
    with pytest.raises(DatabaseError, match=r"Code: 60|UNKNOWN_TABLE"):
        client.query("SELECT * FROM nope")
    with pytest.raises(DatabaseError, match=r"not allowed"):
        client.query("SELECT * FROM file('/etc/passwd')")
    with pytest.raises(DatabaseError, match=r"READONLY"):
        client.command("DROP TABLE t")


def test_an_error_after_the_first_rows_is_raised(client: Client) -> None:
    with pytest.raises(Exception, match=r"FUNCTION_THROW_IF_VALUE_IS_NON_ZERO|throwIf"):
        _ = client.query("SELECT throwIf(number = 1500000) FROM numbers(2000000)").result_rows


def test_user_and_password(doors: Doors) -> None:
    with connect(doors.secret, username="ann", password="s3cret") as client:
        assert client.command("SELECT 1") == 1
    with pytest.raises(DatabaseError, match=r"516|AUTHENTICATION_FAILED"):
        connect(doors.secret, username="ann", password="wrong")


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_inserts(writer: Client, write: Door, compress: bool | str) -> None:
    with connect(write, compress=compress) as client:
        rows = [[number, f"s\n\n{number}", ["x", str(number)]] for number in range(50_000)]
        summary = client.insert("w", rows, column_names=["n", "s", "a"])
        assert summary.written_rows == 50_000
        assert client.query("SELECT count(), uniqExact(s), sum(length(a)) FROM w").result_rows == [
            (50_000, 50_000, 100_000)
        ]


def test_inserts_of_frames_and_with_a_deduplication_token(writer: Client) -> None:
    table = pa.table({"n": pa.array([1, 2], pa.uint64()), "s": ["a", "b"], "a": [["x"], []]})
    for _ in range(2):
        writer.insert_arrow("w", table, settings={"insert_deduplication_token": "one"})
    writer.insert_df_arrow("w", pl.DataFrame({"n": [3], "s": ["c"], "a": [["y"]]}))
    assert writer.query("SELECT n, s, a FROM w ORDER BY n").result_rows == [
        (1, "a", ["x"]), (2, "b", []), (3, "c", ["y"]),
    ]  # fmt: skip
