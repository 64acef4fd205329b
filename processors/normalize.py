"""normalize: one canonical row whatever instrumentation library emitted the span.

Which attribute fills which column is written in `mappings/*.yaml`; what its rules say as expressions is in
`rule_exprs`. What names alone do not give is in `usage` (token counts that mean the same for every library,
usage that counts once), and here: a latency that can be turned back into nanoseconds. docs/data-model.md
explains it to users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from spanhouse.batch import NORMALIZED, TOKENS
from spanhouse.errors import UserError
from spanhouse.processors.mapping import COLUMNS, STATUSES, Rule, read
from spanhouse.processors.models import one_form
from spanhouse.processors.rule_exprs import completed, exprs_of, gate_of, is_guess, plain_of, reads_row
from spanhouse.processors.usage import PARTS_IN_TOTALS, CountOnce, by_total
from spanhouse.views import array, distinct, numbers, numeric, stack

MAPPINGS: Final = Path(__file__).parent / "mappings"
# One file per dialect, in order of preference: what a library sends besides OpenTelemetry's names, or means
# differently by them, comes before those; other conventions come after.
BUILT_IN: Final = (
    "langfuse.yaml", "langsmith.yaml", "litellm.yaml", "mlflow.yaml", "vercel_ai.yaml", "strands.yaml",
    "semantic_kernel.yaml", "google_adk.yaml", "pydantic_ai.yaml", "openlit.yaml",
    "openllmetry.yaml", "otel.yaml", "openinference.yaml",
)  # fmt: skip

# The other counts of tokens are parts of these.
_TOTALS: Final = ("tokens_prompt", "tokens_completion")

SPAN_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")


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
        content: the tables' rules for what is content, in order of preference.
        evaluations: their rules for what tells evaluations.
    """

    def __init__(self, mappings: Sequence[Path] = ()) -> None:
        self._rules: dict[str, list[Rule]] = {column: [] for column in COLUMNS}
        self.wanted: dict[str, type[pl.DataType]] = {}
        self.targets: dict[str, str] = {}
        dialects = [(path, read(path)) for path in (*mappings, *(MAPPINGS / name for name in BUILT_IN))]
        files = [(path, dialect.columns) for path, dialect in dialects]
        self.content = [rule for _, dialect in dialects for rule in dialect.content]
        self.evaluations = [rule for _, dialect in dialects for rule in dialect.evaluations]
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
                for name, _ in rule.where:
                    if ":" in name:
                        self.wanted.setdefault(name, pl.String)
                if rule.event:
                    self._events.setdefault(rule.event[0], set()).add(rule.event[1])
        self._plan = lru_cache(maxsize=256)(self._make_plan)
        self._count_once = CountOnce()

    def _want(self, path: Path, column: str, rules: list[Rule]) -> None:
        dtype: Any = pl.Int64 if COLUMNS[column] == pl.UInt64 else COLUMNS[column]
        column_type = dtype
        for rule in rules:
            dtype = column_type
            # Whether an attribute is there at all can be told of any type.
            if not rule.is_raw or (rule.constant is not None and not rule.starts_with and not rule.match):
                continue
            if rule.is_text:
                dtype = pl.String
            if self.wanted.setdefault(rule.source, dtype) != dtype:
                what = f"'{rule.source}' is used as text and as a number"
                raise UserError(f"{path}, line {rule.line}: {column}: {what}")

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Normalize a batch; see the class."""
        events = self._event_columns(batch)
        sources = batch if events is None else batch.hstack(events)
        plan = self._plan(tuple(name for name in sources.columns if ":" in name))
        batch = batch.hstack(sources.select(plan.columns))
        if plan.has_model:
            batch = one_form(batch)
        gates = [gate.any().alias(column) for column, _, gate in plan.inferred]
        open_ = batch.select(gates).row(0) if gates else ()
        asked = batch
        for gate, is_open, (column, expr, _) in zip(gates, open_, plan.inferred, strict=True):
            # One that was filled may open another.
            if is_open or (batch is not asked and batch.select(gate).item()):
                batch = batch.with_columns(expr.alias(column))
        if not plan.has_usage:
            return batch
        for exprs in plan.totals:
            batch = batch.with_columns(exprs)
        return self._count_once(batch)

    def by_attributes(self, column: str) -> tuple[list[str], pl.Expr]:
        """The raw columns that may fill a text column, and its value by them; for rows that are stored."""
        rules = [rule for rule in self._rules[column] if rule.is_raw and rule.status is None]
        names = list(dict.fromkeys(rule.source for rule in rules))
        values = [value for rule in rules for value in exprs_of(rule, pl.String, tuple(names))]
        return names, pl.coalesce(*values, pl.lit("")).alias(column)

    def _event_columns(self, batch: pl.DataFrame) -> pl.DataFrame | None:
        """What event rules read: of each span's last event of a name. None where no span has such events."""
        (there,) = distinct(stack([array(batch["events"]).flatten().field("name")]))
        wanted = [name for name in self._events if there is None or name in there]
        if not wanted:
            return None
        owners, events = _flat(_arrow(batch["events"]), np.arange(batch.height))
        columns = []
        for name in wanted:
            keys = self._events[name]
            at = _where(events.field("name"), name)
            if "" in keys and len(at):
                columns.append(_first_times(f"event:{name}:", events, at, owners[at], batch.height))
            at = at[np.append(owners[at][1:] != owners[at][:-1], True)] if len(at) else at  # last of a span
            rows, attrs = _flat(events.field("attrs").take(numeric(at)), owners[at])
            for key in keys - {""} if len(rows) else ():
                found = _where(attrs.field("key"), key)
                places = np.zeros(batch.height, np.int64)  # row -> where its value is
                places[rows[found]] = found
                missing = np.ones(batch.height, np.bool_)
                missing[rows[found]] = False
                values = attrs.field("value").take(numeric(places, missing))
                columns.append(pl.Series(f"event:{name}:{key}", values))
        return pl.DataFrame(columns) if columns else None

    def _make_plan(self, present: tuple[str, ...]) -> _Plan:
        """Expressions for batches with these raw columns; most attributes are absent from most batches."""
        columns: list[pl.Expr] = [*_FIELDS]
        inferred: list[tuple[str, pl.Expr, pl.Expr]] = []
        later = self._excluding(present)
        for column, dtype in COLUMNS.items():
            default = pl.lit(_DEFAULTS.get(column, "" if dtype == pl.String else 0), dtype)
            if column in later:
                columns.append(default.alias(column))
                continue
            direct = [r for r in self._rules[column] if not is_guess(r)]
            found = [expr for rule in direct for expr in exprs_of(rule, dtype, present)]
            if found and column not in _DEFAULTS and (plain := plain_of(direct, dtype, present)) is not None:
                found[-1] = plain  # '' needs no replacing where '' is the default
            columns.append((pl.coalesce(*found, default) if found else default).alias(column))
            guesses = [r for r in self._rules[column] if is_guess(r) and exprs_of(r, dtype, present)]
            if values := [expr for rule in guesses for expr in exprs_of(rule, dtype, present)]:
                empty = pl.col(column) == _DEFAULTS.get(column, "")
                expr = pl.when(empty).then(pl.coalesce(*values, pl.col(column))).otherwise(column)
                inferred.append((column, expr, empty & pl.any_horizontal(map(gate_of, guesses))))
        inferred.sort(key=lambda guess: guess[0] == "provider")  # it is guessed by the model
        usage = [r for column in (*TOKENS, "reported_cost_usd") for r in self._rules[column]]
        return _Plan(
            columns,
            inferred,
            has_model=self._applies("model", present),
            has_usage=any(name in present for rule in usage for name in (rule.source, f"{rule.source}~")),
            totals=self._totals(later, present),
        )

    def _applies(self, column: str, present: tuple[str, ...]) -> bool:
        """Whether any of the column's rules can give a value to these raw columns."""
        return any(exprs_of(rule, COLUMNS[column], present) for rule in self._rules[column])

    def _excluding(self, present: tuple[str, ...]) -> set[str]:
        """Totals of which a rule that applies to these raw columns excludes a part or reads the row."""
        special = [(c, r) for c in _TOTALS for r in self._rules[c] if r.excludes or r.repeats or reads_row(r)]
        return {column for column, rule in special if exprs_of(rule, pl.UInt64, present)}

    def _totals(self, later: set[str], present: tuple[str, ...]) -> list[Sequence[pl.Expr]]:
        """What completes the totals, in steps, once all other columns are there."""
        steps: list[Sequence[pl.Expr]] = []
        beside = None
        for column in later:
            values, without = [], []
            for rule in self._rules[column]:
                for value in exprs_of(rule, pl.UInt64, present):
                    values.append(completed(value, rule))
                    without.append(pl.when(value.is_not_null()).then("tokens_reasoning" in rule.excludes))
            steps.append([pl.coalesce(*values, pl.lit(0, pl.UInt64)).alias(column)])
            if column == "tokens_completion":
                beside = pl.coalesce(*without, pl.lit(False))
        # Most libraries tell parts only where there are any.
        has_parts = any(self._applies(column, present) for column in TOKENS if column not in _TOTALS)
        if self._applies("tokens_total", present) and (has_parts or beside is not None):
            steps.append(by_total(pl.lit(False) if beside is None else beside))
        return [*steps, PARTS_IN_TOTALS] if has_parts else steps


@dataclass(frozen=True, slots=True)
class _Plan:
    """Expressions for one set of raw columns.

    Attributes:
        columns: all columns, from raw columns and the span's own fields.
        inferred: (column, expression, where it can give anything) for rules that fill what is empty
            from other columns of the row.
        has_model: whether any attribute that names a model is present.
        totals: steps of expressions for totals with parts that were counted beside them.
        has_usage: whether any attribute of usage is present.
    """

    columns: list[pl.Expr]
    inferred: list[tuple[str, pl.Expr, pl.Expr]]
    has_model: bool
    has_usage: bool
    totals: list[Sequence[pl.Expr]]


def _arrow(series: pl.Series) -> Any:
    array = series.rechunk().to_arrow()
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _flat(lists: Any, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Any]:
    """The lists' items one after the other, and for each the row of its list."""
    return np.repeat(rows, np.diff(numbers(lists.offsets))), lists.flatten()


def _first_times(
    name: str, events: Any, at: npt.NDArray[np.int64], owners: npt.NDArray[np.int64], height: int
) -> pl.Series:
    """When the first of these events of each row was; null where a row has none."""
    rows, first = np.unique(owners, return_index=True)
    times = pl.Series(events.field("ts").take(numeric(at[first])), dtype=pl.UInt64)
    empty = pl.Series(name, [None], dtype=pl.UInt64).new_from_index(0, height)
    return empty.scatter(rows, times)


def _where(texts: Any, text: str) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = (pl.Series(texts) == text).to_numpy().nonzero()[0]
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
