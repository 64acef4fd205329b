"""OTLP bytes to one columnar batch, with no Python object per span or attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from spanhouse.errors import Malformed
from spanhouse.otlp import state as layout
from spanhouse.otlp.attributes import key_hash, put_numeric, put_pending, set_numeric
from spanhouse.otlp.canonical import canonical
from spanhouse.otlp.columns import Columns
from spanhouse.otlp.count import count
from spanhouse.otlp.text import ROOM
from spanhouse.otlp.values import BOOL, DOUBLE, INT, STRING
from spanhouse.otlp.walk import fill
from spanhouse.otlp.wire import ERRORS, PADDING, UNUSUAL, Ints

_TYPES: Final = {pl.String: STRING, pl.Int64: INT, pl.Float64: DOUBLE, pl.Boolean: BOOL}
_OWNER_NAMES: Final = ("span", "scope", "resource")


# The text made of that much still fits an Arrow string view's 31-bit offsets.
MAX_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a list of payloads holds.

    Attributes:
        batch: the spans of all readable payloads in wire order, see `spanhouse.batch`.
        errors: why a payload is malformed as a whole, by its index; such a payload has no rows.
    """

    batch: pl.DataFrame
    errors: dict[int, str]


class Decoder:
    """Decodes OTLP trace payloads; the `wanted` attributes become raw columns. Thread-safe.

    Args:
        wanted: "span:<key>", "scope:<key>" or "resource:<key>" and the polars type (String, Int64,
            Float64 or Boolean) that the raw column is to have.
    """

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._names = list(wanted)
        self._owners = [_OWNER_NAMES.index(name.partition(":")[0]) for name in wanted]
        self._types = [_TYPES[kind] for kind in wanted.values()]
        keys = [name.partition(":")[2].encode() for name in wanted]
        self._keys = b"".join(keys) + bytes(PADDING)
        ends = np.cumsum([len(key) for key in keys], dtype=np.int64)
        starts = ends - np.array([len(key) for key in keys], np.int64)
        size = 256
        while size < 4 * len(keys):
            size *= 2
        tables = np.full((len(_OWNER_NAMES), size), -1, np.int64)
        key_bytes = np.frombuffer(bytearray(self._keys), np.uint8)
        for k, owner in enumerate(self._owners):
            at = key_hash(key_bytes, int(starts[k]), int(ends[k])) & (size - 1)
            while tables[owner, at] >= 0:
                at = (at + 1) & (size - 1)
            tables[owner, at] = k
        self._sections = {
            layout.KEY_START: starts,
            layout.KEY_END: ends,
            layout.KEY_TYPE: np.array(self._types, np.int64),
            layout.TABLE: tables.ravel(),
        }
        self._raw_columns = 16  # room for them, doubled whenever a batch needs more

    def decode(self, payloads: Sequence[bytes]) -> Decoded:
        """Decode serialized ExportTraceServiceRequests (or TracesData, which is the same).

        Raises:
            ValueError: the payloads are more than MAX_BYTES together.
        """
        payloads = list(payloads)
        if sum(len(payload) for payload in payloads) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes to decode at once")
        errors: dict[int, str] = {}
        bounds = np.zeros(len(payloads) + 1, np.int64)
        while True:
            np.cumsum([len(payload) for payload in payloads], out=bounds[1:])
            size = int(bounds[-1])
            arena = self._arena(payloads, size)
            status = np.zeros(len(payloads), np.int64)
            totals, before = np.zeros((2, 2 * layout.OWNERS), np.int64)
            count(arena, bounds, status, totals, before)
            uncounted = status < 0
            text = layout.empty(ROOM * size + 4 * PADDING, np.uint8)
            w = layout.allocate(totals, size, self._sections, size + PADDING, len(text), self._raw_columns)
            fill(arena, bounds, status, w, text)
            failed = status < 0
            for i in np.flatnonzero(failed).tolist():
                payloads[i] = _mend(payloads[i], int(status[i]), i, errors)
            if w[layout.MORE]:
                self._raw_columns *= 2
            elif not (failed & ~uncounted).any():
                return Decoded(self._batch(arena, w, text), errors)

    def _arena(self, payloads: Sequence[bytes], size: int) -> NDArray[np.uint8]:
        # The payloads one after the other, then the wanted keys.
        arena = layout.empty(size + PADDING + len(self._keys), np.uint8)
        view, at = arena.data, 0
        for part in (*payloads, bytes(PADDING), self._keys):
            view[at : at + len(part)] = part
            at += len(part)
        return arena

    def _batch(self, arena: NDArray[np.uint8], w: Ints, text: NDArray[np.uint8]) -> pl.DataFrame:
        if w[layout.PENDING]:
            first = w[layout.DOUBLE_BITS]
            doubles = pl.Series(w[first : first + w[layout.DOUBLES]].view(np.float64)).cast(pl.String)
            _, offsets, data = doubles.to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()
            texts = np.frombuffer(bytearray(data), np.uint8)
            put_pending(arena, w, text, texts, np.frombuffer(bytearray(offsets), np.int64))
        if w[layout.NUMERIC]:
            self._parse_doubles(arena, w)
        columns = Columns(arena, w, text)
        raw: dict[str, pa.Array] = {}
        exact, converted = (
            w[w[section] : w[section] + len(self._names)] for section in (layout.RAW, layout.RAW_CONVERTED)
        )
        for k in np.flatnonzero((exact >= 0) | (converted >= 0)).tolist():
            owner, name, kind = self._owners[k], self._names[k], self._types[k]
            raw[name] = columns.raw(int(exact[k]), owner, kind)
            if converted[k] >= 0:
                raw[name + "~"] = columns.raw(int(converted[k]), owner, kind)
        return columns.batch(raw)

    def _parse_doubles(self, arena: NDArray[np.uint8], w: Ints) -> None:
        # Strings that are wanted as Float64.
        first = w[layout.NUMERIC_ENTRIES]
        entries = w[first : first + layout.NUMERIC_WIDTH * w[layout.NUMERIC]].reshape(
            -1, layout.NUMERIC_WIDTH
        )
        views = np.empty((len(entries), 2), np.int64)
        put_numeric(arena, w, views.ravel())
        buffers = [None, pa.py_buffer(views), pa.py_buffer(arena)]
        texts = pl.Series(pa.Array.from_buffers(pa.string_view(), len(entries), buffers))
        parsed = texts.cast(pl.Float64, strict=False)
        set_numeric(w, parsed.fill_null(0.0).to_numpy().view(np.int64), parsed.is_not_null().to_numpy())


def _mend(payload: bytes, status: int, index: int, errors: dict[int, str]) -> bytes:
    # What to decode instead of a payload that the walk could not read.
    if status == UNUSUAL:
        try:
            return canonical(payload)
        except Malformed as error:
            errors[index] = str(error)
            return b""
    errors[index] = "malformed protobuf: " + ERRORS[status]
    return b""
