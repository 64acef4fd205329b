"""Mutated payloads: the decoder and protobuf's own parser must agree which of them are malformed.

Run by test_fuzz.py in a process of its own with NUMBA_BOUNDSCHECK=1, where every index is checked.
"""

import random
import sys

import polars as pl
from google.protobuf.message import DecodeError

from spanhouse.otlp.canonical import request_type
from spanhouse.otlp.decode import Decoder
from tests.otlp.samples import samples

WANTED = {
    "span:gen_ai.request.model": pl.String,
    "span:gen_ai.usage.input_tokens": pl.Int64,
    "span:a": pl.Float64,
    "resource:service.name": pl.String,
    "scope:b": pl.Boolean,
}


def mutate(data: bytes, rnd: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(rnd.choice((1, 1, 1, 2, 5))):
        at = rnd.randrange(len(result) + 1)
        match rnd.randrange(6):
            case 0 if at < len(result):
                result[at] = rnd.randrange(256)
            case 1 if at < len(result):
                result[at] ^= 1 << rnd.randrange(8)
            case 2:
                del result[at : at + rnd.choice((1, 2, 9))]
            case 3:
                result[at:at] = rnd.choice(
                    (
                        b"\xff",
                        b"\x00",
                        b"\x80",
                        b"\x0a\x00",
                        b"\x13\x14",
                        b"\xff" * 9 + b"\x01",
                        b"\x12\x02\x08\x01",
                    )
                )
            case 4:
                start = rnd.randrange(len(result) + 1)
                result[at:at] = result[start : start + rnd.randrange(40)]
            case 5:
                del result[at:]
    return bytes(result)


def disagreement(payloads: list[bytes], decoder: Decoder) -> str | None:
    decoded = decoder.decode(payloads)
    for index, payload in enumerate(payloads):
        message = request_type()()
        try:
            message.ParseFromString(payload)
        except DecodeError:
            if index not in decoded.errors:
                return f"protobuf refuses what was decoded: {payload.hex()[:4000]}"
            continue
        if index in decoded.errors:
            return f"protobuf reads what was refused ({decoded.errors[index]}): {payload.hex()[:4000]}"
    spans = decoded.batch.group_by("payload").len().sort("payload").rows()
    expected = [
        (index, n)
        for index, payload in enumerate(payloads)
        if index not in decoded.errors and (n := count(payload))
    ]
    return None if spans == expected else f"span counts differ: {spans} {expected}"


def count(payload: bytes) -> int:
    message = request_type()()
    message.ParseFromString(payload)
    return sum(len(scope.spans) for resource in message.resource_spans for scope in resource.scope_spans)


def main(rounds: int, seed: int) -> None:
    rnd = random.Random(seed)
    decoder = Decoder(WANTED)
    originals = samples()
    for _ in range(rounds):
        payloads = [mutate(rnd.choice(originals), rnd) for _ in range(20)]
        problem = disagreement(payloads, decoder)
        if problem:
            sys.exit(problem)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
