"""content: prompts, completions and the like leave the spans before anything else looks at them.

Which attributes these are the mapping tables say (`content` in `mappings/*.yaml`). They are counted, and kept
beside the span's row where they are asked for: for a table of its own, never for `agent_events`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spanhouse import metrics
from spanhouse.batch import CONTENT, ValueType, without
from spanhouse.processors.content_rules import ASK, CONTENT_KINDS, Content
from spanhouse.processors.lists import Flat, as_lists, by_row, cut, flat, map_elements
from spanhouse.processors.looked import Distinct, Ints, Looked
from spanhouse.views import array as arrow
from spanhouse.views import lengths, longest, numbers, stack, taken

_NAMES: Final = pl.Series(["", *CONTENT_KINDS])
# What of a tool's content is its arguments, and what its result.
_TOOL_BYTES: Final = {
    "tool_input_bytes": ("tool_arguments", "input"),
    "tool_output_bytes": ("tool_result", "output"),
}
_TOOLS: Final = ("tool", "mcp")

_Kinds = NDArray[np.int8]


class _Part:
    """Values that are content: a frame of them, and the row of each one's span."""

    def __init__(
        self, rows: Ints, kinds: _Kinds, key: Any, value: Any, types: Any, event: pl.Series | None = None
    ) -> None:
        """`event`, `key` and `value` are columns of text, `types` one of numbers."""
        self.rows = rows
        self.kinds = kinds
        self.sizes = lengths(arrow(value) if isinstance(value, pl.Series) else value)
        self.columns = (event, key, value, types)

    def frame(self) -> pl.DataFrame:
        """The columns of CONTENT."""
        event, key, value, types = self.columns
        return pl.DataFrame(
            {
                "kind": _NAMES.gather(pl.Series(self.kinds)),
                "event": pl.Series([""]).new_from_index(0, len(self.rows)) if event is None else event,
                "key": key,
                "value": value,
                "type": types,
                "bytes": self.sizes.astype(np.uint32),
                "truncated": np.zeros(len(self.rows), np.bool_),
            },
            schema=dict(CONTENT.inner.to_schema()),  # type: ignore[union-attr]
        )


class TakeContent:
    """Takes content out of a decoded batch.

    A raw column of content stays, for `normalize` may ask for it, until `forget`.

    Args:
        content: what is content.
        keep_bytes: the most that is kept of a value, in the column `content` (CONTENT) of batches that have
            some; with 0 nothing is kept.
    """

    def __init__(self, content: Content, keep_bytes: int) -> None:
        self._content = content
        self._keep_bytes = keep_bytes

    def __call__(self, looked: Looked) -> pl.DataFrame:
        """Take it out of a batch."""
        batch = looked.batch
        changed, parts = [], []
        for part, column in (self._of_spans(looked), self._of_events(looked)):
            if part is not None:
                parts.append(part)
                changed.append(column)
        for name in self._raw(batch):
            if (found := self._of_column(batch[name], looked.scopes)) is not None:
                parts.insert(0, found)
        if not parts:
            return batch
        for part in parts:
            sizes = np.bincount(part.kinds, part.sizes, len(CONTENT_KINDS) + 1)
            for kind, size in zip(CONTENT_KINDS, sizes[1:].tolist(), strict=True):
                if size:
                    metrics.CONTENT_BYTES.labels(kind).inc(size)
        changed += _tool_bytes(parts, batch.height)
        if self._keep_bytes:
            changed.append(_joined(parts, batch.height))
        return batch.with_columns(changed)

    def forget(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Without the raw columns that are content: for when all have read what they wanted.

        By then it is known, too, which spans are calls of tools.
        """
        if "tool_input_bytes" in batch.columns and "kind" in batch.columns:
            is_tool = pl.col("kind").is_in(_TOOLS)
            batch = batch.with_columns(pl.when(is_tool).then(pl.col(*_TOOL_BYTES)).otherwise(0))
        scopes = None
        names = [*self._raw(batch), *(f"{name}~" for name in self._raw(batch, "~"))]
        asked = [name for name in names if self._content.of_key(_key(name)) == ASK]
        if len(asked) < len(names):
            batch = without(batch, set(names) - set(asked))
        for name in asked:
            scopes = scopes or Distinct.of(batch["scope"])
            kinds = self._kinds_of(_key(name), scopes)
            batch = batch.with_columns(pl.when(pl.lit(pl.Series(kinds == 0))).then(pl.col(name)).alias(name))
        return batch

    def cut(self, batch: pl.DataFrame) -> pl.DataFrame:
        """With what is kept cut to its most bytes, between two characters: for when it is scrubbed."""
        if batch.schema.get("content") != CONTENT:
            return batch
        column = batch["content"]
        if longest(stack([flat(column).fields["value"]]))[0] <= self._keep_bytes:
            return batch
        return batch.with_columns(map_elements(column, self._cut))

    def _cut(self, values: pl.DataFrame) -> pl.DataFrame:
        value, limit = values["value"], self._keep_bytes
        shorter, where = cut(value, limit, lambda data: data[:limit].decode(errors="ignore"))
        return values.with_columns(shorter, values["truncated"].scatter(where, True))

    def _raw(self, batch: pl.DataFrame, end: str = "") -> list[str]:
        """The raw columns that are or may be content; with `~` those of converted values, without it."""
        names = (name for name in batch.columns if name.startswith("span:") and name.endswith(end))
        bare = (name.removesuffix("~") if end else name for name in names)
        return [name for name in bare if self._content.of_key(_key(name)) != 0]

    def _kinds_of(self, key: str, scopes: Distinct) -> _Kinds:
        of_scope = [self._content.kind(None, key, scope) for scope in scopes.texts]
        kinds: _Kinds = np.array(of_scope, np.int8)[scopes.codes]
        return kinds

    def _of_column(self, column: pl.Series, scopes: Distinct) -> _Part | None:
        kinds = self._kinds_of(_key(column.name), scopes)
        if column.null_count():
            kinds = np.where(column.is_null().to_numpy(), np.int8(0), kinds)
        rows = kinds.nonzero()[0]
        if not len(rows):
            return None
        key = pl.Series([_key(column.name)]).new_from_index(0, len(rows))
        types = np.full(len(rows), ValueType.STRING, np.uint8)
        return _Part(rows, kinds[rows], key, taken(column.cast(pl.String), rows), types)

    def _of_spans(self, looked: Looked) -> tuple[_Part | None, pl.Series]:
        column = looked.batch["attrs"]
        of_key = np.array([self._content.of_key(key) for key in looked.keys.texts], np.int8)
        if not of_key.any():
            return None, column
        kinds = of_key[looked.keys.codes]
        if len(asked := (kinds == ASK).nonzero()[0]):
            kinds[asked] = self._ask(None, looked.keys.at(asked), looked.scopes.at(looked.rows[asked]))
        return self._split(column, looked.attrs, kinds, looked.rows)

    def _of_events(self, looked: Looked) -> tuple[_Part | None, pl.Series]:
        column, names = looked.batch["events"], looked.event_names
        has = np.array([self._content.of_event(name) for name in names.texts], np.bool_)
        if not has.any():
            return None, column
        owners = looked.event_owners
        kinds = np.zeros(len(owners), np.int8)
        asked = has[names.codes][owners].nonzero()[0]
        of, rows = owners[asked], looked.event_rows[owners]
        kinds[asked] = self._ask(names.at(of), looked.event_keys.at(asked), looked.scopes.at(rows[asked]))
        fields = looked.events.fields
        part, inner = self._split(pl.Series(fields["attrs"]), looked.event_attrs, kinds, rows)
        if part is None:
            return None, column
        part.columns = (taken(fields["name"], owners[kinds.nonzero()[0]]), *part.columns[1:])
        without = fields | {"attrs": arrow(inner)}
        return part, as_lists(column.name, looked.events.ends, without)

    def _ask(self, events: Distinct | None, keys: Distinct, scopes: Distinct) -> _Kinds:
        """The kinds of attributes by their events (None for spans), keys and scopes."""
        codes = keys.codes.astype(np.int64) * len(scopes.texts) + scopes.codes
        if events is not None:
            codes = codes * len(events.texts) + events.codes
        distinct, places = np.unique(codes, return_inverse=True)
        kinds = []
        for code in distinct.tolist():
            event = None
            if events is not None:
                code, of_event = divmod(code, len(events.texts))
                event = events.texts[of_event]
            of_key, of_scope = divmod(code, len(scopes.texts))
            kinds.append(self._content.kind(event, keys.texts[of_key], scopes.texts[of_scope]))
        result: _Kinds = np.array(kinds, np.int8)[places.ravel()]
        return result

    def _split(
        self, column: pl.Series, lists: Flat, kinds: _Kinds, rows: Ints
    ) -> tuple[_Part | None, pl.Series]:
        """What is content of attribute lists, and the lists without; `rows` are of the attributes' spans."""
        where = kinds.nonzero()[0]
        if not len(where):
            return None, column
        key, value = (taken(lists.fields[name], where) for name in ("key", "value"))
        types = numbers(lists.fields["type"])
        part = _Part(rows[where], kinds[where], key, value, types[where])
        others = (kinds == 0).nonzero()[0]
        before = np.concatenate(([0], np.cumsum(kinds == 0)))
        fields = {name: taken(lists.fields[name], others) for name in ("key", "value")}
        fields["type"] = pl.Series(types[others])
        return part, as_lists(column.name, before[lists.ends], fields)


def _key(raw: str) -> str:
    return raw.partition(":")[2].removesuffix("~")


def _tool_bytes(parts: list[_Part], height: int) -> list[pl.Series]:
    """What spans have as a tool's sizes, if they are calls of one.

    Of the largest value, for libraries say the same more than once; what is named a tool's comes first.
    """
    columns = []
    for name, kinds in _TOOL_BYTES.items():
        sizes = np.zeros(height, np.uint64)
        for kind in kinds:
            found = np.zeros(height, np.uint64)
            for part in parts:
                where = part.kinds == CONTENT_KINDS.index(kind) + 1
                np.maximum.at(found, part.rows[where], part.sizes[where].astype(np.uint64))
            sizes = np.where(sizes == 0, found, sizes)
        columns.append(pl.Series(name, sizes))
    return columns


def _joined(parts: list[_Part], height: int) -> pl.Series:
    """The column `content`: of each span what its attributes are, then what its events have, in order."""
    rows = np.concatenate([part.rows for part in parts])
    order = np.argsort(rows, kind="stable")
    frame = pl.concat([part.frame() for part in parts])[pl.Series(order)]
    return by_row("content", frame, rows[order], height)
