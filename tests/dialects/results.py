"""What the pipeline makes of the recorded payloads, fact by fact, beside what the stand-in answered.

A fact of a scenario is `right`, `absent` (the row says nothing of it), `otherwise` (the spans tell something
else, and so does the row) or `wrong`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse.otlp.decode import Decoder
from spanhouse.processing import Processed, Processing, build_processing
from spanhouse.processors.guard import Guard
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.price import Price
from spanhouse.processors.scrub import Scrub, keyed_hash
from spanhouse.processors.usage import MODEL_KINDS
from tests.dialects import golden
from tests.dialects.truth import SCENARIOS, SESSION, TOOL, USER

KEY: Final = "a key for tests only"
TOKENS: Final = {
    "input": "tokens_prompt",
    "output": "tokens_completion",
    "cache_read": "tokens_cache_read",
    "cache_write": "tokens_cache_write",
    "reasoning": "tokens_reasoning",
}
USER_HASH: Final = keyed_hash(KEY, USER)
# Facts in the order of the table in docs/dialects.md.
FACTS: Final = (
    "count", "calls", "provider", "model", *TOKENS, "cost", "trace", "ttft", "error", "agent", "tool",
    "session", "user",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One fact of one scenario; `found` and `expected` say what differs."""

    library: str
    scenario: str
    fact: str
    verdict: str
    found: Any = None
    expected: Any = None


def processing() -> Processing:
    """The processors as `spanhouse up` has them, for payloads of any age."""
    return build_processing(
        [
            ("normalize", Normalize()),
            ("price", Price()),
            ("scrub", Scrub(KEY)),
            ("guard", Guard(max_age_days=36500, max_future_days=36500)),
        ]
    )


@cache
def rows() -> dict[tuple[str, str], pl.DataFrame]:
    """The rows of each library's scenarios, in the order in which their spans started.

    All payloads are processed as one batch, in which all dialects meet.
    """
    payloads = {
        (library, scenario): payload
        for library in golden.libraries()
        for scenario, payload in golden.payloads(library).items()
    }
    names = list(payloads)
    (done,) = processing().run(list(payloads.values()))
    assert isinstance(done, Processed)
    assert not done.malformed
    assert not done.finished.rejected.height
    table = done.finished.rows.with_columns(payload=pl.Series(done.finished.payloads))
    parts = table.partition_by("payload", as_dict=True, include_key=False)
    return {names[int(number)]: part.sort("ts") for (number,), part in parts.items()}


@cache
def _one_by_one() -> tuple[Normalize, Decoder]:
    normalize = Normalize()
    return normalize, Decoder(normalize.wanted)


def split_totals(library: str, scenario: str) -> tuple[int, ...]:
    """The sums of a scenario's tokens where each span comes in a payload of its own, as they ended."""
    normalize, decoder = _one_by_one()
    request = golden.requests(library)[scenario]
    payloads = []
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                one = ExportTraceServiceRequest()
                of_resource = one.resource_spans.add(resource=resource.resource)
                of_resource.scope_spans.add(scope=scope.scope, spans=[span])
                payloads.append((span.end_time_unix_nano, one.SerializeToString()))
    tables = [normalize(decoder.decode([payload]).batch) for _, payload in sorted(payloads)]
    return pl.concat(table.select(*TOKENS.values()) for table in tables).sum().row(0)


@cache
def findings(library: str) -> list[Finding]:
    """All facts of all scenarios of a library that it makes spans of."""
    return [
        Finding(library, scenario, fact, _verdict(found, expected), found, expected)
        for scenario, entry in golden.index(library)["scenarios"].items()
        if entry["spans"]
        for fact, found, expected in _facts(scenario, rows()[library, scenario], entry["calls"])
    ]


@dataclass(frozen=True)
class Absence:
    """A line of absent.yaml."""

    facts: tuple[str, ...]
    scenarios: tuple[str, ...]
    why: str
    tells: str

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is one that this line is about."""
        return finding.fact in self.facts and any(fnmatch(finding.scenario, s) for s in self.scenarios)


@cache
def absences() -> dict[str, list[Absence]]:
    """absent.yaml by library."""
    lines = yaml.safe_load((Path(__file__).parent / "absent.yaml").read_text("utf-8"))
    return {
        library: [
            Absence(
                tuple(line["facts"]),
                tuple(line.get("scenarios", ["*"])),
                line.get("why", ""),
                line.get("tells", ""),
            )
            for line in of_library
        ]
        for library, of_library in lines.items()
    }


def judged(library: str) -> Iterator[Finding]:
    """The findings with absent.yaml applied.

    What it does not know is wrong; where it says that the spans tell something else, and of a cost that
    follows from what they do not tell, the verdict is `otherwise`.
    """
    found = list(findings(library))
    decides = (*TOKENS, "model", "provider", "calls")
    short = {f.scenario for f in found if f.verdict != "right" and f.fact in decides}
    for finding in found:
        lines = [line for line in absences().get(library, []) if line.covers(finding)]
        if finding.verdict == "right" or (finding.verdict == "absent" and any(line.why for line in lines)):
            yield finding
        elif any(line.tells for line in lines):
            yield replace(finding, verdict="otherwise")
        elif finding.fact == "cost" and finding.scenario in short:
            priced = any(found not in (0, "unpriced") for found in finding.found)
            yield replace(finding, verdict="otherwise" if priced else "absent")
        else:
            yield replace(finding, verdict="wrong")


def _verdict(found: Any, expected: Any) -> str:
    if found == expected:
        return "right"
    if isinstance(found, list) and isinstance(expected, list):
        pairs = list(zip(found, expected, strict=False))
        if not found or (len(found) == len(expected) and all(f == e or _nothing(f) for f, e in pairs)):
            return "absent"
        return "wrong"
    return "absent" if _nothing(found) else "wrong"


def _nothing(value: Any) -> bool:
    return value in (None, "", 0, [], "other")


def _facts(scenario: str, table: pl.DataFrame, truth: list[dict[str, Any]]) -> Iterator[tuple[str, Any, Any]]:
    """(fact, found, expected) of a scenario."""
    what = SCENARIOS[scenario]
    calls = table.filter(pl.col("kind").is_in(MODEL_KINDS))
    answered = [call for call in truth if not call.get("error")]
    failed = [call for call in truth if call.get("error")]
    if answered:
        # Of a call that is traced by two spans the usage of one counts, and that one is compared.
        yield "count", calls.height, len(answered)
        if calls.height > len(answered):
            calls = calls.filter(pl.col("tokens_prompt") > 0)
        yield "calls", calls["kind"].to_list(), [call["kind"] for call in answered]
        yield "provider", calls["provider"].to_list(), [call["provider"] for call in answered]
        models = [call["answered_model"] or call["model"] for call in answered]
        yield "model", *_models(calls["model"].to_list(), answered, models)
        for name, column in TOKENS.items():
            yield name, calls[column].to_list(), [call["usage"].get(name, 0) for call in answered]
            yield "trace", table[column].sum(), calls[column].sum()
        yield "cost", *_costs(calls, answered)
        yield "trace", table["cost_usd"].sum(), calls["cost_usd"].sum()
    if what.stream and not what.agent and answered:
        yield "ttft", *_times(calls, [call["first_chunk_ms"] for call in answered])
    if failed:
        yield "provider", sorted(set(calls["provider"].to_list())), [failed[0]["provider"]]
        got = [m for m in calls["model"].unique().to_list() if m != failed[0]["model"]]
        yield "model", got or [failed[0]["model"]], [failed[0]["model"]]
        kinds = sorted(set(calls["kind"].to_list()))
        yield "calls", kinds, [failed[0]["kind"]]
        named = calls.filter((pl.col("status") == "error") & ~pl.col("error_type").is_in(["", "_OTHER"]))
        yield "error", "" if named.is_empty() else "named", "named"
    if scenario == "mcp_error":
        tools = table.filter(pl.col("tool_name") != "")
        yield "error", "" if tools.filter(pl.col("status") == "error").is_empty() else "named", "named"
    if what.tool and (what.agent or scenario.startswith("mcp")):
        tools = table.filter(pl.col("kind").is_in(["tool", "mcp"]) & (pl.col("tool_name") != ""))
        yield "tool", sorted(set(tools["tool_name"])), ["get_tides" if scenario == "mcp_error" else TOOL]
    if what.agent:
        yield "agent", sorted(set(table["agent"]) - {""}), ["weather_agent"]
        sessions = set(table["session_id"]) - {""}
        yield "session", sorted(sessions), [SESSION]
        users = set(table["user_id_hash"]) - {""}
        yield "user", sorted(users), [USER_HASH]


def _models(
    found: list[str], truth: list[dict[str, Any]], expected: list[str]
) -> tuple[list[str], list[str]]:
    """A library that tells only which model was asked for says nothing wrong, for an alias is dated."""
    if len(found) == len(truth):
        found = [
            "" if f == call["model"] != e else f for f, e, call in zip(found, expected, truth, strict=True)
        ]
    return found, expected


def _costs(calls: pl.DataFrame, truth: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    expected: list[Any] = [
        _micro(Decimal(call["cost_usd"])) if call["cost_usd"] else "unpriced" if call["usage"] else 0
        for call in truth
    ]
    found = [
        "unpriced" if source == "unpriced" else _micro(cost)
        for cost, source in calls.select("cost_usd", "cost_source").iter_rows()
    ]
    return found, expected


def _micro(dollars: Decimal) -> int:
    return round(dollars * 1_000_000)


def _times(calls: pl.DataFrame, first_chunks: list[float]) -> tuple[list[Any], list[Any]]:
    """Right is about the stand-in's time; a program that loads modules first takes longer to see it."""
    pairs = zip(calls.select("ttft_ms", "latency_ms").iter_rows(), first_chunks, strict=False)
    found = ["in time" if t and 0.2 * e <= t <= max(10 * e, latency) else t for (t, latency), e in pairs]
    return found, ["in time"] * len(first_chunks)
