"""One look at all text of a batch: which may have something that scrub masks, and which keys there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from spanhouse.batch import ATTRIBUTES, CONTENT, EVALUATIONS, EVENTS, LINKS, ValueType
from spanhouse.processors.lists import children, flat
from spanhouse.processors.masking import SIEVE
from spanhouse.processors.scrub_rules import USER_ID_HASH
from spanhouse.views import encode, taken, texts

# Columns of ids and fixed words, which hold nothing to mask.
_SKIPPED: Final = frozenset(
    ("reject", "trace_id", "span_id", "parent_span_id", "scope_schema_url", "resource_schema_url", "kind",
     "status", "span_kind", "cost_source", "user_id_hash", f"span:{USER_ID_HASH}")
)  # fmt: skip

_NESTED: Final = (ValueType.ARRAY, ValueType.KVLIST)
# Distinct keys that are told apart quickly.
_MAX_KEYS: Final = 4096

Rows = NDArray[np.int64]


@dataclass(slots=True)
class Attributes:
    """Of a column of attribute lists: the distinct keys, and which of all values may have something."""

    keys: set[str]
    plain: Rows
    json: Rows


@dataclass(slots=True)
class Scan:
    """Of a frame: rows of its columns whose text may have something, and what is in its lists."""

    texts: dict[str, Rows] = field(default_factory=dict)
    attributes: dict[str, Attributes] = field(default_factory=dict)
    lists: dict[str, Scan] = field(default_factory=dict)


@dataclass(slots=True)
class Found:
    """The texts of all scans that may have something, by what they are, and all keys of attributes."""

    plain: list[pl.Series] = field(default_factory=list)
    json: list[pl.Series] = field(default_factory=list)
    trace_states: list[pl.Series] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)

    def scan(self, frame: pl.DataFrame) -> Scan:
        """Look at the columns of a batch."""
        result = Scan()
        for column in frame.get_columns():
            dtype = column.dtype
            if dtype == pl.String:
                if column.name not in _SKIPPED:
                    self._text(result, column.name, column)
            elif isinstance(dtype, pl.List):
                if dtype in (ATTRIBUTES, CONTENT):
                    result.attributes[column.name] = self._attributes(flat(column).fields)
                elif dtype in (EVENTS, LINKS, EVALUATIONS):
                    result.lists[column.name] = self._elements(flat(column).fields)
        return result

    def _elements(self, fields: dict[str, pa.Array]) -> Scan:
        result = Scan()
        if any(map(len, fields.values())):
            for name, array in fields.items():
                if name == "attrs":
                    result.attributes[name] = self._attributes(children(array))
                elif pa.types.is_string_view(array.type) and name not in _SKIPPED:
                    self._text(result, name, array)
        return result

    def _text(self, result: Scan, name: str, column: pl.Series | pa.Array) -> None:
        flags = SIEVE.flag(texts(column))
        if flags is not None:
            result.texts[name] = rows = flags.nonzero()[0]
            found = self.trace_states if name == "trace_state" else self.plain
            found.append(taken(column, rows))

    def _attributes(self, fields: dict[str, pa.Array]) -> Attributes:
        result = Attributes(_distinct(fields["key"]), _NO_ROWS, _NO_ROWS)
        self.keys |= result.keys
        kinds = np.ascontiguousarray(fields["type"].to_numpy(zero_copy_only=False))
        flags = SIEVE.flag(texts(fields["value"]), kinds)
        if flags is not None:
            rows = flags.nonzero()[0]
            kinds = kinds[rows]
            result.plain = rows[kinds == ValueType.STRING]
            result.json = rows[np.isin(kinds, _NESTED)]
            for found, of_kind in ((self.plain, result.plain), (self.json, result.json)):
                if len(of_kind):
                    found.append(taken(fields["value"], of_kind))
        return result


_NO_ROWS: Final[Rows] = np.empty(0, np.int64)


def _distinct(keys: pa.Array) -> set[str]:
    encoded = encode(texts(keys), _MAX_KEYS)
    series = pl.Series(keys)
    return set(series.unique() if encoded is None else taken(series, encoded[1]))
