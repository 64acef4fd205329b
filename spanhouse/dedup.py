"""A span that comes twice is stored once: the window of spans seen lately.

A sender repeats a request when its answer was lost, so the same trace and span id comes again, within
minutes. A batch is checked just before its insert and noted only after it, so a failed insert leaves
nothing behind.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from spanhouse import metrics
from spanhouse.hash_set import NONE, Hashes, HashSet
from spanhouse.views import array, lengths

# A span without ids has none to be known by.
_NO_KEY: Final = NONE


class SeenSpans:
    """The last `capacity` to `2 * capacity` spans, by a 64-bit hash of trace and span id.

    That two of a million spans share a hash by chance, so that one of them is lost, is expected once in
    2e13 spans. Not thread-safe.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # Two, so that the older half can be forgotten at once.
        self._current, self._previous = HashSet(capacity), HashSet(0)
        self._count = 0

    def without_repeated(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Hashes]:
        """The rows whose span was not seen, and has not come before in `rows`; and their keys for `add`."""
        keys = span_keys(rows["trace_id"], rows["span_id"])
        found = self._previous.has(keys, self._current.has(keys))
        first = pl.Series(keys).is_first_distinct().to_numpy()
        new = ~found & (first | (keys == _NO_KEY))
        if new.all():
            return rows, keys
        metrics.SPANS_DUPLICATE.inc(len(keys) - int(new.sum()))
        return rows.filter(pl.Series(new)), keys[new]

    def add_spans(self, spans: pl.DataFrame) -> None:
        """Note stored spans (columns trace_id, span_id) as seen."""
        self.add(span_keys(spans["trace_id"], spans["span_id"]))

    def add(self, keys: Hashes) -> None:
        """Note spans as seen."""
        for begin in range(0, len(keys), self._capacity):
            part = keys[begin : begin + self._capacity]
            if self._count + len(part) > self._capacity:
                self._previous, self._current = self._current, HashSet(self._capacity)
                self._count = 0
            self._current.add(part)
            self._count += len(part)


def span_keys(trace_ids: pl.Series, span_ids: pl.Series) -> Hashes:
    """A key for each span; the same within one process only."""
    ids = pl.DataFrame({"trace_id": trace_ids, "span_id": span_ids})
    keys = ids.hash_rows().to_numpy(writable=True)
    keys[keys == _NO_KEY] = 1
    for column in (trace_ids, span_ids):
        without = lengths(array(column)) == 0
        if without.any():
            keys[without] = _NO_KEY
    return keys
