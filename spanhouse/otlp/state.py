"""The layout of the array of int64 that the walk fills.

One array holds everything, as kernels that are handed many arrays compile and run slowly. It begins
with a header: counters, then the position of each section. A section is a run of int64: a column of
numbers, of Arrow string views (two int64 each), of list offsets, a table, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from spanhouse.otlp.wire import Ints

MAX_ATTRIBUTES: Final = 1024

# Owners of attributes. The first three can have wanted keys. They are numpy integers as numba compiles
# a kernel once more for each Python integer that it is called with by name.
_INTEGERS: Any = np.arange(5)
SPAN, SCOPE, RESOURCE, EVENT, LINK = _INTEGERS
OWNERS: Final = 5
DEPTHS: Final = np.array([4, 4, 3, 5, 5])  # depth of an owner's attributes in the payload

# Counters: attributes by owner (0 to 4), the owners themselves (5 to 9), what else is written; these
# ten are what `count` foresees. MORE is set when a raw column found no room.
ROWS: Final = 5
SPANS, SCOPES, RESOURCES, EVENTS, LINKS, TEXT, RESERVED, DOUBLES, PENDING, NUMERIC, VIEWS, MORE = range(5, 17)
# How far TEXT and VIEWS may go; size of a hash table - 1.
TEXT_END, VIEWS_END, MASK = range(17, 20)

# By owner: how many rows there is room for (a number), then sections of the owner's attributes: views
# of keys and values, types, list offsets.
CAPACITY, KEYS, VALUES, TYPES, OFFSETS = range(20, 45, 5)

# Columns of spans; the BADs hold indices of REASONS.
(
    TRACE_ID, SPAN_ID, PARENT_SPAN_ID, TRACE_STATE, NAME, STATUS_MESSAGE,
    START, END, PAYLOAD, FLAGS, KIND, STATUS_CODE, DROPPED, DROPPED_EVENTS, DROPPED_LINKS, SCOPE_INDEX, BAD,
    EVENT_OFFSETS, LINK_OFFSETS,
) = range(45, 64)  # fmt: skip
SCOPE_NAME, SCOPE_VERSION, SCOPE_URL, SCOPE_DROPPED, SCOPE_RESOURCE, SCOPE_BAD = range(64, 70)
RESOURCE_URL, RESOURCE_DROPPED, RESOURCE_BAD = range(70, 73)
EVENT_TIME, EVENT_NAME, EVENT_DROPPED = range(73, 76)
LINK_TRACE_ID, LINK_SPAN_ID, LINK_TRACE_STATE, LINK_FLAGS, LINK_DROPPED = range(76, 81)

# Doubles' bits; entries of values whose text is made after the walk; strings wanted as Float64.
DOUBLE_BITS, PENDING_ENTRIES, NUMERIC_ENTRIES = range(81, 84)
P_TYPE, P_START, P_END, P_DOUBLE, P_VIEW, P_RAW = range(6)
PENDING_WIDTH: Final = 6
N_KEY, N_OWNER, N_ROW, N_START, N_END = range(5)
NUMERIC_WIDTH: Final = 5

# The wanted keys: bounds of their bytes, type, hash tables by owner, position of their exact and of
# their converted raw column (-1 while there is none), last row that has the key.
KEY_START, KEY_END, KEY_TYPE, TABLE, RAW, RAW_CONVERTED, SEEN = range(84, 91)
# Views of strings written lately, by their hash.
INTERNED = 91
INTERNED_SLOTS: Final = 1024
HEADER: Final = 92

_VIEWS: Final = {
    SPAN: (TRACE_ID, SPAN_ID, PARENT_SPAN_ID, TRACE_STATE, NAME, STATUS_MESSAGE),
    SCOPE: (SCOPE_NAME, SCOPE_VERSION, SCOPE_URL),
    RESOURCE: (RESOURCE_URL,),
    EVENT: (EVENT_NAME,),
    LINK: (LINK_TRACE_ID, LINK_SPAN_ID, LINK_TRACE_STATE),
}
_NUMBERS: Final = {
    SPAN: tuple(range(START, EVENT_OFFSETS)),
    SCOPE: (SCOPE_DROPPED, SCOPE_RESOURCE, SCOPE_BAD),
    RESOURCE: (RESOURCE_DROPPED, RESOURCE_BAD),
    EVENT: (EVENT_TIME, EVENT_DROPPED),
    LINK: (LINK_FLAGS, LINK_DROPPED),
}

# Words to leave between sections: none, but the fuzzer looks whether these were written to.
GAP = 0

REASONS: Final = (
    None,
    "invalid UTF-8 in attributes",
    "invalid UTF-8 in name",
    "invalid UTF-8 in trace_state",
    "invalid UTF-8 in the status message",
    "invalid UTF-8 in events",
    "invalid UTF-8 in links",
    "invalid UTF-8 in scope",
    "invalid UTF-8 in resource",
    f"more than {MAX_ATTRIBUTES} attributes",
    f"more than {MAX_ATTRIBUTES} scope attributes",
    f"more than {MAX_ATTRIBUTES} resource attributes",
)
BAD_ATTRIBUTES, BAD_NAME, BAD_TRACE_STATE, BAD_STATUS, BAD_EVENTS, BAD_LINKS = range(1, 7)
BAD_SCOPE, BAD_RESOURCE, MANY_ATTRIBUTES, MANY_SCOPE, MANY_RESOURCE = range(7, 12)


def empty(length: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Make an array from Arrow's memory pool, which keeps pages for the next batch.

    `np.empty` gives large arrays back to the system; getting their pages anew took longer than decoding.
    """
    return np.frombuffer(pa.allocate_buffer(length * np.dtype(dtype).itemsize), dtype)


def allocate(
    totals: Ints, size: int, wanted: Mapping[int, Ints], key_bytes: int, text_room: int, raw_columns: int
) -> Ints:
    """Make the array for what `count` found in `size` bytes of payload.

    Args:
        totals: the first ten counters.
        size: length of the payloads.
        wanted: the sections KEY_START, KEY_END, KEY_TYPE and TABLE; the table has OWNERS' first three
            parts, each of a power of two entries.
        key_bytes: where the wanted keys' bytes begin.
        text_room: length of the text.
        raw_columns: how many raw columns of spans to leave room for.
    """
    attributes, rows = totals[:OWNERS].tolist(), totals[ROWS : ROWS + OWNERS].tolist()
    keys = len(wanted[KEY_TYPE])
    sizes = {section: len(values) for section, values in wanted.items()}
    sizes |= {RAW: keys, RAW_CONVERTED: keys, SEEN: keys, INTERNED: 2 * INTERNED_SLOTS}
    sizes |= {EVENT_OFFSETS: rows[SPAN] + 1, LINK_OFFSETS: rows[SPAN] + 1}
    sizes |= {DOUBLE_BITS: size // 9 + 1, PENDING_ENTRIES: PENDING_WIDTH * sum(attributes)}
    sizes[NUMERIC_ENTRIES] = NUMERIC_WIDTH * sum(attributes)
    for owner in range(OWNERS):
        sizes |= dict.fromkeys(_VIEWS[owner], 2 * rows[owner]) | dict.fromkeys(_NUMBERS[owner], rows[owner])
        sizes |= {KEYS + owner: 2 * attributes[owner], VALUES + owner: 2 * attributes[owner]}
        sizes |= {TYPES + owner: attributes[owner], OFFSETS + owner: rows[owner] + 1}
    header = np.zeros(HEADER, np.int64)
    header[CAPACITY : CAPACITY + OWNERS] = rows
    header[MASK] = len(wanted[TABLE]) // 3 - 1
    at = HEADER
    for section, length in sizes.items():
        header[section] = at
        at += ((length + 1) & ~1) + GAP
    header[VIEWS] = at
    most = max(rows[:3])
    header[TEXT_END] = text_room
    header[VIEWS_END] = at + raw_columns * (2 * most + most // 64 + 2)
    w = empty(int(header[VIEWS_END]), np.int64)
    w[:HEADER] = header
    for section, values in wanted.items():
        w[header[section] : header[section] + len(values)] = values
    for section in (KEY_START, KEY_END):
        w[header[section] : header[section] + keys] += key_bytes
    w[header[RAW] : header[RAW] + keys] = -1
    w[header[RAW_CONVERTED] : header[RAW_CONVERTED] + keys] = -1
    w[header[SEEN] : header[SEEN] + keys] = -1
    w[header[INTERNED] : header[INTERNED] + 2 * INTERNED_SLOTS] = 0
    for section in (EVENT_OFFSETS, LINK_OFFSETS, *range(OFFSETS, OFFSETS + OWNERS)):
        w[header[section]] = 0
    return w
