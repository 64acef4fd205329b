"""The two spans that every SDK's program sends, and their comparison with what is stored."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from tests.harness import Instance, eventually

BIG = 2**53 + 1  # a double cannot hold it
TEXT = 'héllo wörld 🚀 "quoted" \\ back\n'
RESOURCE = {"res.string": "ünïcode ✓", "res.int": BIG, "res.bool": True}
SCOPE = {"scope.string": "σ", "scope.int": 5}
SPAN = {
    "s.string": TEXT,
    "s.empty": "",
    "s.true": True,
    "s.false": False,
    "s.int": 42,
    "s.negative": -7,
    "s.big": BIG,
    "s.double": 1.5,
    "s.whole": 3.0,
    "s.small": 1e-300,
    "s.strings": ["a", "β"],
    "s.ints": [1, -2, BIG],
    "s.doubles": [0.5, -1.25],
    "s.bools": [True, False],
}
EVENT = {"e.string": "ε", "e.int": 7, "e.strings": ["x", "y"]}
LINK = {"link.string": "λ", "link.int": 3}
LINKED = ("0a" + "00" * 14 + "0b", "0c" + "00" * 6 + "0d")


class Sent:
    """What a program is told to send: its service's name and the first span's start."""

    def __init__(self) -> None:
        self.service = f"sdk-{uuid.uuid4().hex}"
        # Not a whole number of microseconds.
        self.start_ns = (time.time_ns() - 5_000_000_000) // 1000 * 1000 + 789


def check(
    instance: Instance,
    sent: Sent,
    ids: dict[str, str],
    *,
    span: dict[str, Any] = SPAN,
    resource: dict[str, Any] = RESOURCE,
    scope: dict[str, Any] = SCOPE,
) -> None:
    """Compare the rows with what was sent; `span`, `resource` and `scope` where a language differs."""
    query = (
        "SELECT *, toString(toUnixTimestamp64Nano(ts)) AS start_ns, "
        "arrayMap(t -> toString(toUnixTimestamp64Nano(t)), events.ts) AS event_ns "
        f"FROM agent_events WHERE service = '{sent.service}' ORDER BY ts"
    )
    parent, child = eventually(lambda: (rows := instance.sql(query)) and len(rows) >= 2 and rows)
    for row in (parent, child):
        assert row["trace_id"] == ids["trace"]
        stored_resource = values(row["resource"], row["resource_types"])
        assert {key: stored_resource.get(key) for key in resource} == resource
        assert row["scope"] == "known-spans"
        assert row["scope_version"] == "1.2.3"
        assert values(row["scope_attrs"], row["scope_attr_types"]) == scope

    assert (parent["span_id"], parent["parent_span_id"]) == (ids["parent"], "")
    assert (parent["name"], parent["span_kind"], parent["status"]) == ("parent ✓", "server", "ok")
    assert int(parent["start_ns"]) == sent.start_ns
    assert parent["latency_ms"] == 1000.0

    assert (child["span_id"], child["parent_span_id"]) == (ids["child"], ids["parent"])
    assert (child["name"], child["span_kind"], child["status"]) == ("child", "client", "error")
    assert child["status_message"] == "it broke ✗"
    assert int(child["start_ns"]) == sent.start_ns + 1_000_000
    assert child["latency_ms"] == 249.0
    assert values(child["attrs"], child["attr_types"]) == span

    assert child["events.name"] == ["event ✓"]
    assert child["event_ns"] == [str(sent.start_ns + 2_000_000)]
    assert values(child["events.attrs"][0], child["events.attr_types"][0]) == EVENT
    assert list(zip(child["links.trace_id"], child["links.span_id"], strict=True)) == [LINKED]
    assert values(child["links.attrs"][0], child["links.attr_types"][0]) == LINK


def values(attributes: dict[str, str], types: dict[str, str]) -> dict[str, Any]:
    """Attributes as they were sent, from their text and types (spanhouse.batch.ATTRIBUTES)."""
    read: dict[str, Callable[[str], Any]] = {
        "empty": lambda text: None,
        "bool": lambda text: {"true": True, "false": False}[text],
        "int": int,
        "double": float,
        "array": json.loads,
        "bytes": base64.b64decode,
    }
    result = {key: read[types[key]](text) if key in types else text for key, text in attributes.items()}
    # Equal is not enough: 3 == 3.0 and 1 == True.
    return {key: Typed(value) for key, value in result.items()}


class Typed:
    """Equal to a value of the same type only, elements of lists included."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return repr(self.value) == repr(other)

    def __repr__(self) -> str:
        return repr(self.value)

    __hash__ = None  # type: ignore[assignment]
