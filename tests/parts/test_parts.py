"""The parts do what tests of other folders rely on."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest
import requests
from clickhouse_connect.driver.exceptions import Error as ClientError
from confluent_kafka import Consumer, TopicPartition

from tests.parts import __main__ as parts
from tests.parts import cache
from tests.parts.cache import PartError, part, run
from tests.parts.clickhouse import ClickHouse
from tests.parts.faults import Fault, FaultProxy
from tests.parts.fixtures import need
from tests.parts.kafka import Kafka


def test_a_broker_keeps_everything_over_a_kill(tmp_path):
    need("kafka")
    with Kafka(tmp_path / "kafka") as kafka:
        kafka.create_topic("otel-spans", partitions=2)
        kafka.produce("otel-spans", [(b"key", b"first"), (b"key", b"second")], headers={"reason": b"why"})
        kafka.produce("otel-spans", (b"%d" % number for number in range(1000)), partition=1)
        before = kafka.messages("otel-spans")
        assert kafka.committed("readers", "otel-spans") == {}
        consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": "readers"})
        plan = TopicPartition("otel-spans", 1, 5, '{"end": 9}')
        consumer.commit(offsets=[plan], asynchronous=False)
        consumer.close()

        kafka.kill()
        kafka.start()

        assert kafka.messages("otel-spans") == before
        assert kafka.committed_offsets("readers", "otel-spans") == {1: 5}
        assert kafka.committed("readers", "otel-spans")[1].metadata == '{"end": 9}'
        kafka.stop()
        kafka.start()
        assert kafka.messages("otel-spans") == before

    assert len(before) == 1002 == sum(kafka_ends(before).values())
    keyed = [record for record in before if record.key == b"key"]
    assert [record.value for record in keyed] == [b"first", b"second"]
    assert keyed[0].headers == {"reason": b"why"}
    assert keyed[0].timestamp > 1_600_000_000_000


def kafka_ends(records):
    ends: dict[int, int] = {}
    for record in records:
        assert record.offset == ends.get(record.partition, 0)
        ends[record.partition] = record.offset + 1
    return ends


def test_offsets_of_a_topic(kafka):
    kafka.create_topic("offsets", partitions=3)
    kafka.produce("offsets", [b"x"] * 7, partition=2)
    assert kafka.end_offsets("offsets") == {0: 0, 1: 0, 2: 7}
    assert kafka.committed_offsets("nobody", "offsets") == {}
    assert [record.offset for record in kafka.messages("offsets")] == list(range(7))


def test_clickhouse_keeps_what_it_acknowledged_over_a_kill(tmp_path):
    with ClickHouse(tmp_path / "clickhouse") as clickhouse:
        clickhouse.sql("CREATE TABLE numbers (n UInt64) ENGINE = MergeTree ORDER BY n")
        for start in range(0, 1000, 100):
            clickhouse.sql(f"INSERT INTO numbers SELECT number + {start} FROM numbers(100)")
        clickhouse.kill()
        assert not clickhouse.answers()
        clickhouse.start()
        assert clickhouse.sql("SELECT count() AS rows, max(n) AS last FROM numbers") == [
            {"rows": 1000, "last": 999}
        ]
        clickhouse.stop()
        clickhouse.start()
        assert clickhouse.sql("SELECT count() AS rows FROM agent_events") == [{"rows": 0}]


def test_clickhouse_pauses(clickhouse):
    clickhouse.pause()
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{clickhouse.url}/ping", timeout=0.5)
    clickhouse.resume()
    assert clickhouse.answers()


def test_clickhouse_with_a_password(tmp_path):
    with ClickHouse(tmp_path / "clickhouse", "writer", "s3cret") as clickhouse:
        assert clickhouse.sql("SELECT 1 AS one") == [{"one": 1}]
        assert requests.get(clickhouse.url, params={"query": "SELECT 1"}, timeout=60).status_code == 401


@pytest.fixture
def proxy(clickhouse: ClickHouse) -> Iterator[FaultProxy]:
    clickhouse.sql("CREATE OR REPLACE TABLE numbers (n UInt64) ENGINE = MergeTree ORDER BY n")
    with FaultProxy(clickhouse.url) as proxy:
        yield proxy


def insert(proxy: FaultProxy, number: int) -> str:
    """How an INSERT ended for the client."""
    try:
        answer = requests.post(proxy.url, data=f"INSERT INTO numbers VALUES ({number})", timeout=1)
    except requests.ReadTimeout:
        return "timeout"
    except requests.ConnectionError:
        return "cut"
    return str(answer.status_code)


def stored(clickhouse: ClickHouse) -> list[int]:
    return [row["n"] for row in clickhouse.sql("SELECT n FROM numbers ORDER BY n")]


@pytest.mark.parametrize(
    ("fault", "told", "kept"),
    [
        (Fault.ERROR_500, "500", False),
        (Fault.CUT_BEFORE, "cut", False),
        (Fault.ERROR_AFTER, "500", True),
        (Fault.CUT_AFTER, "cut", True),
        (Fault.HANG_AFTER, "timeout", True),
    ],
)
def test_a_fault(clickhouse, proxy, fault, told, kept):
    proxy.fail(fault, times=2)
    assert [insert(proxy, number) for number in (1, 2)] == [told, told]
    assert requests.post(proxy.url, data="SELECT 7", timeout=60).text == "7\n"
    assert insert(proxy, 3) == "200"
    assert stored(clickhouse) == ([1, 2, 3] if kept else [3])
    assert proxy.done == {fault: 2, "passed": 1}


def test_a_fault_until_cleared(clickhouse, proxy):
    proxy.fail(Fault.CUT_BEFORE)
    assert [insert(proxy, number) for number in range(5)] == ["cut"] * 5
    proxy.clear()
    assert insert(proxy, 5) == "200"
    assert stored(clickhouse) == [5]


def test_a_fault_after_waits_for_what_is_stored(clickhouse, proxy):
    proxy.fail(Fault.ERROR_AFTER, times=1)
    refused = requests.post(proxy.url, data="INSERT INTO nowhere VALUES (1)", timeout=60)
    assert "UNKNOWN_TABLE" in refused.text
    assert proxy.done == {"passed": 1}
    assert insert(proxy, 1) == "500"
    assert stored(clickhouse) == [1]


@pytest.mark.parametrize("compress", ["lz4", "zstd", False])
def test_a_client_through_the_proxy(clickhouse, proxy, compress):
    host, port = proxy.url.removeprefix("http://").split(":")
    with clickhouse_connect.get_client(
        host=host, port=int(port), database="spanhouse", compress=compress, send_receive_timeout=60
    ) as client:
        rows = [[number] for number in range(300_000)]
        client.insert("numbers", rows, ["n"])
        assert client.query("SELECT count() FROM numbers").first_row == (300_000,)
        proxy.fail(Fault.ERROR_AFTER, times=1)
        with pytest.raises(ClientError):
            client.insert("numbers", rows, ["n"])
        assert len(client.query("SELECT n FROM numbers").result_rows) == 600_000
    assert proxy.done == {"passed": 1, Fault.ERROR_AFTER: 1}


def test_a_server_that_is_gone_and_comes_back(clickhouse, proxy):
    clickhouse.kill()
    assert insert(proxy, 1) == "cut"
    clickhouse.start()
    assert insert(proxy, 2) == "200"
    assert stored(clickhouse) == [2]
    assert proxy.done == {"unanswered": 1, "passed": 1}


def test_processes_die_with_the_tests():
    code = """
from pathlib import Path
from tests.parts.process import Process
ended, left = (Process(["sleep", "600"], Path("/dev/null")) for _ in range(2))
for process in (ended, left):
    process.start()
ended.kill()
print(left.pid, flush=True)
input()
"""
    tests = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with tests:
        assert tests.stdout is not None
        left = os.pidfd_open(int(tests.stdout.readline()))
        tests.kill()
    try:
        assert select.select([left], [], [], 60)[0], "it lives on"
    finally:
        os.close(left)


def test_a_part_that_was_cut_off_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "CACHE", tmp_path / "parts")
    source = tmp_path / "source"
    source.write_text("1")
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        assert not list(folder.iterdir())
        (folder / "half").write_text("")
        if len(made) == 1:
            raise KeyboardInterrupt
        (folder / "whole").write_text("")

    with pytest.raises(KeyboardInterrupt):
        part("thing", "1", make, [source])
    folder = part("thing", "1", make, [source])
    assert (folder / "whole").exists()
    assert part("thing", "1", make, [source]) == folder
    assert len(made) == 2
    source.write_text("2")
    assert part("thing", "1", make, [source]) != folder


def test_what_is_said_when_a_part_cannot_be_made(tmp_path, monkeypatch, capsys):
    with pytest.raises(PartError, match="no-such-program is not installed"):
        run(["no-such-program"], tmp_path)
    with pytest.raises(PartError, match="failed with code 3:\nthe reason"):
        run(["sh", "-c", "echo the reason; exit 3"], tmp_path)

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["tests.parts", "kafka"])
    assert parts.main() == 1
    assert "kafka: java is not installed" in capsys.readouterr().err
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match=r"python -m tests\.parts kafka"):
        need("kafka")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match=r"python -m tests\.parts kafka"):
        need("kafka")
