"""The last word on a batch: what cannot be stored is rejected, what is too large is cut."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import Field

from spanhouse import metrics
from spanhouse.batch import ATTRIBUTES, DIMENSIONS, EVALUATIONS, EVENTS, LINKS, TOKENS, ValueType, reject
from spanhouse.errors import UserError
from spanhouse.processors.lists import children, cut, inner_texts, map_elements
from spanhouse.views import arrays, distinct, is_text, longest, odd_ids, stack

OTHER: Final = "__other__"

_HOUR_NS: Final = 3_600_000_000_000
_DAY_NS: Final = 24 * _HOUR_NS
_MAX_TTFT_MS: Final = 24 * 3600 * 1000.0
_MAX_TOKENS: Final = 10**12
_IDS: Final = {"trace_id": 32, "span_id": 16, "parent_span_id": 16}  # hex digits
# Checked by their length, or made by spanhouse itself.
_NEVER_CUT: Final = frozenset(("reject", *_IDS))

Positive = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=64)]
Count = Annotated[int, Field(ge=0)]


class Guard:
    """Rejects spans without valid ids and times, cuts long values, limits the values of a dimension.

    A rejected span stays in the batch with the reason in `reject`; the reasons are few and fixed, see
    `reasons`. Whatever else is wrong with a span is mended, for a span is worth more than its worst value.

    A column of `batch.DIMENSIONS` may have so many distinct values; further ones become `__other__` in the
    column, while the span's attribute keeps what was sent. '' and `__other__` do not count. A value that
    has not been seen for `forget_hours` makes room for a new one. Known values live in the process;
    `seed` brings back those of the store.

    Args:
        max_age_days: a span that started longer ago is rejected (the store keeps 90 days).
        max_future_days: a span that starts later than this from now is rejected.
        max_duration_hours: a span that lasted longer is rejected.
        max_value_bytes: longer texts (attribute keys and values, names, messages) are cut and end in a
            note of how much is missing. A list or map that is cut becomes a string, as it is JSON no more.
        max_dimension_bytes: longer values of a dimension are cut, without a note.
        max_dimension_values: distinct values a dimension may have.
        cardinality: other such limits by column.
        forget_hours: how long an unseen value counts.
        now_ns: the clock.

    Raises:
        UserError: `cardinality` names no dimension.
    """

    def __init__(
        self,
        max_age_days: Positive = 90,
        max_future_days: Positive = 1,
        max_duration_hours: Positive = 24,
        max_value_bytes: Size = 131_072,
        max_dimension_bytes: Size = 256,
        max_dimension_values: Count = 1000,
        cardinality: Mapping[str, Count] | None = None,
        forget_hours: Positive = 24,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        for column in cardinality or {}:
            if column not in DIMENSIONS:
                raise UserError(f"cardinality: {column} is no dimension ({', '.join(DIMENSIONS)})")
        self._max_age_ns = int(max_age_days * _DAY_NS)
        self._max_future_ns = int(max_future_days * _DAY_NS)
        self._max_duration_ns = int(max_duration_hours * _HOUR_NS)
        self._max_value_bytes = max_value_bytes
        self._max_dimension_bytes = max_dimension_bytes
        self._now_ns = now_ns
        limits = dict.fromkeys(DIMENSIONS, max_dimension_values) | dict(cardinality or {})
        forget_ns = int(forget_hours * _HOUR_NS)
        self._known = {column: _Known(limit, forget_ns) for column, limit in limits.items()}
        # One batch at a time, as `_Known` is shared.
        self._lock = threading.Lock()
        self.reasons: Final = {
            "trace_id": "trace_id must be 16 bytes that are not all zero",
            "span_id": "span_id must be 8 bytes that are not all zero",
            "parent_span_id": "parent_span_id must be empty or 8 bytes",
            "start": "start_time_unix_nano must not be zero",
            "past": f"start_time_unix_nano is more than {max_age_days:g} d in the past",
            "future": f"start_time_unix_nano is more than {max_future_days:g} d in the future",
            "end": "end_time_unix_nano is before start_time_unix_nano",
            "duration": f"the span lasts longer than {max_duration_hours:g} h",
        }

    def seed(self, values: Mapping[str, Iterable[str]]) -> None:
        """Make values known, e.g. those in the store; other columns than dimensions are ignored."""
        now = self._now_ns()
        with self._lock:
            for column, known in self._known.items():
                known.admit(values.get(column, ()), now)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Check a batch."""
        batch = self._reject(batch)
        batch = _mend_numbers(batch)
        batch = self._cut(batch)
        with self._lock:
            return self._limit_cardinality(batch)

    def _reject(self, batch: pl.DataFrame) -> pl.DataFrame:
        now = self._now_ns()
        earliest, latest = max(now - self._max_age_ns, 0), now + self._max_future_ns
        start, end = batch["start_ns"].to_numpy(), batch["end_ns"].to_numpy()
        ids = arrays(batch, _IDS)
        odd = odd_ids(stack(ids.values()), list(_IDS.values()), [name == "parent_span_id" for name in _IDS])
        bad = {} if odd is None else dict(zip(_IDS, odd, strict=True))
        bad |= {
            "start": start == 0,
            "past": start < np.uint64(earliest),
            "future": start > np.uint64(latest),
            "end": end < start,
            # Where the end is before the start this wraps around, but then it is rejected already.
            "duration": end - start > np.uint64(self._max_duration_ns),
        }
        for name, where in bad.items():
            if where.any():
                batch = reject(batch, pl.lit(pl.Series(where)), self.reasons[name])
        return batch

    def _cut(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Cut texts over the limit, in lists within lists as well."""
        texts = [
            (name, text)
            for name, column in arrays(frame).items()
            if name not in _NEVER_CUT
            for text in _texts(column)
        ]
        sizes = longest(stack(text for _, text in texts)).tolist()
        long = {name: None for (name, _), size in zip(texts, sizes, strict=True) if size > self._limit(name)}
        changed = []
        for name in long:
            column = frame[name]
            if column.dtype == pl.String:
                changed.append(_cut(column, self._limit(name), note=name not in DIMENSIONS))
            elif column.dtype == ATTRIBUTES:
                changed.append(map_elements(column, self._cut_attributes))
            elif column.dtype in (EVENTS, LINKS, EVALUATIONS):
                changed.append(map_elements(column, self._cut))
        return frame.with_columns(changed) if changed else frame

    def _limit(self, name: str) -> int:
        return self._max_dimension_bytes if name in DIMENSIONS else self._max_value_bytes

    def _cut_attributes(self, attributes: pl.DataFrame) -> pl.DataFrame:
        cut = self._cut(attributes)
        if cut is attributes:
            return attributes
        long = attributes["value"].str.len_bytes() > self._max_value_bytes
        return cut.with_columns(cut["type"].set(long, ValueType.STRING))

    def _limit_cardinality(self, batch: pl.DataFrame) -> pl.DataFrame:
        kept = None
        if batch["reject"].null_count() < batch.height:
            kept = batch["reject"].is_null()
        columns = arrays(batch, [name for name in batch.columns if name in DIMENSIONS])
        found = distinct(stack(columns.values()), None if kept is None else kept.to_numpy().view(np.uint8))
        changed = []
        now = self._now_ns()
        for name, values in zip(columns, found, strict=True):
            column = batch[name]
            if values is None:  # they are many
                column_kept = column if kept is None else column.filter(kept)
                values = column_kept.drop_nulls().unique(maintain_order=True).to_list()
            refused = self._known[name].admit(values, now)
            if refused:
                where = column.is_in(refused)
                metrics.CARDINALITY_DROPS.labels(name).inc(int(where.sum()))
                changed.append(column.set(where, OTHER))
        return batch.with_columns(changed) if changed else batch


def _texts(column: pa.Array) -> Iterable[pa.Array]:
    """The column itself, if it is text, or all text in its lists."""
    if is_text(column):
        return (column,)
    return inner_texts(children(column)) if isinstance(column, pa.LargeListArray) else ()


class _Known:
    """The values that a dimension has, each with the time it was last seen."""

    def __init__(self, limit: int, forget_ns: int) -> None:
        self._limit = limit
        self._forget_ns = forget_ns
        self._seen: dict[str, int] = {}

    def admit(self, values: Iterable[str], now: int) -> list[str]:
        """Note the values as seen; returns those for which there is no room, the later ones."""
        new = []
        for value in values:
            if value in self._seen:
                self._seen[value] = now
            elif value not in ("", OTHER):
                new.append(value)
        if len(self._seen) + len(new) > self._limit:
            self._seen = {v: seen for v, seen in self._seen.items() if now - seen < self._forget_ns}
        room = max(self._limit - len(self._seen), 0)
        self._seen |= dict.fromkeys(new[:room], now)
        return new[room:]


def _cut(texts: pl.Series, limit: int, *, note: bool) -> pl.Series:
    """Texts over the limit cut between two characters."""
    shorter, where = cut(texts, limit, lambda data: _shortened(data, limit, note))
    if note:
        metrics.VALUES_TRUNCATED.inc(where.len())
    return shorter


def _shortened(data: bytes, limit: int, note: bool) -> str:
    if not note:
        return data[:limit].decode(errors="ignore")
    # The note's own length depends on a number that depends on it: its longest form decides.
    room = limit - len(_NOTE.format(len(data)).encode())
    kept = data[:room].decode(errors="ignore")
    return kept + _NOTE.format(len(data) - len(kept.encode()))


_NOTE: Final = "…[{} bytes cut]"


def _mend_numbers(batch: pl.DataFrame) -> pl.DataFrame:
    """Numbers that cannot be: the column says unknown, the span's attribute keeps what was sent."""
    columns = [
        pl.when(pl.col(name) <= _MAX_TOKENS).then(name).otherwise(pl.lit(0, pl.UInt64)).alias(name)
        for name in TOKENS
        if name in batch.columns and (batch[name].to_numpy() > _MAX_TOKENS).any()
    ]
    if "ttft_ms" in batch.columns:
        ttft = batch["ttft_ms"]
        values = ttft.to_numpy()  # null and NaN alike are NaN
        if ttft.null_count() + int(((values >= 0) & (values <= _MAX_TTFT_MS)).sum()) < len(ttft):
            columns.append(pl.when(pl.col("ttft_ms").is_between(0, _MAX_TTFT_MS)).then("ttft_ms"))
    return batch.with_columns(columns) if columns else batch
