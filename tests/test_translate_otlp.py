"""`spanhouse translate` with the OTLP ports open: before a ClickHouse endpoint in a process of its own."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from spanhouse.errors import UserError
from spanhouse.supervise import _Supervisor
from tests.harness import COUNTED, eventually, request
from tests.parts.clickhouse import ClickHouse
from tests.parts.faults import Fault, FaultProxy
from tests.parts.kafka import Kafka
from tests.parts.translate import Translator, configuration

SUMS = "sum(tokens_prompt) AS prompt, toString(sum(cost_usd)) AS cost"


class Way:
    """From the OTLP ports to ClickHouse; rows are told apart by a service of the test's own."""

    def __init__(self, clickhouse: ClickHouse, proxy: FaultProxy, folder: Path) -> None:
        self.clickhouse = clickhouse
        self.proxy = proxy
        self.folder = folder
        self.service = f"service-{uuid.uuid4().hex[:12]}"

    def configuration(self, *receivers: str, brokers: str = "127.0.0.1:1", **kafka: Any) -> dict[str, Any]:
        return configuration(
            brokers,
            self.proxy.url,
            kafka=kafka,
            service={"pipelines": {"traces": {"receivers": list(receivers)}}},
            otlp_grpc="127.0.0.1:0",
            otlp_http="127.0.0.1:0",
        )

    def translator(self, *receivers: str, workers: int = 1, **more: Any) -> Translator:
        return Translator(self.folder / "one", self.configuration(*receivers, **more), workers)

    def spans(self, count: int = 5) -> ExportTraceServiceRequest:
        return request(
            count,
            service=self.service,
            gen_ai__operation__name="chat",
            gen_ai__provider__name="openai",
            gen_ai__request__model="gpt-4o-mini",
            gen_ai__usage__input_tokens=100,
        )

    def stored(self) -> int:
        return int(self.sql("SELECT count() AS n FROM agent_events WHERE service = '{service}'")[0]["n"])

    def sql(self, query: str) -> list[dict[str, Any]]:
        return self.clickhouse.sql(query.format(service=self.service))

    def check(self, spans: int) -> None:
        """Every span once, in the rows and in the rollups, with tokens and cost; none came from Kafka."""
        sums = []
        for table, count in COUNTED.items():
            found = self.sql(
                f"SELECT toInt32({count}) AS n, {SUMS} FROM {table} WHERE service = '{{service}}'"
            )
            sums += found
        assert sums == [sums[0]] * 4
        distinct = self.sql(
            "SELECT toInt32(uniqExact(trace_id, span_id)) AS n FROM agent_events WHERE service = '{service}'"
        )
        assert distinct[0]["n"] == sums[0]["n"] == spans


def post(translator: Translator, message: ExportTraceServiceRequest) -> requests.Response:
    return requests.post(
        f"http://{translator.addresses()['otlp-http']}/v1/traces",
        data=message.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
        timeout=60,
    )


@pytest.fixture(scope="module")
def proxy(clickhouse: ClickHouse) -> Iterator[FaultProxy]:
    with FaultProxy(clickhouse.url) as proxy:
        yield proxy


@pytest.fixture
def way(clickhouse: ClickHouse, proxy: FaultProxy, tmp_path: Path) -> Iterator[Way]:
    yield Way(clickhouse, proxy, tmp_path)
    proxy.clear()
    proxy.release()


def send(exporter: SpanExporter, service: str) -> None:
    """A span, by an SDK; whoever gets no answer sends it again."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.get_tracer("test").start_span("kept").end()
    provider.shutdown()


def test_kafka_and_both_otlp_ports_in_two_workers(way: Way, kafka: Kafka) -> None:
    topic = way.service
    kafka.create_topic(topic, 2)
    kafka.create_topic(f"{topic}.dlq")
    with way.translator(
        "otlp", "kafka", workers=2, brokers=kafka.brokers, topic=topic, group=topic
    ) as translator:
        eventually(translator.ready)
        addresses = translator.addresses()
        for _ in range(3):
            send(GrpcExporter(f"http://{addresses['otlp-grpc']}", insecure=True), way.service)
            send(HttpExporter(f"http://{addresses['otlp-http']}/v1/traces"), way.service)
        assert way.stored() == 6  # an answer means stored
        for partition in range(2):
            kafka.produce(topic, [(b"key", way.spans(5).SerializeToString())], partition)
        eventually(lambda: way.stored() == 16)
        places = way.sql(
            "SELECT topic, partition, toInt32(count()) AS n FROM agent_events WHERE service = '{service}' "
            "GROUP BY topic, partition ORDER BY partition"
        )
        assert [(place["topic"], place["partition"], place["n"]) for place in places] == [
            ("", -1, 6), (topic, 0, 5), (topic, 1, 5),
        ]  # fmt: skip

        # The port is every worker's: connections go to both, and to the other while one is away.
        acknowledged = 0
        for _ in range(20):
            acknowledged += post(translator, way.spans()).ok
        ports = {int(addresses[flag].rpartition(":")[2]) for flag in ("otlp-grpc", "otlp-http")}
        for pid in translator.workers():
            connections = psutil.Process(pid).net_connections()
            listening = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
            assert ports <= listening
        assert acknowledged == 20
        assert translator.metric("spanhouse_requests_total", outcome="stored") == 26
        translator.kill_worker()
        assert eventually(lambda: attempt(lambda: post(translator, way.spans()).ok))
        eventually(translator.ready)
        assert translator.stop() == 0
    way.check(16 + 21 * 5)


def attempt(action: Callable[[], bool]) -> bool:
    """A connection may be on its way to a worker that was killed just now."""
    try:
        return action()
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("fault", list(Fault))
def test_an_unclear_answer_is_cleared_up_before_the_sender_hears_of_it(
    way: Way, translator: Translator, fault: Fault
) -> None:
    before = way.proxy.done[fault]
    way.proxy.fail(fault, times=2)
    answers: list[int] = []
    message = way.spans()
    sender = threading.Thread(target=lambda: answers.append(post(translator, message).status_code))
    sender.start()
    for number in (1, 2):
        eventually(lambda: way.proxy.done[fault] == before + number)  # noqa: B023 - called at once
        way.proxy.release()
    sender.join()
    assert answers == [200]
    # A sender that did not hear it repeats itself.
    assert post(translator, message).status_code == 200
    way.check(5)


@pytest.fixture(scope="module")
def translator(
    clickhouse: ClickHouse, proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Translator]:
    with Way(clickhouse, proxy, tmp_path_factory.mktemp("translator")).translator("otlp") as translator:
        eventually(translator.ready)
        yield translator


def test_the_store_is_down(way: Way, translator: Translator) -> None:
    message = way.spans()
    way.clickhouse.kill()
    answer = post(translator, message)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    status, text = translator.get("/readyz")
    assert (status, "ClickHouse" in text) == (503, True)
    assert translator.get("/healthz")[0] == 200
    way.clickhouse.start()
    eventually(translator.ready)  # although nobody sends
    assert post(translator, message).ok
    way.check(5)


def test_a_restart_stores_what_was_acknowledged_once(way: Way, translator: Translator) -> None:
    sent: list[ExportTraceServiceRequest] = []
    stopping = threading.Event()

    def load() -> None:
        while not stopping.is_set():
            message = way.spans(20)
            if attempt(lambda: post(translator, message).ok):  # noqa: B023 - called at once
                sent.append(message)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(sent) > 30)
    assert translator.stop() == 0
    stopping.set()
    for thread in threads:
        thread.join()
    way.check(20 * len(sent))
    translator.start()
    eventually(translator.ready)
    # Whoever did not hear the answer sends it again.
    assert all(post(translator, message).ok for message in sent[-10:])
    way.check(20 * len(sent))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_port_in_use_is_a_sentence(translator: Translator, workers: int) -> None:
    host, _, port = translator.addresses()["otlp-http"].rpartition(":")
    ports = {"otlp-http": (host, int(port))}
    second = _Supervisor("", workers, ("127.0.0.1", 0), ports, "", "")
    with pytest.raises(UserError, match=f"--otlp-http {host}:{port}: the port cannot be opened"):
        second.hold("otlp-http")
