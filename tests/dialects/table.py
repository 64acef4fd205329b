"""Writes docs/dialects.md from the tables and the recorded payloads: `python -m tests.dialects.table`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from spanhouse.processors.evaluation_rules import FIELDS
from spanhouse.processors.mapping import COLUMNS, Rule, load, read
from spanhouse.processors.normalize import BUILT_IN, MAPPINGS
from tests.dialects import golden, results

PAGE: Final = Path(__file__).parents[2] / "docs" / "dialects.md"

_HEAD: Final = """# Dialects

What spans of each library become in `agent_events`. Made by `python -m tests.dialects.table` from the
[mapping tables](../processors/mappings) and from what the libraries really sent when they ran against a
stand-in for the providers' APIs with known usage numbers ([tests/dialects](../tests/dialects)). A test
compares every row with what the provider answered: tokens of each kind, cost to the micro-dollar, model,
provider and the rest, and for each trace the sums of tokens and cost with those of its calls.

## Libraries and facts

- **yes**: right wherever the library makes a span.
- **no**: the spans do not tell, and the row says nothing.
- **other**: the spans tell something else than the provider answered, or too little for the right cost, and
  the row has what follows from that.
- **partly**: right for some providers or calls, no for others.
- **partly other**: right for some, other for others.

Empty: not recorded. Each difference is listed [below](#what-spans-do-not-tell); there is no other. *calls* is
the number of rows that are model calls, *sums* whether the sums of tokens and cost over a trace are those of
its calls.
"""
_FACT_NAMES: Final = {
    "count": "calls",
    "calls": "kind",
    "cache_read": "cache read",
    "cache_write": "cache write",
    "trace": "sums",
}
_AFTER: Final = """
Of a model only the name that was asked for counts as not told, for the one that answered may be another or a
dated one. An error is right with its type. A cost that a library reports is used as
[data-model.md](data-model.md#cost) says; all others are computed from the row's tokens and model, so where a
library does not tell the cached tokens, say, the cost is that of a call without a cache.
"""
_CONTENT: Final = """
## Content

Prompts, completions and what tools got and gave back: these attributes never come into `agent_events`, and
go into [content](data-model.md#content) where that is wanted. `*` stands for any text. What is kept is an
attribute as any other. Logfire makes attributes of a traced function's arguments by the names they have in
the application, which no table can know: name yours in a file of your own.

| table | what | attributes |
|---|---|---|
"""
_EVALUATIONS: Final = """
## Evaluations

What becomes a row of [evaluations](data-model.md#evaluations). Of several attributes the first that is there
counts; a `*` is the number of one of several.

| table | type | of | name | score | label | explanation | evaluator |
|---|---|---|---|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    parts = [
        _HEAD,
        *_facts(),
        _AFTER,
        "\n## What spans do not tell\n\n",
        *_missing(),
        *_tables(),
        *_content(),
        *_evaluations(),
    ]
    return "".join(parts)


def _facts() -> Iterator[str]:
    names = [_FACT_NAMES.get(fact, fact) for fact in results.FACTS]
    yield f"\n| library | {' | '.join(names)} |\n|---|{'---|' * len(names)}\n"
    for library in golden.libraries():
        verdicts: dict[str, set[str]] = {}
        for finding in results.judged(library):
            verdicts.setdefault(finding.fact, set()).add(finding.verdict)
        yield f"| `{library}` | {' | '.join(_cell(verdicts.get(fact, set())) for fact in results.FACTS)} |\n"


def _cell(verdicts: set[str]) -> str:
    if "wrong" in verdicts:
        return "**wrong**"
    if not verdicts:
        return ""
    if verdicts == {"right"}:
        return "yes"
    word = "other" if "otherwise" in verdicts else "no"
    if "right" in verdicts:
        return "partly other" if word == "other" else "partly"
    return word


def _missing() -> Iterator[str]:
    for library in golden.libraries():
        index = golden.index(library)
        packages = ", ".join(f"{name} {version}" for name, version in index["packages"].items())
        silent = [name for name, entry in index["scenarios"].items() if not entry["spans"]]
        yield f"**{library}** ({packages})\n\n"
        for line in results.absences().get(library, []):
            facts = ", ".join(_FACT_NAMES.get(fact, fact) for fact in line.facts)
            where = "" if line.scenarios == ("*",) else f" of {', '.join(f'`{s}`' for s in line.scenarios)}"
            yield f"- {facts}{where}: {line.why or f'told is {line.tells}'}\n"
        if silent:
            yield f"- no span at all of {', '.join(f'`{name}`' for name in silent)}\n"
        if not silent and library not in results.absences():
            yield "- all is told\n"
        yield "\n"


def _tables() -> Iterator[str]:
    yield (
        "## Attributes\n\nFor each column the attributes in order of preference; the first one that says"
        " anything wins.\nThe tables are read in the order in which their names appear here: "
        + ", ".join(f"[{name}](../processors/mappings/{name})" for name in BUILT_IN)
        + ".\n\n| column | from |\n|---|---|\n"
    )
    tables = {name.removesuffix(".yaml"): load(MAPPINGS / name) for name in BUILT_IN}
    for column in COLUMNS:
        by_table = []
        for name, columns in tables.items():
            sources = list(dict.fromkeys(filter(None, map(_source, columns.get(column, [])))))
            if sources:
                by_table.append(f"{name}: {', '.join(sources)}")
        yield f"| `{column}` | {'<br>'.join(by_table)} |\n"


def _content() -> Iterator[str]:
    yield _CONTENT
    for name in BUILT_IN:
        attributes: dict[str, list[str]] = {}
        for rule in read(MAPPINGS / name).content:
            text = ", ".join(f"`{key}`" for key in rule.keys)
            if rule.events:
                events = ", ".join(f"`{one}`" for one in rule.events)
                text += f" of the event{'s' * (len(rule.events) > 1)} {events}"
            if rule.scopes:
                text += f" (scope {', '.join(f'`{one}`' for one in rule.scopes)})"
            attributes.setdefault(rule.kind, []).append(text)
        for kind, found in attributes.items():
            yield f"| {name.removesuffix('.yaml')} | {kind.replace('_', ' ')} | {'<br>'.join(found)} |\n"


def _evaluations() -> Iterator[str]:
    yield _EVALUATIONS
    for name in BUILT_IN:
        for rule in read(MAPPINGS / name).evaluations:
            cells = [", ".join(f"`{key}`" for key in rule.fields.get(field, ())) for field in FIELDS]
            if rule.by_name:
                cells[1] = "the attribute of that name"
            where = (
                f"event `{rule.event}`" if rule.event else "span, of its parent" if rule.of_parent else "span"
            )
            if rule.scopes:
                where += f" (scope {', '.join(f'`{one}`' for one in rule.scopes)})"
            yield f"| {name.removesuffix('.yaml')} | {rule.type} | {where} | {' | '.join(cells)} |\n"


def _source(rule: Rule) -> str:
    if not rule.source:
        return ""
    if rule.event:
        name, attribute = rule.event
        return f"`{attribute}` of the event `{name}`" if attribute else f"time of the event `{name}`"
    text = f"`{rule.source.removeprefix('span:')}`" if rule.is_raw else f"the column `{rule.source}`"
    if rule.paths:
        text += f" at {', '.join(f'`{path}`' for path in rule.paths)}"
    if parts := [part.removeprefix("tokens_") for part in (*rule.excludes, *rule.repeats)]:
        text += f" ({'without' if rule.excludes else 'with twice'} {', '.join(parts)})"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
