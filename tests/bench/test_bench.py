"""Each benchmark runs, at a tiny size; how fast anything is, no test says."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from bench import chart, fill, grpc_to_sink, kafka_to_store, reads, report, results, stages, storage
from bench.load import Load
from bench.payloads import SPAN_BYTES, Block
from bench.results import BASELINE, GO, OURS
from bench.sink import Sink
from bench.systems import SYSTEMS
from spanhouse.page.panels import panel_statement
from spanhouse.store import Store
from tests.harness import eventually
from tests.parts.clickhouse import ClickHouse
from tests.parts.kafka import Kafka

END = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def spans(request: bytes) -> Iterator[Span]:
    for resource_spans in ExportTraceServiceRequest.FromString(request).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield from scope_spans.spans


@pytest.mark.parametrize(
    ("shape", "batch"), [("chat", 1), ("chat", 8), ("chat", 600), ("prompt", 8), ("wide", 64)]
)
def test_payloads(shape: str, batch: int) -> None:
    now = time.time_ns()
    block = Block(shape, batch)
    requests = block.requests(np.random.default_rng(1), now)
    assert requests == Block(shape, batch).requests(np.random.default_rng(1), now)
    made = [list(spans(request)) for request in requests]
    assert {len(one) for one in made} == {batch}
    flat = [span for one in made for span in one]
    assert len(flat) == block.spans
    assert sum(span.ByteSize() for span in flat) / len(flat) == pytest.approx(SPAN_BYTES[shape], rel=0.1)
    assert len({span.span_id for span in flat}) == len(flat)
    by_id = {span.span_id: span for span in flat}
    roots = [span for span in flat if not span.parent_span_id]
    assert len(flat) / 9 < len(roots) <= len(flat) / 7
    for span in flat:
        assert now - 301e9 < span.start_time_unix_nano < span.end_time_unix_nano < now
        if span.parent_span_id:
            assert by_id[span.parent_span_id].trace_id == span.trace_id
    again = block.requests(np.random.default_rng(2), now)
    assert not by_id.keys() & {span.span_id for request in again for span in spans(request)}


def test_stages() -> None:
    measured = list(stages.run(0.001, 1, ("prompt",), (64, 8192), peers=True))
    # A request of 8,192 such spans would be too large.
    stages_measured = [(one.stage, one.shape, one.batch) for one in measured]
    assert stages_measured == [("decode", "prompt", 64), ("arrow", "prompt", 64)]
    assert all(rate > 0 for one in measured for rate in one.rates.values())


@pytest.mark.parametrize("name", [OURS, BASELINE])
def test_systems_store_what_is_sent(name: str, clickhouse: ClickHouse, tmp_path: Path) -> None:
    """What the sink only counts."""
    clickhouse.sql("TRUNCATE TABLE agent_events")
    with SYSTEMS[name](tmp_path, clickhouse.url) as system, Load(system.grpc, "prompt", 8) as load:
        sent = load.send(0.1)
        system.wait_stored(sent.spans)
        assert system.cpu_seconds() > 0
    [found] = clickhouse.sql(
        "SELECT count() AS rows, uniqExact(trace_id, span_id) AS spans, countIf(cost_usd > 0) AS priced,"
        " countIf(ts > now() - 3600) AS recent, countIf(status = 'error') AS errors FROM agent_events"
    )
    assert int(found["rows"]) == int(found["spans"]) == int(found["recent"]) == sent.spans
    assert int(found["priced"]) > sent.spans / 2
    assert int(found["errors"]) > 0


@pytest.mark.parametrize("name", [OURS, BASELINE])
def test_grpc_to_sink(name: str, clickhouse: ClickHouse, tmp_path: Path) -> None:
    with Sink(tmp_path, clickhouse.url) as sink:
        measured = grpc_to_sink.measure(name, sink, "prompt", 8, 0.1, 0.1)
        assert sink.counted()[0] > 0
    assert measured.spans_per_cpu_s > 0
    assert measured.bytes_per_span > 10


@pytest.mark.parametrize("name", [OURS, BASELINE])
def test_kafka_to_store(name: str, kafka: Kafka, tmp_path: Path) -> None:
    topic = f"bench-{name.replace(' ', '-')}"
    spans = kafka_to_store.fill(kafka, topic, 400)
    assert spans == 400
    with kafka_to_store.SYSTEMS[name](kafka, topic, tmp_path, topic) as drain:
        eventually(lambda: drain.stored() == spans, 120)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with 20,000 events of 30 days."""
    with Store(tmp_path_factory.mktemp("filled")) as store:
        fill.fill(store, 20_000, END)
        yield store


def test_fill(filled: Store) -> None:
    (row,) = filled.rows(
        "SELECT count(), uniqExact(span_id), uniqExact(tenant_id), uniqExact(toDate(ts)) >= 30, "
        "countIf(parent_span_id = '') = uniqExact(trace_id), "
        "countIf(parent_span_id NOT IN (SELECT span_id FROM agent_events) AND parent_span_id != ''), "
        "min(ts) >= toDateTime(0), countIf(cost_usd > 0) > 0, countIf(status = 'error') BETWEEN 100 AND 1000 "
        "FROM agent_events"
    )
    assert row.split("\t") == ["20000", "20000", "50", "1", "1", "0", "1", "1", "1"]
    for table in ("agent_metrics_1m_state", "agent_metrics_1h_state", "agent_metrics_1d_state"):
        assert filled.rows(f"SELECT sum(calls) FROM {table}") == ["20000"]
    fingerprint = (
        "SELECT sum(cityHash64(trace_id, span_id, ts, latency_ms, cost_usd, attrs)) FROM agent_events"
    )
    before = filled.rows(fingerprint)
    filled.rows("TRUNCATE TABLE agent_events")
    fill.fill(filled, 20_000, END)
    assert filled.rows(fingerprint) == before


def test_storage(filled: Store) -> None:
    parts = storage.measure(filled)
    assert {part.table for part in parts if not part.name} == {
        storage.OURS,
        storage.THEIRS,
        storage.ROLLUPS,
    }
    assert all(part.bytes_per_span > 0 for part in parts if not part.name)
    assert storage.figures(parts)["bytes_per_span_ratio"] > 0


def test_reads(filled: Store) -> None:
    timed, figures = reads.measure(filled, repeat=1, trace_count=2)
    assert set(figures) == {"panels_p95_ms", "trace_by_id_p95_ms"}
    assert {one.source for one in timed} == {"rollups", "spans", "other", reads.TRACE}
    panels = [one.name for one in timed if one.tenant]
    assert len(panels) > 90
    assert len(panels) == len({*panels}) == len([one for one in timed if not one.tenant]) - 7
    # A trace is found among those of thirty days.
    assert all(one.rows > 0 for one in timed if one.source == reads.TRACE)


def test_results_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each benchmark saves its part beside the others', and the document has a place for it."""
    document = report.DOCUMENT.read_text()
    for module, name, file in (
        (results, "FILE", "results.json"),
        (report, "DOCUMENT", "benchmarks.md"),
        (chart, "FILE", "chart.svg"),
    ):
        monkeypatch.setattr(module, name, tmp_path / file)
    (tmp_path / "benchmarks.md").write_text(document)
    rates = dict.fromkeys((OURS, stages.OURS_SINGLE, stages.PROTOBUF, BASELINE), 123.456)
    results.save(
        {"decode_spans_per_core_s": 1234567.0}, "stages", [stages.Measured("decode", "chat", 512, rates)]
    )
    rows = [
        grpc_to_sink.Measured(name, "chat", 512, 5000.0, 1.0, 1.0, 1.0, 1.0) for name in (OURS, GO, BASELINE)
    ]
    results.save({"grpc_to_sink_ratio": 1.0}, "grpc_to_sink", rows)
    saved = json.loads((tmp_path / "results.json").read_text())
    assert list(saved)[:2] == ["decode_spans_per_core_s", "grpc_to_sink_ratio"]
    assert saved["decode_spans_per_core_s"] == 1235000
    assert set(saved["machine"]) >= {"cpu", "cores", "memory_gib"}
    report.write()
    written = (tmp_path / "benchmarks.md").read_text()
    assert "| chat | 512 | clickhouseexporter | 5,000 | 1.00 |" in written
    assert "5,000" in (tmp_path / "chart.svg").read_text()


def test_panels_use_the_sorting_key_and_the_projections(filled: Store) -> None:
    def explained(dashboard: str, panel: str, **chosen: str) -> str:
        asked = {"from": [(END - timedelta(days=30)).isoformat()], "to": [END.isoformat()]}
        asked |= {f"var-{name}": [value] for name, value in chosen.items()}
        return "\n".join(filled.rows(f"EXPLAIN indexes = 1 {panel_statement(dashboard, panel, asked)}"))

    def keys(plan: str) -> set[str]:
        return set(re.findall(r"PrimaryKey[\s│]+Keys:[\s│]+(\w+)", plan))

    for tenant in ("tenant-05", "(none)"):
        for panel in (
            "latency error_types",
            "latency slowest",
            "users funnel",
            "users funnel_by_agent",
            "prompts scores",
        ):
            assert "tenant_id" in keys(explained(*panel.split(), tenant=tenant)), panel
    assert keys(explained("latency", "error_types")) == {"ts"}
    projections = re.compile(r"ReadFromMergeTree \((everybody|people)\)")
    assert projections.findall(explained("users", "sessions")) == ["everybody"]
    assert projections.findall(explained("users", "sessions", tenant="tenant-05")) == ["people"]
    assert projections.findall(explained("users", "sessions", model="gpt-4o")) == []
    assert projections.findall(explained("cost", "tenants")) == ["people"]
