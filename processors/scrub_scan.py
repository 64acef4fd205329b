"""One look at all text of a batch: which may have something that scrub masks, and which keys there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from spanhouse.batch import ATTRIBUTES, CONTENT, EVALUATIONS, EVENTS, LINKS, ValueType
from spanhouse.processors.lists import children
from spanhouse.processors.masking import SIEVE
from spanhouse.processors.scrub_rules import USER_ID_HASH
from spanhouse.sieve import NO_ROWS
from spanhouse.views import arrays, distinct, is_text, numbers, stack, taken

# Columns of ids and fixed words, which hold nothing to mask.
_SKIPPED: Final = frozenset(
    ("reject", "trace_id", "span_id", "parent_span_id", "scope_schema_url", "resource_schema_url", "kind",
     "status", "span_kind", "cost_source", "user_id_hash", f"span:{USER_ID_HASH}")
)  # fmt: skip

_NESTED: Final = (ValueType.ARRAY, ValueType.KVLIST)
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
        columns = _Columns()
        result = columns.add(frame, arrays(frame))
        keys = distinct(stack(found.keys for found in columns.attributes))
        for found, names in zip(columns.attributes, keys, strict=True):
            found.scan.keys = set(pl.Series(found.keys).unique() if names is None else names)
            self.keys |= found.scan.keys
        values = [text.values for text in columns.texts] + [found.values for found in columns.attributes]
        kinds = [None for _ in columns.texts] + [found.kinds for found in columns.attributes]
        flagged = iter(SIEVE.flag(stack(values), kinds))
        for text in columns.texts:
            if len(rows := next(flagged)):
                text.scan.texts[text.name] = rows
                whose = self.trace_states if text.name == "trace_state" else self.plain
                whose.append(taken(text.values, rows))
        for found in columns.attributes:
            if len(rows := next(flagged)):
                kinds_of_rows = found.kinds[rows]
                found.scan.plain = rows[kinds_of_rows == ValueType.STRING]
                found.scan.json = rows[np.isin(kinds_of_rows, _NESTED)]
                for whose, of_kind in ((self.plain, found.scan.plain), (self.json, found.scan.json)):
                    if len(of_kind):
                        whose.append(taken(found.values, of_kind))
        return result


@dataclass(slots=True, frozen=True)
class _Text:
    scan: Scan
    name: str
    values: pa.Array


@dataclass(slots=True, frozen=True)
class _Pairs:
    scan: Attributes
    keys: pa.Array
    values: pa.Array
    kinds: NDArray[np.uint8]


@dataclass(slots=True)
class _Columns:
    """All columns of text and of attributes, in lists within lists as well, with the scan they belong to."""

    texts: list[_Text] = field(default_factory=list)
    attributes: list[_Pairs] = field(default_factory=list)

    def add(self, frame: pl.DataFrame, columns: dict[str, pa.Array]) -> Scan:
        """Take in the columns of a batch."""
        result = Scan()
        for name, dtype in frame.schema.items():
            column = columns[name]
            if is_text(column):
                self._text(result, name, column)
            elif dtype in (ATTRIBUTES, CONTENT):
                self._attributes(result, name, column)
            elif dtype in (EVENTS, LINKS, EVALUATIONS):
                result.lists[name] = inner = Scan()
                fields = children(column)
                for field_name, values in fields.items() if any(map(len, fields.values())) else ():
                    if field_name == "attrs":
                        self._attributes(inner, field_name, values)
                    elif is_text(values):
                        self._text(inner, field_name, values)
        return result

    def _text(self, scan: Scan, name: str, values: pa.Array) -> None:
        if name not in _SKIPPED:
            self.texts.append(_Text(scan, name, values))

    def _attributes(self, scan: Scan, name: str, lists: pa.Array) -> None:
        fields = children(lists)
        kinds = numbers(fields["type"])
        scan.attributes[name] = found = Attributes(set(), NO_ROWS, NO_ROWS)
        self.attributes.append(_Pairs(found, fields["key"], fields["value"], kinds))
