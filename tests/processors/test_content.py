"""Prompts and completions: taken out of every batch, kept where they are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse.processing import Processed, build_processing
from spanhouse.processors.content import TakeContent
from spanhouse.processors.content_rules import CONTENT_KINDS, Content, ContentRule
from spanhouse.processors.guard import Guard
from spanhouse.processors.looked import Looked
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.scrub import Scrub
from tests.harness import request
from tests.processors.frames import make_batch

RULES = [
    ContentRule("kept", (), ("prompt.*.role", "prompt.name")),
    ContentRule("input", (), ("prompt", "prompt.*")),
    ContentRule("output", (), ("answer",), ("lib*", "other")),
    ContentRule("output", ("choice", "gen.*"), ("message",)),
    ContentRule("tool_arguments", ("choice",), ("calls.*",), ("lib*",)),
]
KEYS = ("prompt", "prompt.0.text", "prompt.0.role", "prompt.name", "answer", "message", "calls.0", "model")
SCOPES = ("lib", "library", "other", "app", "")
EVENTS = ("choice", "gen.x", "exception", "")


def expected_kind(event: str | None, key: str, scope: str) -> str:
    """The rules, read one by one."""
    for rule in RULES:
        if (
            (not rule.events if event is None else any(fnmatchcase(event, one) for one in rule.events))
            and any(fnmatchcase(key, one) for one in rule.keys)
            and (not rule.scopes or any(fnmatchcase(scope, one) for one in rule.scopes))
        ):
            return "" if rule.kind == "kept" else rule.kind
    return ""


TEXT = st.text(max_size=30) | st.text(min_size=5, max_size=9).map(lambda text: 50 * text)
ATTRS = st.dictionaries(st.sampled_from(KEYS), TEXT, max_size=6)
SPANS = st.lists(
    st.fixed_dictionaries(
        {
            "scope": st.sampled_from(SCOPES),
            "attrs": ATTRS,
            "events": st.lists(
                st.fixed_dictionaries({"name": st.sampled_from(EVENTS), "attrs": ATTRS}), max_size=3
            ),
            "span:answer": st.none() | TEXT,
        }
    ),
    max_size=6,
)


@given(spans=SPANS)
@settings(max_examples=200, deadline=None)
def test_what_is_content_leaves_and_all_else_stays(spans: list[dict[str, Any]]) -> None:
    for span in spans:
        if span["span:answer"] is not None:
            span["attrs"].pop("answer", None)  # an attribute has one place
    batch = make_batch(spans)
    take = TakeContent(Content(RULES), 1 << 20)
    result = take.forget(take(Looked(batch)))
    assert result.height == batch.height
    found = result["content"].to_list() if "content" in result.columns else [[] for _ in spans]
    raw = result["span:answer"].to_list() if "span:answer" in result.columns else [None] * len(spans)
    for row, span in enumerate(spans):
        scope = span["scope"]
        taken = [
            (None, key, value)
            for key, value in (("answer", span["span:answer"]), *span["attrs"].items())
            if value is not None and expected_kind(None, key, scope)
        ]
        taken += [
            (event["name"], key, value)
            for event in span["events"]
            for key, value in event["attrs"].items()
            if expected_kind(event["name"], key, scope)
        ]
        assert [(one["event"], one["key"], one["value"]) for one in found[row]] == [
            (event or "", key, value) for event, key, value in taken
        ]
        assert [one["kind"] for one in found[row]] == [expected_kind(e, k, scope) for e, k, _ in taken]
        assert [one["bytes"] for one in found[row]] == [len(value.encode()) for *_, value in taken]
        left = {key: value for key, value in span["attrs"].items() if not expected_kind(None, key, scope)}
        assert {one["key"]: one["value"] for one in result["attrs"][row].to_list()} == left
        answer = span["span:answer"]
        assert raw[row] == (None if expected_kind(None, "answer", scope) else answer)
        for before, after in zip(span["events"], result["events"][row].to_list(), strict=True):
            kept = {k: v for k, v in before["attrs"].items() if not expected_kind(before["name"], k, scope)}
            assert after["name"] == before["name"]
            assert {one["key"]: one["value"] for one in after["attrs"]} == kept
    others = [name for name in batch.columns if name not in ("attrs", "events", "span:answer")]
    assert result.select(others).equals(batch.select(others))


def test_a_batch_without_content_stays_as_it_is() -> None:
    batch = make_batch(
        [{"attrs": {"model": "x"}, "events": [{"name": "exception", "attrs": {"message": "m"}}]}]
    )
    assert TakeContent(Content(RULES), 100)(Looked(batch)) is batch


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    batch = TakeContent(Content(RULES), 0)(Looked(make_batch([{"attrs": {"prompt": "hello", "model": "x"}}])))
    assert "content" not in batch.columns
    assert [one["key"] for one in batch["attrs"][0]] == ["model"]


def run(attributes: Mapping[str, Any], content_bytes: int = 65_536) -> pl.DataFrame:
    """The row that a span with these attributes becomes."""
    steps = [("normalize", Normalize()), ("scrub", Scrub("a key")), ("guard", Guard())]
    (done,) = build_processing(steps, content_bytes).run([request(1, **attributes).SerializeToString()])
    assert isinstance(done, Processed)
    assert done.finished.rows.height == 1
    return done.finished.rows


def kept(row: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {one["key"]: one for one in row["content"][0]}


def test_what_is_kept_is_scrubbed() -> None:
    row = run(
        {
            "gen_ai.input.messages": json.dumps(
                [{"content": "write to jane.doe@example.com", "user_id": "u-77"}]
            ),
            "gen_ai.completion": "her key is sk-proj-abcdefghijklmnopqrstuvwxyz0123456789",
        }
    )
    content = kept(row)
    assert json.loads(content["gen_ai.input.messages"]["value"]) == [
        {"content": "write to [email]", "user_id": "[user]"}
    ]
    assert content["gen_ai.completion"]["value"] == "her key is [key]"
    assert content["gen_ai.completion"]["kind"] == "output"
    assert not {"gen_ai.input.messages", "gen_ai.completion"} & {one["key"] for one in row["attrs"][0]}


def test_what_is_kept_is_cut_after_it_is_scrubbed_and_between_two_characters() -> None:
    text = 30 * "é" + " jane.doe@example.com " + 100 * "é"
    one = kept(run({"gen_ai.prompt": text}, 66))["gen_ai.prompt"]
    assert one["value"] == 30 * "é" + " [emai"
    assert one["truncated"]
    assert one["bytes"] == len(text.encode())
    assert kept(run({"gen_ai.prompt": 100 * "é"}, 101))["gen_ai.prompt"]["value"] == 50 * "é"
    assert not kept(run({"gen_ai.prompt": text}, 1000))["gen_ai.prompt"]["truncated"]


def test_a_column_is_filled_from_content_and_the_attribute_is_gone() -> None:
    row = run({"llm.invocation_parameters": json.dumps({"model": "gpt-4o", "inputText": "hello"})})
    assert row["model"].item() == "gpt-4o"
    assert "hello" not in str(row["attrs"][0].to_list())
    assert "llm.invocation_parameters" in kept(row)


def test_without_normalize_content_is_taken_out_by_the_built_in_tables() -> None:
    payload = request(1, gen_ai__prompt="hello").SerializeToString()
    (done,) = build_processing([("guard", Guard())]).run([payload])
    assert isinstance(done, Processed)
    assert "hello" not in str(done.finished.rows.to_dicts())


def test_a_file_of_ones_own_says_what_is_content(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "content:\n  kept: [{span: gen_ai.prompt}]\n  tool_arguments:\n    - {span: acme.args.*}\n"
    )
    payload = request(1, gen_ai__prompt="p", acme__args__city="Paris").SerializeToString()
    (done,) = build_processing([("normalize", Normalize([own]))], 100).run([payload])
    assert isinstance(done, Processed)
    assert {one["key"]: one["kind"] for one in done.finished.rows["content"][0]} == {
        "acme.args.city": "tool_arguments"
    }
    assert "gen_ai.prompt" in {one["key"] for one in done.finished.rows["attrs"][0]}


@pytest.mark.parametrize("event", ["gen_ai.content.prompt", "gen_ai.client.inference.operation.details"])
def test_events_of_a_call(event: str) -> None:
    message = request(1)
    _add_event(
        message, event, {"gen_ai.prompt": "p", "gen_ai.input.messages": "[]", "gen_ai.provider.name": "x"}
    )
    (done,) = build_processing([("normalize", Normalize())], 100).run([message.SerializeToString()])
    assert isinstance(done, Processed)
    rows = done.finished.rows
    assert {one["key"] for one in rows["content"][0]} == {"gen_ai.prompt", "gen_ai.input.messages"}
    (stored,) = rows["events"][0].to_list()
    assert [one["key"] for one in stored["attrs"]] == ["gen_ai.provider.name"]


def _add_event(message: ExportTraceServiceRequest, name: str, attributes: dict[str, str]) -> None:
    event = message.resource_spans[0].scope_spans[0].spans[0].events.add(name=name)
    for key, value in attributes.items():
        event.attributes.add(key=key).value.string_value = value


def test_the_rules_name_no_other_kinds() -> None:
    assert {rule.kind for rule in Normalize().content} <= {*CONTENT_KINDS, "kept"}


def test_a_tools_call_tells_how_large_its_arguments_and_its_result_were() -> None:
    content = {
        "gen_ai.tool.call.arguments": '{"city": "Köln"}',
        "traceloop.entity.input": 100 * "x",
        "traceloop.entity.output": "sunny",
    }
    row = run({"gen_ai.operation.name": "execute_tool", **content}, 0)
    assert "content" not in row.columns
    assert row.select("tool_input_bytes", "tool_output_bytes").row(0) == (17, 5)
    # Of another span they would be something else's.
    row = run({"gen_ai.operation.name": "chat", **content}, 0)
    assert row.select("tool_input_bytes", "tool_output_bytes").row(0) == (0, 0)
    row = run({"gen_ai.operation.name": "execute_tool"}, 0)
    assert row.select("tool_input_bytes", "tool_output_bytes").row(0) == (0, 0)
