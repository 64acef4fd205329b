"""The Go peer: the official Collector with an OTLP receiver and its clickhouseexporter, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from spanhouse.store import statements
from tests.parts.collector import build

VERSION: Final = "0.165.0"  # of the builder and the core; clickhouseexporter's is 0.165.1
TABLE: Final = "collector_traces"
_SOURCES: Final = Path(__file__).parent / "peers"

# What it was fastest with, see docs/benchmarks.md.
_FASTEST: Final[dict[str, Any]] = {
    "async_insert": False,
    "compress": "lz4",
    "sending_queue": {
        "sizer": "items",
        "queue_size": 100_000,
        "block_on_overflow": True,
        "num_consumers": 2,
        "batch": {"sizer": "items", "min_size": 20_000, "max_size": 25_000, "flush_timeout": "1s"},
    },
}
# Of the process: collecting garbage at five times what is live, not twice, takes less CPU and more memory.
ENVIRONMENT: Final = {"GOGC": "400"}


def fetch() -> Path:
    """The program; it is built the first time, which takes minutes.

    Raises:
        PartError: it could not be built.
    """
    return build("collector-clickhouse", VERSION, _SOURCES)


def create_table(name: str = TABLE) -> str:
    """The statement that makes the exporter's table, with its codecs, indexes and order."""
    (create,) = statements((_SOURCES / "otel_traces.sql").read_text())
    return create.replace("{table}", name)


def configuration(grpc: str, metrics: str, url: str) -> dict[str, Any]:
    """From OTLP/gRPC at an address to a ClickHouse server.

    Args:
        grpc: `host:port` to listen at.
        metrics: `host:port` of its own metrics.
        url: of the server.
    """
    host, _, port = metrics.partition(":")
    reader = {"pull": {"exporter": {"prometheus": {"host": host, "port": int(port)}}}}
    exporter = {
        "endpoint": url,
        "database": "spanhouse",
        "create_schema": False,
        "traces_table_name": TABLE,
        **_FASTEST,
    }
    return {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": grpc, "max_recv_msg_size_mib": 64}}}},
        "exporters": {"clickhouse": exporter},
        "service": {
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["clickhouse"]}},
            "telemetry": {"metrics": {"readers": [reader]}, "logs": {"level": "warn"}},
        },
    }
