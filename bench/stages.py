"""The stages of the pipeline by themselves, on one core, beside protobuf objects and a dict per span.

    .venv/bin/python -m bench.stages [--seconds 0.5] [--rounds 5] [--save]

Decoding to columns, and decoding to Arrow ready to insert with all processors, for three shapes of spans
and requests of 1 to 8,192 of them. The contenders take turns, so that all get the machine's good and bad
times; spans per CPU second is the median of the turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench import baseline, results
from bench.payloads import SHAPES, SPAN_BYTES, Block
from bench.results import BASELINE, OURS
from spanhouse.config import Config, build_processors
from spanhouse.otlp.decode import Decoder
from spanhouse.pipeline import BATCH_BYTES
from spanhouse.processing import Failed, Processing, build_processing, wants

BATCHES: Final = (1, 8, 64, 512, 8192)
# What an SDK sends by default; the figures that are compared from release to release are of these.
USUAL: Final = ("chat", 512)
OURS_SINGLE: Final = "spanhouse, a request at a time"
PROTOBUF: Final = "protobuf objects"
# Larger requests are over every receiver's limit.
_MAX_REQUEST: Final = 20 << 20

Step = Callable[[list[bytes]], object]


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to do a stage.

    Attributes:
        step: does it to a list of requests.
        together: whether it gets all requests that wait, as the pipeline does, or one at a time.
    """

    step: Step
    together: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    """Spans per CPU second of one stage.

    Attributes:
        stage: decode or arrow.
        batch: spans of a request.
        rates: by contender.
    """

    stage: str
    shape: str
    batch: int
    rates: dict[str, float]


def processing() -> Processing:
    """All built-in processors as `spanhouse up` runs them."""
    return build_processing(build_processors(Config(), hash_key="a key for benchmarks, of 32 bytes."))


def wanted() -> dict[str, Any]:
    """What `normalize` has decoded to columns."""
    return wants(build_processors(Config(), hash_key="a key for benchmarks, of 32 bytes."))[0]


def decoders() -> dict[str, Contender]:
    """Ways to decode requests."""
    decoder = Decoder(wanted())
    return {
        OURS: Contender(decoder.decode),
        OURS_SINGLE: Contender(decoder.decode, together=False),
        PROTOBUF: Contender(lambda requests: [_parse(request) for request in requests]),
        BASELINE: Contender(lambda requests: [baseline.decode(_parse(request)) for request in requests]),
    }


def translators() -> dict[str, Contender]:
    """Ways to make requests an Arrow table that can be inserted."""
    whole = processing()

    def ours(requests: list[bytes]) -> None:
        for result in whole.run(requests):
            assert not isinstance(result, Failed), result.reason
            assert not result.malformed
            assert not result.finished.rejected.height

    def theirs(requests: list[bytes]) -> None:
        pa.Table.from_pylist([row for request in requests for row in baseline.rows(_parse(request))])

    return {OURS: Contender(ours), OURS_SINGLE: Contender(ours, together=False), BASELINE: Contender(theirs)}


def _parse(request: bytes) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(request)


def measure(contenders: dict[str, Contender], block: Block, seconds: float, rounds: int) -> dict[str, float]:
    """Spans per CPU second of each; a turn takes so many CPU seconds, after one that does not count."""
    chance = np.random.default_rng(1)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            spans, used = 0, 0.0
            while used < seconds:
                waiting = _waiting(block, chance)
                for part in [waiting] if contender.together else [[request] for request in waiting]:
                    begin = time.process_time()
                    contender.step(part)
                    used += time.process_time() - begin
                    spans += len(part) * block.batch
                    if used >= seconds:
                        break
            if turn:
                rates[name].append(spans / used)
    return {name: statistics.median(found) for name, found in rates.items()}


def _waiting(block: Block, chance: np.random.Generator) -> list[bytes]:
    """As many requests as the pipeline takes at a time under load."""
    size = block.size / block.spans * block.batch
    most = max(1, int(BATCH_BYTES / size))
    requests: list[bytes] = []
    while len(requests) < most:
        requests += block.requests(chance, time.time_ns())
    return requests[:most]


def run(
    seconds: float, rounds: int, shapes: Sequence[str], batches: Sequence[int], *, peers: bool
) -> Iterator[Measured]:
    """Measure both stages for all these shapes and batches."""
    for stage, contenders in (("decode", decoders()), ("arrow", translators())):
        if not peers:
            contenders = {name: contenders[name] for name in (OURS, OURS_SINGLE)}
        for shape in shapes:
            for batch in batches:
                if batch * SPAN_BYTES[shape] <= _MAX_REQUEST:
                    rates = measure(contenders, Block(shape, batch), seconds, rounds)
                    yield Measured(stage, shape, batch, rates)


def main() -> None:
    """Measure and print; with --save into bench/results.json."""
    if pl.thread_pool_size() != 1:  # it is read when polars is first used
        os.execve(sys.executable, sys.orig_argv, os.environ | {"POLARS_MAX_THREADS": "1"})
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU seconds of a turn (default 0.5)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default 5)")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    parser.add_argument("--ours", action="store_true", help="without the others")
    parser.add_argument("--save", action="store_true", help="write bench/results.json")
    arguments = parser.parse_args()
    found = []
    print("spans per CPU second")
    measured = run(
        arguments.seconds, arguments.rounds, arguments.shapes, arguments.batches, peers=not arguments.ours
    )
    for one in measured:
        found.append(one)
        rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in one.rates.items())
        print(f"{one.stage:6} {one.shape:6} {one.batch:5}: {rates}", flush=True)
    if arguments.save:
        usual = {one.stage: one.rates[OURS] for one in found if (one.shape, one.batch) == USUAL}
        figures = {f"{stage}_spans_per_core_s": rate for stage, rate in usual.items()}
        results.save(figures, "stages", found)


if __name__ == "__main__":
    main()
