"""Limits, many queries at once, clients that leave, and stopping with queries running."""

from __future__ import annotations

import http.client
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clickhouse_http.conftest import Door, Doors, start
from tests.harness import eventually

HEAVY = "SELECT count() FROM numbers(1000000000) AS a, numbers(100000) AS b WHERE a.number * b.number = 7"


@pytest.mark.parametrize(
    ("sql", "params", "status", "code"),
    [
        ("SELECT number FROM numbers(110000)", {}, 500, 396),
        ("SELECT number FROM numbers(200000) FORMAT JSON", {}, 500, 396),
        ("SELECT number FROM numbers(20)", {"max_result_rows": "10", "max_block_size": "5"}, 500, 396),
        ("SELECT repeat('x', 1000) FROM numbers(5000) FORMAT JSON", {}, 500, 396),
        (HEAVY, {}, 408, 159),
        (HEAVY, {"max_execution_time": "0.5"}, 408, 159),
        (HEAVY, {"max_execution_time": "60"}, 408, 159),
        ("SELECT length(groupArray(number)) FROM numbers(100000000)", {}, 500, 241),
        ("SELECT number FROM numbers(100) SETTINGS max_result_rows = 10", {}, 500, 396),
        ("SELECT sum(n) FROM t", {"max_rows_to_read": "10"}, 500, 158),
    ],
)
def test_a_query_over_a_limit_fails_as_in_clickhouse(
    doors: Doors, sql: str, params: dict[str, str], status: int, code: int
) -> None:
    answer = doors.tight.ask(sql, **params)
    assert (answer.status_code, answer.headers.get("X-ClickHouse-Exception-Code")) == (status, str(code)), (
        answer.text[:500]
    )
    assert doors.tight.text("SELECT 1") == "1\n"


def test_streamed_results_have_no_size_limit(doors: Doors) -> None:
    assert len(doors.tight.text("SELECT repeat('x', 100) FROM numbers(90000)")) == 9_090_000


def test_an_error_midway_breaks_the_answer_with_clickhouses_block(read: Door) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", read.port, timeout=30)
    connection.request("POST", "/", "SELECT throwIf(number = 1500000) FROM numbers(2000000)")
    answer = connection.getresponse()
    assert answer.status == 200
    with pytest.raises(http.client.IncompleteRead) as caught:
        answer.read()
    tag = answer.headers["X-ClickHouse-Exception-Tag"].encode()
    _, _, block = caught.value.partial.partition(b"\r\n__exception__\r\n" + tag + b"\r\n")
    message, _, rest = block.rpartition(b"\n")[0].rpartition(b"\r\n")[0].rpartition(b"\n")
    assert message.startswith(b"Code: 395. DB::Exception: ")
    assert rest == b"%d %b" % (len(message) + 1, tag)
    connection.close()


def test_queries_run_in_parallel(read: Door) -> None:
    with ThreadPoolExecutor(32) as pool:
        sql = "SELECT sum(number) + {i:UInt64} FROM numbers(100000)"
        answers = list(pool.map(lambda i: read.text(sql, param_i=str(i)), range(200)))
    assert answers == [f"{4999950000 + i}\n" for i in range(200)]


def leave(door: Door, sql: str, *, read_first: bool = False) -> None:
    """Ask, and go away without waiting for the (whole) answer."""
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=30)
    connection.request("POST", "/", sql)
    if read_first:
        connection.getresponse().read(1000)
    else:
        assert isinstance(connection.sock, socket.socket)
    connection.close()


@pytest.mark.parametrize("read_first", [False, True])
def test_a_client_that_leaves_ends_its_query(doors: Doors, read_first: bool) -> None:
    sql = "SELECT number FROM numbers(100000000000)" if read_first else HEAVY
    # Four run at a time, a minute each: if they went on, the last would wait for minutes.
    for _ in range(12):
        leave(doors.read, sql, read_first=read_first)
    assert doors.read.text("SELECT 1") == "1\n"
    eventually(lambda: doors.running()["read"] == 0)


def test_a_client_that_does_not_read_gives_its_place_back(doors: Doors) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", doors.tight.port, timeout=30)
    connection.request("POST", "/", "SELECT repeat('x', 1000) FROM numbers(90000)")
    connection.getresponse()  # and reads no more; one query runs at a time there
    assert doors.tight.text("SELECT 1") == "1\n"
    eventually(lambda: doors.running()["tight"] == 0)
    connection.close()


def test_over_the_queue_queries_are_refused(doors: Doors) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: doors.tight.ask(HEAVY), range(8)))
    codes = [answer.headers["X-ClickHouse-Exception-Code"] for answer in answers]
    assert codes.count("202") == 6
    assert codes.count("159") == 2
    assert doors.tight.text("SELECT 1") == "1\n"


def test_stopping_with_queries_running_and_waiting_exits_cleanly(tmp_path: Path) -> None:
    doors = start(tmp_path / "data")
    streaming = http.client.HTTPConnection("127.0.0.1", doors.read.port, timeout=30)
    streaming.request("POST", "/", "SELECT number FROM numbers(100000000000)")
    streaming.getresponse().read(1000)  # and reads no more
    with ThreadPoolExecutor(10) as pool:
        heavy = [pool.submit(doors.read.ask, HEAVY) for _ in range(8)]
        eventually(lambda: doors.running()["read"] == 4)
        assert doors.stop() == 0
        for answer in heavy:
            if answer.exception() is None:  # those that were not let in any more have no connection
                assert answer.result().headers["X-ClickHouse-Exception-Code"] in ("236", "394")
    streaming.close()
