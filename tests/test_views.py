"""Compiled kernels over columns of text agree with polars and Python."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanhouse.processors.masking import _ANY, SIEVE
from spanhouse.processors.scrub_rules import RULES
from spanhouse.views import encode, equal, lengths, longest, prefixed, texts

LITERALS = sorted({literal for rule in RULES for literal in rule.literals.split()})
# Around twelve bytes a view holds the text itself, and eight are looked at together.
PIECES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(LITERALS).map(str.upper),
    st.sampled_from(LITERALS),
    st.text("0123456789 ./()+-,*", max_size=16),
    st.text("ab:\\nu003c\u017f\u212a", max_size=12),
    st.sampled_from(
        ["+14155550123", "\\n4111111111111111", "\\u003c123456789", ".4111111111111", "é", "x" * 40]
    ),
)
TEXTS = st.lists(st.one_of(st.none(), st.lists(PIECES, max_size=5).map("".join)), max_size=30)


def column(values: list[str | None]) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


@given(TEXTS, st.integers(0, 30))
def test_numbers_of_texts(values: list[str | None], skipped: int) -> None:
    series = column(values)[skipped:]
    values = series.to_list()
    encoded = encode(texts(series), len(values))
    assert encoded is not None
    codes, firsts = encoded
    distinct = list(dict.fromkeys(value for value in values if value is not None))
    assert [values[first] for first in firsts] == distinct
    assert [None if code < 0 else distinct[code] for code in codes] == values
    if len(distinct) > 1:
        assert encode(texts(series), len(distinct) - 1) is None


@given(TEXTS, TEXTS)
def test_equal_texts(one: list[str | None], other: list[str | None]) -> None:
    other = (other + [None] * len(one))[: len(one)]
    # Texts of several buffers.
    second = pl.concat([column(other[:3]), column(other[3:])], rechunk=True)
    expected = [a is not None and a == b for a, b in zip(one, other, strict=True)]
    assert equal(texts(column(one)), texts(second)).tolist() == expected
    assert equal(texts(column(one)), texts(column(one))).tolist() == [a is not None for a in one]


@given(TEXTS)
def test_lengths_and_bytes(values: list[str | None]) -> None:
    views = texts(column(values))
    sizes = [len((value or "").encode()) for value in values]
    assert lengths(views).tolist() == sizes
    assert longest(views) == max(sizes, default=0)
    assert prefixed(views).tobytes() == b"".join(
        varint(size) + (value or "").encode() for size, value in zip(sizes, values, strict=True)
    )


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 12, 13, 127, 128, 300, 16384, 20_000])
def test_texts_of_all_sizes(size: int) -> None:
    text = "0123456789abcdef" * 2000
    assert (
        prefixed(texts(column([text[:size], "z"]))).tobytes()
        == varint(size) + text[:size].encode() + b"\x01z"
    )


@given(TEXTS)
def test_the_sieve_lets_nothing_through(values: list[str | None]) -> None:
    series = column(values)
    flags = SIEVE.flag(texts(series))
    found = series.str.contains(_ANY).fill_null(False).to_list()
    flagged = [False] * len(values) if flags is None else flags.tolist()
    assert all(flag or not hit for flag, hit in zip(flagged, found, strict=True)), (values, flagged)


def test_the_sieve_lets_ordinary_text_pass() -> None:
    series = column(
        ["the agent answers that your order was shipped", "chat gpt-4o-mini", "v1.4.0", "conv-00ff00aa", None]
    )
    assert SIEVE.flag(texts(series)) is None


def test_long_runs_are_looked_at_once() -> None:
    """Whitespace and rules of a megabyte, whose runs would be searched again at every word."""
    for run in (" ", "-", "+ ", "1,"):
        SIEVE.flag(texts(column([run * 1_000_000])))
