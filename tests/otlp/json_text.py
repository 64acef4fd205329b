"""OTLP/JSON of a protobuf message, through protobuf's own JSON with the ids turned to hex."""

import base64
import json

from google.protobuf.json_format import MessageToDict

IDS = ("traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id")


def to_json(message, *, snake_case=False, enum_names=False, **options):
    tree = MessageToDict(
        message, preserving_proto_field_name=snake_case, use_integers_for_enums=not enum_names
    )
    return json.dumps(hex_ids(tree), **options)


def hex_ids(tree):
    if isinstance(tree, list):
        return [hex_ids(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        key: base64.b64decode(value).hex() if key in IDS else hex_ids(value) for key, value in tree.items()
    }
