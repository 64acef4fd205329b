"""Sets of 64-bit hashes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spanhouse.otlp.wire import entry, inlined, int64, uint64

Hashes = NDArray[Any]  # of uint64

# In a table: nothing is there. As a hash it is never in a set.
NONE: Final = 0


@inlined
def _place(table: Hashes, one: int) -> int:
    # Where a hash is in the table, whose length is a power of two, or would be put.
    mask = uint64(len(table) - 1)
    at = one & mask
    while table[int64(at)] != uint64(NONE) and table[int64(at)] != one:
        at = (at + uint64(1)) & mask
    place: int = int64(at)
    return place


@entry
def _find(table: Hashes, hashes: Hashes, found: NDArray[Any]) -> None:
    """Set `found[i]` if hash i is in the table."""
    for i in range(len(hashes)):
        if hashes[i] != uint64(NONE) and table[_place(table, hashes[i])] == hashes[i]:
            found[i] = True


@entry
def _put(table: Hashes, hashes: Hashes) -> None:
    for i in range(len(hashes)):
        if hashes[i] != uint64(NONE):
            table[_place(table, hashes[i])] = hashes[i]


class HashSet:
    """A set that gets no more than `capacity` hashes."""

    def __init__(self, capacity: int) -> None:
        # At most half full.
        self._table: Hashes = np.zeros(2 << max(capacity - 1, 0).bit_length(), np.uint64)

    def add(self, hashes: Hashes) -> None:
        """Put hashes into the set."""
        _put(self._table, hashes)

    def has(self, hashes: Hashes, found: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Whether each of the hashes is in the set, or was `found` before; that array is written to."""
        if found is None:
            found = np.zeros(len(hashes), np.bool_)
        _find(self._table, hashes, found)
        return found
