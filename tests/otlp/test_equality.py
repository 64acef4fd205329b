"""Of any payload, real, made up, rare or broken, the decoder says exactly what protobuf's own parser says."""

import random
import threading
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanhouse.demo.send import Sender
from spanhouse.demo.workflows import request as demo_request
from spanhouse.demo.world import World
from spanhouse.otlp.decode import Decoder
from spanhouse.processors.normalize import Normalize
from spanhouse.receivers.replay_files import Files
from tests.otlp.fuzz.mutate import ROOT, Field, Mutator, parse, serialize, submessage, varint
from tests.otlp.fuzz.targets import KEYS, check_decoder, check_json, message_of
from tests.otlp.reference import assert_decoded
from tests.otlp.samples import request, samples, small, values
from tests.otlp.strategies import requests
from tests.otlp.test_decode import BROKEN

DATA = Path(__file__).parents[1] / "data"
WANTED = Normalize().wanted


def assert_equal(payloads: list[bytes]) -> pl.DataFrame:
    """Decode good payloads with the keys that the processors want."""
    batch = Decoder(WANTED).decode(payloads).batch
    assert_decoded(batch, [(i, message_of(payload)) for i, payload in enumerate(payloads)], WANTED)
    return batch


def test_payloads_of_the_collector_and_of_libraries():
    paths = [path for path in DATA.rglob("*.*") if path.suffix in (".binpb", ".jsonl", ".zst", ".gz")]
    batches = Files(paths).batches(threading.Event())
    assert assert_equal([item.payload for batch in batches for item in batch.items]).height >= 48
    check_json((DATA / "file_exporter" / "spans.jsonl").read_bytes().splitlines())


def test_payloads_of_the_sdk():
    exporters: list[InMemorySpanExporter] = []

    def exporter() -> InMemorySpanExporter:
        exporters.append(InMemorySpanExporter())
        return exporters[-1]

    sender, world = Sender(exporter), World(40, random.Random(12))
    for second in range(100):
        sender.send(demo_request(world), 1_763_700_000_000_000_000 + second * 1_000_000_000)
    sender.close()
    sent = [encode_spans(one.get_finished_spans()).SerializeToString() for one in exporters]
    assert assert_equal(sent).height > 500


def test_every_type_of_value_in_every_nesting():
    message = ExportTraceServiceRequest()
    for depth in range(4):
        for containers, leaf in product(product(("array_value", "kvlist_value"), repeat=depth), values()):
            value = AnyValue()
            value.CopyFrom(leaf)
            for container in containers:
                outer = AnyValue()
                if container == "array_value":
                    outer.array_value.values.extend([value, value])
                else:
                    pairs = [KeyValue(key="$bytes", value=value), KeyValue(key='"'), KeyValue(value=value)]
                    outer.kvlist_value.values.extend(pairs)
                value = outer
            resource_spans = message.resource_spans.add()
            scope_spans = resource_spans.scope_spans.add()
            span = scope_spans.spans.add()
            owners = resource_spans.resource, scope_spans.scope, span, span.events.add(), span.links.add()
            for owner, key in product(owners, KEYS[:6]):
                owner.attributes.add(key=key, value=value)
    check_decoder([message.SerializeToString()])


def rare_forms(data: bytes, kind: Descriptor) -> Iterator[bytes]:
    """The message with each field in turn, at every depth, in each form that is rare and means something."""
    fields = parse(data)
    for at, field in enumerate(fields):
        before, after = fields[:at], fields[at + 1 :]
        others = [Field(field.number, field.wire_type, value) for value in (b"other", b"")]
        if not isinstance(field.value, bytes):
            others = [Field(field.number, field.wire_type, value) for value in (1, 0)]
        inside = submessage(kind, field)
        if inside:
            others = []
            forms = [Field(field.number, 2, form) for form in rare_forms(field.value, inside)]
            yield from (serialize([*before, form, *after]) for form in forms)
            parts = parse(field.value)
            for n in range(len(parts) + 1):
                pieces = [Field(field.number, 2, serialize(part)) for part in (parts[:n], parts[n:])]
                yield serialize([*before, *pieces, *after])
        for other in others:  # a field that is given twice
            yield serialize([*before, other, field, *after])
            yield serialize([*before, field, other, *after])
        yield serialize([*before, *after])
        yield serialize([*before, *after, field])
        yield serialize([field, *before, *after])
        yield serialize([*before, Field(field.number, field.wire_type, field.value, 2, 3), *after])
        for wire_type in {0, 1, 2, 5} - {field.wire_type}:
            known = Field(field.number, wire_type, b"\x08\x01" if wire_type == 2 else 7)
            yield serialize([*before, known, field, *after])
        for wire_type in (0, 1, 2, 5):
            unknown = Field(1000, wire_type, b"hello" if wire_type == 2 else 2**32 - 1)
            group = varint(1000 << 3 | 3) + serialize([unknown]) + varint(1000 << 3 | 4)
            yield serialize([*before, unknown, Field(0, 2, group, whole=True), field, *after])


def test_every_field_in_every_rare_form():
    """Twice, in pieces, out of order, left out, of another wire type, among unknown ones, written long."""
    forms = list(rare_forms(small().SerializeToString(), ROOT))
    assert len(forms) > 1000
    assert sum(message_of(form) is not None for form in forms) > 0.9 * len(forms)
    check_decoder(forms)


@settings(max_examples=60, deadline=None)
@given(requests, st.lists(st.integers(0, 2**32 - 1), max_size=12))
def test_mutated_payloads_in_one_batch(message, seeds):
    payloads, mutate = [message.SerializeToString()], Mutator()
    for seed in seeds:
        payloads.append(mutate(payloads[-1], 10_000, seed))
    check_decoder([samples()[1], *payloads, samples()[1]])


def test_a_large_batch_with_bad_payloads_among_good_ones():
    chance, mutate = random.Random(1), Mutator()
    large = request()
    for _ in range(200):
        large.resource_spans[0].scope_spans[0].spans.append(
            chance.choice(large.resource_spans[1].scope_spans[0].spans)
        )
    payloads = [large.SerializeToString()]
    payloads += [mutate(chance.choice(samples()), 10_000, chance.randrange(2**32)) for _ in range(400)]
    chance.shuffle(payloads)
    refused = sum(message_of(payload) is None for payload in payloads)
    assert 20 < refused < 380
    check_decoder(payloads)


def test_each_of_many_bad_payloads_has_its_reason():
    good = request().SerializeToString()
    payloads = [part for broken, _ in BROKEN for part in (good, broken)]
    decoded = Decoder({}).decode([*payloads, good])
    assert decoded.errors == {
        2 * i + 1: f"malformed protobuf: {reason}" for i, (_, reason) in enumerate(BROKEN)
    }
    assert decoded.batch["payload"].unique().to_list() == list(range(0, len(payloads) + 1, 2))


@pytest.mark.parametrize(
    "payload",
    [
        "8301 05 00000000 8401",  # field number 0 of each wire type, in a group that is not known
        "8301 00 00 8401",
        "8301 02 00 8401",
        "8301 03 04 8401",
        "8301 8080808000 00 8401",
        "8301 06 8401",
        "8301 07 8401",
        "8301 04",
        "0a05 0a03 1a01 3a",  # a resource's entity reference that is not one
        "0a05 0a03 1a01 0a",
        "0a06 0a04 1a02 0a00",
    ],
)
def test_what_is_not_read_is_checked_as_well(payload):
    data = bytes.fromhex(payload)
    assert (message_of(data) is None) == (list(Decoder({}).decode([data]).errors) == [0])
