"""What an input of the fuzzer goes to: the decoder or the door for JSON, each beside a slow reference."""

import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import polars as pl
from google.protobuf.message import DecodeError

from spanhouse.errors import Malformed
from spanhouse.otlp import state as layout
from spanhouse.otlp.canonical import request_type
from spanhouse.otlp.decode import Decoder
from spanhouse.otlp.json import json_to_protobuf
from spanhouse.otlp.wire import ERRORS, TOO_MANY_GATHERED, TOO_MANY_SPANS
from tests.otlp import json_reference
from tests.otlp.fuzz import seeds
from tests.otlp.fuzz.mutate import Mutator
from tests.otlp.fuzz.mutate_json import JsonMutator
from tests.otlp.reference import assert_decoded

TYPES = (pl.String, pl.Int64, pl.Float64, pl.Boolean)
KEYS = ("gen_ai.request.model", "service.name", "a", "b", "n", "", "5", "é" * 7)
WANTED = {
    f"{owner}:{key}": TYPES[(i + j) % len(TYPES)]
    for i, owner in enumerate(("span", "scope", "resource"))
    for j, key in enumerate(KEYS)
}
# Refusals of what protobuf can read. Inputs are too small for the first.
TOO_MANY = [f"malformed protobuf: {ERRORS[code]}" for code in (TOO_MANY_SPANS, TOO_MANY_GATHERED)]
MARK = 0x5EED_5EED


@contextmanager
def guarded():
    """Leave words between the sections of the decoder's array, and look afterwards that nobody wrote to them.

    All sections are one array, so a check of every index does not see when one runs over into the next.
    """
    allocate, arrays = layout.allocate, []

    def with_guards(*arguments):
        w = allocate(*arguments)
        starts = np.append(w[layout.KEYS : layout.HEADER], w[layout.VIEWS])
        starts = starts[starts > layout.HEADER]
        guards = (starts[:, None] - np.arange(1, layout.GAP + 1)).ravel()
        w[guards] = MARK
        arrays.append((w, guards))
        return w

    layout.allocate, layout.GAP = with_guards, 8
    try:
        yield
    finally:
        layout.allocate, layout.GAP = allocate, 0
    for w, guards in arrays:
        assert (w[guards] == MARK).all(), "written past the end of a section"


def message_of(payload: bytes):
    """What protobuf's own parser makes of it, text as bytes; None where it refuses."""
    message = request_type()()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return None
    return message


def check_decoder(payloads: list[bytes]) -> None:
    """Decode payloads together: exactly those that protobuf can read are read, and say the same."""
    decoder = Decoder(WANTED)
    if zlib.crc32(payloads[0]) % 8 == 0:
        decoder._raw_columns = 2  # it has to make room, time and again
    with guarded():
        decoded = decoder.decode(payloads)
    expected = []
    for index, payload in enumerate(payloads):
        message, error = message_of(payload), decoded.errors.get(index)
        if message is not None and error is None:
            expected.append((index, message))
        elif error in TOO_MANY:
            assert len(payload) > 1000
        else:
            assert message is None
            assert error is not None
    assert_decoded(decoded.batch, expected, WANTED)


def check_json(bodies: list[bytes]) -> None:
    """A body is refused where the reference refuses it, and else becomes what the reference makes of it."""
    for body in bodies:
        try:
            expected = json_reference.parse(body).SerializeToString(deterministic=True)
        except (json_reference.WrongError, RecursionError):
            expected = None
        try:
            payload = json_to_protobuf(body)
        except Malformed as refused:
            error = str(refused)
        else:
            error = ""
        if "nested too deeply" in error:
            continue
        assert (expected is None) == bool(error), error
        message = None if error else message_of(payload)
        if message is not None:
            assert message.SerializeToString(deterministic=True) == expected
        elif not error:
            assert body.count(b"{") > 100  # which JSON may have inside one another, but protobuf not


@dataclass(frozen=True)
class Target:
    """How to check some inputs together, what to start from and how to make more of it."""

    check: Callable[[list[bytes]], None]
    seeds: list[bytes]
    mutator: type[Mutator] | type[JsonMutator]


TARGETS = {
    "decoder": Target(check_decoder, seeds.payloads(KEYS), Mutator),
    "json": Target(check_json, seeds.bodies(), JsonMutator),
}
