"""Take personal data and secrets out of a batch. What counts as such is listed in `scrub_rules`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spanhouse import metrics
from spanhouse.batch import ATTRIBUTE_LISTS, ValueType
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
from spanhouse.processors.scrub_scan import Attributes, Found, Rows, Scan
from spanhouse.views import array, numbered

_HASH_HEX: Final = 32
_HASH_TEXT: Final = rf"^[0-9a-f]{{{_HASH_HEX}}}$"
_HASH: Final = re.compile(_HASH_TEXT.replace("$", r"\Z"))
_CACHED_IDS: Final = 65536
_CACHED_KEYS: Final = 65536
_CACHED_SETS: Final = 64
_SECRET_KEY: Final = re.compile(f"(?i)(?:{'|'.join((*SECRET_NAMES, *SECRET_HEADERS))})\\Z")

# (key, rows or None for all, the number of each row's text or -1, the texts).
_Ids = tuple[str, NDArray[np.uint32] | None, NDArray[np.int32], list[str]]
# (texts, what replaces them).
_Replaced = tuple[pl.Series, pl.Series]
_NOTHING: Final[_Replaced] = (pl.Series(dtype=pl.String), pl.Series(dtype=pl.String))


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
        self._all_user_keys = frozenset((*user_keys, USER_ID_HASH))
        self._user_raws = frozenset(
            f"{source}:{key}{sort}"
            for source in ATTRIBUTE_LISTS
            for key in self._all_user_keys
            for sort in ("", "~")
        )
        self._hash = lru_cache(_CACHED_IDS)(partial(keyed_hash, hash_key))
        self._sort = lru_cache(_CACHED_KEYS)(partial(_sort, frozenset(self._dropped)))
        self._clean_keys: set[frozenset[str]] = set()

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Scrub a batch."""
        raw = self._raw_to_drop(batch)
        kept = batch.drop(raw) if raw else batch
        found = Found()
        scan = found.scan(kept)
        sorts = {key: self._sort(key) for key in found.keys}
        users = {
            name: not attributes.keys.isdisjoint(self._all_user_keys)
            for name, attributes in scan.attributes.items()
        }
        batch = self._hash_user_ids(batch, users)
        batch = _only_hashes(batch.drop(raw) if raw else batch)
        changes = _Changes(
            {key for key, sort in sorts.items() if sort == "dropped"},
            USER_ID_HASH in found.keys,
            {key for key, sort in sorts.items() if sort == "secret"},
            self._masked_keys(found.keys),
            _mask(mask, find(found.plain)),
            _mask(mask_json, find(found.json)),
            _mask(mask_emails, find(found.trace_states)),
        )
        return changes.apply(batch, scan)

    def _masked_keys(self, keys: set[str]) -> _Replaced:
        """What attributes' keys become; batch after batch has the same ones, and nothing in them."""
        names = frozenset(keys)
        if names in self._clean_keys:
            return _NOTHING
        result = _mask(mask, find([pl.Series(sorted(keys), dtype=pl.String)]))
        if result is _NOTHING:
            if len(self._clean_keys) >= _CACHED_SETS:
                self._clean_keys.clear()
            self._clean_keys.add(names)
        return result

    def _hash_user_ids(self, batch: pl.DataFrame, in_lists: Mapping[str, bool]) -> pl.DataFrame:
        """Fill `user_id_hash`; the ids themselves go with the attributes that are dropped.

        Args:
            batch: with all raw columns.
            in_lists: whether an attribute list has a user's id, by its column.
        """
        if "user_id_hash" not in batch.columns:
            batch = batch.with_columns(user_id_hash=pl.lit(""))
        raws = self._user_raws.intersection(batch.columns)
        # The mapping has put ids there, too, and perhaps from attributes that are not known here.
        codes, texts = numbered(array(batch["user_id_hash"]))
        if not (raws or any(in_lists.values()) or any(texts)):
            return batch
        is_id = [text != "" and not _HASH.match(text) for text in texts]
        for key, rows, numbers, found in self._user_ids(batch, raws, in_lists):
            ids = [text != "" and not (key == USER_ID_HASH and _HASH.match(text)) for text in found]
            where = np.array([*ids, False])[numbers]  # -1, which is null, is the last
            codes[where if rows is None else rows[where]] = numbers[where] + len(texts)
            texts += found
            is_id += ids
        used = set(np.unique(codes).tolist())
        hashes = {
            text: self._hash(text)
            for code, (text, ours) in enumerate(zip(texts, is_id, strict=True))
            if ours and code in used
        }
        if not hashes:
            return batch
        metrics.SCRUBBED.labels("user_id").inc(len(hashes))
        known = [hashes.get(text, "") if ours else text for text, ours in zip(texts, is_id, strict=True)]
        # Null, which is -1, takes the last.
        return batch.with_columns(pl.Series("user_id_hash", [*known, ""])[pl.Series(codes)])

    def _user_ids(
        self, batch: pl.DataFrame, raws: frozenset[str], in_lists: Mapping[str, bool]
    ) -> Iterator[_Ids]:
        """What spans give as their user's id, the most telling last."""
        sources = [("span", [USER_ID_HASH]), *((s, self._user_keys) for s in reversed(ATTRIBUTE_LISTS))]
        for source, keys in sources:
            column = batch[ATTRIBUTE_LISTS[source]]
            attributes = None
            if in_lists.get(column.name):
                attributes = elements(column)
                users = attributes["key"].is_in(keys)
                attributes = attributes.with_columns(element_rows(column), _id_text(attributes)).filter(users)
            for key in reversed(keys):
                for raw in (f"{source}:{key}~", f"{source}:{key}"):
                    if raw in raws:
                        value = batch[raw].cast(pl.String)
                        value = value.str.strip_suffix(".0") if raw.endswith("~") else value
                        yield key, None, *numbered(array(value))
                if attributes is not None and attributes.height:
                    of_key = attributes.filter(pl.col("key") == key)
                    yield key, of_key["row"].to_numpy(), *numbered(array(of_key["value"]))

    def _raw_to_drop(self, batch: pl.DataFrame) -> list[str]:
        keys = {*self._dropped, f"{USER_ID_HASH}~"}
        names = ((name, name.partition(":")[2]) for name in batch.columns)
        return [name for name, key in names if key in keys or key.removesuffix("~") in self._dropped]


def _only_hashes(batch: pl.DataFrame) -> pl.DataFrame:
    """Nothing but hashes in the raw column of `USER_ID_HASH`."""
    raw = pl.col(f"span:{USER_ID_HASH}")
    if raw.meta.output_name() not in batch.columns:
        return batch
    return batch.with_columns(pl.when(raw.str.contains(_HASH_TEXT)).then(raw))


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


def _sort(dropped: frozenset[str], key: str) -> str:
    """What is to be done with attributes of this key, whatever their value: dropped, secret or ''."""
    if key in dropped:
        return "dropped"
    return "secret" if _SECRET_KEY.search(key) else ""


@dataclass(frozen=True, slots=True)
class _Changes:
    """What is to be done to a batch.

    Attributes:
        dropped: keys of attributes to take out.
        hashes: whether there are attributes `USER_ID_HASH`, which must be hashes.
        secret: keys of attributes whose value is secret whatever it is.
        keys: (keys, what replaces them).
        plain: the same for texts.
        json: the same for arrays and maps.
        trace_state: the same for these.
    """

    dropped: set[str]
    hashes: bool
    secret: set[str]
    keys: _Replaced
    plain: _Replaced
    json: _Replaced
    trace_state: _Replaced

    def apply(self, frame: pl.DataFrame, scan: Scan) -> pl.DataFrame:
        """Do it, in lists within lists as well; `scan` is of this frame."""
        changed = []
        for name, rows in scan.texts.items():
            changes = self.trace_state if name == "trace_state" else self.plain
            changed.append((name, _replace(frame[name], rows, changes)))
        for name, attributes in scan.attributes.items():
            if self._concern(attributes):
                changed.append((name, map_elements(frame[name], partial(self._attributes, scan=attributes))))
        for name, inner in scan.lists.items():
            if self._concern_any(inner):
                changed.append((name, map_elements(frame[name], partial(self.apply, scan=inner))))
        new = [column for name, column in changed if column is not frame[name]]
        return frame.with_columns(new) if new else frame

    def _concern(self, scan: Attributes) -> bool:
        named = self.dropped | self.secret | set(self.keys[0])
        if self.hashes:
            named.add(USER_ID_HASH)
        masked = (len(scan.plain) and self.plain[0].len()) or (len(scan.json) and self.json[0].len())
        return bool(masked) or not named.isdisjoint(scan.keys)

    def _concern_any(self, scan: Scan) -> bool:
        changes = (self.trace_state if name == "trace_state" else self.plain for name in scan.texts)
        return any(old.len() for old, _ in changes) or any(map(self._concern, scan.attributes.values()))

    def _attributes(self, attributes: pl.DataFrame, scan: Attributes) -> pl.DataFrame:
        key, value, kind = (attributes[name] for name in ("key", "value", "type"))
        masked = _replace(_replace(value, scan.plain, self.plain), scan.json, self.json)
        is_dropped = key.is_in(self.dropped & scan.keys)
        if self.hashes:
            is_dropped |= (key == USER_ID_HASH) & ~(
                (kind == ValueType.STRING) & value.str.contains(_HASH_TEXT)
            )
        is_secret = key.is_in(self.secret & scan.keys) & ~value.is_in(["", "[key]"])
        name = key if scan.keys.isdisjoint(self.keys[0]) else key.replace(*self.keys)
        if masked is value and name is key and not is_dropped.any() and not is_secret.any():
            return attributes
        metrics.SCRUBBED.labels("dropped").inc(int(is_dropped.sum()))
        metrics.SCRUBBED.labels("key").inc(int(is_secret.sum()))
        return attributes.with_columns(
            name,
            masked.set(is_secret, "[key]"),
            kind.set(is_secret, ValueType.STRING),
            (~is_dropped).alias(KEEP),
        )


def _mask(how: Callable[[pl.Series], pl.Series], found: pl.Series) -> _Replaced:
    if not found.len() or (masked := how(found)) is found:
        return _NOTHING
    changed = masked != found
    return found.filter(changed), masked.filter(changed)


def _replace(texts: pl.Series, rows: Rows, changes: _Replaced) -> pl.Series:
    """The texts with those of `rows` replaced that are to be; the very same object if none is."""
    old, new = changes
    if not len(rows) or not old.len():
        return texts
    where = pl.Series(rows)
    before = texts.gather(where)
    if not before.is_in(old.implode()).any():
        return texts
    return texts.clone().scatter(where, before.replace(old, new))
