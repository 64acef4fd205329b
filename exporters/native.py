"""Rows as one block of ClickHouse's Native format, made column by column.

Native is the format that ClickHouse takes with the least work: columns lie as the engine has them, and a
column of few distinct texts (LowCardinality) comes as its distinct texts and a number for each row. Of the
formats that were tried it is also the smallest, a fifth of Arrow's.

https://clickhouse.com/docs/interfaces/formats/Native
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from lz4.frame import LZ4FrameCompressor
from numpy.typing import NDArray

from spanhouse.batch import ValueType
from spanhouse.clickhouse_http.native import string, varint
from spanhouse.exporters.native_texts import TEXT, WORD, written
from spanhouse.processors.lists import children, ends
from spanhouse.views import arrays, is_text, numbers, stack, truths

_Part = NDArray[Any] | bytes | int

_TEXT: Final = "String"
_WORD: Final = "LowCardinality(String)"
_TIME: Final = "DateTime64(9, 'UTC')"
_KIND: Final = (
    "Enum8('empty' = 0, 'bool' = 2, 'int' = 3, 'double' = 4, 'array' = 5, 'kvlist' = 6, 'bytes' = 7)"
)

# ClickHouse's type of each column of `rows.ROW` but attribute lists and lists of structs, and of the tables
# beside it (`beside`).
TYPES: Final = {
    "ts": _TIME,
    **dict.fromkeys(("trace_id", "span_id", "parent_span_id", "session_id", "user_id_hash", "error_message",
                     "status_message", "trace_state", "text", "explanation", "evaluated_span_id"), _TEXT),
    **dict.fromkeys(
        ("name", "kind", "service", "service_version", "env", "tenant_id", "agent", "workflow", "provider",
         "model", "operation", "route", "tool_name", "prompt_name", "prompt_version", "experiment", "variant",
         "status", "error_type", "cost_source", "span_kind", "scope", "scope_version", "scope_schema_url",
         "resource_schema_url", "promoted", "topic", "finish_reason", "event", "key", "type", "label",
         "evaluator"), _WORD),
    "latency_ms": "Float64",
    **dict.fromkeys(("ttft_ms", "score"), "Nullable(Float64)"),
    **dict.fromkeys(("tokens_prompt", "tokens_completion", "tokens_cache_read", "tokens_cache_write",
                     "tokens_reasoning", "retries", "tool_input_bytes",
                     "tool_output_bytes"), "UInt64"),
    "cost_usd": "Decimal(18, 10)",
    "cost_computed_usd": "Nullable(Decimal(18, 10))",
    **dict.fromkeys(("flags", "scope_dropped", "resource_dropped", "dropped_attributes", "dropped_events",
                     "dropped_links", "number", "bytes"), "UInt32"),
    "truncated": "Bool",
    "partition": "Int32",
    "offset": "Int64",
    "ingested_at": "DateTime64(3, 'UTC')",
}  # fmt: skip
# Attribute list -> the columns of its values and of the types of those that are no strings.
_MAPS: Final = {
    "attrs": ("attrs", "attr_types"),
    "resource": ("resource", "resource_types"),
    "scope_attrs": ("scope_attrs", "scope_attr_types"),
}
_FIELDS: Final = {
    "events": {"ts": _TIME, "name": _WORD, "attrs": "", "dropped": "UInt32"},
    "links": {"trace_id": _TEXT, "span_id": _TEXT, "trace_state": _TEXT, "flags": "UInt32", "attrs": "",
              "dropped": "UInt32"},
}  # fmt: skip

# Of LowCardinality's serialization.
_VERSION: Final = (1).to_bytes(8, "little")
# About what texts of a row take, with their places.
_ROW_BYTES: Final = 512
_PIECE_BYTES: Final = 64 << 10


def block(rows: pl.DataFrame) -> list[bytes | memoryview]:
    """The block, in parts to be written one after the other before this thread makes another block.

    Args:
        rows: columns of `rows.ROW`, and others of the table's that are in TYPES.
    """
    made = _Columns()
    for name, column in arrays(rows).items():
        made.add(name, column)
    texts = written(stack(made.texts), made.kinds, made.masks, rows.height * _ROW_BYTES)
    parts: list[bytes | memoryview] = [varint(len(made.columns)) + varint(rows.height)]
    for name, kind, data in made.columns:
        parts.append(string(name) + string(kind))
        for part in data:
            found = texts[part] if isinstance(part, int) else part
            parts.append(found if isinstance(found, bytes) else found.data)
    return parts


def compressed(rows: pl.DataFrame) -> Generator[bytes, None, None]:
    """The block as an LZ4 frame, a tenth of it, in pieces to be sent one after the other.

    Sending costs more than compressing, even to the same machine.
    """
    lz4 = LZ4FrameCompressor()
    waiting = bytearray(lz4.begin())
    for part in block(rows):
        waiting += lz4.compress(part)
        if len(waiting) >= _PIECE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting) + lz4.flush()


def names(columns: Iterable[str]) -> list[str]:
    """The table's columns that `block` makes of these columns of rows."""
    found: list[str] = []
    for name in columns:
        if name in _FIELDS:
            found += [f"{name}.{column}" for field in _FIELDS[name] for column in _MAPS.get(field, (field,))]
        else:
            found += _MAPS.get(name, (name,))
    return found


class _Columns:
    """The columns of a block, and the texts among them, which are written all at once.

    Attributes:
        columns: (name, type, parts); a part may be the number of one of the texts.
        texts: the texts.
        kinds: how each is written.
        masks: for each, which rows are; None for all.
    """

    def __init__(self) -> None:
        self.columns: list[tuple[str, str, list[_Part]]] = []
        self.texts: list[pa.Array] = []
        self.kinds: list[int] = []
        self.masks: list[NDArray[np.uint8] | None] = []

    def add(self, name: str, column: pa.Array) -> None:
        """Take in a column of rows."""
        if name in _MAPS:
            self._maps("", name, ends(column), children(column))
        elif name in _FIELDS:
            self._nested(name, column)
        elif TYPES[name] == _TEXT:
            self.columns.append((name, _TEXT, [self._texts(column, TEXT)]))
        elif TYPES[name] == _WORD:
            self.columns.append((name, _WORD, [_VERSION, self._texts(column, WORD)]))
        elif TYPES[name].startswith("Nullable"):
            missing = truths(column.is_null())
            self.columns.append((name, TYPES[name], [missing, np.where(missing, 0, _numbers(column))]))
        else:
            self.columns.append((name, TYPES[name], [_numbers(column)]))

    def _texts(self, column: pa.Array, kind: int, mask: NDArray[np.uint8] | None = None) -> int:
        self.texts.append(column)
        self.kinds.append(kind)
        self.masks.append(mask)
        return len(self.texts) - 1

    def _nested(self, name: str, lists: pa.Array) -> None:
        places, fields = ends(lists)[1:], children(lists)
        for field, kind in _FIELDS[name].items():
            array = fields[field]
            if field == "attrs":
                self._maps(f"{name}.", field, ends(array), children(array), places)
            else:
                data: list[_Part] = [_VERSION, places] if kind == _WORD else [places]
                if is_text(array):
                    data.append(self._texts(array, WORD if kind == _WORD else TEXT))
                else:
                    data.append(_numbers(array))
                self.columns.append((f"{name}.{field}", f"Array({kind})", data))

    def _maps(
        self, prefix: str, name: str, list_ends: NDArray[np.int64], fields: dict[str, pa.Array],
        places: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        """Attribute lists as a map of their values, and one of the types of those that are no strings.

        Args:
            prefix: the name of the list they stand in, if they do.
            name: the attribute lists' name.
            list_ends: where each of them ends, behind a 0.
            fields: of their elements.
            places: where the lists end that they stand in.
        """
        values, types = _MAPS[name]
        outer: list[_Part] = [_VERSION] if places is None else [_VERSION, places]
        form = "Map({}, {})" if places is None else "Array(Map({}, {}))"
        kinds = numbers(fields["type"])
        keys = self._texts(fields["key"], WORD)
        data: list[_Part] = [*outer, list_ends[1:], keys, self._texts(fields["value"], TEXT)]
        self.columns.append((prefix + values, form.format(_WORD, _TEXT), data))
        other = kinds != ValueType.STRING
        before = np.zeros(len(other) + 1, np.int64)
        np.cumsum(other, out=before[1:])
        keys = self._texts(fields["key"], WORD, other.view(np.uint8))
        data = [*outer, before[list_ends[1:]], keys, kinds[other]]
        self.columns.append((prefix + types, form.format(_WORD, _KIND), data))


def _numbers(column: pa.Array) -> NDArray[Any]:
    """Numbers as the table has them: of a Decimal the lower half, of a Boolean a byte."""
    if pa.types.is_boolean(column.type):
        return truths(column).view(np.uint8)
    values = numbers(column)
    return values if values.ndim == 1 else np.ascontiguousarray(values[:, 0])
