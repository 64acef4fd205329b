"""What is done with a range of messages: rows made of it, and these stored, however often it takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from spanhouse import metrics
from spanhouse.dedup import SeenSpans
from spanhouse.errors import Unavailable
from spanhouse.exporters.dead_letters import DeadLetter, DeadLetters, dead_letters
from spanhouse.processing import Failed, Processed, Processing
from spanhouse.receivers.kafka_ranges import Partition, Plan, Range, offset_of

log = logging.getLogger(__name__)

# Spans per partition that are known not to be new.
SEEN_SPANS: Final = 250_000
_BACKOFF_S: Final = (0.2, 10.0)
# Bytes of messages that are processed at once; about 32 k small spans.
_BATCH_BYTES: Final = 16 << 20


class Store(Protocol):
    """Where rows go and what is known of those there; see `exporters.clickhouse_server`."""

    def insert(self, rows: pl.DataFrame, *, token: str, repeated: datetime | None = None) -> None:
        """Store the rows once, whatever earlier attempts did."""

    def spans(self, topic: str, partition: int, before: int, limit: int) -> pl.DataFrame:
        """trace_id and span_id of the last rows of a partition."""


class Work:
    """The work of one consumer, for threads other than its own.

    All may run in several threads, for one range of a partition at a time.

    Args:
        processing: makes rows of messages.
        store: where rows go.
        letters: where what cannot be stored goes.
    """

    def __init__(self, processing: Processing, store: Store, letters: DeadLetters) -> None:
        self._processing = processing
        self._store = store
        self._letters = letters
        self.span_bytes = 500.0  # of one span, as lately seen

    def seed(self, partition: Partition) -> None:
        """Learn from the store which spans of the partition came lately."""
        seen = SeenSpans(SEEN_SPANS)

        def ask() -> None:
            if partition.committed > 0:
                known = self._store.spans(partition.topic, partition.number, partition.committed, SEEN_SPANS)
                seen.add_spans(known)

        if self._try(partition, ask):
            partition.seen = seen
            partition.progress = time.monotonic()

    def process(self, partition: Partition, found: Range) -> Range:
        """Make rows, and letters about what makes none, of a range's messages; gives it back."""
        payloads = [_bytes(message.value()) for message in found.messages]
        offsets = np.array([message.offset() for message in found.messages], np.int64)
        for result in self._run(payloads):
            first = result.first
            if isinstance(result, Failed):
                found.letters.append(DeadLetter(first, "failed", result.reason, payloads[first]))
                continue
            part = payloads[first : first + len(result.spans)]
            for letter in dead_letters(result, part):
                found.letters.append(
                    DeadLetter(letter.index + first, letter.kind, letter.reason, letter.value)
                )
            found.spans += sum(result.spans)
            for reason, count in result.finished.rejected["reject"].value_counts().iter_rows():
                metrics.SPANS_REJECTED.labels(reason).inc(count)
            rows = result.finished.rows
            if rows.height:
                from_offsets = offsets[first + result.finished.payloads]
                found.rows.append(_placed(rows, partition.topic, partition.number, from_offsets))
        for index in {letter.index for letter in found.letters}:
            message = found.messages[index]
            found.places[index] = offset_of(message), _bytes(message.key())
        found.messages = []  # rows take their place
        if found.spans:
            self.span_bytes += (found.size / found.spans - self.span_bytes) / 4
        return found

    def _run(self, payloads: list[bytes]) -> Iterator[Processed | Failed]:
        """Process so much at a time as stays in the processor's cache."""
        first = size = 0
        for end, payload in enumerate(payloads):
            if size and size + len(payload) > _BATCH_BYTES:
                yield from self._processing.run(payloads[first:end], first)
                first, size = end, 0
            size += len(payload)
        yield from self._processing.run(payloads[first:], first)

    def insert(self, partition: Partition, found: Range, plan: Plan) -> None:
        """Store a range whose plan is committed, however often it takes; for one of the insert threads."""
        repeated = plan.at if found.recovered is not None else None
        assert partition.seen is not None
        if found.letters:
            self._try_or_leave(
                partition,
                lambda: self._letters.send(found.letters, partition.topic, partition.number, found.places),
            )
        if not found.rows:
            return
        rows, keys = partition.seen.without_repeated(pl.concat(found.rows, how="diagonal"))
        found.rows.clear()
        if rows.height:

            def insert() -> None:
                nonlocal repeated
                since, repeated = repeated, repeated or plan.at
                with metrics.INSERT_SECONDS.time():
                    self._store.insert(rows, token=plan.token, repeated=since)

            self._try_or_leave(partition, insert)
        partition.seen.add(keys)
        metrics.SPANS_STORED.inc(rows.height)

    def _try_or_leave(self, partition: Partition, action: Callable[[], object]) -> None:
        if not self._try(partition, action):
            raise Unavailable("the partition was taken away")

    def _try(self, partition: Partition, action: Callable[[], object]) -> bool:
        """Do it until it succeeds; False if the partition goes before that."""
        pause, longest = _BACKOFF_S
        while True:
            try:
                action()
            except Unavailable as error:
                problem = str(error)
            except Exception as error:  # kept trying: a range is never skipped
                log.exception("%s: an insert failed unexpectedly", partition)
                problem = f"{type(error).__name__}: {error}"
            else:
                partition.problem = ""
                return True
            if problem != partition.problem:
                log.warning("%s: trying again until it succeeds: %s", partition, problem)
            partition.problem = problem
            metrics.INSERT_RETRIES.inc()
            if partition.abandoned.wait(pause):
                return False
            pause = min(2 * pause, longest)


def _bytes(value: bytes | str | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _placed(rows: pl.DataFrame, topic: str, partition: int, offsets: npt.NDArray[np.int64]) -> pl.DataFrame:
    """The rows with where they came from."""
    return rows.with_columns(
        topic=pl.lit(topic), partition=pl.lit(partition, pl.Int32), offset=pl.lit(pl.Series(offsets))
    )
