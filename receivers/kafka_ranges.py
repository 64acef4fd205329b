"""What the Kafka receiver knows of a partition: its messages, ranges of them, and their plans."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
from confluent_kafka import Message

from spanhouse.dedup import SeenSpans
from spanhouse.exporters.dead_letters import DeadLetter


@dataclass(frozen=True, slots=True)
class Plan:
    """What is written beside the committed offset before an insert.

    Attributes:
        end: offset of the last message of the range.
        token: the insert's deduplication token.
        at: when it was made.
    """

    end: int
    token: str
    at: datetime

    def dump(self) -> str:
        """As the metadata of a commit."""
        return json.dumps({"end": self.end, "token": self.token, "at": self.at.timestamp()})

    @classmethod
    def load(cls, text: str) -> Plan | None:
        """The plan in a commit's metadata; None where there is none, also where others wrote it."""
        try:
            data = json.loads(text)
            return cls(int(data["end"]), str(data["token"]), datetime.fromtimestamp(data["at"], UTC))
        except (ValueError, TypeError, KeyError):
            return None


class Range:
    """Contiguous messages of one partition on their way to one insert.

    Args:
        messages: let go of when rows are made of them.
        size: bytes of their values.
        recovered: the plan of an earlier owner, if it is of these messages.
    """

    def __init__(self, messages: list[Message], size: int, recovered: Plan | None) -> None:
        self.messages = messages
        self.size = size
        self.recovered = recovered
        first, last = messages[0], messages[-1]
        self.end = offset_of(last)
        self._name = f"{offset_of(first)}-{self.end}/{first.timestamp()[1]}-{last.timestamp()[1]}"
        # From processing.
        self.rows: list[pl.DataFrame] = []
        self.letters: list[DeadLetter] = []
        self.places: dict[int, tuple[int, bytes]] = {}  # offset and key of the letters' messages
        self.spans = 0

    def token(self, topic: str, partition: int) -> str:
        """The same for the same messages. Times are in it, for a topic made anew has the same offsets."""
        return f"{topic}/{partition}/{self._name}"


def offset_of(message: Message) -> int:
    """A message that was consumed has an offset; its type says that it may have none."""
    offset = message.offset()
    assert offset is not None
    return offset


class Partition:
    """One assigned partition: what waits, what is processed, what is being inserted."""

    def __init__(self, topic: str, number: int, committed: int, plan: Plan | None) -> None:
        self.topic = topic
        self.number = number
        self.committed = committed  # what is before this offset is stored
        self.plan = plan  # of an earlier owner, whose range must be repeated as it was
        self.next = max(committed, 0)  # offset of the next message to take
        self.waiting: deque[Message] = deque()
        self.bytes = 0  # of messages that wait
        self.held = 0  # of messages that wait, are processed or are being inserted
        self.since = 0.0  # when the first of those that wait came
        self.seen: SeenSpans | None = None
        self.processing: Future[Range] | None = None
        self.ready: Range | None = None  # processed; its plan is not committed
        self.storing: Future[None] | None = None
        self.stored: Range | None = None  # being inserted, or inserted and its end not committed
        self.paused = False
        self.topic_id = ""  # as Kafka told it last
        self.off_log = False  # Kafka has not got the offset `next`
        self.anew = False  # the topic is another one of the same name
        self.abandoned = threading.Event()
        self.progress = time.monotonic()
        self.problem = ""
        self.lag = 0

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"

    @property
    def wanted(self) -> bool:
        """Whether messages of a planned range are missing: it must come in whole, or cannot be repeated."""
        return self.plan is not None and self.next <= self.plan.end

    @property
    def busy(self) -> bool:
        """Whether anything taken is not stored yet."""
        return bool(self.waiting or self.processing or self.ready or self.stored)
