"""What docs/exactly-once.md builds on: who was thrown out of a consumer group can commit nothing more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

import pytest
from confluent_kafka import Consumer, TopicPartition

from spanhouse.config import KafkaSettings
from spanhouse.receivers.kafka_client import connection
from tests.harness import eventually
from tests.parts.kafka import Kafka
from tests.parts.process import hold

# Owns the partition, and commits offset 5 with a plan all the time; it polls nothing, as one does that hangs.
_OWNER = """
import sys, time
from confluent_kafka import Consumer, KafkaException, TopicPartition

owned = []
consumer = Consumer({
    "bootstrap.servers": sys.argv[1], "group.id": sys.argv[2], "enable.auto.commit": False, "log_level": 0,
    "partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 6000,
    "heartbeat.interval.ms": 500,
})
consumer.subscribe([sys.argv[2]], on_assign=lambda _, partitions: owned.extend(partitions))
while not owned:
    consumer.poll(0.1)
while True:
    try:
        consumer.commit(offsets=[TopicPartition(sys.argv[2], 0, 5, "plan")], asynchronous=False)
        print("committed", flush=True)
    except KafkaException as error:
        print(error.args[0].name(), flush=True)
    time.sleep(0.01)
"""


class Owner:
    """A consumer in a process of its own, that can be stopped."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        command = [sys.executable, "-c", _OWNER, kafka.brokers, topic]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        hold(self._process.pid)
        assert self._process.stdout is not None
        self._said: IO[str] = self._process.stdout

    def says(self) -> str:
        """What became of its next commit."""
        return self._said.readline().strip()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()


@pytest.fixture
def topic(kafka: Kafka, request: pytest.FixtureRequest) -> str:
    name = f"fencing-{request.node.callspec.id}"
    kafka.create_topic(name)
    kafka.produce(name, [b"x"] * 20)
    return name


@pytest.fixture
def owner(kafka: Kafka, topic: str) -> Iterator[Owner]:
    owner = Owner(kafka, topic)
    yield owner
    owner.end()


def take_over(kafka: Kafka, topic: str) -> Consumer:
    """The next owner, which has committed offset 10."""
    settings = KafkaSettings(brokers=kafka.brokers, topic=topic, group=topic)
    consumer = Consumer(
        {
            **connection(settings),
            "group.id": topic,
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
        }
    )
    owned: list[TopicPartition] = []
    consumer.subscribe([topic], on_assign=lambda _, partitions: owned.extend(partitions))

    def assigned() -> bool:
        consumer.poll(0.1)
        return bool(owned)

    eventually(assigned)
    consumer.commit(offsets=[TopicPartition(topic, 0, 10)], asynchronous=False)
    return consumer


@pytest.mark.parametrize("leaves", [False, True], ids=["the-next-is-there", "the-group-is-empty"])
def test_who_was_thrown_out_cannot_commit(kafka: Kafka, topic: str, owner: Owner, leaves: bool) -> None:
    assert owner.says() == "committed"
    owner.signal(signal.SIGSTOP)
    following = take_over(kafka, topic)
    if leaves:
        following.close()
    owner.signal(signal.SIGCONT)
    refused = [eventually(owner.says) for _ in range(400)]
    # The pipe still has lines of the time before; after the first refusal there is nothing else.
    first = next(i for i, said in enumerate(refused) if said != "committed")
    assert set(refused[first:]) <= {"UNKNOWN_MEMBER_ID", "ILLEGAL_GENERATION"}
    assert kafka.committed_offsets(topic, topic) == {0: 10}
    if not leaves:
        following.close()
