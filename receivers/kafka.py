"""Kafka in, exactly once: each range of offsets of a partition becomes one insert that can be repeated.

For every partition in turn, with `n` the committed offset:

1. messages from `n` on become the rows of the range `first..last`;
2. the offset `n` is committed again, with the plan (`last` and the insert's token) beside it. Only the
   partition's owner can do that, so one that lost it stops here;
3. the rows are inserted with the token;
4. `last + 1` is committed, with the next plan if there is one.

Whoever owns the partition after a crash between 2 and 4 finds the plan, reads the same messages and
repeats the insert, which ClickHouse then recognises. docs/exactly-once.md has the whole argument.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from spanhouse import metrics
from spanhouse.config import KafkaSettings
from spanhouse.errors import Unavailable
from spanhouse.exporters.dead_letters import DeadLetters
from spanhouse.processing import Processing
from spanhouse.receivers.kafka_client import ASK_S, NO_TOPIC, Brokers, committed_offsets, connection
from spanhouse.receivers.kafka_ranges import Partition, Plan, Range, offset_of
from spanhouse.receivers.kafka_work import Store, Work

log = logging.getLogger(__name__)

# A range is closed at this many bytes of messages, whatever the number of its spans.
RANGE_BYTES: Final = 64 << 20
# Bytes of messages that one process holds before it takes no more. What comes all the same is little, then
# partitions are paused. A pause is for long waits: librdkafka throws away what it has fetched, and fetches it
# again.
BUFFER_BYTES: Final = 128 << 20
_BEYOND_BYTES: Final = 16 << 20
# Of one partition: one whose inserts fail must not keep others from being read.
_PARTITION_BYTES: Final = 96 << 20

_CONSUME_MESSAGES: Final = 2000
# How long a turn waits for messages, or for work to be done; shorter while there is both.
_TURN_S: Final = 0.05
_SHORT_TURN_S: Final = 0.01
_INSERT_THREADS: Final = 2
# How long a partition that is taken away waits for its insert. The next owner can repeat it.
_HAND_OVER_S: Final = 10.0
_DRAIN_S: Final = 30.0
_LAG_EVERY_S: Final = 5.0
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

# The group has other plans for the partition: not an error, the next poll tells more.
_REBALANCING: Final = frozenset(
    (KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID,
     KafkaError._STATE, KafkaError._NO_OFFSET)
)  # fmt: skip

# librdkafka tries again all the time and says so every time.
_TELL_EVERY_S: Final = 60.0


class KafkaReceiver:
    """One member of the consumer group. `run` is for one thread; the rest may be called from others.

    Args:
        settings: receivers.kafka.
        processing: makes rows of messages.
        store: where rows go.
        stopping: once set, `run` stores what is being inserted and returns.
    """

    def __init__(
        self, settings: KafkaSettings, processing: Processing, store: Store, stopping: threading.Event
    ) -> None:
        self._settings = settings
        self._work = Work(processing, store, DeadLetters(settings.dead_letters, connection(settings)))
        self._partitions: dict[int, Partition] = {}  # by number, as there is one topic
        self._processor = ThreadPoolExecutor(1, "process")
        self._inserters = ThreadPoolExecutor(_INSERT_THREADS, "insert")
        self._stopping = stopping
        self._full = False  # of messages that are taken and not stored
        self._turned = time.monotonic()
        self._broker_problem = "not connected to Kafka yet"
        self._topic_problem = ""
        self._missing = f"the topic {settings.topic} does not exist; create it"
        self._told: dict[int, float] = {}  # when an error of librdkafka's was last logged
        self._commit_after = 0.0
        self._consumer = Consumer(
            {
                "auto.offset.reset": "error",  # told apart from a fresh start, see `_reset`
                "partition.assignment.strategy": "cooperative-sticky",
                # A worker that was killed is missed after so long; its partitions wait meanwhile.
                "session.timeout.ms": 15_000,
                "queued.max.messages.kbytes": 16 << 10,
                "fetch.max.bytes": 16 << 20,
                "fetch.wait.max.ms": 100,
                # After a full queue; the default of a second is an age while catching up.
                "fetch.queue.backoff.ms": 20,
                **connection(settings),
                "group.id": settings.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "error_cb": self._on_error,
            }
        )
        self._brokers = Brokers(settings)

    # What others ask.

    def problem(self) -> str:
        """Why nothing, or not everything, is stored just now; '' where all is well."""
        problems = [f"{p}: {p.problem}" for p in list(self._partitions.values()) if p.problem]
        return self._broker_problem or self._topic_problem or "; ".join(problems)

    def stalled(self) -> str:
        """Why the process is not getting on, however long it tries; '' where it is."""
        now, limit = time.monotonic(), self._settings.stall_seconds
        if now - self._turned > limit:
            return f"the consumer has not turned for {now - self._turned:.0f} s"
        for partition in list(self._partitions.values()):
            waited = now - partition.progress
            if waited > limit and (partition.busy or partition.lag > 0 or partition.seen is None):
                why = partition.problem or f"{partition.lag} messages wait in Kafka"
                return f"{partition} has stored nothing for {waited:.0f} s: {why}"
        return ""

    # The consumer's thread.

    def run(self) -> None:
        """Consume until `stopping`, then store what is being inserted, commit and leave the group."""
        watch = threading.Thread(target=self._watch, name="lag", daemon=True)
        watch.start()
        self._consumer.subscribe(
            [self._settings.topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose
        )
        try:
            while not self._stopping.is_set():
                self._take(self._consume())
                self._advance()
                self._balance()
                self._turned = time.monotonic()
        finally:
            self._stopping.set()
            watch.join()
            self._release(list(self._partitions.values()), _DRAIN_S)
            self._processor.shutdown()
            self._inserters.shutdown()
            self._consumer.close()

    def _consume(self) -> Sequence[Message]:
        """The next messages. Where there is no room for them it waits for work to be done instead."""
        under_way: list[Future[Any]] = [
            future
            for partition in self._partitions.values()
            for future in (partition.processing, partition.storing)
            if future is not None
        ]
        if not self._full or any(p.wanted for p in self._partitions.values()):
            return self._consumer.consume(_CONSUME_MESSAGES, _SHORT_TURN_S if under_way else _TURN_S)
        if under_way:
            wait(under_way, _TURN_S, FIRST_COMPLETED)
        else:
            self._stopping.wait(_TURN_S)
        return self._consumer.consume(1, 0)  # which also hears of the group

    def _take(self, messages: Sequence[Message]) -> None:
        """Hand messages to their partitions. What is done here is done for every message: it counts."""
        taken = 0
        for message in messages:
            if (error := message.error()) is not None:
                self._on_message_error(message, error)
                continue
            partition, offset = self._partitions.get(message.partition() or 0), offset_of(message)
            # After a rebalance or a pause what was fetched before may still come.
            if partition is None or partition.off_log or offset < partition.next:
                continue
            if not partition.waiting:
                partition.since = time.monotonic()
                if partition.committed < 0:
                    partition.committed = offset  # nothing is committed yet, and the log may begin anywhere
            partition.waiting.append(message)
            partition.next = offset + 1
            size = len(message)
            partition.bytes += size
            partition.held += size
            taken += 1
        if taken:
            self._topic_problem = self._broker_problem = ""
            metrics.KAFKA_MESSAGES.labels(self._settings.topic).inc(taken)

    def _on_message_error(self, message: Message, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            if partition := self._partitions.get(message.partition() or 0):
                partition.off_log = True
        elif error.code() in NO_TOPIC:
            self._topic_problem = self._missing
            log.warning("%s", self._missing)
        elif error.fatal():
            raise KafkaException(error)
        else:
            self._topic_problem = f"Kafka says: {error.str()}"
            log.warning("%s", self._topic_problem)

    def _reset(self, partition: Partition) -> None:
        """Kafka has not got the next offset: go on at the log's beginning, and say what was lost."""
        where = TopicPartition(partition.topic, partition.number)
        try:
            low, high = self._consumer.get_watermark_offsets(where, timeout=ASK_S) or (0, 0)
        except KafkaException as error:
            self._broker_problem = f"Kafka does not answer: {error.args[0].str()}"
            return  # the next turn asks again
        anew = partition.anew or partition.next > high
        if anew:
            partition.plan = None  # of messages that are gone
        if partition.processing or partition.ready or partition.stored or (
            partition.waiting and partition.plan is None
        ):  # fmt: skip
            return  # first what was taken from the log as it was
        if anew:
            log.error("%s was made anew; it is read from its beginning", partition)
        elif partition.next < low:
            lost = low - partition.next
            metrics.OFFSETS_LOST.labels(partition.topic, str(partition.number)).inc(lost)
            log.error("%s: Kafka deleted %d messages before they were read", partition, lost)
        if anew or partition.next < low:
            partition.next = low
            if not partition.waiting:
                partition.committed = low
        partition.off_log = partition.anew = partition.paused = False
        where.offset = partition.next
        # Seeking is for partitions that are being fetched.
        self._consumer.incremental_unassign([where])
        self._consumer.incremental_assign([where])

    def _on_error(self, error: KafkaError) -> None:
        now = time.monotonic()
        if now - self._told.get(error.code(), -_TELL_EVERY_S) >= _TELL_EVERY_S:
            self._told[error.code()] = now
            log.warning("Kafka: %s", error.str())
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._broker_problem = f"no Kafka broker of {self._settings.brokers} can be reached"

    # Partitions come and go.

    def _assign(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        metrics.REBALANCES.labels("assigned").inc()
        committed = committed_offsets(consumer, assigned)
        topic_id = ""
        with suppress(KafkaException):  # `_watch` asks again
            topic_id = self._brokers.topic_id(self._settings.topic)
        for where in committed:
            plan = Plan.load(where.metadata or "")
            partition = Partition(where.topic, where.partition, where.offset, plan)
            partition.topic_id = topic_id
            self._partitions[where.partition] = partition
            self._inserters.submit(self._work.seed, partition)
            if where.offset == OFFSET_INVALID:
                where.offset = OFFSET_BEGINNING
            again = f", repeating the insert up to offset {plan.end}" if plan else ""
            log.info("%s assigned from offset %d%s", partition, partition.next, again)
        consumer.incremental_assign(
            [TopicPartition(where.topic, where.partition, where.offset) for where in committed]
        )
        self._broker_problem = ""
        if assigned:  # of a topic that does not exist there are none
            self._topic_problem = ""

    def _revoke(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        metrics.REBALANCES.labels("revoked").inc()
        partitions = [self._partitions[w.partition] for w in revoked if w.partition in self._partitions]
        self._release(partitions, _HAND_OVER_S)
        consumer.incremental_unassign(revoked)

    def _lose(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        """Thrown out of the group: others may have the partitions already, nothing can be committed."""
        metrics.REBALANCES.labels("lost").inc()
        log.warning("thrown out of the group %s; joining again", self._settings.group)
        for where in lost:
            self._drop(self._partitions.get(where.partition))
        consumer.incremental_unassign(lost)

    def _release(self, partitions: Sequence[Partition], seconds: float) -> None:
        """Finish the inserts of partitions that go, as far as there is time, and let go of the rest."""
        deadline = time.monotonic() + seconds
        ends = []
        for partition in partitions:
            partition.abandoned.set()
            if partition.storing is not None:
                try:
                    partition.storing.result(max(0.0, deadline - time.monotonic()))
                    partition.storing = None
                except TimeoutError:
                    log.warning("%s: its insert is not done; the next owner repeats it", partition)
                except Unavailable as error:
                    log.warning("%s: not stored, the next owner repeats it: %s", partition, error)
            if partition.stored is not None and partition.storing is None:
                ends.append(partition)
        self._commit(ends, with_plans=False)
        for partition in partitions:
            self._drop(partition)

    def _drop(self, partition: Partition | None) -> None:
        if partition is not None:
            partition.abandoned.set()
            del self._partitions[partition.number]
            metrics.KAFKA_LAG.labels(partition.topic, str(partition.number)).set(0)

    # From messages to rows to a stored range.

    def _advance(self) -> None:
        to_commit = []
        # Whoever has waited longest is first; where there is no room, who has the most.
        partitions = sorted(self._partitions.values(), key=lambda p: -p.bytes if self._full else p.since)
        # One range at a time is made into rows or waits for an insert: rows take several times the room of
        # their messages.
        making = any(
            partition.processing is not None or partition.ready is not None for partition in partitions
        )
        inserting = sum(partition.storing is not None for partition in partitions)
        for partition in partitions:
            if partition.off_log:
                self._reset(partition)
            if partition.storing is not None and partition.storing.done():
                partition.storing.result()
                partition.storing = None
                inserting -= 1
            if partition.processing is not None and partition.processing.done():
                partition.ready = partition.processing.result()
                partition.processing = None
            if not making and (found := self._next(partition)):
                partition.processing = self._processor.submit(self._work.process, partition, found)
                making = True
            planned = partition.ready is not None and partition.storing is None
            planned = planned and inserting < _INSERT_THREADS
            inserting += planned
            if planned or (partition.stored is not None and partition.storing is None):
                to_commit.append(partition)
        if to_commit and time.monotonic() >= self._commit_after:
            self._commit(to_commit, with_plans=True)

    def _next(self, partition: Partition) -> Range | None:
        """The messages of the next insert, if there are enough, or no room for more, or they have waited."""
        if partition.seen is None or not partition.waiting:
            return None
        plan = partition.plan
        if plan is not None:
            if partition.next <= plan.end:
                return None
            partition.plan = None
            messages = []
            while partition.waiting and offset_of(partition.waiting[0]) <= plan.end:
                messages.append(partition.waiting.popleft())
            if not messages:
                log.warning("%s: the messages of a planned insert are no longer in Kafka", partition)
                return self._next(partition)
            return self._range(partition, messages, plan)
        enough = min(RANGE_BYTES, int(self._settings.batch_spans * self._work.span_bytes))
        late = self._full or time.monotonic() - partition.since >= self._settings.batch_seconds
        if partition.bytes < enough and not late:
            return None
        messages, size = [], 0
        while partition.waiting and (not messages or size + len(partition.waiting[0]) <= enough):
            messages.append(partition.waiting.popleft())
            size += len(messages[-1])
        partition.since = time.monotonic()
        return self._range(partition, messages, None)

    def _range(self, partition: Partition, messages: list[Message], plan: Plan | None) -> Range:
        size = sum(map(len, messages))
        partition.bytes -= size
        return Range(messages, size, plan)

    def _commit(self, partitions: Sequence[Partition], *, with_plans: bool) -> None:
        """Commit the ends of what is stored and the plans of what is ready, then start its inserts."""
        offsets = []
        for partition in partitions:
            through = partition.committed
            if partition.stored is not None:
                through = partition.stored.end + 1
            ready = partition.ready if with_plans else None
            text = self._plan(partition, ready).dump() if ready is not None else ""
            offsets.append(TopicPartition(partition.topic, partition.number, max(through, 0), text))
        if not offsets:
            return
        try:
            results = self._consumer.commit(offsets=offsets, asynchronous=False) or []
            errors = {(r.topic, r.partition): r.error for r in results if r.error is not None}
        except KafkaException as error:
            errors = {(o.topic, o.partition): error.args[0] for o in offsets}
        for partition, where in zip(partitions, offsets, strict=True):
            if (failure := errors.get((partition.topic, partition.number))) is not None:
                self._commit_after = time.monotonic() + 0.5
                if failure.code() not in _REBALANCING:
                    partition.problem = f"Kafka does not take the commit: {failure.str()}"
                log.warning("%s: offset %d not committed: %s", partition, where.offset, failure.str())
                continue
            partition.problem = ""
            partition.committed = where.offset
            partition.progress = time.monotonic()
            if partition.stored is not None:
                partition.held -= partition.stored.size
                partition.stored = None
            if where.metadata and partition.ready is not None:
                partition.stored, partition.ready = partition.ready, None
                plan = Plan.load(where.metadata)
                assert plan is not None
                partition.storing = self._inserters.submit(
                    self._work.insert, partition, partition.stored, plan
                )

    def _plan(self, partition: Partition, ready: Range) -> Plan:
        token = ready.token(partition.topic, partition.number)
        if (earlier := ready.recovered) is not None:
            # Kept as it was, so that a third owner knows how long ago the first attempt may have been.
            return Plan(earlier.end, token, earlier.at if earlier.token == token else _LONG_AGO)
        return Plan(ready.end, token, datetime.now(UTC))

    # Bounds, and what is told.

    def _balance(self) -> None:
        """Pause partitions that bring more than can be stored, and take them up again."""
        held = sum(partition.held for partition in self._partitions.values())
        metrics.BUFFER_BYTES.set(held)
        self._full = held >= BUFFER_BYTES
        pause, resume = [], []
        for partition in self._partitions.values():
            full = partition.held >= _PARTITION_BYTES or (
                held >= BUFFER_BYTES + _BEYOND_BYTES and bool(partition.waiting)
            )
            room = not self._full and partition.held < _PARTITION_BYTES // 2
            if partition.paused and (partition.wanted or room):
                resume.append(partition)
            elif not partition.paused and full and not partition.wanted:
                pause.append(partition)
        for partitions, act in ((pause, self._consumer.pause), (resume, self._consumer.resume)):
            if partitions:
                act([TopicPartition(partition.topic, partition.number) for partition in partitions])
            for partition in partitions:
                partition.paused = partitions is pause

    def _watch(self) -> None:
        """Ask the brokers how far they are ahead; in a thread of its own, as they may not answer."""
        while not self._stopping.wait(_LAG_EVERY_S):
            partitions = list(self._partitions.values())
            try:
                if self._look_at_topic(partitions) and partitions:
                    self._measure(partitions)
            except KafkaException as error:
                self._broker_problem = f"Kafka does not answer: {error.args[0].str()}"
            else:
                self._broker_problem = ""
            now = time.monotonic()
            metrics.OLDEST_UNSTORED.set(max((now - p.progress for p in partitions if p.busy), default=0.0))

    def _look_at_topic(self, partitions: Sequence[Partition]) -> bool:
        """Whether the topic exists; and note if it is another one of the same name."""
        found = self._brokers.topic_id(self._settings.topic)
        if not found:
            self._topic_problem = self._missing
            return False
        if self._topic_problem == self._missing:
            self._topic_problem = ""
        for partition in partitions:
            if partition.topic_id not in ("", found):
                partition.off_log = partition.anew = True
            partition.topic_id = found
        return True

    def _measure(self, partitions: Sequence[Partition]) -> None:
        ends = self._brokers.ends([TopicPartition(p.topic, p.number) for p in partitions])
        for partition, (low, high) in zip(partitions, ends, strict=True):
            partition.lag = max(high - max(partition.committed, low), 0)
            if not partition.lag:
                partition.progress = time.monotonic()
            lag = metrics.KAFKA_LAG.labels(partition.topic, str(partition.number))
            lag.set(partition.lag)
            if partition.abandoned.is_set():
                lag.set(0)  # its next owner tells
