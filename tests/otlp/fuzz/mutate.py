"""Mutations of OTLP's wire form that know of fields and lengths, so that the result can often be read.

A mutation of plain bytes nearly always breaks a length; these reach values deep inside. They also write what
is legal and rare: unknown fields of all wire types, groups, fields out of order or given twice, messages in
pieces, numbers with more bytes than they need.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from spanhouse.otlp.canonical import request_type

ROOT = request_type().DESCRIPTOR
WIRE_TYPES = {
    FieldDescriptor.TYPE_DOUBLE: 1,
    FieldDescriptor.TYPE_FIXED64: 1,
    FieldDescriptor.TYPE_FIXED32: 5,
    FieldDescriptor.TYPE_MESSAGE: 2,
    FieldDescriptor.TYPE_BYTES: 2,
}
WIDTHS = {1: 8, 5: 4}
NUMBERS = (0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
# As bits: the infinities, NaN, -0.0, the smallest, 1.0, 2.0**53 and 2.0**97.
DOUBLES = (0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, 1 << 63, 1, 0x3FF << 52, 0x434 << 52, 0x460 << 52)
TEXTS = (
    *(b"", b"a", b"true", b"false", b"12", b"-7", b"+3", b"1.5", b"nan", b"-inf", b"9223372036854775808"),
    *(b'"\\\n\x00\x1f', b"\xc3\xa9" * 7, b"\xf0\x9d\x84\x9ex", b"\xff", b"\xe2\x82", b"\xed\xa0\x80"),
    *(b"$bytes", b"$$double", b"gen_ai.request.model", b"service.name", b"n", b"b", b"5", b"x" * 13),
    *(bytes(16), bytes(8)),
)


@dataclass(slots=True)
class Field:
    """One field of a message; `whole` fields are written as they stand, their tag included."""

    number: int
    wire_type: int
    value: int | bytes
    tag_padding: int = 0
    padding: int = 0
    whole: bool = False


class NotAMessageError(Exception):
    """The bytes are not fields one after the other."""


def varint(value: int, padding: int = 0) -> bytes:
    """A varint, `padding` bytes longer than it need be."""
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    if padding:
        result[-1] |= 128
        result.extend(b"\x80" * (padding - 1) + b"\x00")
    return bytes(result)


def _read_varint(data: bytes, p: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if p >= len(data):
            break
        byte = data[p]
        p += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, p
        shift += 7
    raise NotAMessageError


def parse(data: bytes) -> list[Field]:
    """The fields of a message; a group is its two tags and what stands between."""
    result, p = [], 0
    while p < len(data):
        tag, p = _read_varint(data, p)
        wire_type = tag & 7
        value: int | bytes = 0
        if wire_type == 0:
            value, p = _read_varint(data, p)
        elif wire_type in WIDTHS:
            value = int.from_bytes(data[p : p + WIDTHS[wire_type]], "little")
            p += WIDTHS[wire_type]
        elif wire_type == 2:
            size, p = _read_varint(data, p)
            value = data[p : p + size]
            p += size
        elif wire_type > 5:
            raise NotAMessageError
        if p > len(data):
            raise NotAMessageError
        result.append(Field(tag >> 3, wire_type, value))
    return result


def serialize(fields: list[Field]) -> bytes:
    """The message's bytes."""
    result = bytearray()
    for field in fields:
        value = field.value
        if not field.whole:
            result += varint(field.number << 3 | field.wire_type, field.tag_padding)
        if isinstance(value, bytes):
            if not field.whole:
                result += varint(len(value), field.padding)
            result += value
        elif field.wire_type == 0:
            result += varint(value, field.padding)
        elif field.wire_type in WIDTHS:
            result += value.to_bytes(WIDTHS[field.wire_type], "little")
    return bytes(result)


def submessage(kind: Descriptor, field: Field) -> Descriptor | None:
    """What a field of a message of that kind holds, if it is a message."""
    known = kind.fields_by_number.get(field.number)
    return known.message_type if known is not None and isinstance(field.value, bytes) else None


def scramble(data: bytes, most: int, rnd: random.Random) -> bytes:
    """A mutation of plain bytes."""
    result = bytearray(data)
    at, size = rnd.randrange(len(data) + 1), rnd.choice((1, 1, 2, 8))
    match rnd.randrange(5):
        case 0 | 1 if at < len(data):
            result[at] ^= 1 << rnd.randrange(8)
        case 2:
            del result[at : at + size]
        case 3:
            start = rnd.randrange(len(data) + 1)
            result[at:at] = data[start : start + size]
        case _:
            result[at : at + rnd.randrange(2) * size] = rnd.randbytes(size)
    return bytes(result[:most])


class Mutator:
    """Makes new payloads of others.

    Args:
        plain: mutates bytes that have no structure, given those and how long the result may be.
    """

    def __init__(self, plain: Callable[[bytes, int, random.Random], bytes] = scramble) -> None:
        self._rnd = random.Random()
        self._scramble = plain

    def __call__(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Return the mutation of `data` that the seed stands for."""
        self._rnd.seed(seed)
        if self._rnd.randrange(5) < 2:
            return self._plain(data, max_size)
        for _ in range(self._rnd.choice((1, 1, 1, 1, 2, 3))):
            data = self._mutate(data, ROOT, max_size)
        return data if len(data) <= max_size else self._plain(data[:max_size], max_size)

    def _plain(self, data: bytes, most: int) -> bytes:
        return self._scramble(data, most, self._rnd)

    def _mutate(self, data: bytes, kind: Descriptor, max_size: int) -> bytes:
        # Of a message somewhere inside, or of the whole.
        try:
            fields = parse(data)
        except NotAMessageError:
            return self._plain(data, len(data) + 8)
        inside = [field for field in fields if submessage(kind, field)]
        if inside and self._rnd.randrange(5):
            field = self._rnd.choice(inside)
            field.value = self._mutate(field.value, submessage(kind, field), max_size)
        else:
            self._change(fields, kind, max_size)
        return serialize(fields)

    def _change(self, fields: list[Field], kind: Descriptor, max_size: int) -> None:
        rnd = self._rnd
        what, at = rnd.randrange(16), rnd.randrange(len(fields) + 1)
        if what < 3 or at == len(fields):
            fields.insert(at, self._known(kind) if rnd.randrange(4) else self._unknown())
            return
        field = fields[at]
        match what:
            case 3:
                del fields[at]
            case 4:
                fields.insert(rnd.randrange(len(fields) + 1), field)
            case 5:
                fields.insert(rnd.randrange(len(fields)), fields.pop(at))
            case 6:
                room = max_size if rnd.randrange(50) == 0 else 200
                times = min(rnd.choice((1, 2, 3, 20, 1030)), room // len(serialize([field])))
                fields[at:at] = [field] * times
            case 7 if isinstance(field.value, bytes):
                half = rnd.randrange(len(field.value) + 1)
                pieces = field.value[:half], field.value[half:]
                fields[at : at + 1] = [Field(field.number, 2, piece) for piece in pieces]
            case 8:
                field.tag_padding = rnd.choice((0, 0, 1, 3, 4, 5))
                field.padding = rnd.choice((0, 1, 2, 4, 9, 10))
            case 9:
                wire_type = rnd.randrange(6)
                fields[at] = Field(field.number, wire_type, b"" if wire_type == 2 else 0)
            case 10 if kind.name == "AnyValue":
                fields[:] = parse(self._nested(serialize(fields)))
            case _:
                self._set(field)

    def _nested(self, value: bytes) -> bytes:
        rnd = self._rnd
        for _ in range(rnd.choice((1, 1, 2, 3, 20, 46, 47, 48))):
            item = Field(1, 2, value)
            if rnd.randrange(2):
                value = serialize([Field(5, 2, serialize([item]))])
            else:
                pair = serialize([Field(1, 2, rnd.choice(TEXTS)), Field(2, 2, value)])
                value = serialize([Field(6, 2, serialize([Field(1, 2, pair)]))])
        return value

    def _set(self, field: Field) -> None:
        rnd, value = self._rnd, field.value
        if isinstance(value, bytes):
            field.value = rnd.choice(TEXTS) if rnd.randrange(2) else self._plain(value, len(value) + 8)
        elif field.wire_type == 0:
            field.value = rnd.choice((*NUMBERS, value ^ 1 << rnd.randrange(64)))
        elif field.wire_type == 1:
            field.value = rnd.choice((*NUMBERS, *DOUBLES, value ^ 1 << rnd.randrange(64)))
        elif field.wire_type == 5:
            field.value = rnd.choice(NUMBERS) & 0xFFFFFFFF

    def _known(self, kind: Descriptor) -> Field:
        rnd = self._rnd
        known = rnd.choice(kind.fields)
        wire_type = WIRE_TYPES.get(known.type, 0)
        field = Field(known.number, wire_type, b"" if wire_type == 2 else 0)
        if known.message_type:
            inner = [self._known(known.message_type) for _ in range(rnd.choice((0, 1, 1, 2)))]
            field.value = serialize(inner)
        else:
            self._set(field)
        return field

    def _unknown(self) -> Field:
        rnd = self._rnd
        number = rnd.choice((15, 16, 100, 2047, 2**18, 2**29 - 1, 0))
        wire_type = rnd.choice((0, 1, 2, 2, 3, 3, 4, 5))
        if wire_type != 3:
            return Field(number, wire_type, b"u" * rnd.choice((0, 1, 7, 8, 200)) if wire_type == 2 else 7)
        depth = rnd.choice((1, 1, 2, 30, *range(95, 102)))
        start, end = varint(number << 3 | 3), varint(number << 3 | 4)
        inner = serialize([self._unknown()]) if rnd.randrange(2) else b""
        return Field(number, 2, start * depth + inner + end * depth, whole=True)
