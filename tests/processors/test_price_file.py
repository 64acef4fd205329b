"""The user's own prices: what they match, when they hold, what is wrong with a file, and reading it again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanhouse.errors import UserError
from spanhouse.metrics import PRICE_FILE_BROKEN
from spanhouse.processors import price as module
from spanhouse.processors.price import Price
from spanhouse.processors.price_file import load

from .test_price import CENT_E8, NOW, Tokens, price, spans

PRICES = """
prices:
  - model: house-*
    input: 1
    output: 2
  - model: house-large
    input: 0.10
    cache_read: 0.01
    output: 0.333333333333
    reasoning: 4
    per_request: 0.005
    tiers:
      - {above: 1000, input: 0.2}
      - {above: 5000, output: 1, cache_read: 0}
  - model: house-large
    from: 2026-11-10
    input: 0.5
    output: 0.5
  - {provider: azure, model: gpt-4o, input: 2, output: 8, from: 2026-11-01}
"""
WRITE = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> WRITE:
    def write(text: str) -> Path:
        # As an editor does: another file under the name.
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(tmp_path / "prices.yaml")
        return tmp_path / "prices.yaml"

    return write


BEFORE, AFTER = datetime(2026, 11, 9, 23, 59, 59, 999999, UTC), datetime(2026, 11, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "at", "dollars"),
    [
        ("ollama", "house-small", (1_000_000, 1_000_000, 0, 0, 0), NOW, "3"),
        ("", "House-Small", (1_000_000, 0, 0, 0, 0), NOW, "1"),
        ("litellm", "ollama/house-small", (1_000_000, 0, 0, 0, 0), NOW, "1"),
        ("ollama", "house-large", (1000, 30, 100, 0, 10), BEFORE, "0.0051376667"),
        ("ollama", "house-large", (1001, 0, 0, 0, 0), BEFORE, "0.0052002"),
        ("ollama", "house-large", (5001, 30, 5000, 1, 10), BEFORE, "0.0050602"),
        ("ollama", "house-large", (1000, 1000, 0, 0, 0), AFTER, "0.001"),
        ("azure.ai.openai", "gpt-4o", (1_000_000, 0, 0, 0, 0), NOW, "2"),
        ("azure", "gpt-4o", (1_000_000, 0, 0, 0, 0), NOW, "2"),
    ],
)
def test_own_prices(
    write: WRITE, provider: str, model: str, tokens: Tokens, at: datetime, dollars: str
) -> None:
    row = Price(write(PRICES))(spans([(provider, model, tokens, at)])).row(0, named=True)
    assert (row["cost_usd"], row["cost_source"]) == (Decimal(dollars), "computed")


def test_what_the_file_does_not_name_or_not_yet_has_the_bundled_price(write: WRITE) -> None:
    own = Price(write(PRICES))
    for call in (
        ("openai", "gpt-4o", (1000, 100, 0, 0, 0), NOW),
        ("azure", "gpt-4o", (1000, 100, 0, 0, 0), datetime(2026, 10, 31, 23, tzinfo=UTC)),
    ):
        assert own(spans([call]))["cost_usd"][0] == price(*call)[0]


RATE = st.decimals(0, 10_000, places=12)


@given(
    rates=st.tuples(RATE, RATE, RATE, RATE, RATE, RATE),
    parts=st.tuples(*[st.integers(0, 400_000_000)] * 5),
)
def test_any_price_is_exact(
    rates: tuple[Decimal, ...], parts: tuple[int, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = ("input", "cache_read", "cache_write", "output", "reasoning", "per_request")
    path = tmp_path_factory.getbasetemp() / "exact.yaml"
    entry = ", ".join(f"{key}: {rate:f}" for key, rate in zip(keys, rates, strict=True))
    path.write_text(f"prices: [{{model: m, {entry}}}]")
    uncached, read, write, answer, reasoning = parts
    tokens = (uncached + read + write, answer + reasoning, read, write, reasoning)
    row = Price(path)(spans([("p", "m", tokens, NOW)])).row(0, named=True)
    exact = sum(rate * count for rate, count in zip(rates[:5], parts, strict=True)) / 1_000_000 + rates[5]
    expected = exact.quantize(CENT_E8, ROUND_HALF_EVEN) if sum(parts) else 0
    assert row["cost_usd"] == expected


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("prices:\n  - {model: m, inptu: 1}", ["2: prices[0].inptu: unknown", "2: prices[0]: has no"]),
        ("prices:\n  - model: m\n    input: -1", ["3: prices[0].input: expected a number from 0 to 10,000"]),
        ("prices:\n  - model: m\n    input: .nan", ["3: prices[0].input: expected a number"]),
        ("prices:\n  - model: m\n    input: true", ["3: prices[0].input: expected a number"]),
        ("prices:\n  - model: m\n    input: 0.0000000000001", ["3: prices[0].input: expected a number"]),
        ("prices:\n  - {input: 1}", ["2: prices[0].model: is missing"]),
        ("prices:\n  - {model: 'a*b', input: 1}", ["2: prices[0].model: a * stands"]),
        ("prices:\n  - {model: '*', input: 1}", ["2: prices[0].model: a * stands"]),
        ("prices:\n  - {model: m, cache_read: 1}", ["2: prices[0].cache_read: is a part of input"]),
        ("prices:\n  - {model: m, input: 1, from: soon}", ["2: prices[0].from: expected a date such as"]),
        ("prices:\n  - {model: m, input: 1}\n  - {model: M, input: 2}", ["3: prices[1]: same provider"]),
        (
            "prices:\n  - model: m\n    input: 1\n    tiers:\n"
            "      - {above: 5, output: 1}\n      - {above: 5, input: 1}",
            ["5: prices[0].tiers[0].output: has no price", "6: prices[0].tiers[1].above: expected a whole"],
        ),
        ("models: []", ["1: models: unknown key"]),
        ("prices: {a: 1}", ["1: prices: expected a list"]),
        ("- a", ["1: expected keys with values"]),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_line_and_key(write: WRITE, text: str, problems: list[str]) -> None:
    path = write(text)
    with pytest.raises(UserError) as error:
        load(path)
    lines = str(error.value).splitlines()
    assert len(lines) == len(problems)
    for line, expected in zip(lines, problems, strict=True):
        assert line.startswith(f"{path}:{expected}"), line


def test_a_file_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml:1: cannot be read"):
        Price(tmp_path / "none.yaml")


def test_a_changed_file_is_taken_and_a_broken_one_is_not(
    write: WRITE, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    call = spans([("p", "m", (1_000_000, 0, 0, 0, 0), NOW)])

    def cost() -> tuple[Decimal, str]:
        row: pl.DataFrame = step(call)
        return row["cost_usd"][0], row["cost_source"][0]

    path = write("prices:\n  - {model: m, input: 1}")
    step = Price(path)
    assert cost() == (1, "computed")
    write("prices:\n  - {model: m, input: 2}\n  - {model: n, input: 1, tiers: [{above: 7, input: 2}]}")
    assert cost() == (2, "computed")
    for broken in ("prices:\n  - {model: m, input: two}", None):
        with caplog.at_level(logging.ERROR):
            write(broken) if broken else os.remove(path)
            assert [cost(), cost()] == [(2, "computed")] * 2
        assert PRICE_FILE_BROKEN._value.get() == 1
        (record,) = caplog.records
        assert f"{path}:" in record.getMessage()
        caplog.clear()
    write("prices: []")
    assert cost() == (0, "unpriced")
    assert PRICE_FILE_BROKEN._value.get() == 0
    write("prices:\n  - {model: m, input: 3}")
    assert cost() == (3, "computed")
