"""What OTLP/JSON says, worked out slowly with Python's own `json` and protobuf's objects."""

import base64
import json
import re
from decimal import Decimal

from google.protobuf.descriptor import FieldDescriptor
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanhouse.otlp.canonical import request_type

INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63),
    FieldDescriptor.TYPE_UINT32: (0, 2**32),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64),
}
IDS = ("trace_id", "span_id", "parent_span_id")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
RAW = 0x10FE00  # bytes of the body that are not ASCII stand as characters from here on


class Number(str):
    """A number's text."""


class WrongError(Exception):
    """The body is not OTLP/JSON."""


def parse(body: bytes):
    """The message that a body says, as a `request_type`."""
    text = "".join(chr(byte) if byte < 128 else chr(RAW + byte) for byte in body)
    options = dict.fromkeys(("parse_int", "parse_float"), Number) | {"parse_constant": _fail}
    try:
        tree = json.loads(text, object_pairs_hook=_Pairs, **options)
    except ValueError as error:
        raise WrongError from error
    message = request_type()()
    _fill(message, ExportTraceServiceRequest.DESCRIPTOR, tree)
    return message


class _Pairs(list):
    """An object's members in their order, the same name perhaps several times."""


def _fail(_text):
    raise WrongError


def _fill(message, kind, tree):
    if not isinstance(tree, _Pairs):
        raise WrongError
    fields = {}
    for field in kind.fields:
        if not field.is_repeated or field.message_type:
            fields |= {field.name: field, field.json_name: field}
    for name, value in tree:
        field = fields.get(name)
        if field is None or value is None:
            continue
        if field.is_repeated:
            if type(value) is not list:
                raise WrongError
            for item in value:
                inner = getattr(message, field.name).add()
                if item is not None:
                    _fill(inner, field.message_type, item)
        elif field.message_type:
            inner = getattr(message, field.name)
            inner.SetInParent()
            _fill(inner, field.message_type, value)
        else:
            setattr(message, field.name, _scalar(field, value))


def _scalar(field, value):
    if field.type == FieldDescriptor.TYPE_BOOL:
        if not isinstance(value, bool):
            raise WrongError
        return value
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        if type(value) is not str:
            raise WrongError
        return _text(value) if field.type == FieldDescriptor.TYPE_STRING else _bytes(value, field.name in IDS)
    if not isinstance(value, str):
        raise WrongError
    if field.enum_type and type(value) is str and value.isascii() and value in field.enum_type.values_by_name:
        return field.enum_type.values_by_name[value].number
    is_double = field.type == FieldDescriptor.TYPE_DOUBLE
    if not NUMBER.fullmatch(value) and not (is_double and value in ("NaN", "Infinity", "-Infinity")):
        raise WrongError
    return float(value) if is_double else _integer(value, *INTEGERS[field.type])


def _integer(text, low, high):
    mantissa, _, exponent = text.lower().partition("e")
    digits = int(mantissa.replace(".", ""))
    if digits == 0:
        return 0
    # As the transcoder has it: 64 bits for the digits, those after the point included.
    if abs(digits) >= 2**64 or abs(int(exponent or 0)) > 100:
        raise WrongError
    number = Decimal(mantissa).scaleb(int(exponent or 0))
    if number != int(number) or not low <= number < high:
        raise WrongError
    return int(number)


def _text(value):
    result = bytearray()
    for character in value:
        code = ord(character)
        if RAW + 128 <= code < RAW + 256:
            result.append(code - RAW)
        else:
            result += b"\xef\xbf\xbd" if 0xD800 <= code < 0xE000 else character.encode()
    return bytes(result)


def _bytes(value, is_hex):
    if is_hex:
        if not re.fullmatch("([0-9a-fA-F]{2})*", value):
            raise WrongError
        return bytes.fromhex(value)
    digits = value.rstrip("=").replace("-", "+").replace("_", "/")
    if not re.fullmatch("[A-Za-z0-9+/]*", digits) or len(digits) % 4 == 1:
        raise WrongError
    return base64.b64decode(digits + "=" * (-len(digits) % 4))
