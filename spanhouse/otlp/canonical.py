"""Rare but legal wire forms brought to the usual one by protobuf's own parser.

A singular message field may occur twice and is merged then, and of a `oneof` the last member wins.
No exporter writes that; the walk in `walk` gives such payloads here instead of merging itself.
"""

from __future__ import annotations

from functools import cache

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from spanhouse.errors import Malformed


@cache
def request_type() -> type[Message]:
    """Return ExportTraceServiceRequest with every `string` as `bytes`, so that UTF-8 is not looked at."""
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2, trace_service_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        messages = list(file.message_type)
        while messages:
            message = messages.pop()
            messages.extend(message.nested_type)
            for field in message.field:
                if field.type == field.TYPE_STRING:
                    field.type = field.TYPE_BYTES
        pool.Add(file)
    name = trace_service_pb2.ExportTraceServiceRequest.DESCRIPTOR.full_name
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def canonical(payload: bytes) -> bytes:
    """Return the payload with each singular field once, unknown fields dropped."""
    message = request_type()()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise Malformed("not protobuf") from error
    message.DiscardUnknownFields()
    return message.SerializeToString()
