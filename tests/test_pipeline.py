"""The pipeline's promises: an answer means stored, a bad payload hurts nobody else, memory is bounded."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import polars as pl
import pytest

from spanhouse.errors import Malformed, Overloaded, Unavailable
from spanhouse.pipeline import Accepted, Pipeline
from spanhouse.processing import build_processing
from spanhouse.processors.guard import Guard
from spanhouse.processors.normalize import Normalize
from tests.harness import request


class Shelf:
    """An exporter that keeps rows, and can be made to wait or to fail as a store does."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.spans: list[tuple[str, str]] = []
        self.open = threading.Event()
        self.open.set()
        self.failures = 0
        self.half_stored = 0  # rows that a failing insert stores all the same

    def insert(self, rows: pl.DataFrame) -> None:
        assert self.open.wait(60)
        ids = rows.select("trace_id", "span_id").rows()
        if self.failures:
            self.failures -= 1
            self.spans += ids[: self.half_stored]
            self.rows += rows["name"].to_list()[: self.half_stored]
            raise Unavailable("the store refused the rows")
        self.spans += ids
        self.rows += rows["name"].to_list()

    def recent_spans(self) -> pl.DataFrame:
        return pl.DataFrame(self.spans, {"trace_id": pl.String, "span_id": pl.String}, orient="row")


def poison(batch: pl.DataFrame) -> pl.DataFrame:
    if "poison" in batch["name"]:
        raise ValueError("a processor's own fault")
    if "exit" in batch["name"]:
        sys.exit(3)
    return batch


Make = Callable[..., Pipeline]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def make(shelf: Shelf) -> Iterator[Make]:
    made: list[Pipeline] = []

    def pipeline(max_queue_bytes: int = 1 << 20) -> Pipeline:
        normalize = Normalize()
        processors = [("normalize", normalize), ("poison", poison), ("guard", Guard())]
        processing = build_processing(processors)
        made.append(Pipeline(processing, shelf, max_queue_bytes=max_queue_bytes))
        return made[-1]

    yield pipeline
    shelf.open.set()
    for one in made:
        one.close()


def payload(*names: str) -> bytes:
    message = request(len(names))
    for span, name in zip(message.resource_spans[0].scope_spans[0].spans, names, strict=True):
        span.name = name
    return message.SerializeToString()


def test_an_answer_comes_after_the_rows_are_stored(make: Make, shelf: Shelf) -> None:
    pipeline = make()
    shelf.open.clear()
    future = pipeline.submit(payload("a", "b"))
    with pytest.raises(TimeoutError):
        future.result(timeout=0.3)
    shelf.open.set()
    assert future.result(60) == Accepted(2, 0, "")
    assert shelf.rows == ["a", "b"]


def test_payloads_that_wait_together_are_answered_each_for_itself(make: Make, shelf: Shelf) -> None:
    pipeline = make()
    shelf.open.clear()
    blocking = pipeline.submit(payload("first"))
    bad = request(3)
    bad.resource_spans[0].scope_spans[0].spans[1].span_id = b""
    futures = [
        pipeline.submit(body)
        for body in (payload("a"), b"\xff\xff", bad.SerializeToString(), payload("poison"), b"", payload("b"))
    ]
    shelf.open.set()
    assert blocking.result(60) == Accepted(1, 0, "")
    good, malformed, partial, poisoned, empty, last = futures
    assert good.result(60) == last.result(60) == Accepted(1, 0, "")
    assert empty.result(60) == Accepted(0, 0, "")
    assert isinstance(malformed.exception(60), Malformed)
    answer = partial.result(60)
    assert (answer.spans, answer.rejected) == (3, 1)
    assert answer.message == "1 of 3 spans rejected: span_id must be 8 bytes that are not all zero (1)"
    error = poisoned.exception(60)
    assert isinstance(error, Unavailable)
    assert str(error) == "step poison failed: ValueError"
    assert sorted(shelf.rows) == sorted(["first", "a", "chat gpt-4o-mini", "chat gpt-4o-mini", "b"])


def test_a_failing_store_is_told_to_the_sender_and_the_next_batch_is_tried(make: Make, shelf: Shelf) -> None:
    pipeline = make()
    shelf.failures = 1
    assert isinstance(pipeline.submit(payload("a")).exception(60), Unavailable)
    assert pipeline.submit(payload("b")).result(60) == Accepted(1, 0, "")
    assert shelf.rows == ["b"]
    assert pipeline.healthy()


def test_a_processor_that_wants_to_exit_ends_nothing(make: Make, shelf: Shelf) -> None:
    # A panic of polars, which is no Exception either, comes the same way.
    pipeline = make()
    assert str(pipeline.submit(payload("exit")).exception(60)) == "step poison failed: SystemExit"
    assert pipeline.submit(payload("b")).result(60) == Accepted(1, 0, "")
    assert pipeline.healthy()


def test_a_full_queue_refuses_at_once_and_takes_again_when_it_is_stored(make: Make, shelf: Shelf) -> None:
    body = payload("a")
    pipeline = make(max_queue_bytes=10 * len(body))
    shelf.open.clear()
    futures = [pipeline.submit(body) for _ in range(10)]
    with pytest.raises(Overloaded) as refused:
        pipeline.submit(body)
    assert refused.value.retry_after_s > 0
    shelf.open.set()
    assert all(future.result(60) == Accepted(1, 0, "") for future in futures)
    assert pipeline.submit(body).result(60) == Accepted(1, 0, "")


def test_a_payload_larger_than_the_queue_is_taken_alone(make: Make) -> None:
    assert make(max_queue_bytes=1).submit(payload("a")).result(60) == Accepted(1, 0, "")


def test_closing_stores_what_waits_and_refuses_what_comes(make: Make, shelf: Shelf) -> None:
    pipeline = make()
    shelf.open.clear()
    futures = [pipeline.submit(payload(str(i))) for i in range(20)]
    closing = threading.Thread(target=pipeline.close)
    closing.start()
    shelf.open.set()
    closing.join(60)
    assert all(future.result(0) == Accepted(1, 0, "") for future in futures)
    assert sorted(shelf.rows, key=int) == [str(i) for i in range(20)]
    with pytest.raises(Unavailable, match="shutting down"):
        pipeline.submit(payload("late"))


def test_a_sender_that_goes_away_does_not_undo_its_spans(make: Make, shelf: Shelf) -> None:
    pipeline = make()
    shelf.open.clear()
    future = pipeline.submit(payload("a"))
    assert not future.cancel()
    shelf.open.set()
    assert future.result(60).spans == 1


def test_a_span_that_comes_again_is_accepted_and_stored_once(make: Make, shelf: Shelf) -> None:
    first = make()
    body = payload("a", "b")
    assert first.submit(body).result(60) == first.submit(body).result(60) == Accepted(2, 0, "")
    # Also after a restart, and in one batch.
    second = make()
    shelf.open.clear()
    other = payload("c")
    futures = [second.submit(one) for one in (body, other, other)]
    shelf.open.set()
    assert [future.result(60) for future in futures] == [Accepted(2, 0, ""), *[Accepted(1, 0, "")] * 2]
    assert shelf.rows == ["a", "b", "c"]


def test_what_a_failed_insert_stored_is_not_stored_again(make: Make, shelf: Shelf) -> None:
    pipeline = make()
    body = payload("a", "b", "c")
    shelf.failures, shelf.half_stored = 1, 2
    assert isinstance(pipeline.submit(body).exception(60), Unavailable)
    assert pipeline.submit(body).result(60) == Accepted(3, 0, "")
    assert shelf.rows == ["a", "b", "c"]
