"""`spanhouse up` reading Kafka: a real broker, the embedded store, kills."""

from __future__ import annotations

import random
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.harness import COUNTED, Instance, eventually, request
from tests.parts.kafka import Kafka

SUMS = "toInt32({count}) AS n, sum(tokens_prompt) AS prompt, toString(sum(cost_usd)) AS cost"


class Way:
    """A topic of a test's own, and the configuration that reads it."""

    def __init__(self, kafka: Kafka, folder: Path, partitions: int) -> None:
        self.kafka = kafka
        self.folder = folder
        self.topic = f"spans-{uuid.uuid4().hex[:12]}"
        kafka.create_topic(self.topic, partitions)
        kafka.create_topic(f"{self.topic}.dlq")

    def instance(self, *receivers: str, **more: Any) -> Instance:
        of_kafka = {
            "brokers": self.kafka.brokers,
            "topic": self.topic,
            "group": self.topic,
            "batch_seconds": 0.05,
            "options": {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500},
        }
        config = self.folder / "spanhouse.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "receivers": {"kafka": of_kafka | more},
                    "service": {"pipelines": {"traces": {"receivers": list(receivers)}}},
                }
            )
        )
        return Instance(self.folder / "data", config=config)

    def produce(self, messages: int, spans: int, partition: int = 0) -> None:
        values = [(b"key", some(spans)) for _ in range(messages)]
        self.kafka.produce(self.topic, values, partition)

    def drained(self) -> bool:
        committed = self.kafka.committed_offsets(self.topic, self.topic)
        return all(committed.get(p, 0) == end for p, end in self.kafka.end_offsets(self.topic).items())


def some(spans: int) -> bytes:
    return request(
        spans,
        gen_ai__operation__name="chat",
        gen_ai__provider__name="openai",
        gen_ai__request__model="gpt-4o-mini",
        gen_ai__usage__input_tokens=100,
    ).SerializeToString()


def check(instance: Instance, spans: int) -> None:
    """Every span once, in the rows and in the rollups, with tokens and cost."""
    sums = [
        instance.sql(f"SELECT {SUMS.format(count=count)} FROM {table}")[0] for table, count in COUNTED.items()
    ]
    assert sums[0] == sums[1] == sums[2]
    assert sums[0]["n"] == spans
    found = instance.sql("SELECT toInt32(uniqExact(trace_id, span_id)) AS n FROM agent_events")
    assert found[0]["n"] == spans


def test_kafka_and_otlp_into_one_store(kafka: Kafka, tmp_path: Path) -> None:
    way = Way(kafka, tmp_path, 2)
    for partition in range(2):
        way.produce(10, 5, partition)
    kafka.produce(way.topic, [(b"key", b"\xff\xff this is no OTLP")], 0)
    with way.instance("otlp", "kafka") as instance:
        assert instance.post(some(7))[0] == 200
        eventually(way.drained)
        check(instance, 107)
        rows = instance.sql(
            "SELECT topic, partition, toInt32(count()) AS n FROM agent_events "
            "GROUP BY topic, partition ORDER BY partition"
        )
        assert [tuple(row.values()) for row in rows] == [("", -1, 7), (way.topic, 0, 50), (way.topic, 1, 50)]
        (letter,) = kafka.messages(f"{way.topic}.dlq")
        assert letter.value == b"\xff\xff this is no OTLP"
        assert instance.metric("spanhouse_kafka_messages_total") == 21
        ready, healthy = (instance.url("metrics", path) for path in ("/readyz", "/healthz"))
        eventually(lambda: requests.get(ready, timeout=30).ok)
        kafka.kill()
        eventually(lambda: "Kafka" in requests.get(ready, timeout=30).text)
        assert requests.get(healthy, timeout=30).ok
        assert instance.post(some(3))[0] == 200  # the other door is open all the same
        kafka.start()
        eventually(lambda: requests.get(ready, timeout=30).ok)
        assert instance.stop() == 0
    # Nothing is left for the next one to repeat.
    assert not any(position.metadata for position in kafka.committed(way.topic, way.topic).values())


def test_kills_count_nothing_twice_and_lose_nothing(kafka: Kafka, tmp_path: Path) -> None:
    way, chance = Way(kafka, tmp_path, 2), random.Random(11)
    for partition in range(2):
        way.produce(400, 25, partition)
    for _ in range(3):
        with way.instance("kafka", batch_spans=500) as instance:
            assert "otlp-grpc" not in instance.addresses
            eventually(lambda: instance.metric("spanhouse_spans_stored_total") > 0)
            time.sleep(chance.uniform(0, 0.2))  # a random moment is the point
            instance.kill()
    with way.instance("kafka") as instance:
        eventually(way.drained)
        check(instance, 20_000)
        assert instance.stop() == 0


@pytest.mark.parametrize(
    ("kafka_options", "flags", "said"),
    [
        ({}, ["--demo"], "--demo sends by OTLP: add otlp to service.pipelines.traces.receivers"),
        ({"no.such": "1"}, [], "receivers.kafka.options: "),
    ],
)
def test_what_cannot_be_is_a_sentence(
    tmp_path: Path, kafka_options: dict[str, str], flags: list[str], said: str
) -> None:
    config = tmp_path / "spanhouse.yaml"
    document = {
        "receivers": {"kafka": {"options": kafka_options}},
        "service": {"pipelines": {"traces": {"receivers": ["kafka"]}}},
    }
    config.write_text(yaml.safe_dump(document))
    ended = subprocess.run(
        [sys.executable, "-m", "spanhouse", "up", f"--config={config}", f"--data={tmp_path}", *flags],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
