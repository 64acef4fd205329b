"""The dashboard Prompts and models, against numbers counted here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import ceil
from statistics import mean, variance

import pytest

from tests.dashboards.conftest import END, HOUR, Asker
from tests.dashboards.data import Row, prompts

ROWS = prompts(END)
CALLS = [row for row in ROWS if row.get("prompt_name")]
HALF = timedelta(minutes=20)


def of(version: str) -> list[Row]:
    return [row for row in CALLS if row["prompt_version"] == version]


def good(version: str) -> list[Row]:
    return [row for row in of(version) if row["status"] != "error"]


def errors(rows: Sequence[Row]) -> int:
    return sum(row["status"] == "error" for row in rows)


def welch(before: Sequence[float], now: Sequence[float]) -> float:
    """The two-sided p of Welch's t test: the tails of Student's t, integrated."""
    parts = [variance(values) / len(values) for values in (before, now)]
    t = abs(mean(now) - mean(before)) / math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (before, now), strict=True)
    )
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2

    def density(x: float) -> float:
        return math.exp(scale - (freedom + 1) / 2 * math.log1p(x * x / freedom))

    steps = 20_000
    inside = sum(density(t * (number + 0.5) / steps) for number in range(steps)) * t / steps
    return 1 - 2 * inside


def two_proportions(e1: int, n1: int, e2: int, n2: int) -> float:
    pooled = (e1 + e2) / (n1 + n2)
    z = (e2 / n2 - e1 / n1) / math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    return math.erfc(abs(z) / math.sqrt(2))


def test_versions(small: Asker) -> None:
    found = {
        row["version"]: row for row in small.panel("prompts", "versions", HOUR, tenant="prompts").dicts()
    }
    # By their numbers, not their letters.
    assert list(found) == ["v9", "v10", "v11"]
    for version, row in found.items():
        rows = of(version)
        assert row["total"] == len(rows)
        assert row["error_rate"] == pytest.approx(errors(rows) / len(rows))
        assert row["tokens_out"] == pytest.approx(mean(r["tokens_completion"] for r in rows))
        assert row["usd_per_call"] == pytest.approx(mean(r["cost_usd"] for r in rows))
        slowest = sorted(r["latency_ms"] for r in rows)[ceil(0.95 * len(rows)) - 1]
        assert row["p95_ms"] == pytest.approx(slowest, rel=0.011)


def test_a_version_against_the_one_before(small: Asker) -> None:
    rows = small.panel("prompts", "version_tests", HOUR, tenant="prompts").dicts()
    found = {(row["before"], row["now"], row["what"]): row for row in rows}
    assert {key[:2] for key in found} == {("v9", "v10"), ("v10", "v11")}
    measures: dict[str, Callable[[Row], float]] = {
        "latency ms": lambda r: float(r["latency_ms"]),
        "first token ms": lambda r: float(r["ttft_ms"]),
        "tokens out": lambda r: float(r["tokens_completion"]),
        "USD per call": lambda r: float(r["cost_usd"]),
    }
    for what, value in measures.items():
        before, now = [value(r) for r in good("v9")], [value(r) for r in good("v10")]
        row = found["v9", "v10", what]
        assert (row["n_before"], row["n_now"]) == (len(before), len(now))
        assert row["difference"] == pytest.approx(mean(now) - mean(before))
        assert row["p_value"] == pytest.approx(welch(before, now), rel=1e-3, abs=1e-9)
        assert row["low"] < row["difference"] < row["high"]
        assert (row["low"] > 0 or row["high"] < 0) == (row["p_value"] < 0.05)
    assert found["v9", "v10", "latency ms"]["verdict"] == "worse"
    row = found["v9", "v10", "error rate"]
    counts = (errors(of("v9")), len(of("v9")), errors(of("v10")), len(of("v10")))
    assert (row["mean_before"], row["mean_now"]) == (counts[0] / counts[1], counts[2] / counts[3])
    assert row["p_value"] == pytest.approx(two_proportions(*counts), rel=1e-6)
    assert row["low"] < row["difference"] < row["high"]
    assert row["verdict"] == "no difference shown"
    # One call is no sample.
    for what in (*measures, "error rate"):
        if ("v10", "v11", what) in found:
            assert found["v10", "v11", what]["verdict"] == "too few"


TASKS = [row for row in ROWS if row.get("experiment") and row["kind"] == "agent"]


def scores_of(variant: str) -> list[float]:
    rows = [r for r in ROWS if r.get("variant") == variant and r["kind"] == "evaluation"]
    return [float(row["attrs"]["gen_ai.evaluation.score.value"]) for row in rows]


def costs_of(variant: str) -> list[float]:
    return [r["cost_usd"] for r in ROWS if r.get("variant") == variant and r["kind"] == "llm"]


def test_variants_of_an_experiment(small: Asker) -> None:
    rows = small.panel("prompts", "experiments", HOUR, tenant="experiments").dicts()
    assert [row["variant"] for row in rows] == ["bold", "control", "shy"]
    for row in rows:
        tasks = [task for task in TASKS if task["variant"] == row["variant"]]
        assert row["tasks"] == len(tasks)
        assert row["failed_share"] == pytest.approx(errors(tasks) / len(tasks))
        assert row["mean_ms"] == pytest.approx(mean(task["latency_ms"] for task in tasks), rel=1e-6)
        assert row["usd_per_task"] == pytest.approx(mean(costs_of(row["variant"])))
        scores = scores_of(row["variant"])
        assert row["scored"] == len(scores)
        assert row["mean_score"] == (pytest.approx(mean(scores)) if scores else None)


def test_a_variant_against_the_control(small: Asker) -> None:
    rows = small.panel("prompts", "experiment_tests", HOUR, tenant="experiments").dicts()
    found = {(row["variant"], row["what"]): row for row in rows}
    assert {row["against"] for row in rows} == {"control"}
    control, bold = ([t for t in TASKS if t["variant"] == variant] for variant in ("control", "bold"))
    row = found["bold", "failed"]
    assert (row["n_against"], row["n_variant"]) == (30, 29)
    expected = two_proportions(errors(control), 30, errors(bold), 29)
    assert row["p_value"] == pytest.approx(expected, rel=1e-6)
    samples = {
        "time ms": [[t["latency_ms"] for t in tasks] for tasks in (control, bold)],
        "USD per task": [costs_of("control"), costs_of("bold")],
        "score": [scores_of("control"), scores_of("bold")],
    }
    for what, (before, now) in samples.items():
        row = found["bold", what]
        assert (row["n_against"], row["n_variant"]) == (len(before), len(now))
        assert row["p_value"] == pytest.approx(welch(before, now), rel=1e-3, abs=1e-9)
    assert found["bold", "score"]["verdict"] == "better"
    for (variant, _), row in found.items():
        assert variant != "shy" or row["verdict"] == "too few"


def test_scores_by_the_prompt_of_the_trace(small: Asker) -> None:
    found = small.panel("prompts", "scores", HOUR, tenant="prompts").dicts()
    by_trace = {
        row["trace_id"]: float(row["attrs"]["gen_ai.evaluation.score.value"])
        for row in ROWS
        if row["kind"] == "evaluation" and row["tenant_id"] == "prompts"
    }
    expected: dict[tuple[str, str], list[float]] = {}
    for call in CALLS:
        if call["trace_id"] in by_trace:
            expected.setdefault((call["prompt_version"], call["model"]), []).append(
                by_trace[call["trace_id"]]
            )
    assert {(row["version"], row["model"]) for row in found} == set(expected)
    for row in found:
        scores = expected[row["version"], row["model"]]
        assert (row["score"], row["prompt"], row["scores"]) == ("truth", "answer", len(scores))
        assert row["mean_score"] == pytest.approx(mean(scores))
        assert (row["plus_minus"] is None) == (len(scores) == 1)
    # A filter is for the calls: evaluations have no model of their own.
    chosen = small.panel("prompts", "scores", HOUR, tenant="prompts", model="model-0").dicts()
    counts = {(row["version"], row["model"]): row["scores"] for row in found if row["model"] == "model-0"}
    assert {(row["version"], row["model"]): row["scores"] for row in chosen} == counts


def test_drift_is_against_the_range_before(small: Asker) -> None:
    now = [row for row in CALLS if row["ts"] >= END - HALF]
    before = [row for row in CALLS if END - 2 * HALF <= row["ts"] < END - HALF]
    found = {row["model"]: row for row in small.panel("prompts", "drift", HALF, tenant="prompts").dicts()}
    for model, row in found.items():
        a, b = ([r for r in rows if r["model"] == model] for rows in (now, before))
        assert (row["calls"], row["calls_before"]) == (len(a), len(b))
        assert row["error_rate_before"] == pytest.approx(errors(b) / len(b))
        out = [mean(r["tokens_completion"] for r in rows) for rows in (a, b)]
        assert row["tokens_out_change"] == pytest.approx(out[0] / out[1] - 1)
    assert set(found) == {"model-0", "model-1"}
    reasons = small.panel("prompts", "finish_reasons", HALF, tenant="prompts", model="model-1").dicts()
    texts = [
        [
            r["attrs"].get("gen_ai.response.finish_reasons")
            for r in rows
            if r["model"] == "model-1" and r["attrs"]
        ]
        for rows in (now, before)
    ]
    for row in reasons:
        shares = [found.count(f'["{row["reason"]}"]') / len(found) for found in texts]
        assert (row["share"], row["share_before"]) == (pytest.approx(shares[0]), pytest.approx(shares[1]))
    (score,) = small.panel("prompts", "drift_scores", HALF, tenant="prompts").dicts()
    values = [
        [float(r["attrs"]["gen_ai.evaluation.score.value"]) for r in ROWS
         if r["kind"] == "evaluation" and r["tenant_id"] == "prompts" and first <= r["ts"] < last]
        for first, last in ((END - 2 * HALF, END - HALF), (END - HALF, END))
    ]  # fmt: skip
    assert (score["scores_before"], score["scores"]) == (len(values[0]), len(values[1]))
    assert score["p_value"] == pytest.approx(welch(*values), rel=1e-3)
