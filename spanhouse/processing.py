"""From OTLP payloads to rows: decode, take content out, every processor in order, rows of `agent_events`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from spanhouse import metrics
from spanhouse.batch import Processor
from spanhouse.otlp.decode import Decoder
from spanhouse.processors.content import TakeContent
from spanhouse.processors.content_rules import Content
from spanhouse.processors.evaluations import FindEvaluations
from spanhouse.processors.looked import Looked
from spanhouse.processors.normalize import Normalize
from spanhouse.rows import Finished, finish

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Processed:
    """What became of payloads that were processed together.

    Attributes:
        first: index of the first of these payloads among those given to `Processing.run`.
        spans: how many spans each payload has.
        malformed: why a payload cannot be decoded, by its index in `spans`.
        finished: rows and rejected spans; the payloads in it are indices in `spans`.
    """

    first: int
    spans: list[int]
    malformed: dict[int, str]
    finished: Finished


@dataclass(frozen=True, slots=True)
class Failed:
    """A payload on which a step failed.

    Attributes:
        first: its index among those given to `Processing.run`.
        reason: the step and the kind of error; never a value of the payload.
    """

    first: int
    reason: str


class Processing:
    """Runs the processors over payloads. Any number of threads; they take turns, as processors keep state.

    Args:
        decoder: decodes the processors' wanted attributes.
        take_content: what comes before them.
        find_evaluations: the same.
        processors: (name, callable) in order; a callable maps a batch to a batch.
        targets: raw column -> row column, for `rows.finish`.
    """

    def __init__(
        self,
        decoder: Decoder,
        take_content: TakeContent,
        find_evaluations: FindEvaluations,
        processors: Sequence[tuple[str, Processor]],
        targets: Mapping[str, str],
    ) -> None:
        self._decoder = decoder
        self._take_content = take_content
        self._find_evaluations = find_evaluations
        self._processors = list(processors)
        # So many have to run until all raw columns are read.
        self._readers = max(
            (i for i, (_, one) in enumerate(processors, 1) if hasattr(one, "wanted")), default=0
        )
        self._targets = targets
        self._lock = threading.Lock()

    def run(self, payloads: Sequence[bytes], first: int = 0) -> Iterator[Processed | Failed]:
        """Process payloads, in one batch if no step fails; where one does, ever smaller ones.

        So a payload that makes a processor fail harms no other. Results come in the payloads' order.
        """
        try:
            with self._lock:
                result = self._run(payloads, first)
        # A panic of polars is no Exception, and a user's processor may call sys.exit().
        except BaseException as error:
            if len(payloads) > 1:
                half = len(payloads) // 2
                yield from self.run(payloads[:half], first)
                yield from self.run(payloads[half:], first + half)
                return
            step = getattr(error, "step", "process")
            log.exception("step %s failed on a payload", step, exc_info=error)
            metrics.BATCH_FAILURES.labels(step).inc()
            yield Failed(first, f"step {step} failed: {type(error).__name__}")
        else:
            yield result

    def _run(self, payloads: Sequence[bytes], first: int) -> Processed:
        with timed("decode"):
            decoded = self._decoder.decode(payloads)
        batch = decoded.batch
        counts = np.bincount(batch["payload"].to_numpy(), minlength=len(payloads)).tolist()
        with timed("content"):
            looked = Looked(batch)
            batch = self._take_content(looked)
        with timed("evaluations"):
            if (evaluations := self._find_evaluations(looked)) is not None:
                batch = batch.with_columns(evaluations)
        if not self._readers:
            batch = self._take_content.forget(batch)
        for number, (name, processor) in enumerate(self._processors, 1):
            with timed(name):
                batch = processor(batch)
            if number == self._readers:
                batch = self._take_content.forget(batch)
        with timed("rows"):
            batch = self._take_content.cut(batch)
            finished = finish(batch, self._targets)
        metrics.BATCH_SPANS.observe(batch.height)
        return Processed(first, counts, decoded.errors, finished)


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Time a step; an exception that leaves it carries its name."""
    try:
        with metrics.STEP_SECONDS.labels(step).time():
            yield
    except BaseException as error:
        error.step = step  # type: ignore[attr-defined]
        raise


def wants(processors: Sequence[tuple[str, Processor]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Of all processors (raw columns for the decoder, raw column -> row column); see `Normalize`."""
    wanted: dict[str, Any] = {}
    targets: dict[str, str] = {}
    for _, processor in processors:
        wanted |= getattr(processor, "wanted", {})
        targets |= getattr(processor, "targets", {})
    return wanted, targets


def build_processing(processors: Sequence[tuple[str, Processor]], content_bytes: int = 0) -> Processing:
    """The steps around `processors`; what `Normalize` wants is what gets decoded to columns.

    Args:
        processors: see `Processing`.
        content_bytes: the most that is kept of a value for the table `content`; 0 for nothing.
    """
    wanted, targets = wants(processors)
    normalize = next((one for _, one in processors if isinstance(one, Normalize)), None) or Normalize()
    take_content = TakeContent(Content(normalize.content), content_bytes)
    find_evaluations = FindEvaluations(normalize.evaluations)
    return Processing(Decoder(wanted), take_content, find_evaluations, processors, targets)
