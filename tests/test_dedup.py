"""The window of spans seen lately."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from spanhouse.dedup import SeenSpans


def table(*ids: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(ids, {"trace_id": pl.String, "span_id": pl.String}, orient="row")


SPANS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("0123456789")), max_size=30)


@given(st.lists(st.tuples(SPANS, st.booleans()), max_size=8))
def test_what_was_noted_is_not_new_and_all_else_is(batches: list[tuple[list[tuple[str, str]], bool]]) -> None:
    seen, known = SeenSpans(1000), set()
    for spans, stored in batches:
        kept, keys = seen.without_repeated(table(*spans))
        assert kept.rows() == list(dict.fromkeys(span for span in spans if span not in known))
        assert len(keys) == kept.height
        if stored:  # what was not stored comes again as new
            seen.add(keys)
            known |= set(spans)


def test_the_window_holds_its_capacity_and_forgets_the_oldest() -> None:
    seen = SeenSpans(100)
    batches = [table(*((f"{i}", f"{j}") for j in range(40))) for i in range(20)]
    for batch in batches:
        seen.add(seen.without_repeated(batch)[1])
    assert [seen.without_repeated(batch)[0].height for batch in batches[-2:]] == [0, 0]
    assert seen.without_repeated(batches[0])[0].height == 40


def test_more_spans_at_once_than_the_window_holds() -> None:
    seen = SeenSpans(10)
    many = table(*(("t", str(i)) for i in range(1000)))
    kept, keys = seen.without_repeated(many)
    assert kept.height == 1000
    seen.add(keys)
    assert seen.without_repeated(many.slice(990))[0].height == 0


def test_spans_without_ids_are_never_the_same() -> None:
    seen = SeenSpans(10)
    nameless = table(("", "1"), ("", "1"), ("a", ""), ("a", ""))
    for _ in range(2):
        kept, keys = seen.without_repeated(nameless)
        assert kept.height == 4
        seen.add(keys)
