"""Mutated payloads: the decoder and protobuf's own parser must agree on which of them can be read, and on
what those say. Mutated JSON: nothing but `Malformed` may come of it.

Run by test_fuzz.py in a process of its own with NUMBA_BOUNDSCHECK=1, where every index is checked.
"""

import random
import sys

import polars as pl
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse.errors import Malformed
from spanhouse.otlp.canonical import request_type
from spanhouse.otlp.decode import Decoder
from spanhouse.otlp.json import json_to_protobuf
from tests.otlp.json_text import to_json
from tests.otlp.reference import assert_decoded
from tests.otlp.samples import request, samples, small

WANTED = {
    "span:gen_ai.request.model": pl.String,
    "span:gen_ai.usage.input_tokens": pl.Int64,
    "span:key.5": pl.Float64,
    "span:key.9": pl.String,
    "resource:service.name": pl.String,
    "scope:b": pl.Boolean,
}
WIRE = (b"\xff", b"\x00", b"\x80", b"\x0a\x00", b"\x13\x14", b"\xff" * 9 + b"\x01", b"\x12\x02\x08\x01")
JSON = (b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"\\", b"\\ud83d", b"1e9", b"-", b"{}", b" ")


def mutate(data: bytes, inserts: tuple[bytes, ...], rnd: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(rnd.choice((1, 1, 1, 2, 5))):
        at = rnd.randrange(len(result) + 1)
        match rnd.randrange(12):
            case 0 | 1 | 2 if at < len(result):
                result[at] = rnd.randrange(256)
            case 3 | 4 | 5 if at < len(result):
                result[at] ^= 1 << rnd.randrange(8)
            case 6:
                del result[at : at + rnd.choice((1, 2, 9))]
            case 7 | 8 | 9:
                result[at:at] = rnd.choice(inserts)
            case 10:
                start = rnd.randrange(len(result) + 1)
                result[at:at] = result[start : start + rnd.randrange(40)]
            case 11:
                del result[at:]
    return bytes(result)


def parse(payload: bytes, kind):
    message = kind()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return None
    return message


def check_protobuf(payloads: list[bytes], decoder: Decoder) -> None:
    decoded = decoder.decode(payloads)
    rows = decoded.batch.partition_by("payload", as_dict=True)
    for index, payload in enumerate(payloads):
        shown = f"{payload.hex()[:6000]} {decoded.errors.get(index)}"
        as_bytes = parse(payload, request_type())
        assert (as_bytes is None) == (index in decoded.errors), shown
        mine = rows.get((index,))
        spans = [
            s for r in (as_bytes.resource_spans if as_bytes else ()) for c in r.scope_spans for s in c.spans
        ]
        assert (mine.height if mine is not None else 0) == len(spans), shown
        message = parse(payload, ExportTraceServiceRequest)
        if message is None or mine is None:
            continue
        try:
            assert_decoded(mine, [(index, message)], WANTED)
        except AssertionError as error:
            raise AssertionError(shown) from error


def check_json(body: bytes, decoder: Decoder) -> None:
    try:
        payload = json_to_protobuf(body)
    except Malformed:
        return
    decoder.decode([payload])


def main(rounds: int, seed: int) -> None:
    rnd = random.Random(seed)
    decoder = Decoder(WANTED)
    payloads, bodies = samples(), [to_json(small()).encode(), to_json(request()).encode()]
    for _ in range(rounds):
        check_protobuf([mutate(rnd.choice(payloads), WIRE, rnd) for _ in range(20)], decoder)
        for _ in range(20):
            check_json(mutate(rnd.choice(bodies), JSON, rnd), decoder)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
