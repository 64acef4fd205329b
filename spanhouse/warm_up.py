"""Compiles all kernels at start, or loads them from numba's cache: the first payload finds them ready."""

from __future__ import annotations

import gc
import time
from typing import Final

import polars as pl

from spanhouse.config import Config, build_processors
from spanhouse.dedup import SeenSpans
from spanhouse.exporters import native
from spanhouse.otlp.decode import Decoder
from spanhouse.otlp.json import json_to_protobuf
from spanhouse.processing import wants
from spanhouse.rows import finish
from spanhouse.views import array, lengths

# Uses every kernel that is called from Python: a number that is a text, a list, and an attribute that no
# column can stand for.
_SAMPLE: Final = """{"resourceSpans": [{"scopeSpans": [{"spans": [{
    "traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708",
    "startTimeUnixNano": "%(now)d", "endTimeUnixNano": "%(now)d", "attributes": [
        {"key": "a", "value": {"stringValue": "1"}},
        {"key": "b", "value": {"arrayValue": {"values": [{"doubleValue": 1}]}}},
        {"key": "gen_ai.request.model", "value": {"stringValue": "a"}},
        {"key": "gen_ai.response.model", "value": {"stringValue": "b"}}
]}]}]}]}"""


def warm_up() -> None:
    """Make all kernels ready, and keep what is there now out of the garbage collector's way."""
    payload = json_to_protobuf((_SAMPLE % {"now": time.time_ns()}).encode())
    Decoder({"span:a": pl.Float64}).decode([payload])
    processors = build_processors(Config(), hash_key="for the sample alone")
    wanted, targets = wants(processors)
    batch = Decoder(wanted).decode([payload]).batch
    for _, processor in processors:
        batch = processor(batch)
    native.block(finish(batch, targets).rows)
    lengths(array(batch["trace_id"]))  # of content
    seen = SeenSpans(1)
    seen.add(seen.without_repeated(batch)[1])
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    warm_up()
