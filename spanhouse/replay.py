"""`spanhouse replay`: dead letters, a range of a topic, or files through the pipeline once more.

No span is stored twice: of each batch those are left out that are stored already. What is inserted is
looked for afterwards, so what is said to be stored has been seen in the table.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Final, Protocol, TypeVar

import numpy as np
import polars as pl
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from spanhouse import rollups, running
from spanhouse.batch import Processor
from spanhouse.config import Config, build_processors
from spanhouse.dedup import SeenSpans
from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters.clickhouse import EmbeddedClickHouse
from spanhouse.foreground import STOP_SIGNALS
from spanhouse.processing import Failed, Processed, Processing, build_processing
from spanhouse.processors.guard import Guard
from spanhouse.receivers.replay import IDS, PLACE, Batch
from spanhouse.store import Store
from spanhouse.translate import hash_key as server_hash_key
from spanhouse.translate import server
from spanhouse.up import store_processors
from spanhouse.warm_up import warm_up

log = logging.getLogger(__name__)
T = TypeVar("T")

# Spans of this run that are known not to be new, where the store does not say so: in a dry run.
_SEEN_SPANS: Final = 1_000_000
# How long a store that refuses is tried again.
_PATIENCE_S: Final = 60.0
_BACKOFF_S: Final = (0.5, 10.0)
# A replica may show a row later than another.
_LOOK_AGAIN_S: Final = (0.1, 1.0, 3.0)
_SAY_EVERY_S: Final = 5.0
_UNSEEN: Final = (
    "ClickHouse does not show it after its insert: a replica is late, or it was deleted lately and so the "
    "insert passes for a repetition; replay it again later"
)


class Source(Protocol):
    """What is replayed; see `receivers.replay` and `receivers.replay_files`.

    Attributes:
        unit: what `total` and a batch's `read` count.
        total: how much there is.
        notes: what a person should know before.
    """

    unit: str
    total: int
    notes: list[str]

    def batches(self, stop: threading.Event) -> Iterator[Batch]:
        """All there is, or as much as was read until `stop`."""


class Target(Protocol):
    """Where spans go; see `exporters.clickhouse_server`."""

    def insert(self, rows: pl.DataFrame, *, token: str) -> None:
        """Store rows; again with the same token changes nothing."""

    def existing(self, keys: pl.DataFrame) -> pl.DataFrame:
        """trace_id and span_id of those of `keys` (trace_id, span_id, ts) that are stored."""


@dataclass(slots=True)
class Outcome:
    """What became of the source so far.

    Attributes:
        spans: that could be read.
        stored: of these, by this run; in a dry run those that would be.
        known: of these, those stored already, or read before in this run.
        problems: (unit, reason) of what is not stored -> how many, and where the first was found.
    """

    spans: int = 0
    stored: int = 0
    known: int = 0
    problems: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)

    def refuse(self, unit: str, reason: str, name: str, count: int = 1) -> None:
        """Note that `count` of a unit (message, span) cannot be stored."""
        before, first = self.problems.get((unit, reason), (0, name))
        self.problems[unit, reason] = before + count, first

    def lines(self, *, dry_run: bool) -> Iterator[str]:
        """A report for people."""
        would = "would be " if dry_run else ""
        not_stored = sum(count for (unit, _), (count, _) in self.problems.items() if unit == "span")
        yield (
            f"{self.spans:,} spans read: {self.stored:,} {would}stored, {self.known:,} stored already"
            f"{f', {not_stored:,} cannot be stored' if not_stored else ''}"
            f"{'; nothing new' if not self.stored else ''}"
        )
        for (unit, reason), (count, first) in sorted(self.problems.items()):
            yield f"not stored: {count:,} {unit}{'s' if count > 1 else ''}: {reason} (first: {first})"


class _Replay:
    """Processes and stores batches."""

    def __init__(
        self,
        processing: Processing,
        target: Target | None,
        stop: threading.Event,
        *,
        dry_run: bool,
        replicas: bool,
    ) -> None:
        self.outcome = Outcome()
        self._processing = processing
        self._target = target
        self._stop = stop
        self._dry_run = dry_run
        self._replicas = replicas
        self._seen = SeenSpans(_SEEN_SPANS)

    def run(self, batch: Batch) -> None:
        """Replay a batch.

        Raises:
            UserError: the store refuses it.
            KeyboardInterrupt: it does, and `stop` was set meanwhile.
        """
        for item in batch.refused:
            self.outcome.refuse("message", item.refused, item.name)
        found = [rows for rows in self._rows(batch) if rows.height]
        if not found:
            return
        rows = pl.concat(found, how="diagonal")
        count = rows.height
        rows, keys = self._seen.without_repeated(rows)
        rows = self._missing(rows)
        self.outcome.known += count - rows.height
        left = 0
        if rows.height and not self._dry_run:
            left = self._store(rows, f"replay/{batch.token()}")
        if left:
            self.outcome.refuse("span", _UNSEEN, batch.items[0].name, left)
        self.outcome.stored += rows.height - left
        self._seen.add(keys)

    def _rows(self, batch: Batch) -> Iterator[pl.DataFrame]:
        outcome = self.outcome
        for result in self._processing.run([item.payload for item in batch.items]):
            if isinstance(result, Failed):
                outcome.refuse("message", result.reason, batch.items[result.first].name)
                continue
            items = batch.items[result.first :]
            for index, reason in result.malformed.items():
                outcome.refuse("message", reason, items[index].name)
            rejected = result.finished.rejected.group_by("payload", "reject", maintain_order=True).len()
            for index, reason, count in rejected.iter_rows():
                outcome.refuse("span", reason, items[index].name, count)
            outcome.spans += sum(result.spans)
            yield self._placed(batch, result)

    def _placed(self, batch: Batch, result: Processed) -> pl.DataFrame:
        """Rows with where they came from; without those that nothing tells from others."""
        rows = result.finished.rows
        spans = rows.select(IDS).with_columns(payload=result.finished.payloads + np.uint32(result.first))
        places = batch.places(spans)
        rows = rows.with_columns(places[name].alias(name) for name in PLACE)
        known = (spans["trace_id"] != "") & (spans["span_id"] != "")
        if nameless := int((~known).sum()):
            self.outcome.refuse("span", "it has no ids", batch.items[result.first].name, nameless)
        return rows.filter(known) if nameless else rows

    def _missing(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows whose span is not stored."""
        if (target := self._target) is None or rows.is_empty():
            return rows
        keys = rows.select(*IDS, "ts")
        existing = self._again(lambda: target.existing(keys))
        missing = keys.with_row_index("row").join(existing, on=IDS, how="anti", maintain_order="left")["row"]
        return rows[missing]

    def _store(self, rows: pl.DataFrame, token: str) -> int:
        """Insert rows and look for them; returns how many are not there."""
        target = self._target
        assert target is not None
        self._again(lambda: target.insert(rows, token=token))
        missing = self._missing(rows)
        for pause in _LOOK_AGAIN_S:
            if not missing.height:
                return 0
            time.sleep(pause)
            missing = self._missing(missing)
        if missing.height and not self._replicas:
            # ClickHouse remembers the token of rows that were deleted since, or that it lost in a crash.
            self._again(lambda: target.insert(missing, token=f"{token}/{uuid.uuid4()}"))
            missing = self._missing(missing)
        return missing.height

    def _again(self, action: Callable[[], T]) -> T:
        """Do it until it succeeds or patience ends."""
        pause, longest = _BACKOFF_S
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return action()
            except Unavailable as error:
                if self._stop.is_set():
                    raise KeyboardInterrupt from error
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{error}; run it again then: what is stored is not stored twice"
                    ) from error
                log.warning("trying again: %s", error)
            self._stop.wait(pause)
            pause = min(2 * pause, longest)


def replay(config: Config, source: Source, *, dry_run: bool) -> int:
    """Replay a source into the store of `config`, saying how far it is and what became of it.

    Returns:
        0 if everything is stored, 1 if something cannot be, 130 if it was interrupted.

    Raises:
        UserError: the source or the store cannot be used, or the store refuses the spans.
    """
    stop = _stop_on_signals()
    warm_up()
    logging.getLogger("spanhouse.processing").addFilter(_first_of_each())
    for note in source.notes:
        log.warning("%s", note)
    with _target(config, dry_run=dry_run) as (target, processors):
        run = _Replay(
            build_processing(processors, config.content.kept_bytes),
            target,
            stop,
            dry_run=dry_run,
            replicas=bool(config.exporters.clickhouse.cluster),
        )
        try:
            _run(run, source, stop)
        finally:
            outcome = run.outcome
            for line in outcome.lines(dry_run=dry_run):
                print(line)
    old = {guard.reasons["past"] for _, guard in processors if isinstance(guard, Guard)}
    if any(reason in old for _, reason in outcome.problems):
        print(
            "spans that are too old are stored with a higher processors.guard.max_age_days, but agent_events "
            "itself keeps no more than 90 days"
        )
    if stop.is_set():
        print("interrupted; run it again to go on, what is stored is not stored twice")
        return 130
    return 1 if outcome.problems else 0


def _run(run: _Replay, source: Source, stop: threading.Event) -> None:
    """All batches, with a bar on a terminal and a line now and then elsewhere."""
    said = time.monotonic()
    size = {"unit": "B", "unit_divisor": 1024} if source.unit == "bytes" else {"unit": f" {source.unit}"}
    with logging_redirect_tqdm(), tqdm(total=source.total, disable=None, unit_scale=True, **size) as bar:
        done = 0
        for batch in source.batches(stop):
            if stop.is_set():
                return
            run.run(batch)
            done += batch.read
            bar.set_postfix_str(f"{run.outcome.stored:,} spans stored", refresh=False)
            bar.update(batch.read)
            if bar.disable and time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                log.info(
                    "%d of %d %s read, %d spans stored", done, source.total, source.unit, run.outcome.stored
                )


@contextmanager
def _target(
    config: Config, *, dry_run: bool
) -> Iterator[tuple[Target | None, Sequence[tuple[str, Processor]]]]:
    """The store of `config` and the processors before it; None where a dry run finds no store."""
    if config.exporters.clickhouse.url:
        processors = build_processors(config, hash_key=server_hash_key(config))
        remote = server(config)
        try:
            remote.check()
            yield remote, processors
        except Unavailable as error:
            raise UserError(str(error)) from error
        finally:
            remote.close()
        return
    data = config.data
    if (pid := running.holder(data)) is not None:
        raise UserError(
            f"process {pid or 'unknown'} has the store in {data} open: stop it until the replay is done, or "
            "name a ClickHouse server in exporters.clickhouse.url"
        )
    if dry_run and not (data / "clickhouse").exists():
        yield None, build_processors(config, hash_key="dry run")
        return
    with Store(data) as store:
        if not dry_run:
            if running.was_unclean(data):
                rollups.repair(store)
            running.mark(data)
        embedded = EmbeddedClickHouse(store)
        try:
            yield embedded, store_processors(config, store)
        finally:
            embedded.close()
    if not dry_run and not store.rollups_doubtful:
        running.unmark(data)


def _stop_on_signals() -> threading.Event:
    """Set at the first signal that asks to leave; a second one ends the process at once."""
    stop = threading.Event()

    def note(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's choice stands
            signal.signal(number, note)
    return stop


def _first_of_each() -> Callable[[logging.LogRecord], bool]:
    """A filter of a log: what failed in a thousand messages is shown once."""
    said: set[str] = set()

    def is_first(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not (text in said or said.add(text))  # type: ignore[func-returns-value]

    return is_first
