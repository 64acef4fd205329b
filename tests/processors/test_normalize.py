from __future__ import annotations

import json
import math
import re
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanhouse.batch import NORMALIZED
from spanhouse.processors.mapping import COLUMNS, STATUSES, Rule, load
from spanhouse.processors.normalize import BUILT_IN, MAPPINGS, Normalize
from spanhouse.processors.rule_exprs import MAX_TOKENS

from .frames import START_NS, make_batch

TOKENS = [name for name in NORMALIZED if name.startswith("tokens_")]
RULES = [
    (column, rule) for name in BUILT_IN for column, rules in load(MAPPINGS / name).items() for rule in rules
]
ALL_RULES = RULES
# Of a rule with a regular expression no source can be made up; tests/dialects has real ones.
RULES = [(column, rule) for column, rule in RULES if not rule.match]
ATTRIBUTE_RULES = [(column, rule) for column, rule in RULES if rule.is_raw]
# Those that say nothing of other attributes, so that any two can be in one span.
PLAIN_RULES = [(c, r) for c, r in ATTRIBUTE_RULES if not (r.where or r.is_text or r.skip)]

CALL = {"span:gen_ai.operation.name": "chat", "span:gen_ai.usage.input_tokens": 100}
AGENT = {"span:gen_ai.operation.name": "invoke_agent", "span:gen_ai.usage.input_tokens": 100}


SHARED = Normalize()
TRACES = (f"trace-{i}" for i in count())


def normalize(*spans: dict[str, Any]) -> pl.DataFrame:
    """The spans normalized; those without a trace id get one that no other has."""
    step = Normalize() if any("trace_id" in span for span in spans) else SHARED
    return step(make_batch([{"trace_id": next(TRACES)} | span for span in spans]))


def one(**columns: Any) -> dict[str, Any]:
    """The normalized row of one span, given as {column: value} or with attributes in `raw`."""
    return normalize(columns.pop("raw", {}) | columns).row(0, named=True)


# --- the mapping table -------------------------------------------------------------------------------


def source_value(column: str, rule: Rule) -> Any:
    """A value that the rule takes."""
    if rule.values:
        return next(iter(rule.values))
    if rule.starts_with:
        return f"{rule.starts_with[0]}x"
    if rule.constant is not None or COLUMNS[column] == pl.String:
        return "some value"
    return 7 if COLUMNS[column] == pl.UInt64 else 0.25


def expected_value(column: str, rule: Rule) -> Any:
    value = source_value(column, rule)
    if rule.constant is not None:
        return rule.constant
    if rule.values:
        return rule.values[value]
    if rule.is_time:
        return 250.0
    return value * rule.factor if COLUMNS[column] == pl.Float64 else value


def span_for(column: str, rule: Rule, value: Any = None) -> dict[str, Any]:
    """A span that says nothing but what the rule reads and asks for."""
    value = source_value(column, rule) if value is None else value
    span: dict[str, Any] = {"status_code": STATUSES.index(rule.status) if rule.status else 0}
    for name, (wanted, *_) in rule.where:
        if not wanted.startswith("!"):
            key = "span:gen_ai.provider.name" if name == "provider" else name
            span[key] = f"{wanted[:-1]}x" if wanted.endswith("*") else wanted
    if rule.paths:
        value = as_json(rule.paths[0], value)
    if rule.event:
        time = START_NS + 250_000_000 if rule.is_time else START_NS
        attrs = {} if rule.is_time else {rule.event[1]: value}
        span["events"] = [{"name": rule.event[0], "ts": time, "attrs": attrs}]
    elif rule.is_time:
        span[rule.source] = str(np.datetime64(START_NS + 250_000_000, "ns")) + "Z"
    elif rule.source == "model":
        span["span:gen_ai.response.model"] = value
    elif rule.source:
        span[rule.source] = value
    return span


def as_json(path: str, value: Any) -> str:
    """JSON in which the path leads to the value."""
    for key in reversed(re.findall(r"[\w-]+(?:\.\w+(?='))?", path)):
        value = [value] if f"[{key}]" in path else {key: value}
    return json.dumps(value)


def rule_id(case: tuple[str, Rule]) -> str:
    column, rule = case
    return f"{column}<-{rule.source or rule.status}"


@pytest.mark.parametrize("case", RULES, ids=map(rule_id, RULES))
def test_each_rule_of_the_table_fills_its_column(case: tuple[str, Rule]) -> None:
    column, rule = case
    assert normalize(span_for(column, rule))[column].to_list() == [expected_value(column, rule)]


def test_each_rule_reads_the_converted_column_too() -> None:
    for column, rule in ATTRIBUTE_RULES:
        span = {f"{name}~" if name == rule.source else name: v for name, v in span_for(column, rule).items()}
        assert normalize(span)[column].to_list() == [expected_value(column, rule)], rule


@pytest.mark.parametrize("column", [c for c in COLUMNS if len([1 for k, r in PLAIN_RULES if k == c]) > 1])
def test_earlier_rules_win(column: str) -> None:
    rules = [rule for key, rule in PLAIN_RULES if key == column]
    for first, second in pairwise(rules):
        if first.source != second.source:
            both = span_for(column, second) | span_for(column, first)
            assert normalize(both)[column].to_list() == [expected_value(column, first)], (first, second)


def test_every_value_of_the_value_maps() -> None:
    for column, rule in ATTRIBUTE_RULES:
        spans = [span_for(column, rule, value) for value in rule.values]
        assert not spans or normalize(*spans)[column].to_list() == list(rule.values.values())


def test_every_prefix_of_a_model_gives_its_provider() -> None:
    for column, rule in RULES:
        spans = [span_for(column, rule, f"{text}x") for text in rule.starts_with]
        assert not spans or set(normalize(*spans)[column]) == {rule.constant}


def test_wanted_and_targets_describe_the_table() -> None:
    step = Normalize()
    asked = {name for _, rule in ALL_RULES for name, _ in rule.where if ":" in name}
    assert set(step.wanted) == {rule.source for _, rule in ALL_RULES if rule.is_raw} | asked
    assert step.wanted["span:gen_ai.usage.input_tokens"] == pl.Int64
    assert step.wanted["span:gen_ai.response.time_to_first_chunk"] == pl.Float64
    assert step.targets["span:gen_ai.request.model"] == step.targets["span:gen_ai.response.model"] == "model"
    assert step.targets["resource:service.name"] == "service"
    assert set(step.targets.values()) <= set(NORMALIZED)
    assert set(step.targets) <= set(step.wanted)
    assert "span:gen_ai.usage.cost" not in step.targets  # its column is not stored
    assert "span:gen_ai.response.time_to_first_chunk" not in step.targets  # another unit


# --- shape -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spans", [[], [{}], [CALL, AGENT, {}]])
def test_all_columns_are_there_with_their_types_and_the_rest_is_unchanged(
    spans: list[dict[str, Any]],
) -> None:
    batch = make_batch(spans)
    result = Normalize()(batch)
    assert {name: result.schema[name] for name in NORMALIZED} == NORMALIZED
    assert result.select(batch.columns).equals(batch)
    may_be_null = ("ttft_ms", "cost_computed_usd")
    nulls = result.select(name for name in NORMALIZED if name not in may_be_null).null_count()
    assert nulls.sum_horizontal().sum() == 0


def test_a_span_that_says_nothing_gets_neutral_values() -> None:
    row = one()
    assert row["kind"] == "other"
    assert row["ttft_ms"] is None
    assert (row["cost_usd"], row["cost_source"]) == (0, "none")
    assert row["status"] == "unset"
    assert all(row[name] == 0 for name in TOKENS)
    text = [n for n, t in NORMALIZED.items() if t == pl.String and row[n]]
    assert text == ["kind", "status", "cost_source", "span_kind"]


def test_spans_do_not_mix() -> None:
    rows = normalize(CALL, {}, {"span:db.system.name": "redis"}, AGENT | {"trace_id": "ff"})
    assert rows["kind"].to_list() == ["llm", "other", "db", "agent"]
    assert rows["tokens_prompt"].to_list() == [100, 0, 0, 100]


# --- fields of the span ------------------------------------------------------------------------------


def test_codes_become_names_and_unknown_ones_stay_readable() -> None:
    rows = normalize(*({"span_kind_code": code, "status_code": code} for code in (0, 1, 2, 3, 4, 5, 17, -1)))
    assert rows["span_kind"].to_list() == [
        "unspecified", "internal", "server", "client", "producer", "consumer", "17", "-1",
    ]  # fmt: skip
    assert rows["status"].to_list() == ["unset", "ok", "error", "3", "4", "5", "17", "-1"]


@given(st.integers(0, 86_400 * 10**9))
def test_latency_gives_the_nanoseconds_back(duration_ns: int) -> None:
    latency = one(end_ns=START_NS + duration_ns)["latency_ms"]
    assert round(latency * 1e6) == duration_ns


@pytest.mark.parametrize(
    ("start", "end", "ms"),
    [
        (START_NS + 5_000_000, START_NS, -5.0),
        (0, 2**64 - 1, (2**64 - 1) / 1e6),
        (2**64 - 1, 0, -(2**64 - 1) / 1e6),
        (2**63, 2**63 + 1_000_000, 1.0),
    ],
)
def test_latency_of_odd_times(start: int, end: int, ms: float) -> None:
    assert one(start_ns=start, end_ns=end)["latency_ms"] == ms


# --- values ------------------------------------------------------------------------------------------


def test_empty_text_does_not_hide_a_later_name() -> None:
    row = one(
        raw={"span:gen_ai.response.model": "", "span:gen_ai.request.model": "gpt-4o", "span:http.method": ""}
    )
    assert row["model"] == "gpt-4o"
    assert row["kind"] == "llm"
    assert one(raw={"span:gen_ai.request.model": "", "span:http.method": "GET"})["kind"] == "http"


@pytest.mark.parametrize("bad", [-1, MAX_TOKENS + 1, 2**63 - 1, -(2**63)])
def test_what_cannot_be_a_count_does_not_count(bad: int) -> None:
    row = one(raw={"span:gen_ai.usage.input_tokens": bad, "span:gen_ai.usage.output_tokens": 5})
    assert (row["tokens_prompt"], row["tokens_completion"]) == (0, 5)
    both = one(raw={"span:gen_ai.usage.input_tokens": bad, "span:gen_ai.usage.prompt_tokens": 7})
    assert both["tokens_prompt"] == 7


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.5])
def test_what_cannot_be_a_time_is_unknown(bad: float) -> None:
    row = one(raw={"span:gen_ai.response.time_to_first_chunk": bad, "span:gen_ai.usage.cost": bad})
    assert row["ttft_ms"] is None
    assert row["reported_cost_usd"] is None


def test_a_model_without_provider_keeps_an_attributed_provider_of_others() -> None:
    rows = normalize(
        {"span:gen_ai.request.model": "claude-sonnet-4-5"},
        {"span:gen_ai.request.model": "claude-sonnet-4-5", "span:gen_ai.provider.name": "aws.bedrock"},
        {"span:gen_ai.request.model": "house-model"},
    )
    assert rows["provider"].to_list() == ["anthropic", "aws.bedrock", ""]


def test_kind_of_spans_that_more_than_one_rule_fits() -> None:
    rows = normalize(
        {"span:mcp.method.name": "tools/call", "span:gen_ai.operation.name": "execute_tool"},
        {"span:gen_ai.operation.name": "chat", "span:http.request.method": "POST"},
        {"span:gen_ai.operation.name": "chat", "span:gen_ai.agent.name": "planner"},
        {"span:gen_ai.operation.name": "no such", "span:gen_ai.tool.name": "search"},
        {"span:db.system.name": "qdrant", "span:http.request.method": "POST"},
    )
    assert rows["kind"].to_list() == ["mcp", "llm", "llm", "tool", "retrieval"]


# --- events ------------------------------------------------------------------------------------------


def exception(kind: str, message: str) -> dict[str, Any]:
    return {"name": "exception", "attrs": {"exception.type": kind, "exception.message": message}}


def test_a_failed_span_takes_its_error_from_its_last_exception() -> None:
    events = [exception("RetryError", "first"), {"name": "note"}, exception("TimeoutError", "last")]
    failed = {"status_code": 2, "events": events}
    rows = normalize(
        failed,
        failed | {"span:error.type": "504", "status_message": "gateway"},
        {"events": events},
        {"status_code": 2},
        {"status_code": 2, "events": [{"name": "exception", "attrs": {}}]},
        {"span:error.type": "429"},
    )
    assert rows["error_type"].to_list() == ["TimeoutError", "504", "", "_OTHER", "_OTHER", "429"]
    assert rows["error_message"].to_list() == ["last", "gateway", "", "", "", ""]


def test_a_feature_flag_event_names_experiment_and_variant() -> None:
    def flag(key: str, variant: str) -> dict[str, Any]:
        return {
            "name": "feature_flag.evaluation",
            "attrs": {"feature_flag.key": key, "feature_flag.result.variant": variant},
        }

    rows = normalize({}, {"events": [flag("a", "on"), flag("prompt-test", "b")]}, {"events": [{"name": "x"}]})
    assert rows["experiment"].to_list() == ["", "prompt-test", ""]
    assert rows["variant"].to_list() == ["", "b", ""]
    assert not [name for name in rows.columns if name.startswith("event:")]


# --- tokens ------------------------------------------------------------------------------------------

counts = st.integers(0, 10_000_000)


@given(prompt=counts, completion=counts, read=counts, write=counts, reasoning=counts)
def test_parts_never_exceed_their_totals(
    prompt: int, completion: int, read: int, write: int, reasoning: int
) -> None:
    row = one(
        raw={
            "span:gen_ai.usage.input_tokens": prompt,
            "span:gen_ai.usage.output_tokens": completion,
            "span:gen_ai.usage.cache_read.input_tokens": read,
            "span:gen_ai.usage.cache_creation.input_tokens": write,
            "span:gen_ai.usage.reasoning.output_tokens": reasoning,
        }
    )
    assert (row["tokens_cache_read"], row["tokens_cache_write"], row["tokens_reasoning"]) == (
        read,
        write,
        reasoning,
    )
    assert row["tokens_prompt"] == (prompt if read + write <= prompt else prompt + read + write)
    assert row["tokens_completion"] == (completion if reasoning <= completion else completion + reasoning)
    assert read + write <= row["tokens_prompt"]
    assert reasoning <= row["tokens_completion"]


def test_anthropic_usage_without_the_cached_tokens_is_completed() -> None:
    row = one(
        raw={
            "span:gen_ai.usage.input_tokens": 12,
            "span:gen_ai.usage.cache_read_input_tokens": 3000,
            "span:gen_ai.usage.cache_creation_input_tokens": 400,
        }
    )
    assert row["tokens_prompt"] == 3412


# --- usage counts once -------------------------------------------------------------------------------


def test_usage_that_an_agent_repeats_from_its_calls_counts_once() -> None:
    trace = {"trace_id": "aa"}
    spans = [
        trace | AGENT | {"span:gen_ai.usage.input_tokens": 250, "span:gen_ai.usage.cost": 0.5},
        trace | CALL,
        trace | CALL | {"span:gen_ai.usage.input_tokens": 150},
        trace | {"span:gen_ai.operation.name": "invoke_workflow", "span:gen_ai.usage.output_tokens": 5},
        AGENT | {"trace_id": "bb"},
    ]
    rows = normalize(*spans)
    assert rows["tokens_prompt"].to_list() == [0, 100, 150, 0, 100]
    assert rows["tokens_completion"].to_list() == [0, 0, 0, 0, 0]
    assert rows["reported_cost_usd"].to_list() == [None] * 5
    assert rows["span:gen_ai.usage.input_tokens"].to_list() == [250, 100, 150, None, 100]


def test_usage_of_a_call_that_wraps_another_counts_once() -> None:
    outer = CALL | {"trace_id": "aa", "span_id": "01"}
    inner = CALL | {"trace_id": "aa", "span_id": "02", "parent_span_id": "01"}
    other = CALL | {"trace_id": "bb", "span_id": "01"}
    assert normalize(outer, inner, other)["tokens_prompt"].to_list() == [0, 100, 100]


def test_calls_that_went_by_in_earlier_batches_count() -> None:
    step = Normalize()
    call = CALL | {"trace_id": "aa", "span_id": "02", "parent_span_id": "01"}
    assert step(make_batch([call]))["tokens_prompt"].to_list() == [100]
    for i in range(20):
        step(make_batch([CALL | {"trace_id": f"{i}-{j}"} for j in range(200)]))
    later = [
        AGENT | {"trace_id": "aa"},
        CALL | {"trace_id": "aa", "span_id": "01"},
        AGENT | {"trace_id": "bb"},
        CALL | {"trace_id": "aa", "span_id": "03"},
    ]
    assert step(make_batch(later))["tokens_prompt"].to_list() == [0, 0, 100, 100]


def test_a_call_without_usage_or_that_is_rejected_speaks_for_nobody() -> None:
    silent = {"trace_id": "aa", "span:gen_ai.operation.name": "chat"}
    refused = CALL | {"trace_id": "bb", "reject": "bad"}
    rows = normalize(AGENT | {"trace_id": "aa"}, silent, AGENT | {"trace_id": "bb"}, refused)
    assert rows["tokens_prompt"].to_list() == [100, 0, 100, 100]
    assert rows["reject"].to_list() == [None, None, None, "bad"]


def test_the_order_of_spans_in_a_batch_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    spans = [
        (CALL, AGENT, {}, {"span:gen_ai.usage.output_tokens": 3})[rng.integers(4)]
        | {
            "trace_id": f"{rng.integers(40):x}",
            "span_id": f"{i:x}",
            "parent_span_id": f"{rng.integers(300):x}",
        }
        for i in range(300)
    ]
    order = rng.permutation(len(spans))
    batch = make_batch(spans)
    straight, shuffled = Normalize()(batch), Normalize()(batch[order])
    assert straight[order].equals(shuffled)


# --- the user's own mappings -------------------------------------------------------------------------


def test_a_users_rules_come_first(tmp_path: Path) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text(
        "columns:\n"
        "  tenant_id:\n"
        "    - span: acme.customer\n"
        "  kind:\n"
        "    - {span: acme.step, values: {think: llm, act: tool}}\n"
        "  ttft_ms:\n"
        "    - {span: acme.first_us, unit: us}\n"
    )
    step = Normalize(mappings=[path])
    assert step.wanted["span:acme.customer"] == pl.String
    assert step.targets["span:acme.customer"] == "tenant_id"
    rows = step(
        make_batch(
            [
                {"span:acme.customer": "c1", "span:tenant.id": "t1", "span:acme.first_us": 1500.0},
                {"span:tenant.id": "t2", "span:acme.step": "act", "span:gen_ai.operation.name": "chat"},
                {"span:acme.step": "other", "span:gen_ai.operation.name": "chat"},
            ]
        )
    )
    assert rows["tenant_id"].to_list() == ["c1", "t2", ""]
    assert rows["kind"].to_list() == ["other", "tool", "llm"]
    assert rows["ttft_ms"].to_list() == [1.5, None, None]
