"""Compiled kernels over columns of text agree with polars and Python."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanhouse.exporters.native_texts import TEXT, WORD, written
from spanhouse.processors.masking import _ANY, SIEVE
from spanhouse.processors.scrub_rules import RULES
from spanhouse.views import (
    FEW,
    Stack,
    array,
    distinct,
    equal,
    longest,
    numbers,
    numeric,
    odd_ids,
    stack,
    truths,
)

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


def columns(*values: list[str | None]) -> Stack:
    return stack(array(column(one)) for one in values)


@given(st.lists(TEXTS, max_size=4), st.integers(0, 30))
def test_distinct_texts(values: list[list[str | None]], skipped: int) -> None:
    found = distinct(stack(array(column(one)[skipped:]) for one in values))
    assert found == [list(dict.fromkeys(v for v in one[skipped:] if v is not None)) for one in values]


@given(st.lists(st.tuples(st.one_of(st.none(), PIECES), st.booleans()), max_size=30))
def test_distinct_texts_of_rows_that_count(rows: list[tuple[str | None, bool]]) -> None:
    kept = np.array([keep for _, keep in rows], np.uint8)
    found = distinct(columns([text for text, _ in rows], [text for text, _ in rows]), kept)
    assert found == 2 * [list(dict.fromkeys(text for text, keep in rows if keep and text is not None))]


def test_many_distinct_texts() -> None:
    many = [f"text {i}" for i in range(FEW + 1)]
    found = distinct(columns(many, many[:FEW], [*many, "a"], ["b"]))
    assert found == [None, many[:FEW], None, ["b"]]


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=3), st.integers(0, 30))
def test_equal_texts(pairs: list[tuple[list[str | None], list[str | None]]], count: int) -> None:
    ones, others = ([(v + [None] * count)[:count] for v in values] for values in zip(*pairs, strict=True))
    # Texts of several buffers.
    second = stack(array(pl.concat([column(v[:3]), column(v[3:])], rechunk=True)) for v in others)
    expected = [
        [0 if a is None else 1 + (a == b) for a, b in zip(one, other, strict=True)]
        for one, other in zip(ones, others, strict=True)
    ]
    assert equal(columns(*ones), second).tolist() == expected
    assert equal(second, second).tolist() == [[0 if v is None else 2 for v in other] for other in others]


@given(st.lists(TEXTS, max_size=4))
def test_longest(values: list[list[str | None]]) -> None:
    expected = [max((len((v or "").encode()) for v in one), default=0) for one in values]
    assert longest(columns(*values)).tolist() == expected


HEX = st.text("0a", max_size=17)


@given(st.lists(st.tuples(HEX, st.one_of(st.none(), HEX)), min_size=1, max_size=30))
def test_odd_ids(rows: list[tuple[str, str | None]]) -> None:
    flags = odd_ids(columns([a for a, _ in rows], [b for _, b in rows]), [8, 16], [False, True])
    expected = [
        [len(a) != 8 or a == "0" * 8 for a, _ in rows],
        [len(b or "") not in (0, 16) for _, b in rows],
    ]
    assert (flags.tolist() if flags is not None else [[False] * len(rows)] * 2) == expected


def text(value: str | None) -> bytes:
    data = (value or "").encode()
    return varint(len(data)) + data


def words(values: list[str | None]) -> bytes:
    if not values:
        return b""
    keys = list(dict.fromkeys(v for v in values if v is not None)) + ([None] if None in values else [])
    size = next(i for i, most in enumerate((255, 65535, 2**32)) if len(keys) <= most)
    numbers = b"".join(keys.index(v).to_bytes(1 << size, "little") for v in values)
    header = (0x600 | size).to_bytes(8, "little") + len(keys).to_bytes(8, "little")
    return header + b"".join(map(text, keys)) + len(values).to_bytes(8, "little") + numbers


@given(
    st.lists(st.tuples(TEXTS, st.sampled_from([TEXT, WORD, "some"]), st.integers(0, 99)), max_size=4),
    st.integers(1, 100),
)
def test_written_texts(made: list[tuple[list[str | None], int | str, int]], room: int) -> None:
    kinds, masks, expected = [], [], []
    for values, kind, seed in made:
        keep = np.random.default_rng(seed).integers(0, 2, len(values)).astype(np.uint8)
        kinds.append(TEXT if kind == TEXT else WORD)
        masks.append(keep if kind == "some" else None)
        kept = [v for v, k in zip(values, keep, strict=True) if k or kind != "some"]
        expected.append(b"".join(map(text, values)) if kind == TEXT else words(kept))
    found = written(columns(*(values for values, _, _ in made)), kinds, masks, room)
    assert [part.tobytes() for part in found] == expected


@pytest.mark.parametrize("count", [255, 256, FEW + 1, 65_536])
def test_written_words_that_are_many(count: int) -> None:
    values: list[str | None] = [f"text number {i}" for i in range(count)]
    few = ["a"] * count
    found = written(columns(few, values, few), [WORD, WORD, TEXT], [None] * 3, 10)
    size = 1 if count < 256 else 2 if count < 65_536 else 4
    numbers = np.arange(count, dtype=f"u{size}").tobytes()
    assert found[1].tobytes()[-len(numbers) :] == numbers
    assert found[0].tobytes() == words([*few])
    assert found[2].tobytes() == b"\1a" * count


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 12, 13, 127, 128, 300, 16384, 20_000])
def test_texts_of_all_sizes(size: int) -> None:
    value = ("0123456789abcdef" * 2000)[:size]
    (found,) = written(columns([value, "z"]), [TEXT], [None], 1)
    assert found.tobytes() == text(value) + b"\1z"


@given(TEXTS)
def test_the_sieve_lets_nothing_through(values: list[str | None]) -> None:
    series = column(values)
    flagged, again = SIEVE.flag(columns(values, values))
    assert flagged.tolist() == again.tolist()
    found = series.str.contains(_ANY).fill_null(False).arg_true().to_list()
    assert set(found) <= set(flagged.tolist()), values


def test_the_sieve_lets_ordinary_text_pass() -> None:
    values = ["the agent answers that your order was shipped", "chat gpt-4o-mini", "v1.4.0", "conv-00ff00aa"]
    assert [len(rows) for rows in SIEVE.flag(columns([*values, None]))] == [0]


def test_long_runs_are_looked_at_once() -> None:
    """Whitespace and rules of a megabyte, whose runs would be searched again at every word."""
    for run in (" ", "-", "+ ", "1,"):
        SIEVE.flag(columns([run * 1_000_000]))


DTYPES = st.sampled_from([np.uint8, np.int32, np.int64, np.uint64])


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=40), DTYPES, st.integers(0, 20))
def test_numbers_and_truths_to_arrow_and_back(
    values: list[tuple[int, bool]], dtype: type[np.generic], skipped: int
) -> None:
    plain = np.array([value for value, _ in values], dtype)
    missing = np.array([flag for _, flag in values], np.bool_)
    assert numeric(plain).to_pylist() == plain.tolist()
    assert numeric(plain, missing).to_pylist() == [None if flag else value for value, flag in values]
    assert numeric(missing).to_pylist() == missing.tolist()
    kept = numbers(numeric(plain, missing)[skipped:])
    assert kept.view(dtype).tolist() == plain[skipped:].tolist()
    assert truths(numeric(missing)[skipped:]).tolist() == missing[skipped:].tolist()
