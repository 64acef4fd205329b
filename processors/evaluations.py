"""evaluations: what spans and their events say of how good something was, for a table of their own.

Scores of evaluators, feedback of users and verdicts of guardrails. Which attributes tell them the mapping
tables say (`evaluations` in `mappings/*.yaml`); the attributes stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spanhouse.batch import EVALUATIONS, RAW_TYPES, ValueType
from spanhouse.processors.content_rules import pattern
from spanhouse.processors.evaluation_rules import FIELDS, EvaluationRule, group_pattern
from spanhouse.processors.lists import Flat, by_row
from spanhouse.processors.looked import Distinct, Ints, Looked
from spanhouse.views import numbers, taken

_CACHED: Final = 1 << 16
# Of a span's own attributes, which are of no event.
_SPAN: Final = -1
_EVALUATION: Final = ["row", "event", "rule", "group"]
_NUMBERS: Final = (ValueType.INT, ValueType.DOUBLE)

# (rule, field, place among the attributes that may tell it, group)
_Match = tuple[int, int, int, str]


class FindEvaluations:
    """Finds the evaluations of a decoded batch.

    Args:
        rules: of the mapping tables.
    """

    def __init__(self, rules: Sequence[EvaluationRule]) -> None:
        self._rules = list(rules)
        self._patterns = [
            (i, f, place, bool(rule.event), group_pattern(key))
            for i, rule in enumerate(self._rules)
            for f, field in enumerate(FIELDS)
            for place, key in enumerate(rule.fields.get(field, ()))
        ]
        self._events = {rule.event for rule in self._rules if rule.event}
        self._matches = lru_cache(_CACHED)(self._match)

    def __call__(self, looked: Looked) -> pl.Series | None:
        """The column `evaluations` (EVALUATIONS) of a batch; None where it has none."""
        parts = [*self._of_spans(looked), *self._of_events(looked)]
        if not parts:
            return None
        found = self._together(pl.concat(parts), looked)
        if found.is_empty():
            return None
        fields = found.select(list(EVALUATIONS.inner.to_schema()))  # type: ignore[union-attr]
        return by_row("evaluations", fields, found["row"].to_numpy(), looked.batch.height)

    def _match(self, key: str, of_event: bool) -> list[_Match]:
        """What an attribute tells."""
        return [
            (rule, field, place, found[1])
            for rule, field, place, in_event, one in self._patterns
            if in_event == of_event and (found := one.fullmatch(key))
        ]

    def _of_spans(self, looked: Looked) -> list[pl.DataFrame]:
        parts = []
        for name in looked.raw():
            key = name.partition(":")[2]
            if told := self._matches(key, False):
                column = looked.batch[name]
                rows = column.is_not_null().to_numpy().nonzero()[0]
                values = taken(column, rows).cast(pl.String)
                types = np.full(len(rows), RAW_TYPES[type(column.dtype)], np.uint8)
                codes = np.zeros(len(rows), np.int32)
                parts.append(self._part(Distinct([key], codes), [told], rows, None, values, types))
        keys = looked.keys
        if any(matches := [self._matches(key, False) for key in keys.texts]):
            at = np.array([bool(one) for one in matches])[keys.codes].nonzero()[0]
            values, types = _values(looked.attrs, at)
            parts.append(self._part(keys.at(at), matches, looked.rows[at], None, values, types))
        return [self._of_scope(part, looked) for part in parts]

    def _of_events(self, looked: Looked) -> list[pl.DataFrame]:
        names = looked.event_names
        has = np.array([name in self._events for name in names.texts], np.bool_)
        if not has.any():
            return []
        at = has[names.codes][looked.event_owners].nonzero()[0]
        keys, events = looked.event_keys, looked.event_owners[at]
        matches = [self._matches(key, True) for key in keys.texts]
        values, types = _values(looked.event_attrs, at)
        part = self._part(keys.at(at), matches, looked.event_rows[events], events, values, types)
        named = pl.DataFrame(
            {
                "rule": [i for i, rule in enumerate(self._rules) if rule.event in names.texts],
                "name": [names.texts.index(rule.event) for rule in self._rules if rule.event in names.texts],
            },
            schema={"rule": pl.Int64, "name": pl.Int32},
        )
        codes = pl.Series("name", names.codes[part["event"].to_numpy()])
        part = part.with_columns(codes).join(named, on=["rule", "name"], how="semi").drop("name")
        return [self._of_scope(part, looked)]

    def _part(
        self,
        keys: Distinct,
        matches: list[list[_Match]],
        rows: Ints,
        events: Ints | None,
        values: pl.Series,
        types: NDArray[np.uint8],
    ) -> pl.DataFrame:
        """One line for each attribute and what it tells."""
        told = [(code, *match) for code, found in enumerate(matches) for match in found]
        table = pl.DataFrame(
            told,
            schema={
                "key": pl.Int32,
                "rule": pl.Int64,
                "field": pl.Int64,
                "place": pl.Int64,
                "group": pl.String,
            },
            orient="row",
        )
        frame = pl.DataFrame(
            {
                "key": keys.codes,
                "row": rows,
                "event": np.full(len(rows), _SPAN, np.int64) if events is None else events,
                "value": values,
                "type": types,
            }
        )
        return frame.join(table, on="key", how="inner").drop("key")

    def _of_scope(self, part: pl.DataFrame, looked: Looked) -> pl.DataFrame:
        """Without what rules for other scopes tell."""
        asking = [i for i in part["rule"].unique() if self._rules[i].scopes]
        for i in asking:
            scopes = pattern(self._rules[i].scopes)
            fits = np.array([scopes.fullmatch(scope) is not None for scope in looked.scopes.texts], np.bool_)
            of_row = pl.Series(fits[looked.scopes.codes][part["row"].to_numpy()])
            part = part.filter((part["rule"] != i) | of_row)
        return part

    def _together(self, lines: pl.DataFrame, looked: Looked) -> pl.DataFrame:
        """One line for each evaluation."""
        lines = lines.sort(*_EVALUATION, "place", maintain_order=True)
        firsts = [
            pl.col(column).filter(pl.col("field") == FIELDS.index(field)).first().alias(alias)
            for field in FIELDS
            for column, alias in (("value", field), ("type", f"{field}_type"))
        ]
        found = lines.group_by(_EVALUATION, maintain_order=True).agg(firsts).filter(pl.col("name") != "")
        rules = pl.DataFrame(
            {
                "rule": range(len(self._rules)),
                "type": [rule.type for rule in self._rules],
                "of_parent": [rule.of_parent for rule in self._rules],
                "by_name": [rule.by_name for rule in self._rules],
            }
        )
        found = found.join(rules, on="rule", how="left", maintain_order="left")
        if found["by_name"].any():
            found = self._by_name(found, looked)
        is_bool = pl.col("score_type") == ValueType.BOOL
        number = (
            pl.when(is_bool)
            .then((pl.col("score") == "true").cast(pl.Float64))
            .otherwise(pl.col("score").cast(pl.Float64, strict=False))
        )
        score = pl.when(number.is_finite()).then(number)
        # A score in words is a label, and a truth value is one, too.
        words = pl.when(is_bool | number.is_null()).then("score").replace("", None)
        found = found.with_columns(score=score, label=pl.coalesce(pl.col("label").replace("", None), words))
        told = pl.any_horizontal(pl.col(one).is_not_null() for one in ("score", "label", "explanation"))
        texts = [pl.col(name).fill_null("") for name in ("label", "explanation", "evaluator")]
        return found.filter(told).with_columns(texts)

    def _by_name(self, found: pl.DataFrame, looked: Looked) -> pl.DataFrame:
        """With the scores of rules that have them in the attribute of the evaluation's name."""
        wanted = np.zeros(looked.batch.height, np.bool_)
        wanted[found.filter("by_name")["row"].to_numpy()] = True
        at = wanted[looked.rows].nonzero()[0]
        values, types = _values(looked.attrs, at)
        attributes = (
            pl.DataFrame(
                {
                    "row": looked.rows[at],
                    "name": taken(looked.attrs.fields["key"], at),
                    "of_name": values,
                    "of_name_type": types,
                }
            )
            .with_columns(by_name=pl.lit(True))
            .unique(["row", "name"], keep="first")
        )
        joined = found.join(attributes, on=["row", "name", "by_name"], how="left", maintain_order="left")
        return joined.with_columns(
            score=pl.coalesce("of_name", "score"), score_type=pl.coalesce("of_name_type", "score_type")
        )


def _values(attributes: Flat, at: Ints) -> tuple[pl.Series, Any]:
    types = numbers(attributes.fields["type"])
    return taken(attributes.fields["value"], at), types[at]
