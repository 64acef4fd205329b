"""price: what each model call cost in US dollars.

Prices are the user's own (price_file.py) and, for what they do not name, those of `genai-prices`, which
ships with its data and needs no network. Its rules decide the rates: which price is valid when, service
tiers, tiers by input size, what cached and reasoning tokens cost. It is asked once per distinct model; then
whole columns are multiplied, as decimals, and rounded once, to the column's 1e-10 dollars.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import yaml
from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)
from pydantic import BeforeValidator

from spanhouse import metrics
from spanhouse.batch import NORMALIZED
from spanhouse.errors import UserError
from spanhouse.processors.price_file import RATES, OwnPrice, load, version

log = logging.getLogger(__name__)

_NAMES: Final = Path(__file__).parent / "mappings" / "prices.yaml"
# Senders choose the names of models, so what is kept of them is bounded, and so is how many a batch may
# have looked up: an unknown name takes up to a millisecond.
_MAX_KEPT: Final = 20_000
_MAX_LOOKUPS: Final = 256

# How often it is looked whether the price file was changed.
_LOOK_SECONDS: Final = 2.0

_DAY_NS: Final = 86_400_000_000_000
_COST: Final = pl.Decimal(18, 10)
_COST_OR_0: Final = pl.coalesce("cost_computed_usd", pl.lit(0, _COST)).cast(_COST)
_MAX_COST: Final = 1e8  # more does not fit into _COST
_SOURCES: Final = pl.Series(["none", "computed", "unpriced", "reported"])
_KEY: Final = ("provider", "model", "service_tier", "epoch")
_READ: Final = (*_KEY[:3], "start_ns", *(name for name in NORMALIZED if name.startswith("tokens_")))
# Dollars per token of a sort; a sort without a price of its own costs what the next one costs.
_TOKEN_RATES: Final = {
    sort: (key, RATES[instead][0]) if instead else (key,) for sort, (key, instead) in RATES.items()
}
_RATES: Final[dict[str, Any]] = {
    **dict.fromkeys((*_TOKEN_RATES, "request"), pl.Decimal(38, 24)),
    "prices_input": pl.Boolean,
    "prices_output": pl.Boolean,
}
_NO_RATES: Final = {**dict.fromkeys((*_TOKEN_RATES, "request"), Decimal(0)), "prices_input": False,
                    "prices_output": False}  # fmt: skip


# `file: ""` is no file.
_File = Annotated[Path | None, BeforeValidator(lambda value: value or None)]


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a model that a provider sells.

    Attributes:
        own: prices of the user's file, those first that win.
        bundled: the model in genai-prices; None where it is not there.
        seller: the provider it was found at.
        name: the name it was found by.
    """

    own: Sequence[OwnPrice]
    bundled: ModelInfo | None = None
    seller: str = ""
    name: str = ""
    has_tiers: bool = False

    def price(self, at: datetime, tier: str) -> tuple[ModelPrice, OwnPrice | None] | None:
        """The price at a moment, and the entry it is from; None for an entry if it is the bundled one."""
        for entry in self.own:
            if entry.begins <= at:
                return entry.price, entry
        if self.bundled is None:
            return None
        # `batch` is a service tier of APIs, and has a name of its own there.
        context: Any = {"service_tier": tier, "processing": tier} if tier and self.has_tiers else None
        return self.bundled.get_prices(at, context), None


class Price:
    """Sets `cost_usd`, `cost_source` and `cost_computed_usd` from a span's tokens, model, provider and start.

    `cost_source` is `reported` where the span tells a positive cost itself, `computed` where the price is
    known (of a free model, too), `unpriced` where there is usage whose price is not known (counted in
    `metrics.SPANS_UNPRICED`, each model logged once), and `none` where there is no usage.
    `cost_computed_usd` is what the price comes to, whatever was reported; null where it is not known.

    Args:
        file: the user's own prices. It is read again when it changes; a new version that cannot be used is
            logged, `metrics.PRICE_FILE_BROKEN` is 1, and the prices stay as they were.

    Raises:
        UserError: the file cannot be used.
    """

    def __init__(self, file: _File = None) -> None:
        names = yaml.safe_load(_NAMES.read_text("utf-8"))
        self._sellers: dict[str, str] = names["providers"]
        self._prefixes = [re.compile(prefix) for prefix in names["prefixes"]]
        self._providers: list[Provider] = get_snapshot().providers
        self._file = file
        self._version = version(file) if file else ()
        self._look_at = 0.0
        self._logged: set[tuple[str, str]] = set()
        self._take(load(file) if file else [])

    @property
    def own(self) -> Sequence[OwnPrice]:
        """The prices of the user's file."""
        return self._own

    @property
    def times(self) -> Sequence[time]:
        """Times of the day (UTC) at which a price may change, midnight first."""
        return self._epochs.times

    def _take(self, own: list[OwnPrice]) -> None:
        self._own = own
        self._epochs = _Epochs(self._providers, (entry.since for entry in own))
        prices = (*_all_prices(self._providers), *(entry.price for entry in own))
        self._steps = [f"step{i}" for i in range(max(len(_steps(price)) for price in prices))]
        self._forget()

    def _forget(self) -> None:
        self._models: dict[tuple[str, str], Model] = {}
        self._logged.clear()
        # Key -> its first row in _rates, and from how many input tokens on it is the row after that.
        self._first = pl.DataFrame(
            schema={**dict.fromkeys(_KEY[:3], pl.String), "epoch": pl.UInt32, "first": pl.UInt32}
            | dict.fromkeys(self._steps, pl.UInt64)
        )
        self._rates = pl.DataFrame([_NO_RATES], schema=_RATES)  # row 0: no known price

    def _read_again(self) -> None:
        """Take the prices of the file if it was changed."""
        if self._file is None or monotonic() < self._look_at:
            return
        self._look_at = monotonic() + _LOOK_SECONDS
        if (now := version(self._file)) == self._version:
            return
        self._version = now
        try:
            own = load(self._file)
        except UserError as error:
            log.error("the changed price file cannot be used, prices stay as they were: %s", error)
            metrics.PRICE_FILE_BROKEN.set(1)
            return
        metrics.PRICE_FILE_BROKEN.set(0)
        self._take(own)
        log.info("%s was changed: %d prices from now on", self._file, len(own))

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Price a batch that `normalize` has been through."""
        self._read_again()
        told = batch["reported_cost_usd"].to_numpy()  # null is NaN
        reported = (told > 0) & (told < _MAX_COST)
        rows = ((batch["tokens_prompt"] + batch["tokens_completion"]).to_numpy() > 0).nonzero()[0]
        sources = np.zeros(batch.height, np.uint32)
        computed = pl.Series([None], dtype=_COST)
        if len(rows):
            spans = pl.DataFrame([batch[name] for name in _READ])[rows]
            costs = self._compute(spans)
            unknown = costs.is_null().to_numpy()
            sources[rows] = 1 + unknown
            computed = costs.append(computed)
            if (unpriced := unknown & ~reported[rows]).any():
                self._note_unpriced(spans.select("provider", "model").filter(pl.Series(unpriced)))
        sources[reported] = 3
        places = np.full(batch.height, len(rows), np.uint32)
        places[rows] = np.arange(len(rows))
        batch = batch.with_columns(cost_source=_SOURCES[sources], cost_computed_usd=computed[places])
        if not reported.any():
            return batch.with_columns(cost_usd=_COST_OR_0)
        where = pl.lit(pl.Series(reported))
        return batch.with_columns(
            cost_usd=pl.when(where).then(pl.col("reported_cost_usd").cast(_COST)).otherwise(_COST_OR_0)
        )

    def _note_unpriced(self, models: pl.DataFrame) -> None:
        metrics.SPANS_UNPRICED.inc(models.height)
        new = [key for key in models.unique().iter_rows() if key not in self._logged]
        if len(self._logged) > _MAX_KEPT:
            self._logged.clear()
        for provider, model in new[:_MAX_LOOKUPS]:
            self._logged.add((provider, model))
            text = (
                "no price is known for model '%.100s' of provider '%.100s': its calls are stored as unpriced"
            )
            log.warning(text, model, provider)

    def _compute(self, spans: pl.DataFrame) -> pl.Series:
        """Dollars that spans with usage cost, null where the price is not known."""
        spans = spans.hstack([self._epochs.index(spans["start_ns"].to_numpy()).alias("epoch")])
        priced = spans.join(self._first, on=_KEY, how="left", maintain_order="left")
        if priced["first"].null_count():
            self._learn(priced.filter(pl.col("first").is_null()).select(_KEY).unique(maintain_order=True))
            priced = spans.join(self._first, on=_KEY, how="left", maintain_order="left")
        steps = [(pl.col("tokens_prompt") > pl.col(step)).cast(pl.UInt32) for step in self._steps]
        row = priced.select(pl.sum_horizontal("first", *steps)).to_series()
        dollars = pl.when(_IS_PRICED).then(_DOLLARS.cast(_COST))
        return priced.hstack(self._rates[row]).select(dollars).to_series()

    def _learn(self, keys: pl.DataFrame) -> None:
        """Look up the prices of new keys, as many models as a batch may ask for."""
        if len(self._models) + self._first.height > _MAX_KEPT:
            self._forget()
        rates: list[dict[str, Any]] = []
        first: list[tuple[Any, ...]] = []
        lookups = 0
        for provider, model, tier, epoch in keys.iter_rows():
            if (provider, model) not in self._models:
                lookups += 1
                if lookups > _MAX_LOOKUPS:
                    continue
            found = self.rates(provider, model, tier, self._epochs.instant(epoch))
            number = self._rates.height + len(rates) if found else 0
            first.append((provider, model, tier, epoch, number, *(step for step, _ in found[1:])))
            rates += [of_step for _, of_step in found]
        width = self._first.width
        rows = [row + (None,) * (width - len(row)) for row in first]
        new = pl.DataFrame(rows, schema=self._first.schema, orient="row")
        self._first = self._first.vstack(new).rechunk()
        self._rates = self._rates.vstack(pl.DataFrame(rates, schema=_RATES)).rechunk()

    def rates(self, provider: str, model: str, tier: str, at: datetime) -> list[tuple[int, dict[str, Any]]]:
        """What a model costs at a moment: (above how many input tokens, dollars per token and per request).

        [] where that is not known. `prices_input` and `prices_output` say whether it is of these tokens.
        """
        found = self.model(provider, model).price(at, tier)
        if found is None:
            return []
        return steps_of(found[0])

    def model(self, provider: str, model: str) -> Model:
        """What is known of a model, by the names that a span gives it and its provider."""
        if (provider, model) not in self._models:
            self._models[provider, model] = self._find(provider, model)
        return self._models[provider, model]

    def _find(self, provider: str, model: str) -> Model:
        seller = self._sellers.get(provider, provider)
        forms = list(self._forms("" if seller == "any" else seller, model.lower()))
        names = [name for _, name in forms]
        own = [entry for entry in self._own if entry.fits((provider.lower(), seller.lower()), names)]
        for sold_by, name in forms:
            if found := self._find_exactly(sold_by, name, own):
                return found
        return Model(own)

    def _forms(self, seller: str, name: str) -> Iterator[tuple[str, str]]:
        """What to look a model up by: as it stands, then without prefixes; '' is any seller."""
        yield seller, name
        for prefix in self._prefixes:
            match = prefix.match(name)
            if match:
                name = name[match.end() :]
                if not seller:
                    maker = match[0].rstrip("/:")
                    yield self._sellers.get(maker, maker), name
                yield seller, name

    def _find_exactly(self, seller: str, name: str, own: Sequence[OwnPrice]) -> Model | None:
        provider = (
            find_provider_by_id(self._providers, seller)
            if seller
            else next((p for p in self._providers if p.model_match and p.model_match.is_match(name)), None)
        )
        model = provider.find_model(name, all_providers=self._providers) if provider and name else None
        if provider is None or model is None:
            return None
        # A price that one provider takes from another's list has no service tiers, as in genai-prices.
        return Model(own, model, provider.id, name, any(model is one for one in provider.models))


_PARTS: Final = pl.col("tokens_cache_read") + pl.col("tokens_cache_write")
_DOLLARS: Final = (
    (pl.col("tokens_prompt") - _PARTS) * pl.col("input")
    + pl.col("tokens_cache_read") * pl.col("cache_read")
    + pl.col("tokens_cache_write") * pl.col("cache_write")
    + (pl.col("tokens_completion") - pl.col("tokens_reasoning")) * pl.col("output")
    + pl.col("tokens_reasoning") * pl.col("reasoning")
    + pl.col("request")
)
_IS_PRICED: Final = ((pl.col("tokens_prompt") > 0) & pl.col("prices_input")) | (
    (pl.col("tokens_completion") > 0) & pl.col("prices_output")
)


class _Epochs:
    """Numbers the spans of time within which no price changes.

    Prices change on a date or at a time of the day; an epoch is one stretch between such dates and
    one between such times. So few numbers stand for all times, and each has a moment that stands for it.
    """

    def __init__(self, providers: Sequence[Provider], own: Iterable[date]) -> None:
        dates = {day for day in own if day > date(1970, 1, 1)}
        times: set[time] = {time(0)}
        for constraint in _constraints(providers):
            if isinstance(constraint, StartDateConstraint):
                dates.add(constraint.start_date)
            else:
                times |= {_utc(constraint.start_time), _utc(constraint.end_time)}
        self._dates, self.times = sorted(dates), sorted(times)
        self._days = np.array([(d - date(1970, 1, 1)).days for d in self._dates], np.uint64)
        self._times_ns = np.array([_ns(t) for t in self.times], np.uint64)

    def index(self, start_ns: npt.NDArray[np.uint64]) -> pl.Series:
        days, of_day = np.divmod(start_ns, np.uint64(_DAY_NS))
        date_index = np.searchsorted(self._days, days, side="right")
        time_index = np.searchsorted(self._times_ns, of_day, side="right") - 1
        return pl.Series((date_index * len(self.times) + time_index).astype(np.uint32))

    def instant(self, epoch: int) -> datetime:
        date_index, time_index = divmod(epoch, len(self.times))
        day = self._dates[date_index - 1] if date_index else self._dates[0] - timedelta(days=1)
        return datetime.combine(day, self.times[time_index], UTC)


def _utc(at: time) -> time:
    return datetime.combine(date(1970, 1, 2), at, at.tzinfo or UTC).astimezone(UTC).time()


def _ns(at: time) -> int:
    return (
        timedelta(hours=at.hour, minutes=at.minute, seconds=at.second) // timedelta(microseconds=1)
    ) * 1000


def _constraints(providers: Sequence[Provider]) -> Iterator[StartDateConstraint | TimeOfDateConstraint]:
    for model in (model for provider in providers for model in provider.models):
        conditional = model.prices if isinstance(model.prices, list) else []
        for item in (*conditional, *(model.price_variants or ())):
            if item.constraint is not None:
                yield item.constraint


def _all_prices(providers: Sequence[Provider]) -> Iterator[ModelPrice]:
    for model in (model for provider in providers for model in provider.models):
        yield from (c.prices for c in model.prices) if isinstance(model.prices, list) else (model.prices,)


def _given(price: ModelPrice) -> dict[str, Decimal | TieredPrices]:
    return {key: value for key, value in vars(price).items() if value is not None}


def _steps(price: ModelPrice) -> list[int]:
    """Numbers of input tokens above which other rates apply to the whole call."""
    keys = {key for keys in _TOKEN_RATES.values() for key in keys}
    tiered = (v for k, v in _given(price).items() if k in keys and isinstance(v, TieredPrices))
    return sorted({tier.start for value in tiered for tier in value.tiers})


def steps_of(price: ModelPrice) -> list[tuple[int, dict[str, Any]]]:
    """As `Price.rates`, of a price."""
    return [(max(step, 0), _rates(price, step)) for step in (-1, *_steps(price))]


def _rates(price: ModelPrice, step: int) -> dict[str, Any]:
    """The rates above `step` input tokens."""
    given = _given(price)

    def dollars(key: str, per: int) -> Decimal:
        value = given.get(key, Decimal(0))
        if isinstance(value, TieredPrices):
            index = bisect_right([tier.start for tier in value.tiers], step)
            value = value.tiers[index - 1].price if index else value.base
        return value / per

    rates: dict[str, Any] = {}
    for sort, keys in _TOKEN_RATES.items():
        rates[sort] = dollars(next((key for key in keys if key in given), keys[0]), 1_000_000)
    rates["request"] = dollars("requests_kcount", 1000)
    # A model without any price is free; one that is only priced by the hour or the page, say, is not.
    always = not given or "requests_kcount" in given
    rates["prices_input"] = always or not given.keys().isdisjoint(
        ("input_mtok", "cache_read_mtok", "cache_write_mtok")
    )
    rates["prices_output"] = always or not given.keys().isdisjoint(("output_mtok", "output_reasoning_mtok"))
    return rates
