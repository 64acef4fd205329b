"""The Collector as shipped, before a real broker: what was acknowledged arrives, whatever happens."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
import requests
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from spanhouse.collector_rules import render
from tests.harness import attributes, eventually, request
from tests.parts.collector import HASH_KEY, VERSION, Collector
from tests.parts.fixtures import need
from tests.parts.kafka import Kafka

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def _parts() -> None:
    need("collector")


@pytest.fixture
def topic(kafka: Kafka) -> str:
    name = f"spans-{os.urandom(4).hex()}"
    kafka.create_topic(name, partitions=2)
    return name


@pytest.fixture
def collector(kafka: Kafka, topic: str, tmp_path: Path) -> Iterator[Collector]:
    with Collector(tmp_path, kafka.brokers, topic) as collector:
        yield collector


def send(collector: Collector, message: ExportTraceServiceRequest) -> int:
    """The HTTP status."""
    headers = {"Content-Type": "application/x-protobuf"}
    url = f"{collector.url}/v1/traces"
    return requests.post(url, data=message.SerializeToString(), headers=headers, timeout=60).status_code


def ids(message: ExportTraceServiceRequest) -> set[bytes]:
    """Of its spans."""
    return {
        span.span_id
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def stored(kafka: Kafka, topic: str) -> list[bytes]:
    """Ids of all spans in the topic."""
    messages = [ExportTraceServiceRequest.FromString(r.value or b"") for r in kafka.messages(topic)]
    return [span for message in messages for span in ids(message)]


def arrived(kafka: Kafka, topic: str, spans: set[bytes]) -> Callable[[], bool]:
    return lambda: spans <= set(stored(kafka, topic))


def test_the_rules_are_up_to_date() -> None:
    """`python -m spanhouse.collector_rules > otel-collector/scrub.yaml` mends it."""
    assert (ROOT / "otel-collector/scrub.yaml").read_text() == render()


def test_the_image_is_the_version_that_is_tested() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    images = [service.get("image", "") for service in compose["services"].values()]
    assert f"otel/opentelemetry-collector-contrib:{VERSION}" in images
    for document in ("otel-collector/config.yaml", "docs/collector.md"):
        found = re.findall(
            r"opentelemetry-collector-contrib[: ](\d+\.\d+\.\d+)", (ROOT / document).read_text()
        )
        assert set(found) == {VERSION}, document


def test_the_examples_of_the_documentation_fit(tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs/collector.md").read_text(), re.DOTALL | re.M)
    assert len(examples) == 3
    for number, example in enumerate(examples):
        collector = Collector(tmp_path / str(number), config=yaml.safe_load(example))
        program, *files = collector.process.command
        variables = {"SPANHOUSE_HASH_KEY": HASH_KEY, "KAFKA_USER": "u", "KAFKA_PASSWORD": "p"}
        subprocess.run([program, "validate", *files], env=os.environ | variables, check=True)


@pytest.mark.parametrize("key", ["", "too short"])
def test_does_not_start_without_a_key(key: str, tmp_path: Path) -> None:
    collector = Collector(tmp_path, environment={"SPANHOUSE_HASH_KEY": key})
    collector.process.start()
    eventually(lambda: not collector.process.running())
    assert "hmac_key must" in collector.process.tail()


def test_one_message_is_of_one_trace(kafka: Kafka, topic: str, collector: Collector) -> None:
    message = request(300)  # each span a trace of its own
    trace = os.urandom(16)
    message.MergeFrom(request(40, trace_id=trace))
    assert send(collector, message) == 200
    eventually(arrived(kafka, topic, ids(message)))
    records = kafka.messages(topic)
    assert {record.partition for record in records} == {0, 1}
    for record in records:
        decoded = ExportTraceServiceRequest.FromString(record.value or b"")
        traces = {
            span.trace_id.hex() for r in decoded.resource_spans for s in r.scope_spans for span in s.spans
        }
        assert {(record.key or b"").decode()} == traces
    whole = next(record for record in records if record.key == trace.hex().encode())
    assert len(ids(ExportTraceServiceRequest.FromString(whole.value or b""))) == 40


def test_grpc(kafka: Kafka, topic: str, collector: Collector) -> None:
    message = request(3)
    with grpc.insecure_channel(collector.grpc) as channel:
        TraceServiceStub(channel).Export(message)
    eventually(arrived(kafka, topic, ids(message)))


def test_names_are_made_uniform(kafka: Kafka, topic: str, collector: Collector) -> None:
    message = request(1, tenant__id="")
    resource, span = message.resource_spans[0], message.resource_spans[0].scope_spans[0].spans[0]
    resource.resource.attributes.extend(
        attributes({"deployment.environment": "prod", "tenant": "acme", "tenant_id": "globex"})
    )
    span.attributes.extend(attributes({"app.tenant": "initech", "deployment.environment.name": "test"}))
    assert send(collector, message) == 200
    eventually(arrived(kafka, topic, ids(message)))
    (record,) = kafka.messages(topic)
    (got,) = ExportTraceServiceRequest.FromString(record.value or b"").resource_spans
    values = {a.key: a.value.string_value for a in got.resource.attributes}
    # Two different tenants: the one that would be taken for the row is first, the other one stays.
    assert values == {
        "service.name": "checkout", "deployment.environment.name": "prod", "tenant.id": "globex",
        "tenant": "acme",
    }  # fmt: skip
    values = {a.key: a.value.string_value for a in got.scope_spans[0].spans[0].attributes}
    assert values == {"tenant.id": "initech", "deployment.environment.name": "test"}


def test_without_a_broker_it_starts_and_keeps_spans(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    with Collector(tmp_path, topic=topic) as collector:
        message = request(100)
        assert send(collector, message) == 200
        eventually(lambda: collector.metric("otelcol_exporter_queue_size") > 0)
        assert collector.healthy()
        collector.kill()
    with Collector(tmp_path, kafka.brokers, topic):
        eventually(arrived(kafka, topic, ids(message)))


def test_a_broker_that_went_away(kafka: Kafka, topic: str, collector: Collector) -> None:
    before, during = request(50), request(50)
    assert send(collector, before) == 200
    eventually(arrived(kafka, topic, ids(before)))
    kafka.kill()
    try:
        assert send(collector, during) == 200
        eventually(lambda: "unable to open connection" in collector.process.log.read_text())
    finally:
        kafka.start()
    eventually(arrived(kafka, topic, ids(before) | ids(during)), 120)


def test_nothing_acknowledged_is_lost_by_kills(kafka: Kafka, topic: str, collector: Collector) -> None:
    acknowledged: set[bytes] = set()
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            message = request(20)
            try:
                if send(collector, message) == 200:
                    acknowledged.update(ids(message))
            except requests.RequestException:
                pass

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        goal = len(acknowledged) + 500
        eventually(lambda goal=goal: len(acknowledged) > goal)  # type: ignore[misc]
        collector.kill()
        collector.start()
    stop.set()
    for thread in threads:
        thread.join()
    eventually(arrived(kafka, topic, acknowledged), 120)


def test_a_stop_hands_over_to_the_next_start(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    with Collector(tmp_path, topic=topic) as collector:
        message = request(100)
        assert send(collector, message) == 200
        assert collector.stop() == 0
    with Collector(tmp_path, kafka.brokers, topic):
        eventually(arrived(kafka, topic, ids(message)))


def test_a_full_queue_is_said_and_not_lost(kafka: Kafka, topic: str, tmp_path: Path) -> None:
    with Collector(tmp_path, topic=topic, environment={"SPANHOUSE_QUEUE_BYTES": "3000000"}) as collector:
        kept: set[bytes] = set()
        while True:
            message = request(100, note="x" * 1000)
            status = send(collector, message)
            if status != 200:
                break
            kept |= ids(message)
        assert status == 503  # which an exporter sends again
        with grpc.insecure_channel(collector.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
            TraceServiceStub(channel).Export(message)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert kept
        collector.kill()
    with Collector(tmp_path, kafka.brokers, topic):
        eventually(arrived(kafka, topic, kept))


def test_a_message_that_is_too_large(kafka: Kafka, topic: str, collector: Collector) -> None:
    """It is lost, but alone and not in silence, and what comes after is not held up."""
    large, small = request(1, note=os.urandom(700_000).hex()), request(10)
    assert send(collector, large) == 200
    assert send(collector, small) == 200
    eventually(arrived(kafka, topic, ids(small)))
    eventually(lambda: collector.metric("otelcol_exporter_send_failed_spans") >= 1)
    assert "exceeds max message size" in collector.process.log.read_text()
    after = request(10)
    assert send(collector, after) == 200
    eventually(arrived(kafka, topic, ids(after)))
    eventually(lambda: collector.metric("otelcol_exporter_queue_size") == 0)


def test_no_message_is_too_large_for_a_topic_made_for_it(kafka: Kafka, tmp_path: Path) -> None:
    topic, limit = f"spans-{os.urandom(4).hex()}", "20000000"
    kafka.create_topic(topic, config={"max.message.bytes": limit})
    variables = {"SPANHOUSE_KAFKA_MAX_MESSAGE_BYTES": limit}
    with Collector(tmp_path, kafka.brokers, topic, environment=variables) as collector:
        trace = os.urandom(16)
        first = request(4, trace_id=trace, note=os.urandom(300_000).hex())
        second = request(27, trace_id=trace, note=os.urandom(300_000).hex())
        assert second.ByteSize() > 16_000_000  # about the most that is taken at once
        assert [send(collector, message) for message in (first, second)] == [200, 200]
        eventually(arrived(kafka, topic, ids(first) | ids(second)))
        assert collector.metric("otelcol_exporter_send_failed_spans") == 0
