"""The recorded payloads in tests/data/dialects; tests/dialects/record.py writes them.

A library has a folder with two files. `index.json`: its packages' versions, and for each scenario the calls
that the stand-in got, with usage and cost. `payloads.proto.zst`: an `ExportTraceServiceRequest` for each
scenario with spans, in the index's order, as the Collector's file exporter writes them, so that `spanhouse
replay` reads them too.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import zstandard
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

FOLDER = Path(__file__).parents[1] / "data" / "dialects"


def libraries() -> list[str]:
    """Names of the libraries with recordings."""
    return sorted(path.parent.name for path in FOLDER.glob("*/index.json"))


def index(library: str) -> dict[str, Any]:
    """The index file of a library."""
    return dict(json.loads((FOLDER / library / "index.json").read_text("utf-8")))


def payloads(library: str) -> dict[str, bytes]:
    """OTLP requests by scenario, as they come in; a scenario of which no span came is not there."""
    data = zstandard.decompress((FOLDER / library / "payloads.proto.zst").read_bytes())
    messages, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        messages.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    with_spans = [name for name, entry in index(library)["scenarios"].items() if entry["spans"]]
    return dict(zip(with_spans, messages, strict=True))


def requests(library: str) -> dict[str, ExportTraceServiceRequest]:
    """The same, parsed."""
    return {name: ExportTraceServiceRequest.FromString(data) for name, data in payloads(library).items()}


def write(library: str, index: dict[str, Any], requests: Iterable[ExportTraceServiceRequest]) -> None:
    """Replace a library's recordings; `requests` are those of the scenarios with spans."""
    folder = FOLDER / library
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    messages = [request.SerializeToString(deterministic=True) for request in requests]
    framed = b"".join(struct.pack(">I", len(message)) + message for message in messages)
    (folder / "payloads.proto.zst").write_bytes(zstandard.compress(framed, 19))
    # One line for each scenario, so that a change is seen as one.
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in index["scenarios"].items()]
    head = [f" {json.dumps(key)}: {json.dumps(index[key])}," for key in index if key != "scenarios"]
    text = "\n".join(["{", *head, ' "scenarios": {', ",\n".join(lines), " }", "}"])
    (folder / "index.json").write_text(text + "\n", "utf-8")
