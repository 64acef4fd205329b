from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from genai_prices import Usage, calc_price
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, StartDateConstraint, TieredPrices, TimeOfDateConstraint
from hypothesis import given
from hypothesis import strategies as st

from spanhouse.metrics import SPANS_UNPRICED
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.price import Price
from spanhouse.processors.rule_exprs import MAX_TOKENS

from .frames import make_batch

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CENT_E8 = Decimal("1e-10")
TOKENS = ("tokens_prompt", "tokens_completion", "tokens_cache_read", "tokens_cache_write", "tokens_reasoning")
Tokens = tuple[int, int, int, int, int]
PRICE = Price()


def ns(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def spans(calls: Sequence[tuple[str, str, Tokens, datetime]], tier: str = "") -> pl.DataFrame:
    """A normalized batch with one span per (provider, model, tokens, start)."""
    columns: dict[str, Any] = {
        "provider": [call[0] for call in calls],
        "model": [call[1] for call in calls],
        "service_tier": [tier] * len(calls),
        "start_ns": pl.Series([ns(call[3]) for call in calls], dtype=pl.UInt64),
        "reported_cost_usd": pl.Series([None] * len(calls), dtype=pl.Float64),
    }
    for i, name in enumerate(TOKENS):
        columns[name] = pl.Series([call[2][i] for call in calls], dtype=pl.UInt64)
    return pl.DataFrame(columns)


def price(
    provider: str, model: str, tokens: Tokens = (1000, 100, 0, 0, 0), at: datetime = NOW, tier: str = ""
) -> tuple[Decimal, str]:
    row = PRICE(spans([(provider, model, tokens, at)], tier)).row(0, named=True)
    return row["cost_usd"], row["cost_source"]


def library(
    provider: str | None, model: str, tokens: Tokens, at: datetime = NOW, tier: str | None = None
) -> Decimal:
    usage = Usage(
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cache_read_tokens=tokens[2],
        cache_write_tokens=tokens[3],
        output_reasoning_tokens=tokens[4],
    )
    context = {"service_tier": tier} if tier else None
    result = calc_price(usage, model, provider_id=provider, genai_request_timestamp=at, price_context=context)
    return result.total_price.quantize(CENT_E8)


def every_model() -> Iterator[tuple[str, ModelInfo]]:
    for provider in get_snapshot().providers:
        for model in provider.models:
            yield provider.id, model


def check(calls: list[tuple[str, str, Tokens, datetime]], tier: str = "") -> int:
    """Compare with the library, call by call; returns how many were compared."""
    compared = 0
    for start in range(0, len(calls), 200):
        part = calls[start : start + 200]
        rows = PRICE(spans(part, tier))
        for call, cost, source in zip(part, rows["cost_usd"], rows["cost_source"], strict=True):
            try:
                expected = library(*call, tier=tier or None)
            except LookupError:
                continue
            compared += 1
            assert cost == expected, call
            assert source == "computed" or (source != "reported" and cost == 0 == expected), call
    return compared


# --- equal to the library ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tokens", [(1234, 567, 0, 0, 0), (9_876_543, 43_210, 7_000_001, 1_000_003, 21_001), (0, 77, 0, 0, 33)]
)
def test_every_known_model_costs_what_the_library_says(tokens: Tokens) -> None:
    calls = [(provider, model.id, tokens, NOW) for provider, model in every_model()]
    assert check(calls) > 1500


def test_tiers_begin_above_their_threshold() -> None:
    calls = []
    for provider, model in every_model():
        prices = model.get_prices(NOW)
        for tiered in (v for v in vars(prices).values() if isinstance(v, TieredPrices)):
            for tier in tiered.tiers:
                near = (tier.start - 1, tier.start, tier.start + 1)
                calls += [(provider, model.id, (prompt, 10, 1000, 100, 3), NOW) for prompt in near]
    assert check(sorted(set(calls))) > 300


def test_prices_are_those_of_the_spans_start() -> None:
    calls = []
    for provider, model in every_model():
        for conditional in model.prices if isinstance(model.prices, list) else []:
            constraint = conditional.constraint
            moments = []
            if isinstance(constraint, StartDateConstraint):
                moments = [datetime.combine(constraint.start_date, datetime.min.time(), UTC)]
            elif isinstance(constraint, TimeOfDateConstraint):
                times = (constraint.start_time, constraint.end_time)
                moments = [datetime.combine(NOW.date(), at, at.tzinfo or UTC) for at in times]
            for moment in moments:
                for shift in (-1, 0, 1):
                    at = moment + timedelta(microseconds=shift)
                    calls.append((provider, model.id, (1000, 100, 10, 0, 0), at))
    assert check(calls) > 300


@pytest.mark.parametrize("tier", ["priority", "flex", "default", "auto", "nonsense"])
def test_service_tiers(tier: str) -> None:
    calls = [
        (provider, model.id, (300_000, 100, 10, 5, 3), NOW)
        for provider, model in every_model()
        if provider in ("openai", "google", "anthropic", "azure")
    ]
    assert check(calls, tier) > 100
    assert price("openai", "gpt-5", tier="priority")[0] > price("openai", "gpt-5")[0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["gpt-4o", "gpt-5", "o3", "gpt-4o-mini"]),
            *[st.integers(0, 400_000)] * 5,
        ),
        max_size=6,
    )
)
def test_any_usage_costs_what_the_library_says(drawn: list[tuple[str, int, int, int, int, int]]) -> None:
    check(
        [
            ("openai", model, (uncached + read + write, answer + reasoning, read, write, reasoning), NOW)
            for model, uncached, answer, read, write, reasoning in drawn
        ]
    )


def test_batches_are_a_service_tier_here() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    asked: Any = {"provider_id": "openai", "genai_request_timestamp": NOW}
    half = calc_price(usage, "gpt-4o", price_context={"processing": "batch"}, **asked).total_price
    assert price("openai", "gpt-4o", tier="batch") == (half, "computed")
    assert half == price("openai", "gpt-4o")[0] / 2


def test_cost_adds_up_from_its_parts() -> None:
    whole = price("anthropic", "claude-sonnet-4-5", (1000, 500, 300, 200, 0))[0]
    parts = [(500, 0, 0, 0, 0), (300, 0, 300, 0, 0), (200, 0, 0, 200, 0), (0, 500, 0, 0, 0)]
    assert whole == sum(price("anthropic", "claude-sonnet-4-5", part)[0] for part in parts)


def test_the_largest_count_does_not_overflow() -> None:
    cost, source = price("openai", "gpt-5-pro", (2 * MAX_TOKENS, 2 * MAX_TOKENS, 0, 0, MAX_TOKENS))
    assert source == "computed"
    assert cost == library("openai", "gpt-5-pro", (2 * MAX_TOKENS, 2 * MAX_TOKENS, 0, 0, MAX_TOKENS))


# --- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "sold_by", "known_as"),
    [
        ("gcp.gemini", "gemini-2.0-flash", "google", "gemini-2.0-flash"),
        ("gcp.gen_ai", "models/gemini-2.0-flash", "google", "gemini-2.0-flash"),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.0-flash", "google", "gemini-2.0-flash"),
        ("gcp.vertex_ai", "claude-sonnet-4@20250514", "google", "claude-sonnet-4@20250514"),
        ("aws.bedrock", "us.anthropic.claude-3-5-sonnet-20241022-v2:0", "aws",
         "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("azure.ai.openai", "gpt-35-turbo", "azure", "gpt-3.5-turbo"),
        ("azure.ai.inference", "gpt-4o", "azure", "gpt-4o"),
        ("x_ai", "grok-3", "x-ai", "grok-3"),
        ("mistral_ai", "mistral-large-latest", "mistral", "mistral-large-latest"),
        ("moonshot_ai", "kimi-k2-0711-preview", "moonshotai", "kimi-k2-0711-preview"),
        ("openai", "openai/gpt-4o", "openai", "gpt-4o"),
        ("openai", "GPT-4o", "openai", "gpt-4o"),
        ("openai", "openai:gpt-4o", "openai", "gpt-4o"),
        ("anthropic", "anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("openrouter", "anthropic/claude-sonnet-4", "openrouter", "anthropic/claude-sonnet-4"),
        ("", "gpt-4o", "openai", "gpt-4o"),
        ("", "openai/gpt-4o", "openai", "gpt-4o"),
        ("", "mistral_ai/mistral-large-latest", "mistral", "mistral-large-latest"),
        ("langchain", "claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("litellm", "anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
    ],
)  # fmt: skip
def test_names_are_found(provider: str, model: str, sold_by: str, known_as: str) -> None:
    tokens = (1000, 100, 10, 0, 0)
    assert price(provider, model, tokens) == (library(sold_by, known_as, tokens), "computed")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("openai", "claude-sonnet-4-5"),  # no guessing at who else may have sold it
        ("ollama", "llama3"),
        ("ibm.watsonx.ai", "ibm/granite-13b"),
        ("", "no-such-model"),
        ("openai", ""),
        ("", ""),
        ("", "/"),
        ("openai", "tts-1"),  # priced by the character
        ("openai", "whisper-1"),  # by the hour
    ],
)
def test_what_has_no_known_price_is_unpriced(provider: str, model: str) -> None:
    before = SPANS_UNPRICED._value.get()
    assert price(provider, model) == (0, "unpriced")
    assert SPANS_UNPRICED._value.get() == before + 1


def test_a_free_model_is_not_unpriced() -> None:
    assert price("openrouter", "openai/gpt-oss-20b:free") == (0, "computed")


def test_each_unknown_model_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    step = Price()
    calls = [("openai", "nobody-knows", (1, 1, 0, 0, 0), NOW - timedelta(days=d)) for d in range(300)]
    with caplog.at_level(logging.WARNING):
        step(spans(calls))
        step(spans(calls, "flex"))
    assert [r.getMessage() for r in caplog.records] == [
        "no price is known for model 'nobody-knows' of provider 'openai': its calls are stored as unpriced"
    ]


def test_a_flood_of_made_up_models_leaves_the_known_ones_priced() -> None:
    step = Price()
    known = ("openai", "gpt-4o", (1000, 100, 0, 0, 0), NOW)
    step(spans([known]))
    for flood in range(3):
        made_up = [("openai", f"m{flood}-{i}", (1, 1, 0, 0, 0), NOW) for i in range(2000)]
        rows = step(spans([*made_up, known]))
        assert rows["cost_source"].to_list() == ["unpriced"] * 2000 + ["computed"]


# --- where the cost comes from -----------------------------------------------------------------------


def test_cost_source() -> None:
    chat = {"span:gen_ai.operation.name": "chat", "span:gen_ai.provider.name": "openai"}
    usage = {"span:gen_ai.usage.input_tokens": 1000, "span:gen_ai.usage.output_tokens": 100}
    batch = make_batch(
        [
            chat | usage | {"span:gen_ai.request.model": "gpt-4o"},
            chat | usage | {"span:gen_ai.request.model": "gpt-4o", "span:gen_ai.usage.cost": 0.1 + 0.2},
            chat | usage | {"span:gen_ai.request.model": "gpt-4o", "span:gen_ai.usage.cost": 0.0},
            chat | usage | {"span:gen_ai.request.model": "house-model", "span:gen_ai.usage.cost": 0.00214},
            chat | usage | {"span:gen_ai.request.model": "house-model"},
            chat | {"span:gen_ai.request.model": "gpt-4o"},
            chat | {"span:gen_ai.request.model": "gpt-4o", "span:gen_ai.usage.cost": 1e300},
            {"span:http.request.method": "GET"},
        ]
    )
    rows = PRICE(Normalize()(batch))
    assert rows.schema["cost_usd"] == pl.Decimal(18, 10)
    assert rows.schema["cost_computed_usd"] == pl.Decimal(18, 10)
    known = Decimal("0.0035")
    assert rows.select("cost_usd", "cost_source", "cost_computed_usd").rows() == [
        (known, "computed", known),
        (Decimal("0.3"), "reported", known),
        (known, "computed", known),
        (Decimal("0.00214"), "reported", None),
        (0, "unpriced", None),
        (0, "none", None),
        (0, "none", None),
        (0, "none", None),
    ]


@pytest.mark.parametrize("calls", [[], [("openai", "gpt-4o", (0, 0, 0, 0, 0), NOW)]])
def test_batches_without_usage(calls: list[tuple[str, str, Tokens, datetime]]) -> None:
    rows = PRICE(spans(calls))
    assert rows.schema["cost_usd"] == pl.Decimal(18, 10)
    assert rows["cost_source"].to_list() == ["none"] * len(calls)


def test_the_order_of_spans_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    models = [
        ("openai", "gpt-4o"),
        ("anthropic", "claude-sonnet-4-5"),
        ("openai", "none"),
        ("", "gemini-2.5-pro"),
    ]
    calls = [
        (*models[rng.integers(4)], (int(rng.integers(0, 300_000)), int(rng.integers(0, 9)), 0, 0, 0), NOW)
        for _ in range(500)
    ]
    batch, order = spans(calls), rng.permutation(500)
    assert Price()(batch)[order].equals(Price()(batch[order]))
