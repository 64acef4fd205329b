"""OTLP's messages as tables for the JSON transcoder, made from the protobuf descriptors."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse.otlp.wire import PADDING, Bytes, Ints

# What stands in a field.
MESSAGE, TEXT, BASE64, HEX, BOOLEAN, DOUBLE, INT32, INT64, UINT32, FIXED32, FIXED64 = range(11)

_KINDS: Final = {
    FieldDescriptor.TYPE_MESSAGE: MESSAGE,
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: BASE64,
    FieldDescriptor.TYPE_BOOL: BOOLEAN,
    FieldDescriptor.TYPE_DOUBLE: DOUBLE,
    FieldDescriptor.TYPE_ENUM: INT32,
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_INT64: INT64,
    FieldDescriptor.TYPE_UINT32: UINT32,
    FieldDescriptor.TYPE_FIXED32: FIXED32,
    FieldDescriptor.TYPE_FIXED64: FIXED64,
}
_HEX_FIELDS: Final = {"trace_id", "span_id", "parent_span_id"}  # OTLP/JSON: hex, not base64
_WIRE_TYPES: Final = {MESSAGE: 2, TEXT: 2, BASE64: 2, HEX: 2, DOUBLE: 1, FIXED64: 1, FIXED32: 5}

# Columns of `ENTRIES`, which has one row for each name of a field and for each name of an enum's value.
# SUB is the message's or enum's index, -1 if it is neither; of an enum's value TAG is the number.
NAME_START, NAME_END, KIND, TAG, REPEATED, SUB = range(6)
WIDTH: Final = 6


def _tables() -> tuple[Bytes, Ints, Ints]:
    types: list[Any] = [ExportTraceServiceRequest.DESCRIPTOR]
    names, entries, bounds = bytearray(), [], [0]

    def index(kind: Descriptor | EnumDescriptor | None) -> int:
        if kind is None:
            return -1
        if kind not in types:
            types.append(kind)
        return types.index(kind)

    def add(name: str, *rest: int) -> None:
        start = len(names)
        names.extend(name.encode())
        entries.append((start, len(names), *rest))

    for kind in types:  # grows while it is walked
        if isinstance(kind, EnumDescriptor):
            for value in kind.values:
                add(value.name, 0, value.number, 0, -1)
        else:
            for field in kind.fields:
                what = HEX if field.name in _HEX_FIELDS else _KINDS[field.type]
                if field.is_repeated and what != MESSAGE:
                    continue  # only in a resource's entity references, which are not read
                sub = index(field.message_type or field.enum_type)
                for name in dict.fromkeys((field.json_name, field.name)):
                    add(name, what, field.number << 3 | _WIRE_TYPES.get(what, 0), int(field.is_repeated), sub)
        bounds.append(len(entries))
    blob = np.frombuffer(names + bytes(PADDING), np.uint8)
    return blob, np.array(entries, np.int64).ravel(), np.array(bounds, np.int64)


# Names' bytes; entries, WIDTH numbers each; type i has the entries BOUNDS[i] to BOUNDS[i + 1].
NAMES, ENTRIES, BOUNDS = _tables()
