"""A decoded batch's attributes as those look at them that come before all other processors."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spanhouse.processors.lists import Flat, children, ends, flat
from spanhouse.views import array, numbered

Ints = NDArray[np.int64]


class Distinct:
    """A column's distinct texts, and for each row the number of its own."""

    def __init__(self, texts: list[str], codes: NDArray[np.int32]) -> None:
        self.texts = texts
        self.codes = codes

    @classmethod
    def of(cls, column: Any) -> Distinct:
        """Of a column of text without nulls, or an array of string views."""
        codes, found = numbered(array(column) if isinstance(column, pl.Series) else column)
        return cls(found, codes)

    def at(self, rows: Ints) -> Distinct:
        """Those of some rows."""
        return Distinct(self.texts, self.codes[rows])


class Looked:
    """A batch; each part of it is looked at once, and only if somebody asks.

    Attributes:
        batch: the batch.
    """

    def __init__(self, batch: pl.DataFrame) -> None:
        self.batch = batch

    @cached_property
    def scopes(self) -> Distinct:
        """The names of the spans' scopes."""
        return Distinct.of(self.batch["scope"])

    @cached_property
    def attrs(self) -> Flat:
        """The attributes of spans."""
        return flat(self.batch["attrs"])

    @cached_property
    def keys(self) -> Distinct:
        """Their keys."""
        return Distinct.of(self.attrs.fields["key"])

    @cached_property
    def rows(self) -> Ints:
        """The rows of their spans."""
        return np.repeat(np.arange(self.batch.height), np.diff(self.attrs.ends))

    @cached_property
    def events(self) -> Flat:
        """The events of spans."""
        return flat(self.batch["events"])

    @cached_property
    def event_names(self) -> Distinct:
        """Their names."""
        return Distinct.of(self.events.fields["name"])

    @cached_property
    def event_rows(self) -> Ints:
        """The rows of their spans."""
        return np.repeat(np.arange(self.batch.height), np.diff(self.events.ends))

    @cached_property
    def event_attrs(self) -> Flat:
        """The attributes of events."""
        lists = self.events.fields["attrs"]
        return Flat(ends(lists), children(lists))

    @cached_property
    def event_keys(self) -> Distinct:
        """Their keys."""
        return Distinct.of(self.event_attrs.fields["key"])

    @cached_property
    def event_owners(self) -> Ints:
        """The numbers of their events."""
        return np.repeat(np.arange(len(self.event_rows)), np.diff(self.event_attrs.ends))

    def raw(self) -> list[str]:
        """The names of the raw columns of spans' attributes that have the type they are wanted in."""
        return [name for name in self.batch.columns if name.startswith("span:") and not name.endswith("~")]
