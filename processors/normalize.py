"""normalize: one canonical row whatever instrumentation library emitted the span.

Which attribute fills which column is written in `mappings/*.yaml`, not here. Here are the rules that
names alone do not give: token counts that mean the same for every library, usage that counts once, a
latency that can be turned back into nanoseconds. docs/data-model.md explains them to users.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from spanhouse.batch import NORMALIZED, TOKENS
from spanhouse.errors import UserError
from spanhouse.processors.mapping import COLUMNS, STATUSES, Rule, load

MAPPINGS: Final = Path(__file__).parent / "mappings"
BUILT_IN: Final = ("otel.yaml",)  # one file per dialect, in order of preference

# Kinds whose spans are calls to a model; usage on any other kind is a sum over such calls.
MODEL_KINDS: Final = ("llm", "embedding", "rerank")
SPAN_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
# No call reads or writes more; a larger count is not one and would only overflow the cost.
MAX_TOKENS: Final = 1_000_000_000


class Normalize:
    """Adds every column of NORMALIZED, with a neutral cost, and `mapping.HELPERS` for `price`.

    Raw columns stay as they are. A span's usage counts once: what a span of another kind than a model
    call reports is set to 0 where a model call with usage of the same trace is in the batch or went
    by lately, and so is that of a model call whose direct child is one.

    Args:
        mappings: the user's own mapping files; their rules come before the built-in ones.

    Attributes:
        wanted: raw columns for the decoder, with their types.
        targets: raw column -> row column that can stand for it (`rows.finish`).
    """

    def __init__(self, mappings: Sequence[Path] = ()) -> None:
        self._rules: dict[str, list[Rule]] = {column: [] for column in COLUMNS}
        self.wanted: dict[str, type[pl.DataType]] = {}
        self.targets: dict[str, str] = {}
        files = [(path, load(path)) for path in (*mappings, *(MAPPINGS / name for name in BUILT_IN))]
        for _, columns in files:
            for column, rules in columns.items():
                self._rules[column] += rules
        # Built-in files first, so that of two rules that contradict each other the user's is named.
        for path, columns in reversed(files):
            for column, rules in columns.items():
                self._want(path, column, rules)
        self._events: dict[str, set[str]] = {}
        for column, rules in self._rules.items():
            for rule in rules:
                if rule.is_raw:
                    self.wanted.setdefault(rule.source, pl.String)
                    if rule.is_identity and column in NORMALIZED:
                        self.targets.setdefault(rule.source, column)
                if rule.event:
                    self._events.setdefault(rule.event[0], set()).add(rule.event[1])
        self._plan = lru_cache(maxsize=256)(self._make_plan)
        self._recent = _Recent()

    def _want(self, path: Path, column: str, rules: list[Rule]) -> None:
        dtype: Any = pl.Int64 if COLUMNS[column] == pl.UInt64 else COLUMNS[column]
        for rule in rules:
            # Whether an attribute is there at all can be told of any type.
            if not rule.is_raw or (rule.constant is not None and not rule.starts_with):
                continue
            if self.wanted.setdefault(rule.source, dtype) != dtype:
                what = f"'{rule.source}' is used as text and as a number"
                raise UserError(f"{path}, line {rule.line}: {column}: {what}")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Normalize a batch; see the class."""
        events = self._event_columns(batch)
        sources = batch if events is None else batch.hstack(events)
        plan = self._plan(tuple(name for name in sources.columns if ":" in name))
        batch = batch.hstack(sources.select(plan.columns))
        for column, expr, others in plan.inferred:
            missing = batch[column] == ""
            if any((missing & (batch[other] != "")).any() for other in others):
                batch = batch.with_columns(expr.alias(column))
        return self._count_once(batch.with_columns(_TOKEN_RULES)) if plan.has_usage else batch

    def by_attributes(self, column: str) -> tuple[list[str], pl.Expr]:
        """The raw columns that may fill a text column, and its value by them; for rows that are stored."""
        rules = [rule for rule in self._rules[column] if rule.is_raw and rule.status is None]
        names = list(dict.fromkeys(rule.source for rule in rules))
        values = [value for rule in rules for value in _exprs(rule, pl.String, tuple(names))]
        return names, pl.coalesce(*values, pl.lit("")).alias(column)

    def _event_columns(self, batch: pl.DataFrame) -> pl.DataFrame | None:
        """What event rules read: of each span's last event of a name. None where no span has such events."""
        owners, events = _flat(_arrow(batch["events"]), np.arange(batch.height))
        if not len(owners):
            return None
        columns = []
        for name, keys in self._events.items():
            at = _where(events.field("name"), name)
            at = at[np.append(owners[at][1:] != owners[at][:-1], True)] if len(at) else at  # last of a span
            rows, attrs = _flat(events.field("attrs").take(pa.array(at)), owners[at])
            for key in keys if len(rows) else ():
                found = _where(attrs.field("key"), key)
                places = np.zeros(batch.height, np.int64)  # row -> where its value is
                places[rows[found]] = found
                missing = np.ones(batch.height, np.bool_)
                missing[rows[found]] = False
                values = attrs.field("value").take(pa.array(places, mask=missing))
                columns.append(pl.Series(f"event:{name}:{key}", values))
        return pl.DataFrame(columns) if columns else None

    def _make_plan(self, present: tuple[str, ...]) -> _Plan:
        """Expressions for batches with these raw columns; most attributes are absent from most batches."""
        columns: list[pl.Expr] = [*_FIELDS]
        inferred: list[tuple[str, pl.Expr, set[str]]] = []
        for column, dtype in COLUMNS.items():
            default = pl.lit(_DEFAULTS.get(column, "" if dtype == pl.String else 0), dtype)
            direct = [r for r in self._rules[column] if not (r.is_column and r.source in COLUMNS)]
            found = [expr for rule in direct for expr in _exprs(rule, dtype, present)]
            if found and column not in _DEFAULTS and (plain := _plain(direct, dtype, present)) is not None:
                found[-1] = plain  # '' needs no replacing where '' is the default
            columns.append((pl.coalesce(*found, default) if found else default).alias(column))
            by_column = [r for r in self._rules[column] if r.is_column and r.source in COLUMNS]
            if by_column:
                guesses = pl.coalesce(*(e for r in by_column for e in _exprs(r, dtype, ())), pl.lit(""))
                expr = pl.when(pl.col(column) == "").then(guesses).otherwise(column)
                inferred.append((column, expr, {r.source for r in by_column}))
        usage = [rule.source for column in (*TOKENS, "reported_cost_usd") for rule in self._rules[column]]
        has_usage = any(name in present or f"{name}~" in present for name in usage)
        return _Plan(columns, inferred, has_usage)

    def _count_once(self, batch: pl.DataFrame) -> pl.DataFrame:
        spans = batch.select(
            pl.col("trace_id", "span_id", "parent_span_id").hash(),
            model=pl.col("kind").is_in(MODEL_KINDS),
            stored=pl.col("reject").is_null(),
            used=(_PROMPT + _COMPLETION > 0) | (pl.col("reported_cost_usd") > 0).fill_null(False),
        )
        rows = spans["used"].to_numpy().nonzero()[0]
        trace, span, parent, model, stored = (s.to_numpy()[rows] for s in spans.drop("used"))
        span, parent, calls = _pair(trace, span), _pair(trace, parent), model & stored
        # A model call speaks for its trace and for its parent; others ask after their trace, and a
        # model call after itself.
        spoken_for = np.concatenate([trace[calls], parent[calls]])
        asks = np.where(model, span, trace)
        repeats = _among(asks, spoken_for) | self._recent.has(asks)
        self._recent.add(spoken_for)
        if not repeats.any():
            return batch
        counts = np.ones(batch.height, np.bool_)
        counts[rows[repeats]] = False
        where = pl.lit(pl.Series(counts))
        return batch.with_columns(
            *(pl.when(where).then(name).otherwise(pl.lit(0, pl.UInt64)).alias(name) for name in TOKENS),
            pl.when(where).then("reported_cost_usd").alias("reported_cost_usd"),
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """Expressions for one set of raw columns.

    Attributes:
        columns: all columns, from raw columns and the span's own fields.
        inferred: (column, expression, columns it reads) for rules that read other columns of the row.
        has_usage: whether any attribute of usage is present.
    """

    columns: list[pl.Expr]
    inferred: list[tuple[str, pl.Expr, set[str]]]
    has_usage: bool


class _Recent:
    """Remembers about the last hundred thousand hashes in constant memory and time.

    A hash has one place in each of two tables and is forgotten when later ones have taken both: of
    the last 20,000 one in 2,500, of the last 200,000 one in 30.
    """

    _BITS: Final = 20

    def __init__(self) -> None:
        self._tables = np.zeros((2, 1 << self._BITS), np.uint64)

    def _places(self, hashes: npt.NDArray[np.uint64]) -> list[npt.NDArray[np.int64]]:
        shifts = (np.uint64(64 - self._BITS), np.uint64(64 - 2 * self._BITS))
        mask = np.uint64((1 << self._BITS) - 1)
        return [((hashes >> shift) & mask).astype(np.int64) for shift in shifts]

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        for table, places in zip(self._tables, self._places(hashes), strict=True):
            table[places] = hashes

    def has(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        first, second = (t[p] == hashes for t, p in zip(self._tables, self._places(hashes), strict=True))
        found: npt.NDArray[np.bool_] = first | second
        return found


def _pair(trace: npt.NDArray[np.uint64], span: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed: npt.NDArray[np.uint64] = (trace ^ (span >> np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
    return mixed


def _arrow(series: pl.Series) -> Any:
    array = series.rechunk().to_arrow()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _flat(lists: Any, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Any]:
    """The lists' items one after the other, and for each the row of its list."""
    return np.repeat(rows, np.diff(lists.offsets.to_numpy())), lists.flatten()


def _where(texts: Any, text: str) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = pc.equal(texts, text).to_numpy(zero_copy_only=False).nonzero()[0]
    return found


def _among(hashes: npt.NDArray[np.uint64], others: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    if not len(others):
        return np.zeros(len(hashes), np.bool_)
    others = np.sort(others)
    found: npt.NDArray[np.bool_] = others[np.searchsorted(others, hashes).clip(max=len(others) - 1)] == hashes
    return found


def _names(code: str, names: Sequence[str]) -> pl.Expr:
    """Name of an enumeration's code; the number where it has none, so that it can be given back."""
    known: Any = pl.when(pl.col(code) == 0).then(pl.lit(names[0]))
    for number, name in enumerate(names[1:], 1):
        known = known.when(pl.col(code) == number).then(pl.lit(name))
    named: pl.Expr = known.otherwise(pl.col(code).cast(pl.String))
    return named


_FIELDS: Final = (
    _names("status_code", STATUSES).alias("status"),
    _names("span_kind_code", SPAN_KINDS).alias("span_kind"),
    # Int128, because the times are the sender's and may be anything: the difference may be negative.
    ((pl.col("end_ns").cast(pl.Int128) - pl.col("start_ns")).cast(pl.Float64) / 1e6).alias("latency_ms"),
    pl.lit(0, pl.Decimal(18, 10)).alias("cost_usd"),
    pl.lit("none").alias("cost_source"),
    pl.lit(None, pl.Decimal(18, 10)).alias("cost_computed_usd"),
)
_DEFAULTS: Final = {"kind": "other", "ttft_ms": None, "reported_cost_usd": None}

_PROMPT, _COMPLETION = pl.col("tokens_prompt"), pl.col("tokens_completion")
_CACHED, _REASONING = pl.col("tokens_cache_read") + pl.col("tokens_cache_write"), pl.col("tokens_reasoning")
# Parts that exceed their total cannot be parts of it: the total was reported without them.
_TOKEN_RULES: Final = (
    pl.when(_CACHED > _PROMPT).then(_PROMPT + _CACHED).otherwise(_PROMPT).alias("tokens_prompt"),
    pl.when(_REASONING > _COMPLETION)
    .then(_COMPLETION + _REASONING)
    .otherwise(_COMPLETION)
    .alias("tokens_completion"),
)


def _exprs(rule: Rule, dtype: Any, present: tuple[str, ...]) -> list[pl.Expr]:
    """The rule's value, null where it gives none: from the exact raw column and the converted one."""
    if not rule.source:
        return [_if_status(rule, pl.lit(rule.constant))]
    sources = [rule.source] if rule.is_column else [rule.source, f"{rule.source}~"]
    return [
        _if_status(rule, _value(rule, name, dtype)) for name in sources if rule.is_column or name in present
    ]


def _plain(rules: Sequence[Rule], dtype: Any, present: tuple[str, ...]) -> pl.Expr | None:
    """The raw column that the last of the rules takes as it is, None if that is not what it does."""
    last = next((r for r in reversed(rules) if _exprs(r, dtype, present)), None)
    if dtype != pl.String or last is None or not last.is_identity or last.status or last.is_column:
        return None
    name = last.source if f"{last.source}~" not in present else f"{last.source}~"
    return pl.col(name)


def _if_status(rule: Rule, value: pl.Expr) -> pl.Expr:
    if rule.status is None:
        return value
    return pl.when(pl.col("status_code") == STATUSES.index(rule.status)).then(value)


def _value(rule: Rule, name: str, dtype: Any) -> pl.Expr:
    value = pl.col(name)
    if dtype == pl.UInt64:
        if rule.event:
            value = value.cast(pl.Int64, strict=False)
        return pl.when(value.is_between(0, MAX_TOKENS)).then(value.cast(pl.UInt64, strict=False))
    if dtype == pl.Float64:
        value = value.cast(pl.Float64, strict=False)
        return pl.when(value.is_finite() & (value >= 0)).then(value * rule.factor)
    if rule.values:
        # As an Enum's codes: half the time of replace_strict.
        codes = value.cast(pl.Enum(list(rule.values)), strict=False).to_physical()
        return pl.lit(pl.Series(list(rule.values.values()))).gather(codes)
    if rule.starts_with:
        pattern = "^(?:" + "|".join(re.escape(text) for text in rule.starts_with) + ")"
        return pl.when(value.str.contains(pattern)).then(pl.lit(rule.constant))
    if rule.constant is not None:
        return pl.when(value.cast(pl.String) != "").then(pl.lit(rule.constant))
    return pl.when(value != "").then(value)
