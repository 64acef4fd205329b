"""A real Kafka broker: one process that is broker and controller (KRaft), on the loopback."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tests.parts.cache import PartError, part, run
from tests.parts.process import Process, free_port

VERSION: Final = "4.1.1"
_JAVA: Final = Path(__file__).parent / "java"

_CLUSTER: Final = "spanhouse-tests-000000"  # 16 bytes in base64
_COORDINATOR_NOT_READY: Final = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)

_PROPERTIES: Final = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
# A name that was mistyped must not become a topic.
auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# After a kill the broker is let in again only when its former session has run out.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# Sized for a small heap.
log.cleaner.dedupe.buffer.size=8388608
log.segment.bytes=67108864
num.recovery.threads.per.data.dir=2
"""
# What a broker says that does not know yet what it leads.
_STARTING: Final = (
    KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART,
)  # fmt: skip


def fetch() -> Path:
    """Folder of the broker's jars, from Maven; brought if it is not there.

    Raises:
        PartError: Java or Maven is not installed, or Maven failed.
    """
    if shutil.which("java") is None:
        raise PartError("java is not installed; a Kafka broker needs version 17 or newer")

    def make(folder: Path) -> None:
        shutil.copy(_JAVA / "pom.xml", folder)
        jars = "-DoutputDirectory=jars"
        run(["mvn", "-q", "-B", "dependency:copy-dependencies", jars], folder)

    return part("kafka", VERSION, make, sources=[_JAVA / "pom.xml"]) / "jars"


@dataclass(frozen=True, slots=True)
class Record:
    """A message as it lies in a topic; `timestamp` in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes] = field(default_factory=dict)


class Kafka:
    """A broker whose data lie in `folder` and whose port stays the same over restarts.

        with Kafka(tmp_path / "kafka") as kafka:
            kafka.create_topic("otel-spans", partitions=3)
            kafka.kill()
            kafka.start()

    Attributes:
        brokers: its address, as `bootstrap.servers` takes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        port, controller_port = free_port(), free_port()
        self.brokers = f"127.0.0.1:{port}"
        # Silent about the time when the broker is down.
        self._admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})
        self._properties = folder / "server.properties"
        self._properties.write_text(
            _PROPERTIES.format(port=port, controller_port=controller_port, data=folder / "data")
        )
        classes = f"{fetch()}{os.sep}*"
        self._java: list[str | Path] = [
            "java",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",  # starts with two thirds of the work
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={_JAVA / 'log4j2.yaml'}",
            "-cp",
            classes,
        ]
        self.process = Process([*self._java, "kafka.Kafka", self._properties], folder / "broker.log")

    def start(self) -> None:
        """Start it, on the data it had, and wait until clients can use it."""
        if not (self.folder / "data").exists():
            self._format()
        self.process.start()
        self._wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def stop(self) -> None:
        """SIGTERM; it leaves orderly."""
        self.process.stop()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self.process.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self.process.resume()

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Make a topic, and wait until it can be written."""
        new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        self._admin.create_topics([new])[name].result(30)
        self._wait()

    def produce(
        self,
        topic: str,
        messages: Iterable[bytes | tuple[bytes | None, bytes]],
        partition: int = -1,
        headers: Mapping[str, bytes] | None = None,
    ) -> None:
        """Write messages, values or (key, value), and wait until the broker has them.

        Without a partition the key decides, or chance where there is none.
        """
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        with_headers = dict(headers or {})
        settings = {"bootstrap.servers": self.brokers, "acks": "all", "linger.ms": 5, "log_level": 0}
        producer = Producer(settings)
        for message in messages:
            key, value = message if isinstance(message, tuple) else (None, message)
            while True:
                try:
                    producer.produce(
                        topic, value, key, partition, on_delivery=delivered, headers=with_headers
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0, "the broker did not take all messages within a minute"
        if failed:
            raise KafkaException(failed[0])

    def messages(self, topic: str) -> list[Record]:
        """All messages of a topic, in the order of partition and offset."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.brokers,
                "group.id": f"read-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        unfinished = set(self.end_offsets(topic))
        records: list[Record] = []
        try:
            consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in unfinished])
            deadline = time.monotonic() + 60
            while unfinished:
                assert time.monotonic() < deadline, f"{topic} could not be read within a minute"
                for message in consumer.consume(10_000, 0.1):
                    error, partition = message.error(), message.partition()
                    assert partition is not None
                    if error is None:
                        records.append(_record(message))
                    elif error.code() == KafkaError._PARTITION_EOF:
                        unfinished.discard(partition)
                    else:
                        raise KafkaException(error)
        finally:
            consumer.close()
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset that the next message gets, by partition."""
        described = self._admin.list_topics(topic, timeout=30).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        return self._ends(topic, len(described.partitions))

    def committed(self, group: str, topic: str) -> dict[int, TopicPartition]:
        """What a consumer group has committed in a topic (`.offset`, `.metadata`), by partition."""
        # Not by the admin client, which crashes where the group is new (librdkafka #5040). One that has not
        # subscribed to anything is no member of the group.
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": group, "log_level": 0})
        try:
            asked = [TopicPartition(topic, partition) for partition in self.end_offsets(topic)]
            deadline = time.monotonic() + 60
            while True:
                try:
                    found = consumer.committed(asked, timeout=10)
                    failed = [position.error for position in found if position.error is not None]
                    if failed:
                        raise KafkaException(failed[0])
                    return {position.partition: position for position in found if position.offset >= 0}
                except KafkaException as error:
                    # A broker that has just started has not read yet what groups committed.
                    if error.args[0].code() not in _COORDINATOR_NOT_READY or time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
        finally:
            consumer.close()

    def committed_offsets(self, group: str, topic: str) -> dict[int, int]:
        """The offsets that a consumer group has committed in a topic, by partition."""
        return {partition: position.offset for partition, position in self.committed(group, topic).items()}

    def _ends(self, topic: str, partitions: int) -> dict[int, int]:
        asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}
        deadline = time.monotonic() + 30
        while True:
            offsets = self._admin.list_offsets(asked, request_timeout=10)
            try:
                return {
                    partition.partition: future.result(30).offset for partition, future in offsets.items()
                }
            except KafkaException as error:
                # A broker that has just started again may not know yet what it leads.
                if error.args[0].code() not in _STARTING or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _format(self) -> None:
        """Make the data folder, as a new broker needs it."""
        storage = [*self._java, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", self._properties]
        run(storage, self.folder)

    def _wait(self) -> None:
        """Until the broker is registered and leads every partition that it has."""
        deadline = time.monotonic() + 120

        def usable() -> bool:
            try:
                cluster = self._admin.list_topics(timeout=1)
            except KafkaException:
                return False
            partitions = (p for topic in cluster.topics.values() for p in topic.partitions.values())
            return 1 in cluster.brokers and all(partition.leader == 1 for partition in partitions)

        while not usable():
            assert self.process.running(), f"the broker ended:\n{self.process.tail()}"
            assert time.monotonic() < deadline, f"the broker does not answer:\n{self.process.tail()}"
            time.sleep(0.05)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.running():
            self.kill()


def _record(message: Message) -> Record:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    headers = cast("dict[str, bytes]", dict(message.headers() or []))
    return Record(topic, partition, offset, message.timestamp()[1], message.key(), message.value(), headers)
