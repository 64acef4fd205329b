"""Every recorded payload gives rows with the provider's own numbers, but for what absent.yaml knows."""

from __future__ import annotations

import pytest

from tests.dialects import golden, results, table


@pytest.mark.parametrize("library", golden.libraries())
def test_rows_are_what_the_provider_answered(library: str) -> None:
    problems = [
        f"{f.scenario}: {f.fact} is {f.found}, not {f.expected}"
        for f in results.judged(library)
        if f.verdict == "wrong"
    ]
    assert not problems, "\n".join(problems)


def test_every_line_of_absent_is_needed() -> None:
    assert set(results.absences()) <= set(golden.libraries())
    unused = [
        f"{library}: {absence}"
        for library, lines in results.absences().items()
        for absence in lines
        for fact in absence.facts
        if not any(
            f.fact == fact and f.verdict != "right" and absence.covers(f) for f in results.findings(library)
        )
    ]
    assert not unused, "\n".join(unused)


def test_usage_of_a_trace_counts_once_where_each_span_comes_alone() -> None:
    for library in golden.libraries():
        for scenario in golden.payloads(library):
            if scenario.endswith(("_agent", "_agent_repeated", "_agent_twice")):
                whole = results.rows()[library, scenario]
                total = whole.select(*results.TOKENS.values()).sum().row(0)
                assert results.split_totals(library, scenario) == total, (library, scenario)


def test_the_table_in_the_docs_is_current() -> None:
    assert table.PAGE.read_text("utf-8") == table.page(), "run: python -m tests.dialects.table"
