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
from spanhouse.processors.mapping import COLUMNS, STATUSES, Rule, read
from spanhouse.processors.models import one_form
from spanhouse.views import array, distinct, stack

MAPPINGS: Final = Path(__file__).parent / "mappings"
# One file per dialect, in order of preference: what a library sends besides OpenTelemetry's names, or means
# differently by them, comes before those; other conventions come after.
BUILT_IN: Final = (
    "langfuse.yaml", "langsmith.yaml", "litellm.yaml", "mlflow.yaml", "vercel_ai.yaml", "strands.yaml",
    "semantic_kernel.yaml", "google_adk.yaml", "pydantic_ai.yaml", "openlit.yaml",
    "openllmetry.yaml", "otel.yaml", "openinference.yaml",
)  # fmt: skip

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
        self._recent = _Recent()

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
        for exprs in (*plan.totals, _TOKEN_RULES):
            batch = batch.with_columns(exprs)
        return self._count_once(batch)

    def by_attributes(self, column: str) -> tuple[list[str], pl.Expr]:
        """The raw columns that may fill a text column, and its value by them; for rows that are stored."""
        rules = [rule for rule in self._rules[column] if rule.is_raw and rule.status is None]
        names = list(dict.fromkeys(rule.source for rule in rules))
        values = [value for rule in rules for value in _exprs(rule, pl.String, tuple(names))]
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
            rows, attrs = _flat(events.field("attrs").take(pa.array(at)), owners[at])
            for key in keys - {""} if len(rows) else ():
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
        inferred: list[tuple[str, pl.Expr, pl.Expr]] = []
        later = self._excluding(present)
        for column, dtype in COLUMNS.items():
            default = pl.lit(_DEFAULTS.get(column, "" if dtype == pl.String else 0), dtype)
            if column in later:
                columns.append(default.alias(column))
                continue
            direct = [r for r in self._rules[column] if not _is_guess(r)]
            found = [expr for rule in direct for expr in _exprs(rule, dtype, present)]
            if found and column not in _DEFAULTS and (plain := _plain(direct, dtype, present)) is not None:
                found[-1] = plain  # '' needs no replacing where '' is the default
            columns.append((pl.coalesce(*found, default) if found else default).alias(column))
            guesses = [r for r in self._rules[column] if _is_guess(r) and _exprs(r, dtype, present)]
            if values := [expr for rule in guesses for expr in _exprs(rule, dtype, present)]:
                empty = pl.col(column) == _DEFAULTS.get(column, "")
                expr = pl.when(empty).then(pl.coalesce(*values, pl.col(column))).otherwise(column)
                inferred.append((column, expr, empty & pl.any_horizontal(map(_gate, guesses))))
        inferred.sort(key=lambda guess: guess[0] == "provider")  # it is guessed by the model
        usage = [r for column in (*TOKENS, "reported_cost_usd") for r in self._rules[column]]
        return _Plan(
            columns,
            inferred,
            has_model=any(_exprs(rule, pl.String, present) for rule in self._rules["model"]),
            has_usage=any(name in present for rule in usage for name in (rule.source, f"{rule.source}~")),
            totals=self._totals(later, present),
        )

    def _excluding(self, present: tuple[str, ...]) -> set[str]:
        """Totals of which a rule that applies to these raw columns excludes a part or reads the row."""
        totals = ("tokens_prompt", "tokens_completion")
        special = [(c, r) for c in totals for r in self._rules[c] if r.excludes or r.repeats or _reads_row(r)]
        return {column for column, rule in special if _exprs(rule, pl.UInt64, present)}

    def _totals(self, later: set[str], present: tuple[str, ...]) -> list[list[pl.Expr]]:
        """What completes the totals, in steps, once all other columns are there."""
        steps: list[list[pl.Expr]] = []
        beside = pl.lit(False)
        for column in later:
            values, without = [], []
            for rule in self._rules[column]:
                for value in _exprs(rule, pl.UInt64, present):
                    values.append(_completed(value, rule))
                    without.append(pl.when(value.is_not_null()).then("tokens_reasoning" in rule.excludes))
            steps.append([pl.coalesce(*values, pl.lit(0, pl.UInt64)).alias(column)])
            if column == "tokens_completion":
                beside = pl.coalesce(*without, pl.lit(False))
        if any(_exprs(rule, pl.UInt64, present) for rule in self._rules["tokens_total"]):
            steps.append(_by_total(beside))
        return steps

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
    totals: list[list[pl.Expr]]


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


def _first_times(
    name: str, events: Any, at: npt.NDArray[np.int64], owners: npt.NDArray[np.int64], height: int
) -> pl.Series:
    """When the first of these events of each row was; null where a row has none."""
    rows, first = np.unique(owners, return_index=True)
    times = pl.Series(events.field("ts").take(pa.array(at[first])), dtype=pl.UInt64)
    empty = pl.Series(name, [None], dtype=pl.UInt64).new_from_index(0, height)
    return empty.scatter(rows, times)


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


def _by_total(beside: pl.Expr) -> list[pl.Expr]:
    """Completes counts where the sum that a span tells is larger by just the parts that it tells.

    Args:
        beside: where the output is known to exclude reasoning; there the sum also tells how much that is.
    """
    rest = pl.col("tokens_total").cast(pl.Int64) - _PROMPT.cast(pl.Int64) - _COMPLETION.cast(pl.Int64)
    cached = (_CACHED > 0) & ((rest == _CACHED) | (rest == _CACHED + _REASONING))
    reasoned = (_REASONING > 0) & ((rest == _REASONING) | (rest == _CACHED + _REASONING))
    told = beside & (_REASONING == 0) & (rest > 0) & ~cached
    more = rest.clip(0).cast(pl.UInt64)
    return [
        pl.when(cached).then(_PROMPT + _CACHED).otherwise(_PROMPT).alias("tokens_prompt"),
        pl.when(reasoned).then(_COMPLETION + _REASONING).when(told).then(_COMPLETION + more)
        .otherwise(_COMPLETION).alias("tokens_completion"),
        pl.when(told).then(more).otherwise(_REASONING).alias("tokens_reasoning"),
    ]  # fmt: skip


def _exprs(rule: Rule, dtype: Any, present: tuple[str, ...]) -> list[pl.Expr]:
    """The rule's value, null where it gives none: from the exact raw column and the converted one."""
    condition = _condition(rule, present)
    if condition is None:
        return []
    if not rule.source:
        return [pl.when(condition).then(pl.lit(rule.constant))]
    sources = [rule.source] if rule.is_column else [rule.source, f"{rule.source}~"]
    values = [_value(rule, name, dtype) for name in sources if rule.is_column or name in present]
    unconditional = rule.status is None and not rule.where
    return values if unconditional else [pl.when(condition).then(value) for value in values]


def _completed(value: pl.Expr, rule: Rule) -> pl.Expr:
    """The count with the parts that it excludes, and once those that it counts twice."""
    for part in rule.excludes:
        value = value + pl.col(part)
    for part in rule.repeats:
        value = pl.when(pl.col(part) <= value).then(value - pl.col(part)).otherwise(value)
    return value


def _condition(rule: Rule, present: tuple[str, ...]) -> pl.Expr | None:
    """Where the rule holds; None if it cannot as an attribute that it asks for is absent."""
    condition = pl.lit(True)
    if rule.status is not None:
        condition = pl.col("status_code") == STATUSES.index(rule.status)
    for name, wanted in rule.where:
        columns = [name] if ":" not in name else [n for n in (name, f"{name}~") if n in present]
        if not columns:
            return None
        value = pl.coalesce(*(pl.col(column) for column in columns))
        tests = [_matches(value, text) for text in wanted]
        condition = condition & pl.any_horizontal(*tests) if len(tests) > 1 else condition & tests[0]
    return condition


def _sum(parts: list[pl.Expr]) -> pl.Expr:
    """The sum of those that are counts; null if none is."""
    counts = [part.cast(pl.Int64, strict=False) for part in parts]
    return pl.when(pl.any_horizontal(count.is_not_null() for count in counts)).then(pl.sum_horizontal(counts))


def _matches(value: pl.Expr, text: str) -> pl.Expr:
    """Whether a text is this one, begins with it (`*` at its end), or does neither (`!` before it)."""
    wanted = text.removeprefix("!")
    found = value.str.starts_with(wanted[:-1]) if wanted.endswith("*") else value == wanted
    return ~found if text.startswith("!") else found


def _is_guess(rule: Rule) -> bool:
    """Whether it says so, or reads a column of the row, or the name without asking for an attribute."""
    if rule.guess:
        return True
    if not rule.is_column or rule.source in COLUMNS:
        return rule.is_column
    return rule.source == "name" and not any(":" in name for name, _ in rule.where)


def _gate(rule: Rule) -> pl.Expr:
    condition = (pl.col(rule.source) != "").fill_null(False)
    for name, wanted in rule.where:
        condition = condition & pl.any_horizontal(_matches(pl.col(name), text) for text in wanted)
    return condition


def _reads_row(rule: Rule) -> bool:
    return any(name in COLUMNS for name, _ in rule.where)


def _plain(rules: Sequence[Rule], dtype: Any, present: tuple[str, ...]) -> pl.Expr | None:
    """The raw column that the last of the rules takes as it is, None if that is not what it does."""
    last = next((r for r in reversed(rules) if _exprs(r, dtype, present)), None)
    if dtype != pl.String or last is None or not last.is_identity or last.is_column:
        return None
    if last.status or last.where or last.skip:
        return None
    name = last.source if f"{last.source}~" not in present else f"{last.source}~"
    return pl.col(name)


def _since_start(value: pl.Expr, rule: Rule) -> pl.Expr:
    """Milliseconds from the span's start to an event or to a time as RFC 3339 writes it, in JSON or not."""
    if not rule.event:
        text = value.str.strip_chars('"').str.replace("Z$", "+00:00")
        moment = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="ns", strict=False)
        value = moment.dt.convert_time_zone("UTC").dt.replace_time_zone(None).cast(pl.Int64)
    passed = (value.cast(pl.Int64) - pl.col("start_ns").cast(pl.Int64)).cast(pl.Float64) / 1e6
    return pl.when(passed >= 0).then(passed)


def _value(rule: Rule, name: str, dtype: Any) -> pl.Expr:
    value = pl.col(name)
    if rule.paths:
        parts = [value.str.json_path_match(path) for path in rule.paths]
        value = parts[0] if len(parts) == 1 else _sum(parts)
    if rule.match:
        value = value.str.extract(rule.match)
    if rule.is_time:
        return _since_start(value, rule)
    if dtype == pl.UInt64:
        if rule.event or rule.is_text:
            value = value.cast(pl.Int64, strict=False)
        return pl.when(value.is_between(0, MAX_TOKENS)).then(value.cast(pl.UInt64, strict=False))
    if dtype == pl.Float64:
        value = value.cast(pl.Float64, strict=False)
        return pl.when(value.is_finite() & (value >= 0)).then(value * rule.factor)
    if rule.values:
        # As an Enum's codes: half the time of replace_strict.
        codes = value.cast(pl.Enum(list(rule.values)), strict=False).to_physical()
        return pl.lit(pl.Series(list(rule.values.values()))).gather(codes)
    if rule.skip:
        value = pl.when(~value.is_in(rule.skip)).then(value)
    if rule.starts_with:
        pattern = "^(?:" + "|".join(re.escape(text) for text in rule.starts_with) + ")"
        return pl.when(value.str.contains(pattern)).then(pl.lit(rule.constant))
    if rule.constant is not None:
        return pl.when(value.cast(pl.String) != "").then(pl.lit(rule.constant))
    return pl.when(value != "").then(value)
