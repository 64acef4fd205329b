"""The plugin's macros and Grafana's variables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanhouse.dashboards.macros import Chosen, Query, expand
from tests.dashboards.conftest import Asker

START, END = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 1, 13, 0, 0, 250_000, tzinfo=UTC)


def query(interval_s: int = 20, **chosen: Chosen) -> Query:
    return Query(START, END, interval_s, chosen)


@pytest.mark.parametrize(
    ("macro", "expanded"),
    [
        # As the table of macros in the plugin's documentation has them.
        ("$__fromTime", "toDateTime(1772366400)"),
        ("$__toTime", "toDateTime(1772370000)"),
        ("$__fromTime_ms", "fromUnixTimestamp64Milli(1772366400000)"),
        ("$__toTime_ms", "fromUnixTimestamp64Milli(1772370000250)"),
        ("$__interval_s", "20"),
        ("$__timeFilter(ts)", "ts >= toDateTime(1772366400) AND ts <= toDateTime(1772370000)"),
        (
            "$__timeFilter_ms(ts)",
            "ts >= fromUnixTimestamp64Milli(1772366400000) AND ts <= fromUnixTimestamp64Milli(1772370000250)",
        ),
        (
            "$__dateFilter(day)",
            "day >= toDate(toDateTime(1772366400)) AND day <= toDate(toDateTime(1772370000))",
        ),
        ("$__timeInterval(ts)", "toStartOfInterval(toDateTime(ts), INTERVAL 20 second)"),
        ("$__timeInterval(f(a, (b)))", "toStartOfInterval(toDateTime(f(a, (b))), INTERVAL 20 second)"),
    ],
)
def test_a_macro_is_what_the_plugin_makes_of_it(macro: str, expanded: str) -> None:
    assert expand(f"SELECT {macro} FROM t", query()) == f"SELECT {expanded} FROM t"


def test_an_interval_is_at_least_a_second() -> None:
    assert expand("$__interval_s", query(0)) == "1"


@pytest.mark.parametrize(
    ("chosen", "expanded"),
    [
        (None, "1=1"),
        ([], "1=1"),
        ([""], "1=1"),
        (["a"], "x IN ('a')"),
        (["a", "b"], "x IN ('a', 'b')"),
        (["a, b) OR (1=1"], "x IN ('a, b) OR (1=1')"),
    ],
)
def test_a_condition_is_there_unless_all_is_chosen(chosen: Chosen, expanded: str) -> None:
    statement = "$__conditionalAll(x IN (${tenant:singlequote}), $tenant)"
    assert expand(statement, query(tenant=chosen)) == expanded


def test_conditions_nest() -> None:
    inner = "$__conditionalAll(b = f(1, ${b:singlequote}), $b)"
    statement = f"$__conditionalAll(a IN (SELECT a FROM t WHERE {inner}), $a)"
    assert expand(statement, query(a=["x"], b=["y"])) == "a IN (SELECT a FROM t WHERE b = f(1, 'y'))"
    assert expand(statement, query(a=["x"], b=None)) == "a IN (SELECT a FROM t WHERE 1=1)"
    assert expand(statement, query(a=None, b=["y"])) == "1=1"


def test_a_value_that_looks_like_a_macro_stays_a_value() -> None:
    value = "$__fromTime ${b} $b $__conditionalAll(1, $b)"
    assert expand("${a:singlequote}", query(a=[value], b=["x"])) == f"'{value}'"


def test_a_variable_alone_is_its_one_value() -> None:
    assert expand("$a ${a}", query(a=["7"])) == "7 7"
    for chosen in (["7", "8"], [], None):
        with pytest.raises(ValueError, match="expected one value"):
            expand("$a", query(a=chosen))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT $__timeGroup(ts, 5m)", r"there is no macro \$__timeGroup\("),
        ("SELECT $__from", r"there is no macro \$__from"),
        ("WHERE $__timeFilter(ts", "not closed"),
        ("WHERE $__conditionalAll(a = 1, $a", "not closed"),
        ("WHERE $__conditionalAll(a = 1)", "2 arguments expected"),
        ("WHERE $__timeFilter(a, b)", "1 arguments expected"),
        ("${a:regex}", "no format regex"),
    ],
)
def test_what_cannot_be_expanded_is_an_error(statement: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expand(statement, query(a=["x"]))


# The endpoint refuses NUL in statements.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=60)
@given(
    values=st.lists(
        TEXTS | st.sampled_from(["'", "\\", "\\'", "''", "', sleep(3), '", "${b}", "--"]), min_size=1
    )
)
def test_any_text_arrives_as_it_is(empty: Asker, values: list[str]) -> None:
    statement = expand("SELECT [${a:singlequote}] AS v, $__conditionalAll(1, $a) AS c", query(a=values))
    expected = 1 if ",".join(values) else "true"
    row = empty.select(statement.replace("1=1", "'true'")).one()
    assert row == {"v": values, "c": expected}
