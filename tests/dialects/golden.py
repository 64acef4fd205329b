"""Reads the recorded payloads in tests/data/dialects; tests/dialects/record.py writes them.

A library has a folder: `index.json`, and a gzipped `ExportTraceServiceRequest` for each scenario.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

FOLDER = Path(__file__).parents[1] / "data" / "dialects"


def libraries() -> list[str]:
    """Names of the libraries with recordings."""
    return sorted(path.parent.name for path in FOLDER.glob("*/index.json"))


def index(library: str) -> dict[str, Any]:
    """What is recorded of a library: its packages' versions, and for each scenario the calls that were made."""
    return dict(json.loads((FOLDER / library / "index.json").read_text("utf-8")))


def payload(library: str, scenario: str) -> bytes:
    """The OTLP request of a scenario, as it comes in."""
    return gzip.decompress((FOLDER / library / f"{scenario}.binpb.gz").read_bytes())


def request(library: str, scenario: str) -> ExportTraceServiceRequest:
    """The same, parsed."""
    return ExportTraceServiceRequest.FromString(payload(library, scenario))
