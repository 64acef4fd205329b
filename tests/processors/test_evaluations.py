"""Scores, feedback and verdicts that spans tell, in every form that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from spanhouse.exporters.beside import split
from spanhouse.processing import Processed, build_processing
from spanhouse.processors.evaluations import FindEvaluations
from spanhouse.processors.guard import Guard
from spanhouse.processors.looked import Looked
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.scrub import Scrub
from tests.harness import attributes, request
from tests.processors.frames import make_batch

NOTHING = {"type": "evaluation", "score": None, "label": "", "explanation": "", "evaluator": ""}


def found(
    of_span: dict[str, Any] | None = None,
    *events: tuple[str, dict[str, Any]],
    scope: str = "tests",
    mappings: tuple[Path, ...] = (),
    of_parent: bool = False,
) -> list[dict[str, Any]]:
    """The rows of `evaluations` of a span with these attributes and events."""
    message = request(1, **(of_span or {}))
    scope_spans = message.resource_spans[0].scope_spans[0]
    scope_spans.scope.name = scope
    scope_spans.spans[0].parent_span_id = b"parent 1"
    for name, of_event in events:
        scope_spans.spans[0].events.add(name=name).attributes.extend(attributes(of_event))
    steps: list[Any] = [("normalize", Normalize(mappings)), ("scrub", Scrub("key")), ("guard", Guard())]
    (done,) = build_processing(steps).run([message.SerializeToString()])
    assert isinstance(done, Processed)
    rows, beside = split(done.finished.rows)
    if "evaluations" not in beside:
        assert not beside
        return []
    table = beside["evaluations"]
    assert set(table["span_id"]) == {rows["span_id"].item()}
    columns = ["type", "name", "score", "label", "explanation", "evaluator", "number", "evaluated_span_id"]
    told = table.select(columns).to_dicts()
    assert [one.pop("number") for one in told] == list(range(len(told)))
    for one in told:
        assert (one.pop("evaluated_span_id") == b"parent 1".hex()) == of_parent
    return told


RESULT = "gen_ai.evaluation.result"
EVENT = {
    "gen_ai.evaluation.name": "Relevance",
    "gen_ai.evaluation.score.value": 4.0,
    "gen_ai.evaluation.score.label": "relevant",
    "gen_ai.evaluation.explanation": "told by jane@example.com",
}
RELEVANCE = NOTHING | {
    "name": "Relevance", "score": 4.0, "label": "relevant", "explanation": "told by [email]",
}  # fmt: skip


def test_events_of_opentelemetry() -> None:
    other = {"gen_ai.evaluation.name": "Toxicity", "gen_ai.evaluation.score.label": "pass"}
    assert found({}, (RESULT, EVENT), ("exception", {}), (RESULT, other)) == [
        RELEVANCE,
        NOTHING | {"name": "Toxicity", "label": "pass"},
    ]


def test_attributes_of_opentelemetry() -> None:
    assert found(EVENT, of_parent=True) == [RELEVANCE]


def test_the_attributes_stay() -> None:
    (done,) = build_processing([("normalize", Normalize())]).run([request(1, **EVENT).SerializeToString()])
    assert isinstance(done, Processed)
    row = done.finished.rows
    assert {one["key"] for one in row["attrs"][0]} == set(EVENT)
    assert row["kind"].item() == "evaluation"


@pytest.mark.parametrize("prefix", ["", "trace.", "session."])
@pytest.mark.parametrize("word", ["annotation", "evaluation"])
def test_openinference(prefix: str, word: str) -> None:
    one = f"{prefix}{word}s.{{}}.{word}."
    told = found(
        {
            one.format(0) + "name": "correctness",
            one.format(0) + "score": 1,
            one.format(0) + "label": "correct",
            one.format(0) + "annotator_kind": "HUMAN",
            one.format(1) + "name": "hallucination",
            one.format(1) + "explanation": "made up",
            one.format(1) + "annotator_kind": "LLM",
            one.format(1) + "identifier": "judge-v2",
            one.format(2) + "score": 0.5,
        }
    )
    assert told == [
        NOTHING | {"name": "correctness", "score": 1.0, "label": "correct", "evaluator": "HUMAN"},
        NOTHING | {"name": "hallucination", "explanation": "made up", "evaluator": "judge-v2"},
    ]


@pytest.mark.parametrize(
    ("value", "score", "label"),
    [(0.1, 0.1, ""), (3, 3.0, ""), (True, 1.0, "true"), (False, 0.0, "false"), ("wrong", None, "wrong")],
)
def test_feedback_of_logfire(value: Any, score: float | None, label: str) -> None:
    of_span = {
        "logfire.feedback.name": "factuality",
        "factuality": value,
        "logfire.feedback.comment": "it lied",
    }
    assert found(of_span, of_parent=True) == [
        NOTHING
        | {"type": "feedback", "name": "factuality", "score": score, "label": label, "explanation": "it lied"}
    ]


def test_verdicts_of_guardrails() -> None:
    verdict = NOTHING | {"type": "guardrail", "name": "pii"}
    decision = {"gen_ai.guardian.name": "pii", "gen_ai.security.decision.type": "deny"}
    assert found(decision) == [verdict | {"label": "deny"}]
    of_span = {"guardrail_name": "pii", "guardrail_status": "guardrail_intervened"}
    assert found(of_span, scope="litellm") == [verdict | {"label": "guardrail_intervened"}]
    assert found(of_span, scope="other") == []
    triggered = {"name": "pii", "triggered": True}
    assert found(triggered, scope="logfire.openai_agents") == [verdict | {"label": "true"}]
    assert found({"name": "pii"}, scope="logfire.openai_agents") == []


@pytest.mark.parametrize(
    ("score", "expected"), [("0.5", (0.5, "")), ("high", (None, "high")), (float("nan"), None), ("", None)]
)
def test_scores_that_are_no_numbers(score: Any, expected: tuple[float | None, str] | None) -> None:
    told = found({"gen_ai.evaluation.name": "n", "gen_ai.evaluation.score.value": score}, of_parent=True)
    assert [(one["score"], one["label"]) for one in told] == ([expected] if expected else [])


def test_without_a_name_or_a_result_there_is_none() -> None:
    assert found({}, (RESULT, {"gen_ai.evaluation.score.value": 1.0})) == []
    assert found({}, (RESULT, {"gen_ai.evaluation.name": "", "gen_ai.evaluation.score.value": 1.0})) == []
    assert found({}, (RESULT, {"gen_ai.evaluation.name": "n"})) == []
    assert found({"factuality": 1.0}) == []


def test_many_spans_each_have_their_own() -> None:
    finder = FindEvaluations(Normalize().evaluations)
    spans: list[dict[str, Any]] = []
    for number in range(50):
        events = [
            {"name": RESULT, "attrs": EVENT | {"gen_ai.evaluation.score.value": str(i)}}
            for i in range(number % 3)
        ]
        spans.append({"events": [{"name": "x", "attrs": {"gen_ai.evaluation.name": "x"}}, *events]})
    column = finder(Looked(make_batch(spans)))
    assert column is not None
    scores = [[one["score"] for one in row] for row in column.to_list()]
    assert scores == [[float(i) for i in range(number % 3)] for number in range(50)]
    assert finder(Looked(make_batch([{"attrs": {"model": "x"}}]))) is None
    assert finder(Looked(pl.DataFrame(make_batch([{}])).clear())) is None


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "evaluations:\n  - {name: acme.judge, score: [acme.points, acme.score], evaluator: acme.by}\n"
    )
    assert found({"acme.judge": "tone", "acme.score": 2, "acme.by": "ann"}, mappings=(own,)) == [
        NOTHING | {"name": "tone", "score": 2.0, "evaluator": "ann"}
    ]
