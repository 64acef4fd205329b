"""The mapping tables: YAML files that say which attributes fill which column of a row.

The files lie in `mappings/`; `otel.yaml` explains their shape. They are read through YAML's node tree
rather than as plain data, so that a mistake in a user's file is reported with its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

import polars as pl
import yaml

from spanhouse.batch import DECODED, KINDS, NORMALIZED, Schema
from spanhouse.processors.content_rules import ContentRule, read_content
from spanhouse.processors.evaluation_rules import EvaluationRule, read_evaluations
from spanhouse.processors.mapping_file import MappingFile

# Columns that rules may fill besides a row's own; they are not stored.
# `normalize` reads tokens_total, `price` the others.
HELPERS: Final[Schema] = {
    "service_tier": pl.String,
    "reported_cost_usd": pl.Float64,
    "tokens_total": pl.UInt64,
}
# These come from a span's own fields, never from attributes.
_COMPUTED: Final = ("status", "latency_ms", "cost_usd", "cost_source", "cost_computed_usd", "span_kind")
COLUMNS: Final[Schema] = {
    name: dtype for name, dtype in (NORMALIZED | HELPERS).items() if name not in _COMPUTED
}
STATUSES: Final = ("unset", "ok", "error")  # by OTLP's StatusCode

_SECTIONS: Final = ("columns", "content", "evaluations")
_ATTRIBUTE_SOURCES: Final = ("span", "resource", "scope")
_UNITS_MS: Final = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6, "time": 1.0}
# Which parts a total may have been counted without.
_PARTS: Final = {
    "tokens_prompt": ("tokens_cache_read", "tokens_cache_write"),
    "tokens_completion": ("tokens_reasoning",),
}
_TEXT_COLUMNS: Final = [name for name, dtype in (DECODED | COLUMNS).items() if dtype == pl.String]


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to fill a column; `mappings/otel.yaml` says what the keys mean.

    Attributes:
        source: column that is read: a raw column (`span:<key>`), `event:<name>:<attribute>`, a column's
            name, or '' where the rule reads nothing.
        event: the event's name and attribute for an event rule.
        factor: what a number is multiplied by.
        paths: where in the source's JSON the value is; what several give is added up.
        match: a regular expression; its group is the value.
        is_time: the source is a moment, and the value what passed since the span's start.
        skip: values of the source that say nothing.
        excludes: token columns that the source's number was counted without.
        repeats: token columns that the source's number counts twice.
        where: (column or raw column, its values); one that ends in `*` is a beginning.
        guess: whether it is asked only where no other rule gives a value.
        line: where the rule stands in its file.
    """

    source: str = ""
    event: tuple[str, str] | None = None
    factor: float = 1.0
    values: dict[str, str] = field(default_factory=dict)
    starts_with: tuple[str, ...] = ()
    constant: str | None = None
    status: str | None = None
    paths: tuple[str, ...] = ()
    match: str | None = None
    is_time: bool = False
    skip: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    guess: bool = False
    line: int = 0

    @property
    def is_raw(self) -> bool:
        """Whether the source is an attribute of the span, its resource or its scope."""
        return self.source.partition(":")[0] in _ATTRIBUTE_SOURCES

    @property
    def is_column(self) -> bool:
        """Whether the source is another column."""
        return bool(self.source) and ":" not in self.source

    @property
    def is_identity(self) -> bool:
        """Whether the column gets the source's own value."""
        changed = self.values or self.starts_with or self.paths or self.match or self.is_time
        return not changed and self.constant is None and self.factor == 1.0

    @property
    def is_text(self) -> bool:
        """Whether the source is read as text, whatever the column's type."""
        return bool(self.paths or self.match or self.is_time)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a mapping file says.

    Attributes:
        columns: rules by column, in order of preference.
        content: which attributes are prompts, completions and the like; the first that matches holds.
        evaluations: how spans tell evaluations.
    """

    columns: dict[str, list[Rule]]
    content: list[ContentRule]
    evaluations: list[EvaluationRule]


def read(path: Path) -> Dialect:
    """Read a mapping file. Raises UserError naming file, line and key."""
    file = MappingFile(path)
    top = file.mapping(file.root, "the file")
    for key, (node, _) in top.items():
        if key not in _SECTIONS:
            file.fail(node, f"{key}: unknown key; a mapping's keys are {', '.join(_SECTIONS)}")
    return Dialect(
        _Columns(file).read(top["columns"][1]) if "columns" in top else {},
        read_content(file, top["content"][1]) if "content" in top else [],
        read_evaluations(file, top["evaluations"][1]) if "evaluations" in top else [],
    )


def load(path: Path) -> dict[str, list[Rule]]:
    """Only the rules by column."""
    return read(path).columns


class _Columns:
    """Reads what stands under `columns`."""

    def __init__(self, file: MappingFile) -> None:
        self._file = file

    def read(self, node: yaml.Node) -> dict[str, list[Rule]]:
        rules: dict[str, list[Rule]] = {}
        for column, (key, value) in self._file.mapping(node, "columns").items():
            if column not in COLUMNS:
                self._file.fail(key, f"{column}: no such column; there are {', '.join(COLUMNS)}")
            rules[column] = [self._rule(column, item) for item in self._file.rules(value, column)]
        return rules

    def _rule(self, column: str, node: yaml.Node) -> Rule:
        known = (*_ATTRIBUTE_SOURCES, "event", "attribute", "column", "json", "match", "unit", "values",
                 "skip", "starts_with", "is", "status", "excludes", "repeats", "where", "guess")  # fmt: skip
        entries = self._file.rule(node, column, known)
        readers: dict[str, Callable[[yaml.Node, str], Any]] = {
            **dict.fromkeys(("starts_with", "skip", "excludes", "repeats"), self._file.texts),
            "values": self._file.values,
            "json": self._file.one_or_more,
            "where": self._where,
        }
        got: dict[str, Any] = {
            key: readers.get(key, self._file.text)(value, f"{column}.{key}")
            for key, (_, value) in entries.items()
        }

        def fail(key: str, text: str) -> NoReturn:
            self._file.fail(entries[key][0] if key in entries else node, f"{column}: {text}")

        self._check(column, got, fail)
        return Rule(
            source=_source(got),
            event=(got["event"], got.get("attribute", "")) if "event" in got else None,
            factor=_UNITS_MS[got.get("unit", "ms")],
            values=got.get("values", {}),
            starts_with=got.get("starts_with", ()),
            constant=got.get("is"),
            status=got.get("status"),
            paths=got.get("json", ()),
            match=got.get("match"),
            is_time=got.get("unit") == "time",
            skip=got.get("skip", ()),
            excludes=tuple(f"tokens_{part}" for part in got.get("excludes", ())),
            repeats=tuple(f"tokens_{part}" for part in got.get("repeats", ())),
            where=got.get("where", ()),
            guess="guess" in got,
            line=node.start_mark.line + 1,
        )

    def _check(self, column: str, got: dict[str, Any], fail: Callable[[str, str], NoReturn]) -> None:
        sources = [key for key in (*_ATTRIBUTE_SOURCES, "event", "column") if key in got]
        is_text = COLUMNS[column] == pl.String
        if len(sources) > 1:
            fail(sources[1], f"a rule has one source, this has {' and '.join(sources)}")
        if not sources and not ("status" in got and "is" in got):
            fail("", "a rule needs a source: span, resource, scope, event or column")
        of_event = ("event" in got, "attribute" in got)
        if of_event == (False, True) or (of_event == (True, False) and got.get("unit") != "time"):
            fail("event", "'event' and 'attribute' belong together")
        if got.get("column", "model") not in _TEXT_COLUMNS or got.get("column") == column:
            fail("column", f"'column' cannot be '{got['column']}'")
        if got.get("status", "ok") not in STATUSES:
            fail("status", f"'status' must be one of {', '.join(STATUSES)}")
        if got.get("unit", "ms") not in _UNITS_MS:
            fail("unit", f"'unit' must be one of {', '.join(_UNITS_MS)}")
        if "unit" in got and column != "ttft_ms":
            fail("unit", "'unit' is only for columns in milliseconds")
        if not is_text and (got.keys() & {"values", "starts_with", "is", "column", "skip"}):
            fail("", "is a number, so 'values', 'starts_with', 'is', 'column' and 'skip' do not apply")
        if "json" in got and "match" in got:
            fail("match", "a rule has either 'json' or 'match'")
        if "match" in got and not _has_one_group(got["match"]):
            fail("match", "'match' must be a regular expression with one group")
        if wrong := [path for path in got.get("json", ()) if not _is_json_path(path)]:
            fail("json", f"'{wrong[0]}' is no JSON path, such as $.usage.input")
        parts = [part.removeprefix("tokens_") for part in _PARTS.get(column, ())]
        for key in ("excludes", "repeats"):
            if not {*got.get(key, ())} <= {*parts}:
                fail(key, f"'{key}' may name {', '.join(parts)}" if parts else f"'{key}' is for totals")
        if got.get("guess", "true") != "true" or ("guess" in got and not is_text):
            fail("guess", "'guess' is 'true' or left out, and for columns of text")
        for name, _ in got.get("where", ()):
            if name in COLUMNS and column not in _PARTS and "guess" not in got:
                fail("where", f"only rules for {' and '.join(_PARTS)}, and guesses, can ask for '{name}'")
        if "starts_with" in got and "is" not in got:
            fail("starts_with", "'starts_with' needs 'is'")
        if column == "kind" and not {got.get("is", "llm"), *got.get("values", {}).values()} <= {*KINDS}:
            fail("is" if "is" in got else "values", f"kinds are {', '.join(KINDS)}")

    def _where(self, node: yaml.Node, what: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Conditions: text columns by their names, anything else is an attribute of the span."""
        return tuple(
            (key if key in _TEXT_COLUMNS else f"span:{key}", self._file.one_or_more(value, what))
            for key, (_, value) in self._file.mapping(node, what).items()
        )


def _has_one_group(pattern: str) -> bool:
    """Asks polars, too, whose expressions have no look-ahead."""
    try:
        pl.Series([""]).str.extract(pattern)
        return re.compile(pattern).groups == 1
    except (re.error, pl.exceptions.ComputeError):
        return False


def _is_json_path(path: str) -> bool:
    try:
        pl.Series(["{}"]).str.json_path_match(path)
    except pl.exceptions.ComputeError:
        return False
    return path.startswith("$")


def _source(got: dict[str, Any]) -> str:
    for source in _ATTRIBUTE_SOURCES:
        if source in got:
            return f"{source}:{got[source]}"
    if "event" in got:
        return f"event:{got['event']}:{got.get('attribute', '')}"
    return str(got.get("column", ""))
