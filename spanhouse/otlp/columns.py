"""From the arrays that `walk.fill` wrote to polars columns, through Arrow and without copying text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from spanhouse.batch import DECODED
from spanhouse.otlp import state as layout
from spanhouse.otlp.values import BOOL, DOUBLE, INT, STRING
from spanhouse.otlp.wire import Ints
from spanhouse.views import bits, numeric

_TEXT: Final = pa.string_view()
_REASONS: Final = pl.Series(layout.REASONS, dtype=pl.String)
_NUMBERS: Final = {INT: pa.int64(), DOUBLE: pa.float64(), BOOL: pa.bool_()}
_VIEW: Final = np.dtype("V16")

# The rows to take of a section; None is all of them.
Take = NDArray[np.int64] | None


def _struct(**fields: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays(list(fields.values()), list(fields))


class Columns:
    """Arrow arrays of one decoded batch, and the batch itself.

    Args:
        arena: the payloads, data buffer 0 of all string views.
        w: the array that `state` describes.
        text: data buffer 1.
    """

    def __init__(self, arena: NDArray[np.uint8], w: Ints, text: NDArray[np.uint8]) -> None:
        self._w = w
        self._header = w[: layout.HEADER].tolist()
        self._rows = self._header[layout.ROWS : layout.ROWS + layout.OWNERS]
        self._buffer = pa.py_buffer(w)
        self._data = [pa.py_buffer(arena), pa.py_buffer(text[: self._header[layout.TEXT]])]
        # Scopes and resources are rows of their own; which of them a span has.
        scope = self._section(layout.SCOPE_INDEX, layout.SPAN)
        resource = self._section(layout.SCOPE_RESOURCE, layout.SCOPE)[scope]
        self._take: tuple[Take, ...] = (None, scope, resource, None, None)

    def _section(self, section: int, owner: int) -> Ints:
        at = self._header[section]
        return self._w[at : at + self._rows[owner]]

    def strings(self, at: int, length: int, take: Take = None, validity: pa.Buffer | None = None) -> pa.Array:
        """Return the strings whose views begin at `at`."""
        if take is None:
            views = self._buffer.slice(8 * at, 16 * length)
        else:
            length = len(take)
            views = pa.py_buffer(self._w[at:].view(_VIEW)[take] if length else b"")
        return pa.Array.from_buffers(_TEXT, length, [validity, views, *self._data])

    def _string(self, section: int, owner: int) -> pa.Array:
        return self.strings(self._header[section], self._rows[owner], self._take[owner])

    def _number(self, section: int, owner: int, kind: type[np.generic]) -> pa.Array:
        values, take = self._section(section, owner), self._take[owner]
        return numeric((values if take is None else values[take]).astype(kind))

    def raw(self, at: int, owner: int, kind: int) -> pa.Array:
        """Return the raw column at `at`, -1 for one of nulls, whose values have the ValueType `kind`."""
        length, take = self._rows[owner], self._take[owner]
        if at < 0:
            return pa.nulls(self._rows[layout.SPAN], _TEXT if kind == STRING else _NUMBERS[kind])
        # The validity bits lie behind the values of as many rows as were counted.
        behind = at + self._header[layout.CAPACITY + owner] * (2 if kind == STRING else 1)
        validity = self._buffer.slice(8 * behind, (length + 7) // 8)
        if take is not None:
            valid = np.unpackbits(self._w[behind:].view(np.uint8), count=length, bitorder="little")
            validity = bits(valid[take])
        if kind == STRING:
            return self.strings(at, length, take, validity)
        numbers = self._w[at : at + length] if take is None else self._w[at : at + length][take]
        values = pa.py_buffer(numbers)
        if kind == BOOL:
            values = bits(numbers.astype(bool))
        return pa.Array.from_buffers(_NUMBERS[kind], len(numbers), [validity, values])

    def _lists(self, section: int, owner: int, child: pa.Array) -> pa.Array:
        rows = self._rows[owner]
        offsets = self._buffer.slice(8 * self._header[section], 8 * (rows + 1))
        return pa.Array.from_buffers(pa.large_list(child.type), rows, [None, offsets], children=[child])

    def _attributes(self, owner: int) -> pa.Array:
        n, take = self._header[owner], self._take[owner]
        keys, values, types, at = (
            self._header[section + owner]
            for section in (layout.KEYS, layout.VALUES, layout.TYPES, layout.OFFSETS)
        )
        items: Take = None
        if take is not None:
            # Where each taken row's list begins, how long it is, and so the items of all of them.
            offsets = self._w[at : at + self._rows[owner] + 1]
            lengths = np.diff(offsets)[take]
            new = np.zeros(len(take) + 1, np.int64)
            np.cumsum(lengths, out=new[1:])
            items = np.arange(new[-1]) + np.repeat(offsets[take] - new[:-1], lengths)
        kinds = self._w[types : types + n]
        child = _struct(
            key=self.strings(keys, n, items),
            value=self.strings(values, n, items),
            type=numeric((kinds if items is None else kinds[items]).astype(np.uint8)),
        )
        if take is None:
            return self._lists(layout.OFFSETS + owner, owner, child)
        buffers = [None, pa.py_buffer(new)]
        return pa.Array.from_buffers(pa.large_list(child.type), len(take), buffers, children=[child])

    def _events(self) -> pa.Array:
        owner = layout.EVENT
        child = _struct(
            ts=self._number(layout.EVENT_TIME, owner, np.uint64),
            name=self._string(layout.EVENT_NAME, owner),
            attrs=self._attributes(owner),
            dropped=self._number(layout.EVENT_DROPPED, owner, np.uint32),
        )
        return self._lists(layout.EVENT_OFFSETS, layout.SPAN, child)

    def _links(self) -> pa.Array:
        owner = layout.LINK
        child = _struct(
            trace_id=self._string(layout.LINK_TRACE_ID, owner),
            span_id=self._string(layout.LINK_SPAN_ID, owner),
            trace_state=self._string(layout.LINK_TRACE_STATE, owner),
            flags=self._number(layout.LINK_FLAGS, owner, np.uint32),
            attrs=self._attributes(owner),
            dropped=self._number(layout.LINK_DROPPED, owner, np.uint32),
        )
        return self._lists(layout.LINK_OFFSETS, layout.SPAN, child)

    def _spans(self) -> dict[str, pa.Array]:
        owner = layout.SPAN
        payload = self._section(layout.PAYLOAD, owner)
        rows = np.arange(len(payload))
        # The row at which each row's payload begins.
        begins = np.maximum.accumulate(np.where(np.diff(payload, prepend=-1) != 0, rows, 0))
        return {
            "payload": numeric(payload.astype(np.uint32)),
            "span": numeric((rows - begins).astype(np.uint32)),
            "trace_id": self._string(layout.TRACE_ID, owner),
            "span_id": self._string(layout.SPAN_ID, owner),
            "parent_span_id": self._string(layout.PARENT_SPAN_ID, owner),
            "trace_state": self._string(layout.TRACE_STATE, owner),
            "flags": self._number(layout.FLAGS, owner, np.uint32),
            "name": self._string(layout.NAME, owner),
            "span_kind_code": self._number(layout.KIND, owner, np.int32),
            "start_ns": self._number(layout.START, owner, np.uint64),
            "end_ns": self._number(layout.END, owner, np.uint64),
            "status_code": self._number(layout.STATUS_CODE, owner, np.int32),
            "status_message": self._string(layout.STATUS_MESSAGE, owner),
            "attrs": self._attributes(owner),
            "dropped_attributes": self._number(layout.DROPPED, owner, np.uint32),
            "events": self._events(),
            "dropped_events": self._number(layout.DROPPED_EVENTS, owner, np.uint32),
            "links": self._links(),
            "dropped_links": self._number(layout.DROPPED_LINKS, owner, np.uint32),
        }

    def _scopes(self) -> dict[str, pa.Array]:
        owner = layout.SCOPE
        return {
            "scope": self._string(layout.SCOPE_NAME, owner),
            "scope_version": self._string(layout.SCOPE_VERSION, owner),
            "scope_attrs": self._attributes(owner),
            "scope_dropped": self._number(layout.SCOPE_DROPPED, owner, np.uint32),
            "scope_schema_url": self._string(layout.SCOPE_URL, owner),
        }

    def _resources(self) -> dict[str, pa.Array]:
        owner = layout.RESOURCE
        return {
            "resource": self._attributes(owner),
            "resource_dropped": self._number(layout.RESOURCE_DROPPED, owner, np.uint32),
            "resource_schema_url": self._string(layout.RESOURCE_URL, owner),
        }

    def batch(self, raw: Mapping[str, pa.Array]) -> pl.DataFrame:
        """Return the batch: DECODED's columns in their order, then the raw columns."""
        columns = self._spans() | self._scopes() | self._resources()
        bad = self._section(layout.BAD, layout.SPAN)
        columns["reject"] = _REASONS.gather(bad).to_arrow() if bad.any() else pa.nulls(len(bad), _TEXT)
        ordered = {name: columns[name] for name in DECODED} | dict(raw)
        return pl.DataFrame(pa.RecordBatch.from_arrays(list(ordered.values()), list(ordered)))
