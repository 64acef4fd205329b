"""What the Collector makes of spans and what `Scrub` makes of the same ones, in a form to compare."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import polars as pl

from spanhouse.batch import ValueType
from spanhouse.otlp.decode import Decoder
from spanhouse.processors.scrub import Scrub
from spanhouse.processors.scrub_rules import USER_ID_HASH
from tests.parts.collector import HASH_KEY

Row = dict[str, Any]

_LISTS: Final = ("attrs", "resource", "scope_attrs")
_NESTED: Final = (ValueType.ARRAY, ValueType.KVLIST)
scrub = Scrub(HASH_KEY)


def decoded(payloads: Iterable[bytes]) -> pl.DataFrame:
    """All spans, every attribute in its list."""
    result = Decoder({}).decode(list(payloads))
    assert not result.errors
    return result.batch


def scrubbed(batch: pl.DataFrame) -> dict[str, Row]:
    """By span id what scrub leaves, the hash of the user's id as the attribute that a Collector makes."""
    rows = {}
    for row in scrub(batch).to_dicts():
        if hashed := row.pop("user_id_hash"):
            row["attrs"] = [a for a in row["attrs"] if a["key"] != USER_ID_HASH]
            row["attrs"].append({"key": USER_ID_HASH, "value": hashed, "type": int(ValueType.STRING)})
        rows[row["span_id"]] = row
    return rows


def collected(batch: pl.DataFrame) -> dict[str, Row]:
    """By span id what the Collector left."""
    return {row["span_id"]: row for row in batch.to_dicts()}


def differences(expected: dict[str, Row], got: dict[str, Row]) -> list[str]:
    """Where what came out of the Collector is not what scrub makes, apart from what is known.

    Known are: links are gone and counted as dropped, a list or map with something masked in it has become
    its JSON text, an empty value under the name of a secret an empty text, and in texts that are JSON scrub
    writes the letters themselves for their escapes.
    """
    assert expected.keys() == got.keys()
    found = []
    for span, row in expected.items():
        row, other = _flat(row), _flat(got[span])
        row["dropped_links"] += len(row["links"])
        row["links"] = []
        for name in row.keys() | other.keys():
            one, two = row.get(name), other.get(name)
            if one != two and not _same_text(one, two):
                found.append(f"{span} {name}:\n  scrub     {one!r}\n  Collector {two!r}")
    return found


def _flat(row: Row) -> Row:
    """Each attribute, and each field of an event, an entry of its own."""
    flat: Row = {}
    for name, value in row.items():
        if name in _LISTS:
            flat |= _attributes(name, value)
        elif name == "events":
            for i, event in enumerate(value):
                flat |= _attributes(f"event {i}", event["attrs"])
                flat |= {f"event {i} {field}": event[field] for field in ("name", "ts", "dropped")}
        elif name not in ("payload", "span"):
            flat[name] = value
    return flat


def _attributes(where: str, attributes: list[Row]) -> Row:
    named: Row = {}
    for attribute in attributes:
        named.setdefault(f"{where} {attribute['key']!r}", []).append((attribute["type"], attribute["value"]))
    return named


def _same_text(one: Any, two: Any) -> bool:
    if not isinstance(one, list) or not isinstance(two, list) or len(one) != 1 or len(two) != 1:
        return False
    (kind, text), (other_kind, other_text) = one[0], two[0]
    if text == other_text == "":
        return True
    if other_kind != ValueType.STRING or kind not in (ValueType.STRING, *_NESTED):
        return False
    try:
        parsed = json.loads(text, object_hook=_plain, parse_int=float)
        return bool(parsed == json.loads(other_text, parse_int=float))
    except ValueError:
        return False


def _plain(value: dict[str, Any]) -> Any:
    """As the Collector writes it: bytes in a list or map as base64 and nothing else, none as null."""
    if value.keys() == {"$bytes"}:
        return value["$bytes"] or None
    return {re.sub(r"^\$(\$*(?:bytes|double))$", r"\1", key): item for key, item in value.items()}
