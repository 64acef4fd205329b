"""The pipeline: payloads in, rows stored, and only then each sender told.

Two threads: one decodes and processes a batch while the other inserts the one before. A batch is
whatever payloads have come in meanwhile, so load makes batches larger by itself.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

import polars as pl

from spanhouse import metrics
from spanhouse.dedup import SeenSpans
from spanhouse.errors import Malformed, Overloaded, Unavailable
from spanhouse.processing import Failed, Processing, timed
from spanhouse.rows import Finished

log = logging.getLogger(__name__)

# A batch is closed at this many payload bytes; about 32 k small spans.
BATCH_BYTES: Final = 16 << 20
# A batch costs the same 100 ms of CPU whether it has one span or a hundred, and becomes a part of each
# table. So batches smaller than this start at least so far apart; a request that finds the pipeline
# idle waits for nothing.
SMALL_BATCH_BYTES: Final = 256 << 10
BATCH_INTERVAL_S: Final = 0.15
# An insert costs the engine about the same 100 ms of CPU whether it has a thousand spans or ten thousand.
READY_BATCHES: Final = 2
# Spans that are known not to be new. A sender repeats a request within minutes at most; at 1,000 spans a
# second this is a quarter of an hour.
SEEN_SPANS: Final = 1_000_000


class Exporter(Protocol):
    """Where rows go. Both raise Unavailable if it is not certain that they did what they say."""

    def insert(self, rows: pl.DataFrame) -> None:
        """Store the rows; they are there when it returns."""

    def recent_spans(self) -> pl.DataFrame:
        """trace_id and span_id of the rows stored last."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a payload.

    Attributes:
        spans: spans in the payload.
        rejected: how many of them were not stored.
        message: why, or a warning; '' where there is nothing to tell.
    """

    spans: int
    rejected: int
    message: str


@dataclass(slots=True)
class _Item:
    payload: bytes
    future: Future[Accepted]


@dataclass(slots=True)
class _Batch:
    items: list[_Item]
    spans: list[int]
    finished: Finished


class Pipeline:
    """Runs processors over what receivers submit and stores the result.

    Args:
        processing: makes rows of payloads.
        exporter: where rows go.
        max_queue_bytes: payload bytes that may wait; more are refused with Overloaded.
    """

    def __init__(self, processing: Processing, exporter: Exporter, *, max_queue_bytes: int) -> None:
        self._processing = processing
        self._exporter = exporter
        # A span stored lately that comes again is accepted and not stored again.
        self._seen = SeenSpans(SEEN_SPANS)
        self._seen.add_spans(exporter.recent_spans())
        self._doubtful = False  # a failed insert may have stored some of its spans
        self._max_queue_bytes = max_queue_bytes
        self._waiting: deque[_Item] = deque()
        self._waiting_bytes = 0
        self._queued_bytes = 0  # waiting, or taken and not yet answered
        self._changed = threading.Condition()
        self._closing = False
        # What is ready while an insert runs goes into the next one.
        self._ready: queue.Queue[_Batch | None] = queue.Queue(maxsize=READY_BATCHES)
        self._threads = [
            threading.Thread(target=self._process_loop, name="process", daemon=True),
            threading.Thread(target=self._insert_loop, name="insert", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, payload: bytes) -> Future[Accepted]:
        """Queue one serialized ExportTraceServiceRequest; never blocks.

        Returns:
            A future that is done when the payload is stored or refused. Its exception is Malformed (the
            payload cannot be decoded) or Unavailable (not stored, may be sent again).

        Raises:
            Overloaded: `max_queue_bytes` are waiting already.
            Unavailable: the pipeline is shutting down.
        """
        item = _Item(payload, Future())
        item.future.set_running_or_notify_cancel()  # a sender that goes away does not undo its spans
        with self._changed:
            if self._closing:
                raise Unavailable("spanhouse is shutting down")
            # One payload is let in whatever its size, or a large one could never pass.
            if self._queued_bytes and self._queued_bytes + len(payload) > self._max_queue_bytes:
                raise Overloaded(f"{self._queued_bytes} bytes are waiting to be stored; send more slowly")
            self._waiting.append(item)
            self._waiting_bytes += len(payload)
            self._queued_bytes += len(payload)
            metrics.QUEUE_BYTES.set(self._queued_bytes)
            self._changed.notify()
        return item.future

    def healthy(self) -> bool:
        """Whether both threads are alive."""
        return all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        """Refuse new payloads, store what is queued, and return when all is answered."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        for thread in self._threads:
            thread.join()

    def _take(self, earliest: float) -> list[_Item]:
        """Wait for payloads, for few of them until `earliest`; [] when closing and nothing is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._changed.wait_for(
                lambda: self._waiting_bytes >= SMALL_BATCH_BYTES or self._closing,
                timeout=max(0.0, earliest - time.monotonic()),
            )
            items: list[_Item] = []
            size = 0
            while self._waiting and (not items or size + len(self._waiting[0].payload) <= BATCH_BYTES):
                items.append(self._waiting.popleft())
                size += len(items[-1].payload)
            self._waiting_bytes -= size
            return items

    def _process_loop(self) -> None:
        earliest = 0.0
        while items := self._take(earliest):
            earliest = time.monotonic() + BATCH_INTERVAL_S
            for batch in self._process(items):
                self._ready.put(batch)
        self._ready.put(None)

    def _process(self, items: list[_Item]) -> Iterator[_Batch]:
        """Rows of the items; those that fail are answered here and are not part of a batch."""
        for result in self._processing.run([item.payload for item in items]):
            if isinstance(result, Failed):
                self._answer(items[result.first], Unavailable(result.reason))
                continue
            part = items[result.first : result.first + len(result.spans)]
            for index, reason in result.malformed.items():
                self._answer(part[index], Malformed(reason))
            yield _Batch(part, result.spans, result.finished)

    def _take_ready(self) -> list[_Batch]:
        """Wait for a batch, and take all that are ready with it; [] when there will be none."""
        batches = []
        while (batch := self._ready.get()) is not None:
            batches.append(batch)
            if self._ready.empty():
                return batches
        if batches:
            self._ready.put(None)  # for the next turn
        return batches

    def _insert_loop(self) -> None:
        while batches := self._take_ready():
            try:
                stored = self._insert(pl.concat([batch.finished.rows for batch in batches], how="diagonal"))
            except BaseException as error:  # told to every sender; the next batch may succeed
                self._doubtful = True
                outcome = error if isinstance(error, Unavailable) else Unavailable(str(error))
                unexpected = None if outcome is error else error
                log.error("a batch was not stored, senders are to try again: %s", error, exc_info=unexpected)
                metrics.BATCH_FAILURES.labels("insert").inc()
                for item in (item for batch in batches for item in batch.items):
                    self._answer(item, outcome)
                continue
            metrics.SPANS_STORED.inc(stored)
            for batch in batches:
                self._accept(batch)

    def _insert(self, rows: pl.DataFrame) -> int:
        """Store the rows whose span is not stored yet; returns how many."""
        if self._doubtful:
            self._seen.add_spans(self._exporter.recent_spans())
            self._doubtful = False
        rows, keys = self._seen.without_repeated(rows)
        if rows.height:
            with timed("insert"):
                self._exporter.insert(rows)
            self._seen.add(keys)
        return rows.height

    def _accept(self, batch: _Batch) -> None:
        reasons: dict[int, list[tuple[str, int]]] = {}
        rejected = batch.finished.rejected
        counts = rejected.group_by("payload", "reject").len().iter_rows() if rejected.height else ()
        for payload, reason, count in counts:
            reasons.setdefault(payload, []).append((reason, count))
            metrics.SPANS_REJECTED.labels(reason).inc(count)
        for index, (item, spans) in enumerate(zip(batch.items, batch.spans, strict=True)):
            if index not in reasons:
                self._answer(item, Accepted(spans, 0, ""))
                continue
            number = sum(count for _, count in reasons[index])
            why = "; ".join(f"{reason} ({count})" for reason, count in sorted(reasons[index]))
            message = f"{number} of {spans} spans rejected: {why}"
            self._answer(item, Accepted(spans, number, message))

    def _answer(self, item: _Item, outcome: Accepted | Exception) -> None:
        if item.future.done():
            return
        with self._changed:
            self._queued_bytes -= len(item.payload)
            metrics.QUEUE_BYTES.set(self._queued_bytes)
        if isinstance(outcome, Accepted):
            item.future.set_result(outcome)
        else:
            item.future.set_exception(outcome)
