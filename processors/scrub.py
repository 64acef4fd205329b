"""Take personal data and secrets out of a batch. What counts as such is listed in `scrub_rules`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final

import polars as pl

from spanhouse import metrics
from spanhouse.batch import ATTRIBUTE_LISTS, ATTRIBUTES, EVENTS, LINKS, ValueType
from spanhouse.errors import UserError
from spanhouse.processors.lists import KEEP, element_rows, elements, map_elements
from spanhouse.processors.masking import find, mask, mask_emails, mask_json
from spanhouse.processors.scrub_rules import (
    EMAIL_KEYS,
    SECRET_HEADERS,
    SECRET_NAMES,
    USER_ID_HASH,
    USER_ID_KEYS,
)

# Columns of ids and fixed words, which hold nothing to mask.
_SKIPPED: Final = frozenset(
    ("reject", "trace_id", "span_id", "parent_span_id", "trace_state", "scope_schema_url",
     "resource_schema_url", "kind", "status", "span_kind", "cost_source", "user_id_hash",
     f"span:{USER_ID_HASH}")
)  # fmt: skip

_HASH_HEX: Final = 32
_HASH: Final = rf"^[0-9a-f]{{{_HASH_HEX}}}$"
_CACHED_IDS: Final = 65536
_SECRET_KEY: Final = f"(?i)(?:{'|'.join((*SECRET_NAMES, *SECRET_HEADERS))})$"

_PLAIN: Final = [int(ValueType.STRING)]
_JSON: Final = [int(ValueType.ARRAY), int(ValueType.KVLIST)]


class Scrub:
    """Drop e-mail attributes, replace user ids by a keyed hash, mask what the rules find in any text.

    Scrubbing twice changes nothing more. Numbers are left alone, as are the span's own ids and its times;
    in `trace_state` only e-mail addresses are masked. A Collector with `otel-collector/scrub.yaml` in
    front does the same, and hands over the hash as the attribute `scrub_rules.USER_ID_HASH`.

    Args:
        hash_key: key of the hash that becomes `user_id_hash`, see `keyed_hash`. The same key gives the
            same user the same hash; who does not know it cannot try ids out.
        user_id_keys: more attributes that hold a user's id.
        drop_keys: more attributes to drop.

    Raises:
        UserError: `hash_key` is empty.
    """

    def __init__(
        self, hash_key: str = "", user_id_keys: Sequence[str] = (), drop_keys: Sequence[str] = ()
    ) -> None:
        if not hash_key:
            raise UserError("hash_key is empty; set it to a long random text")
        user_keys = dict.fromkeys((*USER_ID_KEYS, *user_id_keys))
        user_keys.pop(USER_ID_HASH, None)
        self._user_keys = list(user_keys)
        self._dropped = list(dict.fromkeys((*user_keys, *EMAIL_KEYS, *drop_keys)))
        self._hash = lru_cache(_CACHED_IDS)(partial(keyed_hash, hash_key))

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Scrub a batch."""
        raw = self._raw_to_drop(batch)
        seen = _Texts()
        seen.collect(batch.drop(raw))
        keys = pl.concat(seen.keys).unique()
        dropped = keys.filter(keys.is_in(self._dropped)).to_list()
        user_keys = (*self._user_keys, USER_ID_HASH)
        batch = self._hash_user_ids(batch, bool(keys.is_in(user_keys).any()))
        batch = _only_hashes(batch.drop(raw))
        changes = _Changes(
            dropped,
            USER_ID_HASH in keys,
            keys.filter(keys.str.contains(_SECRET_KEY)).to_list(),
            _mask(mask, find([*seen.columns, keys], seen.plain)),
            _mask(mask_json, find(seen.json)),
            _mask(mask_emails, find(seen.trace_states)),
        )
        return changes.apply(batch) if changes else batch

    def _hash_user_ids(self, batch: pl.DataFrame, in_lists: bool) -> pl.DataFrame:
        """Fill `user_id_hash`; the ids themselves go with the attributes that are dropped."""
        if "user_id_hash" not in batch.columns:
            batch = batch.with_columns(user_id_hash=pl.lit(""))
        hashed = batch["user_id_hash"]
        # The mapping has put ids there, too, and perhaps from attributes that are not known here.
        ids = hashed.set(hashed.str.contains(_HASH), "")
        for found in self._user_ids(batch, in_lists):
            ids = ids.scatter(found["row"], found["value"])
        distinct = ids.filter(ids != "").unique()
        if not distinct.len():
            return batch
        metrics.SCRUBBED.labels("user_id").inc(len(distinct))
        hashes = pl.Series([self._hash(text) for text in distinct], dtype=pl.String)
        return batch.with_columns(hashed.zip_with(ids == "", ids.replace(distinct, hashes)))

    def _user_ids(self, batch: pl.DataFrame, in_lists: bool) -> Iterator[pl.DataFrame]:
        """(row, value) of what spans give as their user's id, the most telling last."""
        sources = [("span", [USER_ID_HASH]), *((s, self._user_keys) for s in reversed(ATTRIBUTE_LISTS))]
        for source, keys in sources:
            column = batch[ATTRIBUTE_LISTS[source]]
            attributes = elements(column) if in_lists else elements(column.clear())
            users = attributes["key"].is_in(keys)
            if users.any():
                attributes = attributes.with_columns(element_rows(column), _id_text(attributes)).filter(users)
            for key in reversed(keys):
                is_id = pl.col("value") != ""
                if key == USER_ID_HASH:
                    is_id &= ~pl.col("value").str.contains(_HASH)
                for raw in (f"{source}:{key}~", f"{source}:{key}"):
                    if raw in batch.columns:
                        value = pl.col(raw).cast(pl.String)
                        value = value.str.strip_suffix(".0") if raw.endswith("~") else value
                        yield batch.select(value=value).with_row_index("row").filter(is_id)
                if users.any():
                    yield attributes.filter((pl.col("key") == key) & is_id)

    def _raw_to_drop(self, batch: pl.DataFrame) -> list[str]:
        keys = {*self._dropped, f"{USER_ID_HASH}~"}
        names = ((name, name.partition(":")[2]) for name in batch.columns)
        return [name for name, key in names if key in keys or key.removesuffix("~") in self._dropped]


def _only_hashes(batch: pl.DataFrame) -> pl.DataFrame:
    """Nothing but hashes in the raw column of `USER_ID_HASH`."""
    raw = pl.col(f"span:{USER_ID_HASH}")
    if raw.meta.output_name() not in batch.columns:
        return batch
    return batch.with_columns(pl.when(raw.str.contains(_HASH)).then(raw))


def _id_text(attributes: pl.DataFrame) -> pl.Series:
    """Values as a Collector writes them: the number 42 is `42`, whatever its type."""
    values = attributes["value"]
    is_double = attributes["type"] == ValueType.DOUBLE
    return values.zip_with(~is_double, values.str.strip_suffix(".0"))


def keyed_hash(key: str, text: str) -> str:
    """The first 32 hex digits of SHA256(key:SHA256(key:text)), the inner hash in hex.

    Twice, so that nobody can append to a text and go on from its hash; not HMAC, which a Collector's
    configuration cannot compute.
    """
    inner = hashlib.sha256(f"{key}:{text}".encode()).hexdigest()
    return hashlib.sha256(f"{key}:{inner}".encode()).hexdigest()[:_HASH_HEX]


@dataclass(slots=True)
class _Texts:
    """All texts of a batch by what they are; one entry per column or list they come from."""

    columns: list[pl.Series] = field(default_factory=list)
    keys: list[pl.Series] = field(default_factory=list)
    plain: list[pl.Series] = field(default_factory=list)
    json: list[pl.Series] = field(default_factory=list)
    trace_states: list[pl.Series] = field(default_factory=list)

    def collect(self, frame: pl.DataFrame) -> None:
        for column in frame.get_columns():
            if column.name == "trace_state":
                self.trace_states.append(column)
            elif column.dtype == pl.String and column.name not in _SKIPPED:
                self.columns.append(column)
            elif column.dtype == ATTRIBUTES:
                attributes = elements(column)
                values = attributes["value"]
                self.keys.append(attributes["key"])
                # A resource is the same for many spans.
                plain = self.plain if column.name == "attrs" else self.columns
                plain.append(values.filter(attributes["type"] == ValueType.STRING))
                self.json.append(values.filter(attributes["type"].is_in(_JSON)))
            elif column.dtype in (EVENTS, LINKS):
                self.collect(elements(column))


@dataclass(frozen=True, slots=True)
class _Changes:
    """What is to be done to a batch.

    Attributes:
        dropped: keys of attributes to take out.
        hashes: whether there are attributes `USER_ID_HASH`, which must be hashes.
        secret: keys of attributes whose value is secret whatever it is.
        plain: (texts, what replaces them).
        json: the same for arrays and maps.
        trace_state: the same for these.
    """

    dropped: list[str]
    hashes: bool
    secret: list[str]
    plain: tuple[pl.Series, pl.Series]
    json: tuple[pl.Series, pl.Series]
    trace_state: tuple[pl.Series, pl.Series]

    def __bool__(self) -> bool:
        changed = (self.plain, self.json, self.trace_state)
        return bool(self.dropped or self.hashes or self.secret or any(len(old) for old, _ in changed))

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Do it, in lists within lists as well."""
        changed = [new for column in frame.get_columns() if (new := self._column(column)) is not column]
        return frame.with_columns(changed) if changed else frame

    def _column(self, column: pl.Series) -> pl.Series:
        if column.name == "trace_state":
            return _replace(column, self.trace_state)
        if column.dtype == pl.String and column.name not in _SKIPPED:
            return _replace(column, self.plain)
        if column.dtype == ATTRIBUTES:
            return map_elements(column, self._attributes)
        if column.dtype in (EVENTS, LINKS):
            return map_elements(column, self.apply)
        return column

    def _attributes(self, attributes: pl.DataFrame) -> pl.DataFrame:
        key, value, kind = attributes.get_columns()
        masked = value
        for texts, types in ((self.plain, _PLAIN), (self.json, _JSON)):
            where = kind.is_in(types).arg_true()
            before = value.gather(where)
            after = _replace(before, texts)
            if after is not before:
                masked = masked.clone().scatter(where, after)
        is_dropped = key.is_in(self.dropped)
        if self.hashes:
            is_dropped |= (key == USER_ID_HASH) & ~((kind == ValueType.STRING) & value.str.contains(_HASH))
        is_secret = key.is_in(self.secret) & ~value.is_in(["", "[key]"])
        name = _replace(key, self.plain)
        if masked is value and name is key and not is_dropped.any() and not is_secret.any():
            return attributes
        metrics.SCRUBBED.labels("dropped").inc(int(is_dropped.sum()))
        metrics.SCRUBBED.labels("key").inc(int(is_secret.sum()))
        return pl.DataFrame(
            [
                name,
                masked.set(is_secret, "[key]"),
                kind.set(is_secret, ValueType.STRING),
                (~is_dropped).alias(KEEP),
            ]
        )


def _mask(how: Callable[[pl.Series], pl.Series], found: pl.Series) -> tuple[pl.Series, pl.Series]:
    """(texts, what replaces them)."""
    masked = how(found) if found.len() else found
    changed = masked != found
    return found.filter(changed), masked.filter(changed)


def _replace(texts: pl.Series, changes: tuple[pl.Series, pl.Series]) -> pl.Series:
    old, new = changes
    if not old.len() or not texts.is_in(old.implode()).any():
        return texts
    return texts.replace(old, new)
