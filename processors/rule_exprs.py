"""What the rules of a mapping say, as expressions over raw columns and columns of the row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from spanhouse.processors.mapping import COLUMNS, STATUSES, Rule

# No call reads or writes more; a larger count is not one and would only overflow the cost.
MAX_TOKENS: Final = 1_000_000_000


def exprs_of(rule: Rule, dtype: Any, present: tuple[str, ...]) -> list[pl.Expr]:
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


def completed(value: pl.Expr, rule: Rule) -> pl.Expr:
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


def is_guess(rule: Rule) -> bool:
    """Whether the rule says so, or reads a column of the row, or the name without asking for an attribute."""
    if rule.guess:
        return True
    if not rule.is_column or rule.source in COLUMNS:
        return rule.is_column
    return rule.source == "name" and not any(":" in name for name, _ in rule.where)


def gate_of(rule: Rule) -> pl.Expr:
    """Where a guess can give anything."""
    condition = (pl.col(rule.source) != "").fill_null(False)
    for name, wanted in rule.where:
        condition = condition & pl.any_horizontal(_matches(pl.col(name), text) for text in wanted)
    return condition


def reads_row(rule: Rule) -> bool:
    """Whether the rule's condition asks for a column of the row."""
    return any(name in COLUMNS for name, _ in rule.where)


def plain_of(rules: Sequence[Rule], dtype: Any, present: tuple[str, ...]) -> pl.Expr | None:
    """The raw column that the last of the rules takes as it is, None if that is not what it does."""
    last = next((r for r in reversed(rules) if exprs_of(r, dtype, present)), None)
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
