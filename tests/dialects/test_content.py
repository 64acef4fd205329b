"""No library's prompts and completions come into `agent_events`; all that came are in the content.

And the scores that libraries tell are evaluations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import polars as pl
import pytest

from spanhouse.processing import Processed, build_processing
from spanhouse.processors.guard import Guard
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.price import Price
from spanhouse.processors.scrub import Scrub
from tests.dialects import golden
from tests.dialects.truth import ANSWER, CITY, QUESTION, SCORE, TOOL_RESULT

SYSTEM = "You are a friendly weather assistant."
KNOWN = (QUESTION, "weather in Paris", ANSWER, TOOL_RESULT, "sunny", SYSTEM, CITY)
# Names that an application has for a traced function's arguments, which no table can know.
OWN_NAMES = {("logfire", "city")}
# Libraries that send no content unless they are told to, and these were not.
SILENT = {
    "google_adk", "mcp", "otel_genai", "otel_genai_langchain", "otel_genai_openai_agents", "otel_openai_v2",
    "semantic_kernel",
}  # fmt: skip


@cache
def rows() -> dict[str, pl.DataFrame]:
    """Rows of each library's recordings, with what is kept of their content."""
    names, payloads = [], []
    for library in golden.libraries():
        for payload in golden.payloads(library).values():
            names.append(library)
            payloads.append(payload)
    steps: list[Any] = [("normalize", Normalize()), ("price", Price()), ("scrub", Scrub("key"))]
    steps.append(("guard", Guard(max_age_days=36500, max_future_days=36500)))
    (done,) = build_processing(steps, 1 << 20).run(payloads)
    assert isinstance(done, Processed)
    libraries = pl.Series([names[i] for i in done.finished.payloads])
    parts = done.finished.rows.with_columns(library=libraries).partition_by("library", as_dict=True)
    return {str(library): part for (library,), part in parts.items()}


def attributes(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, value) of all attributes of a row, those of its events as well, and its names."""
    for name in ("attrs", "resource", "scope_attrs"):
        yield from ((one["key"], one["value"]) for one in row[name])
    for event in row["events"]:
        yield "event", event["name"]
        yield from ((one["key"], one["value"]) for one in event["attrs"])
    # What a failed call said is its message, and no prompt.
    yield from ((key, value) for key, value in row.items() if isinstance(value, str) and "message" not in key)


@pytest.mark.parametrize("library", golden.libraries())
def test_no_row_has_content(library: str) -> None:
    found = {
        (library, key, value[:80])
        for row in rows()[library].drop("content", "evaluations").iter_rows(named=True)
        for key, value in attributes(row)
        if any(text in value for text in KNOWN) and (library, key) not in OWN_NAMES
    }
    assert not found


def test_the_known_texts_came() -> None:
    """The test above can fail: the recordings have them."""
    for library in sorted(set(golden.libraries()) - SILENT):
        payloads = b"".join(golden.payloads(library).values()).decode(errors="ignore")
        assert any(text in payloads for text in KNOWN), library


@pytest.mark.parametrize("library", sorted(set(golden.libraries()) - SILENT))
def test_what_came_is_kept(library: str) -> None:
    kept = [one for content in rows()[library]["content"].to_list() for one in content or ()]
    came = b"".join(golden.payloads(library).values()).decode(errors="ignore")
    for text in (QUESTION, SYSTEM, TOOL_RESULT):
        if text in came:
            assert any(text in one["value"] for one in kept), text
    # Facts about messages stay with the row.
    assert not [
        one["key"] for one in kept if re.search(r"(?<!spanInputs)\.(role|finish_reason)$", one["key"])
    ]
    assert all(one["bytes"] >= len(one["value"].encode()) - 64 for one in kept)


def test_scores_are_evaluations() -> None:
    """OpenLIT's are the only ones in spans; other libraries send theirs to their own service."""
    found = {
        library: [(one["type"], one["name"], one["score"]) for row in told.to_list() for one in row or ()]
        for library, part in rows().items()
        if (told := part["evaluations"]).list.len().sum()
    }
    assert set(found) == {"openlit"}
    assert set(found["openlit"]) == {("evaluation", *SCORE)}
    scored = sum("gen_ai.evaluation.result" in str(row) for row in rows()["openlit"]["events"].to_list())
    assert len(found["openlit"]) == scored == 7


# Libraries whose spans do not tell why a model stopped, but in the content.
NO_REASON = {"langsmith", "mlflow"}


@pytest.mark.parametrize("library", golden.libraries())
def test_why_a_model_stopped(library: str) -> None:
    calls = rows()[library].filter(pl.col("kind") == "llm")
    found = set(calls["finish_reason"])
    assert found <= {"", "stop", "tool_call", "error"}
    assert not calls.height or ("stop" in found) == (library not in NO_REASON)


def test_sizes_of_what_tools_got_and_gave_back() -> None:
    arguments, result = len('{"city": "Paris"}'), len(TOOL_RESULT)
    for library in ("pydantic_ai", "openllmetry_openai_agents", "logfire_openai_agents", "vercel_ai"):
        tools = rows()[library].filter(pl.col("kind") == "tool")
        assert tools.height
        assert (
            tools["tool_input_bytes"].is_between(arguments - 1, arguments).all()
        )  # with a space, or without
        assert tools["tool_output_bytes"].is_between(result, result + 2).all()  # in quotes, or without
