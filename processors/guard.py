"""The last word on a batch: what cannot be stored is rejected, what is too large is cut."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from spanhouse import metrics
from spanhouse.batch import ATTRIBUTES, DIMENSIONS, EVALUATIONS, EVENTS, LINKS, TOKENS, ValueType, reject
from spanhouse.errors import UserError
from spanhouse.processors.lists import flat, inner_texts, map_elements
from spanhouse.views import Texts, encode, lengths, longest, taken, texts

OTHER: Final = "__other__"

_HOUR_NS: Final = 3_600_000_000_000
_DAY_NS: Final = 24 * _HOUR_NS
_MAX_TTFT_MS: Final = 24 * 3600 * 1000.0
_MAX_TOKENS: Final = 10**12
# Distinct values of a column that are told apart quickly.
_MAX_ENCODED: Final = 4096
# Checked by their length, or made by spanhouse itself.
_NEVER_CUT: Final = frozenset(("reject", "trace_id", "span_id", "parent_span_id"))

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
        traces, spans, parents = (
            lengths(texts(batch[name])) for name in ("trace_id", "span_id", "parent_span_id")
        )
        bad = {
            "trace_id": (traces != 32) | (batch["trace_id"] == "0" * 32).to_numpy(),
            "span_id": (spans != 16) | (batch["span_id"] == "0" * 16).to_numpy(),
            "parent_span_id": (parents != 0) & (parents != 16),
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
        changed = []
        for column in frame.get_columns():
            dtype = column.dtype
            cut = column
            if dtype == pl.String:
                if column.name not in _NEVER_CUT:
                    cut = self._cut_text(column, texts(column))
            elif isinstance(dtype, pl.List) and self._is_long(column):
                if dtype == ATTRIBUTES:
                    cut = map_elements(column, self._cut_attributes)
                elif dtype in (EVENTS, LINKS, EVALUATIONS):
                    cut = map_elements(column, self._cut)
            if cut is not column:
                changed.append(cut)
        return frame.with_columns(changed) if changed else frame

    def _cut_text(self, column: pl.Series, views: Texts) -> pl.Series:
        is_dimension = column.name in DIMENSIONS
        limit = self._max_dimension_bytes if is_dimension else self._max_value_bytes
        return column if longest(views) <= limit else _cut(column, limit, note=not is_dimension)

    def _is_long(self, lists: pl.Series) -> bool:
        """Whether any text in the lists is over the limit."""
        return any(longest(views) > self._max_value_bytes for views in inner_texts(flat(lists).fields))

    def _cut_attributes(self, attributes: pl.DataFrame) -> pl.DataFrame:
        cut = self._cut(attributes)
        if cut is attributes:
            return attributes
        long = attributes["value"].str.len_bytes() > self._max_value_bytes
        return cut.with_columns(cut["type"].set(long, ValueType.STRING))

    def _limit_cardinality(self, batch: pl.DataFrame) -> pl.DataFrame:
        kept = None
        if batch["reject"].null_count() < batch.height:
            kept = batch["reject"].is_null().to_numpy()
        changed = []
        now = self._now_ns()
        for name in DIMENSIONS:
            if name not in batch.columns:
                continue
            column = batch[name]
            refused = self._known[name].admit(_distinct(column, kept), now)
            if refused:
                where = column.is_in(refused)
                metrics.CARDINALITY_DROPS.labels(name).inc(int(where.sum()))
                changed.append(column.set(where, OTHER))
        return batch.with_columns(changed) if changed else batch


def _distinct(column: pl.Series, kept: NDArray[np.bool_] | None) -> pl.Series:
    """The distinct texts of the rows that are kept, None for all, in the order of their first one."""
    encoded = encode(texts(column), _MAX_ENCODED)
    if encoded is None:
        return (
            (column if kept is None else column.filter(pl.Series(kept)))
            .drop_nulls()
            .unique(maintain_order=True)
        )
    codes, firsts = encoded
    if kept is not None:
        codes = codes[kept]
        used, at = np.unique(codes[codes >= 0], return_index=True)
        firsts = firsts[used[np.argsort(at)]]
    return taken(column, firsts)


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
    where = (texts.str.len_bytes() > limit).fill_null(False).arg_true()
    if note:
        metrics.VALUES_TRUNCATED.inc(where.len())
    # One by one: they are few, or so large that this is the smallest cost of them.
    cut = [_shortened(text, limit, note) for text in texts.gather(where)]
    return texts.clone().scatter(where, pl.Series(cut, dtype=pl.String))


def _shortened(text: str, limit: int, note: bool) -> str:
    data = text.encode()
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
        if name in batch.columns and (batch[name] > _MAX_TOKENS).any()
    ]
    if "ttft_ms" in batch.columns and not batch["ttft_ms"].is_between(0, _MAX_TTFT_MS).all():
        columns.append(pl.when(pl.col("ttft_ms").is_between(0, _MAX_TTFT_MS)).then("ttft_ms"))
    return batch.with_columns(columns) if columns else batch
