"""A span that comes twice is stored once: the window of spans seen lately.

A sender repeats a request when its answer was lost, so the same trace and span id comes again, within
minutes. A batch is checked just before its insert and noted only after it, so a failed insert leaves
nothing behind.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spanhouse import metrics
from spanhouse.otlp.wire import entry, int64, uint64
from spanhouse.views import array, lengths

Keys = NDArray[Any]  # of uint64

# A span without ids has none to be known by.
_NO_KEY: Final = 0


@entry
def _find(first: Keys, second: Keys, keys: Keys, found: NDArray[Any]) -> None:
    """Set `found[i]` where key i is in one of the hash tables, whose lengths are powers of two."""
    for i in range(len(keys)):
        key = keys[i]
        found[i] = False
        for table in (first, second):
            mask = uint64(len(table) - 1)
            at = key & mask
            while table[int64(at)] != uint64(0):
                if table[int64(at)] == key:
                    found[i] = True
                    break
                at = (at + uint64(1)) & mask


@entry
def _put(table: Keys, keys: Keys) -> None:
    mask = uint64(len(table) - 1)
    for i in range(len(keys)):
        key = keys[i]
        if key == uint64(0):
            continue
        at = key & mask
        while table[int64(at)] != uint64(0) and table[int64(at)] != key:
            at = (at + uint64(1)) & mask
        table[int64(at)] = key


class SeenSpans:
    """The last `capacity` to `2 * capacity` spans, by a 64-bit hash of trace and span id.

    That two of a million spans share a hash by chance, so that one of them is lost, is expected once in
    2e13 spans. Not thread-safe.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # At most half full; two, so that the older half can be forgotten at once.
        self._size = 2 << (capacity - 1).bit_length()
        self._current: Keys = np.zeros(self._size, np.uint64)
        self._previous: Keys = np.zeros(1, np.uint64)
        self._count = 0

    def without_repeated(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Keys]:
        """The rows whose span was not seen, and has not come before in `rows`; and their keys for `add`."""
        keys = span_keys(rows["trace_id"], rows["span_id"])
        found = np.empty(len(keys), np.bool_)
        _find(self._current, self._previous, keys, found)
        first = pl.Series(keys).is_first_distinct().to_numpy()
        new = ~found & (first | (keys == _NO_KEY))
        if new.all():
            return rows, keys
        metrics.SPANS_DUPLICATE.inc(len(keys) - int(new.sum()))
        return rows.filter(pl.Series(new)), keys[new]

    def add_spans(self, spans: pl.DataFrame) -> None:
        """Note stored spans (columns trace_id, span_id) as seen."""
        self.add(span_keys(spans["trace_id"], spans["span_id"]))

    def add(self, keys: Keys) -> None:
        """Note spans as seen."""
        for begin in range(0, len(keys), self._capacity):
            part = keys[begin : begin + self._capacity]
            if self._count + len(part) > self._capacity:
                self._previous, self._current = self._current, np.zeros(self._size, np.uint64)
                self._count = 0
            _put(self._current, part)
            self._count += len(part)


def span_keys(trace_ids: pl.Series, span_ids: pl.Series) -> Keys:
    """A key for each span; the same within one process only."""
    ids = pl.DataFrame({"trace_id": trace_ids, "span_id": span_ids})
    keys = ids.hash_rows().to_numpy(writable=True)
    keys[keys == _NO_KEY] = 1
    for column in (trace_ids, span_ids):
        without = lengths(array(column)) == 0
        if without.any():
            keys[without] = _NO_KEY
    return keys


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache."""
    table, keys, found = np.zeros(2, np.uint64), np.ones(1, np.uint64), np.empty(1, np.bool_)
    _find(table, table, keys, found)
    _put(table, keys)
