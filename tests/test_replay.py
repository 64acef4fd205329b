"""`spanhouse replay` of dead letters and topics: a real Kafka broker, ClickHouse in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import TopicPartition

from tests.harness import Instance, eventually
from tests.parts.clickhouse import ClickHouse
from tests.parts.faults import Fault, FaultProxy
from tests.parts.kafka import Kafka
from tests.test_translate import PROCESSOR, Way, keys

COMMAND = [sys.executable, "-m", "spanhouse", "replay"]


class Replay(Way):
    """A topic of a test's own, and the command on it."""

    def config(self, sections: dict[str, Any] | None = None) -> str:
        path = self.folder / "replay.yaml"
        path.write_text(yaml.safe_dump(self.configuration() | (sections or {})))
        return f"--config={path}"

    def run(
        self, *arguments: str, sections: dict[str, Any] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, self.config(sections), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [*COMMAND, self.config(), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def fill(self, messages: int, spans: int = 2, partition: int = 0, **more: Any) -> None:
        self.produce(*(self.spans(spans, **more) for _ in range(messages)), partition=partition)


@pytest.fixture(scope="module")
def proxy(clickhouse: ClickHouse) -> Iterator[FaultProxy]:
    with FaultProxy(clickhouse.url) as proxy:
        yield proxy


@pytest.fixture
def way(kafka: Kafka, clickhouse: ClickHouse, proxy: FaultProxy, tmp_path: Path) -> Iterator[Replay]:
    yield Replay(kafka, clickhouse, proxy, tmp_path)
    proxy.clear()
    proxy.release()


def read(done: subprocess.CompletedProcess[str]) -> tuple[int, int, int]:
    """Spans read, stored (or what would be), stored already."""
    found = re.search(
        r"^([\d,]+) spans read: ([\d,]+) (?:would be )?stored, ([\d,]+) stored already", done.stdout
    )
    assert found, done
    first, second, third = (int(number.replace(",", "")) for number in found.groups())
    return first, second, third


def not_stored(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^not stored: (.*)$", done.stdout, re.M)


def test_dead_letters_are_stored_when_their_cause_is_mended(way: Replay) -> None:
    way.create(partitions=2)
    poison, mixed, good = way.spans(2), way.spans(4), way.spans(1)
    poison.resource_spans[0].scope_spans[0].spans[1].name = "poison"
    bad = mixed.resource_spans[0].scope_spans[0].spans[2]
    bad.end_time_unix_nano = bad.start_time_unix_nano - 1
    way.produce(good, b"\xff\xff this is no OTLP", poison, mixed, partition=1)
    folder = way.folder / "one"
    folder.mkdir()
    (folder / "poison_processor.py").write_text(PROCESSOR)
    sections = {
        "processors": {"scrub": {"hash_key": "a key"}, "refuse": {"function": "poison_processor:refuse"}},
        "service": {
            "pipelines": {"traces": {"processors": ["normalize", "price", "refuse", "scrub", "guard"]}}
        },
    }
    with way.translator("one", sections=sections) as translator:
        eventually(way.drained)
        assert translator.stop() == 0
    way.check(4)

    # Not mended yet: what fails still is told with its reason, and stays.
    (way.folder / "poison_processor.py").write_text(PROCESSOR)
    again = way.run("--dead-letters", sections=sections)
    assert again.returncode == 1
    assert read(again) == (1, 0, 0)
    assert len(not_stored(again)) == 3
    assert f"1 message: step refuse failed: ValueError (first: {way.topic}.dlq[0]" in again.stdout
    assert again.stderr.count("step refuse failed on a payload") == 1

    dry = way.run("--dead-letters", "--dry-run")
    assert read(dry) == (3, 2, 0)
    way.check(4)
    mended = way.run("--dead-letters", "--reason", "STEP refuse")
    assert mended.returncode == 0, mended
    assert read(mended) == (2, 2, 0)
    way.check(6)
    rows = way.sql(
        "SELECT span_id, partition, offset FROM agent_events WHERE topic = '{topic}' AND offset = 2"
    )
    assert {(row["span_id"], row["partition"]) for row in rows} == {(key, 1) for key in keys(poison)}
    everything = way.run("--dead-letters")
    assert everything.returncode == 1
    assert read(everything) == (3, 0, 2)
    assert any("malformed" in line for line in not_stored(everything))
    assert any("1 span: end_time_unix_nano is before" in line for line in not_stored(everything))

    # The fixed message itself, sent again or from a file.
    bad.end_time_unix_nano = bad.start_time_unix_nano + 1
    fixed = way.folder / "fixed.binpb"
    fixed.write_bytes(mixed.SerializeToString())
    done = way.run(str(fixed))
    assert done.returncode == 0
    assert read(done) == (4, 1, 3)
    assert way.count() == 6
    assert way.sql(f"SELECT topic, partition FROM agent_events WHERE span_id = '{bad.span_id.hex()}'") == [
        {"topic": "", "partition": -1}
    ]


def test_letters_of_a_time(way: Replay) -> None:
    way.create()
    letter = way.spans(1).SerializeToString()
    headers = {
        "reason": b"failed: x",
        "source.topic": b"else",
        "source.partition": b"7",
        "source.offset": b"9",
    }
    way.kafka.produce(f"{way.topic}.dlq", [letter], headers=headers)
    time.sleep(0.01)
    between = datetime.now(UTC)
    # Too large for this topic, and somebody else's.
    way.kafka.produce(f"{way.topic}.dlq", [b""], headers=headers | {"source.offset": b"10"})
    way.kafka.produce(f"{way.topic}.dlq", [way.spans(2).SerializeToString()])
    early = way.run("--dead-letters", "--until", between.isoformat())
    assert (early.returncode, read(early)) == (0, (1, 1, 0))
    late = way.run("--dead-letters", "--since", between.isoformat())
    assert (late.returncode, read(late)) == (1, (2, 2, 0))
    assert not_stored(late) == [
        "1 message: too large for the dead letter topic: replay it from its source by --topic "
        f"(first: {way.topic}.dlq[0] offset 1, from else[7] offset 10)"
    ]
    rows = way.sql(
        "SELECT topic, partition, offset FROM agent_events WHERE service = '{topic}' ORDER BY offset"
    )
    assert [(r["topic"], r["partition"], int(r["offset"])) for r in rows] == [("", -1, -1)] * 2 + [
        ("else", 7, 9)
    ]


def test_offsets_and_times_of_a_topic(way: Replay) -> None:
    way.create(partitions=3)
    for partition in range(3):
        way.fill(10, partition=partition)
    time.sleep(0.01)
    between = datetime.now(UTC)
    way.fill(4, partition=1)
    topic = ("--topic", way.topic)

    some = way.run(*topic, "--partition", "1", "--from-offset", "3", "--to-offset", "5")
    assert (some.returncode, read(some)) == (0, (6, 6, 0))
    rows = way.sql(
        "SELECT DISTINCT partition, offset FROM agent_events WHERE topic = '{topic}' ORDER BY offset"
    )
    assert [(row["partition"], int(row["offset"])) for row in rows] == [(1, 3), (1, 4), (1, 5)]

    assert read(way.run(*topic, "--since", between.isoformat())) == (8, 8, 0)
    assert read(way.run(*topic, "--until", between.isoformat(), "--partition", "1")) == (20, 14, 6)
    assert read(way.run(*topic, "--since", "1h", "--dry-run")) == (68, 40, 28)
    way.check(28)
    assert read(way.run(*topic, "--until", "1h")) == (0, 0, 0)
    assert read(way.run(*topic)) == (68, 40, 28)
    nothing = way.run(*topic)
    assert nothing.returncode == 0
    assert nothing.stdout == "68 spans read: 0 stored, 68 stored already; nothing new\n"
    way.check(68)
    # Nobody's offsets were touched.
    assert way.kafka.committed_offsets(way.topic, way.topic) == {}


def test_a_dry_run_says_what_would_be_and_writes_nothing(way: Replay) -> None:
    way.create()
    message = way.spans(5)
    old = way.spans(3, start_ns=time.time_ns() - 100 * 86400 * 10**9)
    way.produce(message, message, old, b"\xff\xff nonsense")
    dry = way.run("--topic", way.topic, "--dry-run")
    assert dry.returncode == 1
    assert read(dry) == (13, 5, 5)
    assert "3 spans: start_time_unix_nano is more than 90 d in the past" in dry.stdout
    assert "stored with a higher processors.guard.max_age_days" in dry.stdout
    assert "1 message: malformed" in dry.stdout
    assert way.count() == 0
    done = way.run("--topic", way.topic)
    assert (done.returncode, read(done)) == (1, (13, 5, 5))
    way.check(5)


def test_what_the_translators_have_not_stored_is_left_to_them(way: Replay) -> None:
    way.create()
    way.fill(10)
    with way.translator() as translator:
        eventually(way.drained)
        assert translator.stop() == 0
    way.fill(5)
    letter = way.spans(1)
    headers = {"reason": b"failed", "source.topic": way.topic.encode(), "source.partition": b"0"}
    way.kafka.produce(
        f"{way.topic}.dlq", [letter.SerializeToString()], headers=headers | {"source.offset": b"12"}
    )
    done = way.run("--topic", way.topic)
    assert (done.returncode, read(done)) == (0, (20, 0, 20))
    assert f"{way.topic}[0] from offset 10 on is left to the translators" in done.stderr
    done = way.run("--dead-letters")
    assert (done.returncode, read(done)) == (1, (0, 0, 0))
    assert "the translator is not done with the message" in done.stdout
    with way.translator() as translator:
        eventually(way.drained)
    way.check(30)


@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.CUT_BEFORE, Fault.ERROR_AFTER, Fault.CUT_AFTER])
def test_an_insert_that_failed_is_repeated(way: Replay, fault: Fault) -> None:
    way.create()
    way.fill(10)
    way.proxy.fail(fault, times=2)
    before = way.proxy.done[fault]
    done = way.run("--topic", way.topic)
    assert (done.returncode, read(done)) == (0, (20, 20, 0))
    assert way.proxy.done[fault] == before + 2
    way.check(20)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.HANG_AFTER])
def test_a_replay_that_was_killed_is_repeated(way: Replay, fault: Fault) -> None:
    way.create(partitions=2)
    for partition in range(2):
        way.fill(10, partition=partition)
    way.proxy.fail(fault)
    before = way.proxy.done[fault]
    with way.start("--topic", way.topic) as first:
        eventually(lambda: way.proxy.done[fault] > before)
        first.kill()
    way.proxy.clear()
    way.proxy.release()
    done = way.run("--topic", way.topic)
    assert done.returncode == 0
    assert read(done) == ((40, 20, 20) if fault is Fault.HANG_AFTER else (40, 40, 0))
    way.check(40)


def test_ctrl_c_ends_it_and_it_can_be_repeated(way: Replay) -> None:
    way.create()
    filler = "x" * 4000
    way.fill(2000, spans=4, filler=filler)  # 32 MB
    with way.start("--topic", way.topic) as first:
        eventually(way.count)
        first.send_signal(signal.SIGINT)
        told, errors = first.communicate(timeout=100)
    assert first.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted; run it again" in told
    stored = way.count()
    assert f"{stored:,} stored, " in told
    assert stored < 8_000
    done = way.run("--topic", way.topic)
    assert (done.returncode, read(done)) == (0, (8_000, 8_000 - stored, stored))
    way.check(8_000)


def test_ctrl_c_while_the_store_is_away(way: Replay) -> None:
    way.create()
    way.fill(3)
    way.proxy.fail(Fault.ERROR_500)
    before = way.proxy.done[Fault.ERROR_500]
    with way.start("--topic", way.topic) as process:
        eventually(lambda: way.proxy.done[Fault.ERROR_500] > before)
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "0 stored" in told
    assert "Traceback" not in errors


def test_rows_that_were_deleted_are_stored_again(way: Replay) -> None:
    """ClickHouse remembers their insert, and would take another for a repetition."""
    way.create()
    way.fill(5)
    for _ in range(3):
        done = way.run("--topic", way.topic)
        assert (done.returncode, read(done)) == (0, (10, 10, 0))
        assert way.count() == 10
        way.clickhouse.sql(f"ALTER TABLE agent_events DELETE WHERE topic = '{way.topic}'", mutations_sync="2")
        assert way.count() == 0


def test_it_ends_on_a_topic_that_grows(way: Replay) -> None:
    way.create()
    way.fill(300, spans=5)
    with way.start("--topic", way.topic) as process:
        while process.poll() is None:
            way.fill(20)
        assert process.returncode == 0
    assert way.count() >= 1500


def test_deleted_messages_and_wrong_places_are_told(way: Replay) -> None:
    way.create()
    way.fill(5)
    for future in way.admin.delete_records([TopicPartition(way.topic, 0, 2)]).values():
        future.result(30)
    nowhere = way.run("--topic", "no-such-topic")
    assert nowhere.returncode == 1
    assert "there is no topic no-such-topic" in nowhere.stderr
    partition = way.run("--topic", way.topic, "--partition", "4", "--from-offset", "0")
    assert partition.returncode == 1
    assert "has no partition 4" in partition.stderr
    beyond = way.run("--topic", way.topic, "--partition", "0", "--from-offset", "7")
    assert (beyond.returncode, read(beyond)) == (0, (0, 0, 0))
    before = way.run("--topic", way.topic, "--partition", "0", "--from-offset", "1", "--to-offset", "3")
    assert (before.returncode, read(before)) == (0, (4, 4, 0))
    assert f"{way.topic}[0] begins at offset 2" in before.stderr
    for done in (nowhere, partition, beyond, before):
        assert "Traceback" not in done.stderr


def test_no_broker_and_no_server_are_sentences(way: Replay, tmp_path: Path) -> None:
    way.create()
    config = way.configuration()
    deaf = {"receivers": {"kafka": {"brokers": "127.0.0.1:1"}}}
    done = way.run("--dead-letters", sections=deaf)
    assert done.returncode == 1
    assert "Kafka at 127.0.0.1:1 (receivers.kafka.brokers): " in done.stderr
    config["exporters"]["clickhouse"]["url"] = "http://127.0.0.1:1"
    done = way.run("--dead-letters", sections={"exporters": config["exporters"]})
    assert done.returncode == 1
    assert "ClickHouse at http://127.0.0.1:1 does not answer" in done.stderr
    config["exporters"]["clickhouse"]["url"] = ""
    with Instance(tmp_path / "data") as instance:
        done = way.run(
            "--dead-letters", "--data", str(tmp_path / "data"), sections={"exporters": config["exporters"]}
        )
        assert done.returncode == 1
        assert f"process {instance.process.pid} has the store in" in done.stderr
    assert "Traceback" not in done.stderr
