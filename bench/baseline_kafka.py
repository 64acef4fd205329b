"""The straightforward translator from Kafka into an embedded ClickHouse: a dict per span, one loop.

`python -m bench.baseline_kafka BROKERS TOPIC GROUP FOLDER` writes to spanhouse's tables in FOLDER.
"""

from __future__ import annotations

import sys
from pathlib import Path

from confluent_kafka import Consumer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.baseline import INSERT_ROWS, rows
from spanhouse.store import Store


def main(brokers: str, topic: str, group: str, folder: Path) -> None:
    """Read until killed; what is committed is stored."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    with Store(folder) as store:
        client = store.client()
        made = []
        while True:
            messages = consumer.consume(1000, 0.5)
            for message in messages:
                made += rows(ExportTraceServiceRequest.FromString(message.value() or b""))
            if made and (len(made) >= INSERT_ROWS or not messages):
                client.insert("agent_events", [list(row.values()) for row in made], list(made[0]))
                consumer.commit(asynchronous=False)
                made = []


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
