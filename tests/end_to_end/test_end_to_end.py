"""All real parts: SDK, Collector as it is shipped, Kafka, `spanhouse translate`, ClickHouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Status, StatusCode

from spanhouse.processors.scrub import keyed_hash
from tests.harness import eventually
from tests.parts.clickhouse import ClickHouse
from tests.parts.collector import HASH_KEY, Collector
from tests.parts.fixtures import need
from tests.parts.kafka import Kafka
from tests.parts.translate import Translator, configuration

USER = "customer-8471"
SECRETS = (
    USER, "jane.doe@example.com", "bob@corp.example", "eve@mail.example", "4111 1111 1111 1111",
    "+49 30 901820", "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD",
)  # fmt: skip
SESSIONS = 40


@pytest.fixture(scope="module")
def collector(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    need("collector")
    kafka.create_topic("otel-spans", 4, {"compression.type": "uncompressed"})
    kafka.create_topic("otel-spans.dlq")
    with Collector(tmp_path_factory.mktemp("collector"), kafka.brokers) as collector:
        yield collector


def send(collector: Collector) -> None:
    """A session after the other: an agent, a model call and a tool, with personal data all over them."""
    resource = Resource.create(
        {"service.name": "support", "deployment.environment": "test", "host.owner": "eve@mail.example"}
    )
    provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(f"http://{collector.grpc}", insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=64))
    tracer = provider.get_tracer("app")
    for number in range(SESSIONS):
        user = {"user.id": USER, "user.email": "jane.doe@example.com", "session.id": f"s{number}"}
        with tracer.start_as_current_span("ask for jane.doe@example.com", attributes=user) as agent:
            agent.add_event("note", {"to": ["bob@corp.example", "nobody"], "card": "4111 1111 1111 1111"})
            call = {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.usage.input_tokens": 1000 + number,
                "gen_ai.usage.output_tokens": 100,
                "prompt": '{"from": "bob@corp.example", "phone": "+49 30 901820"}',
            }
            with tracer.start_as_current_span("chat gpt-4o-mini", attributes=call):
                pass
            links = [Link(agent.get_span_context(), {"by": "eve@mail.example"})]
            with tracer.start_as_current_span("execute_tool mail", links=links) as tool:
                tool.set_attribute("gen_ai.tool.name", "mail")
                tool.set_attribute("key", "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD")
                tool.set_status(Status(StatusCode.ERROR, "no answer from jane.doe@example.com"))
    provider.shutdown()


def test_from_the_sdk_to_clickhouse(
    kafka: Kafka, collector: Collector, clickhouse: ClickHouse, tmp_path: Path
) -> None:
    settings: dict[str, Any] = configuration(kafka.brokers, clickhouse.url)
    settings["processors"] = {"scrub": {"hash_key": HASH_KEY}}
    with Translator(tmp_path, settings) as translator:
        send(collector)
        calls = "SELECT sum(calls) AS n FROM agent_metrics_1m"
        eventually(lambda: int(clickhouse.sql(calls)[0]["n"]) >= 3 * SESSIONS, 120)
        assert translator.metric("spanhouse_dead_letters_total") == 0

    (sums,) = clickhouse.sql(
        "SELECT count() AS spans, sum(tokens_prompt) AS prompt, toString(sum(cost_usd)) AS cost, "
        "countIf(status = 'error') AS errors, uniqExact(trace_id) AS traces FROM agent_events"
    )
    prompt = sum(1000 + number for number in range(SESSIONS))
    nanodollars = prompt * 150 + SESSIONS * 100 * 600
    assert {name: int(sums[name]) for name in ("spans", "prompt", "errors", "traces")} == {
        "spans": 3 * SESSIONS, "prompt": prompt, "errors": SESSIONS, "traces": SESSIONS,
    }  # fmt: skip
    assert round(float(sums["cost"]) * 1e9) == nanodollars
    (rollup,) = clickhouse.sql(
        "SELECT sum(calls) AS spans, sum(tokens_prompt) AS prompt, toString(sum(cost_usd)) AS cost "
        "FROM agent_metrics_1m"
    )
    assert [str(rollup[name]) for name in rollup] == [str(sums[name]) for name in rollup]

    (agent,) = clickhouse.sql(
        "SELECT service, env, user_id_hash FROM agent_events WHERE name LIKE 'ask%' GROUP BY ALL"
    )
    assert (agent["service"], agent["env"]) == ("support", "test")
    assert agent["user_id_hash"] == keyed_hash(HASH_KEY, USER)

    # Nothing of it anywhere behind the Collector's door: neither in the log on disk nor in the store.
    log = b"".join(file.read_bytes() for file in sorted(kafka.folder.rglob("otel-spans-*/*.log")))
    assert b"gen_ai.usage.input_tokens" in log
    rows = "\n".join(map(str, clickhouse.sql("SELECT * FROM agent_events")))
    for secret in SECRETS:
        assert secret.encode() not in log, secret
        assert secret not in rows, secret
