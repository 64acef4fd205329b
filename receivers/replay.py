"""What `spanhouse replay` reads of Kafka, as batches of OTLP payloads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import Final, NamedTuple

import polars as pl
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from spanhouse.config import KafkaSettings
from spanhouse.errors import UserError
from spanhouse.receivers.kafka_client import connection

# A batch is closed at so many payload bytes, about 16 k small spans, or items.
BATCH_BYTES: Final = 8 << 20
BATCH_ITEMS: Final = 20_000

_MESSAGES: Final = 1000
_TURN_S: Final = 0.5
_TIMEOUT_S: Final = 10.0

IDS: Final = ("trace_id", "span_id")
PLACE: Final = {"topic": pl.String, "partition": pl.Int32, "offset": pl.Int64}


class Place(NamedTuple):
    """Where a row says that it came from."""

    topic: str = ""
    partition: int = -1
    offset: int = -1


class Item(NamedTuple):
    """One payload, or why it cannot be had.

    Attributes:
        name: where it was found, for people.
        payload: a serialized ExportTraceServiceRequest, or TracesData, which is the same.
        place: where it came from first.
        refused: why there is no payload; '' where there is one.
        rows: of a payload made of rows, their trace_id, span_id and own places.
    """

    name: str
    payload: bytes = b""
    place: Place = Place()
    refused: str = ""
    rows: pl.DataFrame | None = None


@dataclass(slots=True)
class Batch:
    """What is processed and stored together.

    Attributes:
        items: those that have a payload.
        refused: the others.
        read: how much of the source has been read with it, in the source's unit.
    """

    items: list[Item] = field(default_factory=list)
    refused: list[Item] = field(default_factory=list)
    read: int = 0

    def places(self, spans: pl.DataFrame) -> pl.DataFrame:
        """topic, partition and offset of spans (payload: index in `items`, trace_id, span_id), in order."""
        if rows := [item.rows for item in self.items if item.rows is not None]:
            known, by = pl.concat(rows).unique(IDS), list(IDS)
        else:
            known, by = pl.DataFrame([item.place for item in self.items], PLACE, orient="row"), ["payload"]
            known = known.with_row_index("payload")
        return spans.join(known, on=by, how="left", maintain_order="left").select(*PLACE)

    def token(self) -> str:
        """The same for the same payloads."""
        digest = hashlib.blake2b(digest_size=16)
        for item in self.items:
            digest.update(len(item.payload).to_bytes(8))
            digest.update(item.payload)
        return digest.hexdigest()


def batches(items: Iterable[Item]) -> Iterator[Batch]:
    """Put items together, up to BATCH_BYTES or one payload that is larger."""
    batch, size = Batch(), 0
    for item in items:
        many = len(batch.items) + len(batch.refused) == BATCH_ITEMS
        if many or (batch.items and size + len(item.payload) > BATCH_BYTES):
            yield batch
            batch, size = Batch(), 0
        (batch.refused if item.refused else batch.items).append(item)
        size += len(item.payload)
    yield batch


@dataclass(frozen=True, slots=True)
class Window:
    """Which messages of a topic are read; None where there is no bound.

    Attributes:
        partition: only this one.
        first: offset of the first.
        last: offset of the last.
        since: start at the first message of this time or later.
        until: end before the first message of this time or later.
    """

    partition: int | None = None
    first: int | None = None
    last: int | None = None
    since: datetime | None = None
    until: datetime | None = None


class Topic:
    """Messages of a topic. Nothing is committed, and where they end is looked up once.

    What the group of `spanhouse translate` has not stored yet is left to it: it would be stored twice.

    Args:
        settings: receivers.kafka.
        topic: which one.
        window: which of its messages.

    Raises:
        UserError: there is no such topic or partition, or Kafka does not answer.
    """

    unit = "messages"

    def __init__(self, settings: KafkaSettings, topic: str, window: Window) -> None:
        self.notes: list[str] = []
        self._settings = settings
        self._topic = topic
        self._consumer = Consumer(
            {
                "auto.offset.reset": "error",
                "queued.max.messages.kbytes": 32 << 10,
                **connection(settings),
                "group.id": settings.group,  # to see its offsets; it is not joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
            }
        )
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                self._look(window)
                break
            except KafkaException as error:  # brokers that are just starting need a moment
                if time.monotonic() > deadline:
                    raise self._failure(error.args[0]) from error
            time.sleep(_TURN_S)
        self.total = sum(end - begin for begin, end in self._bounds.values())

    def batches(self, stop: Event) -> Iterator[Batch]:
        """Read one partition after the other, until the end or until `stop`.

        Raises:
            UserError: Kafka refuses to give the messages.
        """
        try:
            for partition, (begin, end) in self._bounds.items():
                self._at = begin
                for batch in batches(self._items(partition, begin, end, stop)):
                    batch.read, begin = self._at - begin, self._at
                    yield batch
        finally:
            self._consumer.close()

    def _items(self, partition: int, begin: int, end: int, stop: Event) -> Iterator[Item]:
        for message in self._messages(partition, begin, end, stop):
            if (item := self._item(message, _place(message))) is not None:
                yield item
            self._at = _place(message).offset + 1
        if not stop.is_set():
            self._at = end

    def _messages(self, partition: int, begin: int, end: int, stop: Event) -> Iterator[Message]:
        if begin == end:
            return
        self._consumer.assign([TopicPartition(self._topic, partition, begin)])
        while not stop.is_set():
            for message in self._consumer.consume(_MESSAGES, _TURN_S):
                if (error := message.error()) is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return
                    raise self._failure(error)
                if (offset := _place(message).offset) < end:
                    yield message
                if offset >= end - 1:
                    return

    def _item(self, message: Message, place: Place) -> Item | None:
        return Item(_name(place), _bytes(message.value()), place)

    def _look(self, window: Window) -> None:
        """Where to begin and to end."""
        self.notes.clear()
        self._stored = self._committed()
        partitions = self._partitions(self._topic, window.partition)
        self._bounds = {partition: self._bound(partition, window) for partition in partitions}

    def _committed(self) -> dict[int, int]:
        """Where the translators' group is in its topic, by partition."""
        topic = self._settings.topic
        known = self._consumer.list_topics(timeout=_TIMEOUT_S).topics
        partitions = (
            [TopicPartition(topic, number) for number in known[topic].partitions] if topic in known else []
        )
        found = self._consumer.committed(partitions, timeout=_TIMEOUT_S) if partitions else []
        for where in found:
            if where.error is not None:
                raise KafkaException(where.error)
        return {where.partition: where.offset for where in found if where.offset != OFFSET_INVALID}

    def _partitions(self, topic: str, wanted: int | None) -> list[int]:
        found = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if found.error is not None:
            raise UserError(f"there is no topic {topic} at {self._settings.brokers}: {found.error.str()}")
        if wanted is not None and wanted not in found.partitions:
            raise UserError(f"{topic} has no partition {wanted}, but 0 to {len(found.partitions) - 1}")
        return sorted(found.partitions) if wanted is None else [wanted]

    def _bound(self, partition: int, window: Window) -> tuple[int, int]:
        """Offsets of the first message and after the last."""
        where = f"{self._topic}[{partition}]"
        marks = self._consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), timeout=_TIMEOUT_S
        )
        low, high = marks or (0, 0)
        begin, end = low, high
        if window.since is not None:
            begin = self._offset_at(partition, window.since, high)
        if window.until is not None:
            end = self._offset_at(partition, window.until, high)
        if window.first is not None:
            begin = max(window.first, low)
            if begin > window.first:
                self.notes.append(f"{where} begins at offset {low}; Kafka has deleted what was before")
        if window.last is not None:
            end = min(window.last + 1, high)
        if self._topic == self._settings.topic and end > (stored := self._stored.get(partition, end)):
            end = stored
            self.notes.append(
                f"{where} from offset {end} on is left to the translators (group {self._settings.group}), "
                "which have not stored it yet"
            )
        return begin, max(begin, end)

    def _offset_at(self, partition: int, moment: datetime, otherwise: int) -> int:
        """Of the first message of that time or later."""
        wanted = TopicPartition(self._topic, partition, int(moment.timestamp() * 1000))
        (found,) = self._consumer.offsets_for_times([wanted], timeout=_TIMEOUT_S)
        if found.error is not None:
            raise KafkaException(found.error)
        return found.offset if found.offset >= 0 else otherwise

    def _failure(self, error: KafkaError) -> UserError:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            return UserError(f"Kafka deleted messages of {self._topic} while they were read; run it again")
        return UserError(f"Kafka at {self._settings.brokers} (receivers.kafka.brokers): {error.str()}")


class DeadLetters(Topic):
    """Letters of the dead letter topic, with the places that the messages in them had.

    Args:
        settings: receivers.kafka.
        window: which letters, by the time they were written.
        reason: only those whose reason has this text in it, in upper or lower case.
    """

    unit = "dead letters"

    def __init__(self, settings: KafkaSettings, window: Window, reason: str = "") -> None:
        self._reason = reason.lower()
        super().__init__(settings, settings.dead_letters, window)

    def _item(self, message: Message, place: Place) -> Item | None:
        headers = {
            str(header[0]): _bytes(header[1]).decode(errors="replace") for header in message.headers() or ()
        }
        if self._reason not in headers.get("reason", "").lower():
            return None
        name, payload = _name(place), _bytes(message.value())
        try:
            source = Place(
                headers["source.topic"], int(headers["source.partition"]), int(headers["source.offset"])
            )
        except (KeyError, ValueError):  # somebody else's message
            return Item(name, payload)
        name += f", from {_name(source)}"
        stored = self._stored.get(source.partition, source.offset + 1)
        if source.topic == self._settings.topic and source.offset >= stored:
            return Item(name, refused="the translator is not done with the message; replay it again later")
        if not payload:
            return Item(
                name, refused="too large for the dead letter topic: replay it from its source by --topic"
            )
        return Item(name, payload, source)


def _place(message: Message) -> Place:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Place(topic, partition, offset)


def _name(place: Place) -> str:
    return f"{place.topic}[{place.partition}] offset {place.offset}"


def _bytes(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
