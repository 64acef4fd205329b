"""`spanhouse translate` with a real Kafka broker and a ClickHouse endpoint in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse.config import load
from spanhouse.errors import UserError
from spanhouse.translate import translate
from tests.harness import COUNTED, eventually, request
from tests.parts.clickhouse import ClickHouse
from tests.parts.faults import Fault, FaultProxy
from tests.parts.kafka import Kafka
from tests.parts.translate import Translator, configuration

SUMS = "sum(tokens_prompt) AS prompt, sum(tokens_completion) AS completion, toString(sum(cost_usd)) AS cost"


class Way:
    """A topic of a test's own on the way from Kafka to ClickHouse, with a proxy before the latter."""

    def __init__(self, kafka: Kafka, clickhouse: ClickHouse, proxy: FaultProxy, folder: Path) -> None:
        self.kafka = kafka
        self.clickhouse = clickhouse
        self.proxy = proxy
        self.folder = folder
        self.topic = f"spans-{uuid.uuid4().hex[:12]}"
        self.admin = AdminClient({"bootstrap.servers": kafka.brokers, "log_level": 0})

    def create(self, partitions: int = 1) -> None:
        self.kafka.create_topic(self.topic, partitions)
        self.kafka.create_topic(f"{self.topic}.dlq")

    def configuration(self, **kafka: Any) -> dict[str, Any]:
        return configuration(
            self.kafka.brokers, self.proxy.url, kafka={"topic": self.topic, "group": self.topic, **kafka}
        )

    def translator(
        self, name: str = "one", workers: int = 1, sections: dict[str, Any] | None = None, **kafka: Any
    ) -> Translator:
        """Not started; with the same name it has the same log."""
        return Translator(self.folder / name, self.configuration(**kafka) | (sections or {}), workers)

    def spans(self, count: int = 1, **more: Any) -> ExportTraceServiceRequest:
        """A request of model calls whose service is the topic, so that rollups can be told apart."""
        usage: dict[str, Any] = {
            "gen_ai__operation__name": "chat",
            "gen_ai__provider__name": "openai",
            "gen_ai__request__model": "gpt-4o-mini",
            "gen_ai__usage__input_tokens": 100,
            "gen_ai__usage__output_tokens": 10,
        }
        return request(count, service=self.topic, **usage | more)

    def produce(self, *requests: ExportTraceServiceRequest | bytes, partition: int = 0) -> None:
        values = [r if isinstance(r, bytes) else r.SerializeToString() for r in requests]
        self.kafka.produce(self.topic, [(b"key", value) for value in values], partition)

    def sql(self, query: str) -> list[dict[str, Any]]:
        return self.clickhouse.sql(query.format(topic=self.topic))

    def count(self) -> int:
        return int(self.sql("SELECT count() AS n FROM agent_events WHERE topic = '{topic}'")[0]["n"])

    def committed(self, partition: int = 0) -> TopicPartition | None:
        return self.kafka.committed(self.topic, self.topic).get(partition)

    def plan(self) -> dict[str, Any]:
        """What is committed beside the offset; empty if nothing is."""
        position = self.committed()
        return json.loads(position.metadata) if position and position.metadata else {}

    def drained(self) -> bool:
        """Whether all that is in Kafka is stored and committed."""
        committed = self.kafka.committed_offsets(self.topic, self.topic)
        return all(committed.get(p, 0) == end for p, end in self.kafka.end_offsets(self.topic).items())

    def check(self, spans: int) -> None:
        """Every span once in the rows and in the rollups, tokens and cost with it."""
        sums = {}
        for table, count in COUNTED.items():
            sums[table] = self.sql(f"SELECT {count} AS n, {SUMS} FROM {table} WHERE service = '{{topic}}'")[0]
        assert list(sums.values()) == [sums["agent_events"]] * 4
        found = self.sql(
            "SELECT count() AS rows, uniqExact(trace_id, span_id) AS spans FROM agent_events "
            "WHERE topic = '{topic}'"
        )[0]
        assert {name: int(n) for name, n in found.items()} == {"rows": spans, "spans": spans}

    def letters(self) -> list[tuple[dict[str, str], bytes | None, bytes | None]]:
        """Headers, key and value of the dead letters."""
        return [
            ({name: value.decode() for name, value in letter.headers.items()}, letter.key, letter.value)
            for letter in self.kafka.messages(f"{self.topic}.dlq")
        ]

    def members(self) -> list[int]:
        """How many partitions each member of the group has."""
        described = self.admin.describe_consumer_groups([self.topic])[self.topic].result(30)
        return [len(member.assignment.topic_partitions) for member in described.members]


@pytest.fixture(scope="module")
def proxy(clickhouse: ClickHouse) -> Iterator[FaultProxy]:
    with FaultProxy(clickhouse.url) as proxy:
        yield proxy


@pytest.fixture
def way(kafka: Kafka, clickhouse: ClickHouse, proxy: FaultProxy, tmp_path: Path) -> Iterator[Way]:
    yield Way(kafka, clickhouse, proxy, tmp_path)
    proxy.clear()
    proxy.release()


def keys(*requests: ExportTraceServiceRequest) -> list[str]:
    """Span ids in wire order."""
    return [
        span.span_id.hex()
        for message in requests
        for resource_spans in message.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def test_rows_and_rollups(way: Way) -> None:
    way.create(partitions=3)
    sent = {p: [way.spans(5) for _ in range(20)] for p in range(3)}
    for partition, requests in sent.items():
        way.produce(*requests, partition=partition)
    with way.translator() as translator:
        eventually(way.drained)
        way.check(300)
        rows = way.sql("SELECT span_id, partition, offset FROM agent_events WHERE topic = '{topic}'")
        assert {(row["span_id"], row["partition"], int(row["offset"])) for row in rows} == {
            (span, partition, offset)
            for partition, requests in sent.items()
            for offset, message in enumerate(requests)
            for span in keys(message)
        }
        sums = way.sql(f"SELECT {SUMS} FROM agent_events WHERE topic = '{{topic}}'")[0]
        assert (int(sums["prompt"]), int(sums["completion"]), sums["cost"]) == (30_000, 3000, "0.0063")
        assert translator.metric("spanhouse_spans_stored_total") == 300
        assert translator.metric("spanhouse_kafka_messages_total", topic=way.topic) == 60
        eventually(lambda: translator.ready())
        assert translator.get("/healthz")[0] == 200
        eventually(lambda: translator.metric("spanhouse_kafka_lag") == 0)
        assert translator.stop() == 0
    assert not way.letters()


def test_several_share_the_partitions(way: Way) -> None:
    way.create(partitions=4)
    total = 0

    def produce() -> None:
        nonlocal total
        for partition in range(4):
            way.produce(*(way.spans(3) for _ in range(10)), partition=partition)
        total += 120

    with way.translator("one", workers=2) as one:
        produce()
        eventually(lambda: sorted(way.members()) == [2, 2])
        with way.translator("two") as two:
            produce()
            eventually(lambda: sorted(way.members()) == [1, 1, 2])
            produce()
            assert one.stop() == 0
            produce()
            eventually(lambda: way.members() == [4])
            produce()
            eventually(way.drained)
            assert two.stop() == 0
    way.check(total)


def test_a_worker_without_partitions_is_ready(way: Way) -> None:
    way.create(partitions=1)
    with way.translator(workers=2) as translator:
        eventually(lambda: sorted(way.members()) == [0, 1])
        eventually(translator.ready)
        way.kafka.kill()
        eventually(lambda: not translator.ready())
        way.kafka.start()
        eventually(translator.ready)


def test_sigterm_stores_what_it_began(way: Way) -> None:
    way.create(partitions=2)
    for partition in range(2):
        way.produce(*(way.spans(50) for _ in range(400)), partition=partition)
    with way.translator(batch_spans=2000, batch_seconds=0.05) as translator:
        eventually(lambda: way.count() > 0)
        assert translator.stop() == 0
    for partition in range(2):
        # Without a plan: nothing is left for the next owner to repeat.
        position = way.committed(partition)
        assert position is not None
        assert not position.metadata
        rows = way.sql(
            f"SELECT count() AS n, max(offset) AS last FROM agent_events "
            f"WHERE topic = '{{topic}}' AND partition = {partition}"
        )[0]
        assert int(rows["n"]) == 50 * position.offset
    with way.translator():
        eventually(way.drained)
    way.check(40_000)


def test_a_plan_is_repeated_when_its_worker_was_killed_before_the_insert(way: Way) -> None:
    way.create()
    way.proxy.fail(Fault.CUT_BEFORE)
    with way.translator() as translator:
        way.produce(*(way.spans(2) for _ in range(7)))
        eventually(way.plan)
        eventually(lambda: way.proxy.done[Fault.CUT_BEFORE] and way.count() == 0)
        planned = way.plan()["end"]
        translator.kill_worker()
        # More messages, of which a new plan would take some.
        way.produce(*(way.spans(2) for _ in range(30)))
        way.proxy.clear()
        eventually(way.drained)
    way.check(74)
    blocks = way.sql(
        f"SELECT ingested_at, max(offset) <= {planned} AS of_plan FROM agent_events "
        "WHERE topic = '{topic}' GROUP BY ingested_at ORDER BY ingested_at"
    )
    assert sum(int(block["of_plan"]) for block in blocks) == 1
    assert len(blocks) > 1


@pytest.mark.parametrize("whole", [False, True], ids=["worker", "supervisor"])
def test_an_insert_is_counted_once_when_its_worker_was_killed_after_it(way: Way, whole: bool) -> None:
    way.create()
    way.proxy.fail(Fault.HANG_AFTER, times=1)
    before = way.proxy.done[Fault.HANG_AFTER]
    with way.translator() as translator:
        way.produce(*(way.spans(2) for _ in range(7)))
        eventually(lambda: way.proxy.done[Fault.HANG_AFTER] > before)
        stored = way.sql("SELECT * EXCEPT attrs FROM agent_events WHERE topic = '{topic}' ORDER BY span_id")
        assert stored
        assert way.plan()
        if whole:
            translator.kill()
            way.proxy.release()
            translator.start()
        else:
            translator.kill_worker()
            way.proxy.release()
        way.produce(*(way.spans(2) for _ in range(30)))
        eventually(way.drained)
    way.check(74)
    # They are the very rows that were there before.
    last = max(int(row["offset"]) for row in stored)
    assert stored == way.sql(
        f"SELECT * EXCEPT attrs FROM agent_events WHERE topic = '{{topic}}' AND offset <= {last} "
        "ORDER BY span_id"
    )


def test_an_insert_that_failed_is_repeated(way: Way) -> None:
    way.create()
    with way.translator() as translator:
        for number, fault in enumerate(Fault, 1):
            before, retries = way.proxy.done[fault], translator.metric("spanhouse_insert_retries_total")
            way.proxy.fail(fault, times=2)
            way.produce(*(way.spans(2) for _ in range(7)))
            eventually(lambda: way.proxy.done[fault] == before + 1)  # noqa: B023 - called at once
            way.proxy.release()
            eventually(lambda: way.proxy.done[fault] == before + 2)  # noqa: B023
            way.proxy.release()
            eventually(way.drained)
            # Each attempt is the translator's own: the client does not repeat an insert behind its back.
            assert translator.metric("spanhouse_insert_retries_total") == retries + 2
            way.check(14 * number)


PROCESSOR = """
import polars as pl

def refuse(batch: pl.DataFrame) -> pl.DataFrame:
    if (batch["name"] == "poison").any():
        raise ValueError("a secret that must not be told")
    return batch
"""


def test_dead_letters(way: Way) -> None:
    way.create(partitions=2)
    good, poison, mixed = way.spans(3), way.spans(2), way.spans(4)
    poison.resource_spans[0].scope_spans[0].spans[1].name = "poison"
    bad = mixed.resource_spans[0].scope_spans[0].spans[2]
    bad.end_time_unix_nano = bad.start_time_unix_nano - 1
    undecodable = b"\xff\xff this is no OTLP"
    way.produce(way.spans(1), partition=0)
    way.produce(good, undecodable, poison, mixed, way.spans(1), partition=1)
    folder = way.folder / "one"
    folder.mkdir()
    (folder / "poison_processor.py").write_text(PROCESSOR)
    sections = {
        "processors": {
            "scrub": {"hash_key": "a key"},
            "refuse": {"function": "poison_processor:refuse"},
        },
        "service": {
            "pipelines": {"traces": {"processors": ["normalize", "price", "refuse", "scrub", "guard"]}}
        },
    }
    with way.translator("one", sections=sections) as translator:
        eventually(way.drained)
        assert translator.metric("spanhouse_dead_letters_total", reason="malformed") == 1
        assert translator.metric("spanhouse_dead_letters_total", reason="rejected") == 1
        assert translator.metric("spanhouse_dead_letters_total", reason="failed") == 1
        assert translator.metric("spanhouse_spans_rejected_total") == 1
    way.check(1 + 3 + 3 + 1)
    letters = {headers.pop("source.offset"): (headers, key, value) for headers, key, value in way.letters()}
    assert set(letters) == {"1", "2", "3"}
    for headers, key, _ in letters.values():
        assert headers["source.topic"] == way.topic
        assert headers["source.partition"] == "1"
        assert key == b"key"
        assert "secret" not in headers["reason"]
    assert letters["1"][0]["reason"].startswith("malformed: ")
    assert letters["1"][2] == undecodable
    assert letters["2"][0]["reason"] == "failed: step refuse failed: ValueError"
    assert letters["2"][2] == poison.SerializeToString()
    assert letters["3"][0]["reason"].startswith("rejected: ")
    only = ExportTraceServiceRequest.FromString(letters["3"][2] or b"")
    assert keys(only) == [bad.span_id.hex()]
    assert only.resource_spans[0].resource == mixed.resource_spans[0].resource


def test_a_span_that_comes_again_is_stored_once(way: Way) -> None:
    way.create()
    first, second, third = way.spans(3), way.spans(2), way.spans(2)
    twice = ExportTraceServiceRequest.FromString(first.SerializeToString())
    twice.resource_spans[0].scope_spans[0].spans.add().CopyFrom(
        twice.resource_spans[0].scope_spans[0].spans[0]
    )
    with way.translator() as translator:
        way.produce(twice, second, second)
        eventually(way.drained)
        way.check(5)
        assert translator.metric("spanhouse_spans_duplicate_total") == 3
        way.produce(first)
        eventually(way.drained)
        way.check(5)
        assert translator.metric("spanhouse_spans_duplicate_total") == 6
        assert translator.stop() == 0
        translator.start()
        way.produce(second, third, first)
        eventually(way.drained)
        assert translator.metric("spanhouse_spans_duplicate_total") == 5
        assert translator.metric("spanhouse_spans_stored_total") == 2
    way.check(7)


def test_a_missing_topic_is_waited_for(way: Way) -> None:
    with way.translator() as translator:
        eventually(lambda: f"the topic {way.topic} does not exist" in translator.get("/readyz")[1])
        assert translator.get("/healthz")[0] == 200
        way.create()
        way.produce(way.spans(3))
        eventually(way.drained)
        eventually(translator.ready)
    way.check(3)


def test_the_store_is_down(way: Way) -> None:
    way.create()
    with way.translator() as translator:
        way.produce(way.spans(3))
        eventually(way.drained)
        eventually(translator.ready)
        way.clickhouse.kill()
        way.produce(*(way.spans(3) for _ in range(5)))
        eventually(lambda: translator.get("/readyz")[0] == 503)
        assert "ClickHouse" in translator.get("/readyz")[1]
        assert translator.get("/healthz")[0] == 200
        # One that starts meanwhile waits, and says what for.
        with way.translator("two") as two:
            eventually(lambda: "ClickHouse" in two.get("/readyz")[1])
            way.clickhouse.start()
            eventually(way.drained)
            eventually(translator.ready)
            eventually(two.ready)
    way.check(18)


def test_the_broker_is_down(way: Way) -> None:
    way.create()
    with way.translator() as translator:
        way.produce(way.spans(3))
        eventually(way.drained)
        eventually(translator.ready)
        way.kafka.kill()
        eventually(lambda: translator.get("/readyz")[0] == 503)
        assert "Kafka" in translator.get("/readyz")[1]
        assert translator.get("/healthz")[0] == 200
        way.kafka.start()
        way.produce(way.spans(3))
        eventually(way.drained)
        eventually(translator.ready)
        # An outage of days must not fill the disk with a line for every attempt.
        assert translator.log.read_text().count("Connection refused") < 50
    way.check(6)


def test_a_worker_that_hangs_fails_the_health_check(way: Way) -> None:
    way.create()
    with way.translator() as translator:
        way.produce(way.spans(3))
        eventually(way.drained)
        pid = translator.pause_worker()
        eventually(lambda: translator.get("/healthz")[0] == 503, 90)
        assert f"worker 0 (process {pid}) says nothing for" in translator.get("/healthz")[1]
        translator.resume(pid)
        eventually(lambda: translator.get("/healthz")[0] == 200)
        way.produce(way.spans(3))
        eventually(way.drained)
    way.check(6)


def test_a_store_that_hangs_fails_the_health_check(way: Way) -> None:
    way.create()
    with way.translator(stall_seconds=3) as translator:
        way.produce(way.spans(3))
        eventually(way.drained)
        way.clickhouse.pause()
        way.produce(way.spans(3))
        eventually(lambda: translator.get("/healthz")[0] == 503)
        assert f"{way.topic}[0] has stored nothing for" in translator.get("/healthz")[1]
        way.clickhouse.resume()
        eventually(way.drained)
        eventually(lambda: translator.get("/healthz")[0] == 200)
    way.check(6)


def test_memory_is_bounded_while_the_store_is_down(way: Way) -> None:
    way.create(partitions=4)
    way.proxy.fail(Fault.ERROR_500)
    filler = "x" * 4000
    for partition in range(4):
        way.produce(*(way.spans(20, filler=filler) for _ in range(800)), partition=partition)
    with way.translator() as translator:
        eventually(lambda: translator.metric("spanhouse_buffer_bytes") > 60e6)
        worker = psutil.Process(translator.workers()[0])
        peak = 0.0
        end = time.monotonic() + 5
        while time.monotonic() < end:
            peak = max(peak, translator.metric("spanhouse_buffer_bytes"))
            time.sleep(0.1)
        # 260 MB wait in Kafka; 128 MiB may be held, and a little more that was on its way.
        assert peak < 170e6
        assert worker.memory_info().rss < 1.5e9
        way.proxy.clear()
        eventually(way.drained, 200)
    way.check(64_000)


def test_messages_that_kafka_deleted_are_counted(way: Way) -> None:
    way.create()
    with way.translator() as translator:
        way.produce(*(way.spans(1) for _ in range(10)))
        eventually(way.drained)
        assert translator.stop() == 0
        way.produce(*(way.spans(1) for _ in range(20)))
        where = TopicPartition(way.topic, 0, 25)
        for future in way.admin.delete_records([where]).values():
            future.result(30)
        translator.start()
        eventually(way.drained)
        assert translator.metric("spanhouse_offsets_lost_total", topic=way.topic, partition="0") == 15
        way.produce(way.spans(1))
        eventually(way.drained)
    way.check(16)


def make_anew(way: Way, count: int) -> None:
    """A topic of the same name and the same offsets, with other messages."""
    way.admin.delete_topics([way.topic])[way.topic].result(30)
    eventually(lambda: way.topic not in way.admin.list_topics(timeout=30).topics)
    way.kafka.create_topic(way.topic)
    way.produce(*(way.spans(1) for _ in range(count)))


def test_a_topic_made_anew_while_nobody_looked(way: Way) -> None:
    way.create()
    with way.translator() as translator:
        way.produce(*(way.spans(1) for _ in range(10)))
        eventually(way.drained)
        assert translator.stop() == 0
        make_anew(way, 10)
        translator.start()
        eventually(way.drained)
    way.check(20)


def test_a_topic_made_anew_under_a_translator(way: Way) -> None:
    way.create()
    with way.translator() as translator:
        way.produce(*(way.spans(1) for _ in range(10)))
        eventually(way.drained)
        spans = 10
        for count in (5, 5, 12):  # fewer than before, as many, more
            make_anew(way, count)
            spans += count
            eventually(lambda: way.count() == spans)  # noqa: B023 - called at once
        eventually(way.drained)
        # Whoever comes next goes on in the new topic.
        translator.kill()
        way.produce(*(way.spans(1) for _ in range(5)))
        translator.start()
        eventually(way.drained)
    way.check(spans + 5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exporters": {"clickhouse": {"url": ""}}}, "exporters.clickhouse.url is not set"),
        ({"exporters": {"clickhouse": {"url": "clickhouse"}}}, "expected e.g. http://clickhouse:8123"),
        ({"processors": {}}, "processors.scrub.hash_key is not set"),
        ({"receivers": {"kafka": {"options": {"no.such": "1"}}}}, "receivers.kafka.options: .*no.such"),
        ({"receivers": {"kafka": {"batch_spans": 0}}}, "receivers.kafka.batch_spans"),
    ],
)
def test_a_wrong_configuration_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    def become(*_: object) -> None:
        raise AssertionError("the supervisor was started")

    monkeypatch.setattr(os, "execv", become)
    config = tmp_path / "spanhouse.yaml"
    config.write_text(yaml.safe_dump(configuration("127.0.0.1:1", "http://127.0.0.1:1") | change))
    with pytest.raises(UserError, match=said):
        translate(load(config, {}), config, 1)


def test_missing_tables_are_a_sentence(way: Way) -> None:
    way.create()
    config = way.folder / "spanhouse.yaml"
    document = way.configuration()
    document["exporters"]["clickhouse"]["database"] = "elsewhere"
    config.write_text(yaml.safe_dump(document))
    ended = subprocess.run(
        [sys.executable, "-m", "spanhouse", "translate", f"--config={config}", "--metrics=127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "spanhouse migrate" in ended.stderr
    assert "Traceback" not in ended.stderr
