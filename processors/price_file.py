"""The user's own prices: models of their own, negotiated prices, each from a date on.

docs/prices.md describes the file. Rates become genai-prices' own ModelPrice, so that one computation does for
both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from genai_prices.types import ModelPrice, Tier, TieredPrices

from spanhouse.errors import UserError
from spanhouse.yaml_lines import Document, Keys, read

# Key of the file -> genai-prices' name of the rate, and the rate it falls back to.
RATES: Final = {
    "input": ("input_mtok", ""),
    "cache_read": ("cache_read_mtok", "input"),
    "cache_write": ("cache_write_mtok", "input"),
    "output": ("output_mtok", ""),
    "reasoning": ("output_reasoning_mtok", "output"),
}
_ENTRY: Final = ("provider", "model", "from", *RATES, "per_request", "tiers")
_TIER: Final = ("above", *RATES)
# Larger ones would not fit into the column at the largest count of tokens (rule_exprs.MAX_TOKENS).
_MAX_PRICE: Final = 10_000
_MAX_PLACES: Final = 12
_MAX_ABOVE: Final = 10**12
_ALWAYS: Final = date.min


@dataclass(frozen=True, slots=True)
class OwnPrice:
    """One entry of the file.

    Attributes:
        provider: as spans or genai-prices name it, in lower case; '' for any.
        model: in lower case; with `prefix` what its name begins with.
        since: first day (UTC) it holds for; `date.min` where the file gives none.
        line: where it stands in the file.
        price: per million tokens, and per thousand requests.
    """

    provider: str
    model: str
    prefix: bool
    since: date
    line: int
    price: ModelPrice

    @property
    def begins(self) -> datetime:
        """The moment from which it holds."""
        return datetime.combine(self.since, time(0), UTC)

    def fits(self, providers: Iterable[str], models: Iterable[str]) -> bool:
        """Whether it is for a model that is known by any of these names (in lower case)."""
        if self.provider and self.provider not in providers:
            return False
        return any(name.startswith(self.model) if self.prefix else name == self.model for name in models)


def load(path: Path) -> list[OwnPrice]:
    """The entries of a file, those first that win: named provider, exact name, longer prefix, later date.

    Raises:
        UserError: names everything that is wrong with the file, a line each: `file:line: key: what`.
    """
    document = read(path)
    entries = _entries(document)
    if document.problems:
        raise UserError("\n".join(document.report()))
    return sorted(
        entries, key=lambda e: (bool(e.provider), not e.prefix, len(e.model), e.since), reverse=True
    )


def version(path: Path) -> tuple[int, ...]:
    """What differs when the file was changed; () where it cannot be seen."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _entries(document: Document) -> list[OwnPrice]:
    for key in document.data:
        if key != "prices":
            document.problem((key,), "unknown key; the one key of the file is 'prices'")
    listed = document.data.get("prices", {})
    if listed == {}:  # `prices:` with nothing behind it, or an empty file
        return []
    if not isinstance(listed, list):
        document.problem(("prices",), "expected a list of prices")
        return []
    found: dict[tuple[str, str, bool, date], int] = {}
    entries = []
    for number, item in enumerate(listed):
        where: Keys = ("prices", number)
        if not isinstance(item, dict):
            document.problem(where, "expected keys with values")
            continue
        entry = _entry(document, where, item)
        name = (entry.provider, entry.model, entry.prefix, entry.since)
        if name in found:
            document.problem(where, f"same provider, model and date as in line {found[name]}")
        found.setdefault(name, entry.line)
        entries.append(entry)
    return entries


def _entry(document: Document, where: Keys, item: dict[str, Any]) -> OwnPrice:
    _known(document, where, item, _ENTRY)
    model = _text(document, (*where, "model"), item.get("model")) if "model" in item else ""
    if "model" not in item:
        document.problem((*where, "model"), "is missing")
    if "*" in model[:-1] or model == "*":
        document.problem(
            (*where, "model"), "a * stands for the rest of a name: only at its end, after some text"
        )
    provider = _text(document, (*where, "provider"), item["provider"]) if "provider" in item else ""
    since = item.get("from", _ALWAYS)
    if not isinstance(since, date) or isinstance(since, datetime):
        document.problem((*where, "from"), f"expected a date such as 2026-11-01, not {since}")
        since = _ALWAYS
    rates = _rates(document, where, item)
    price: dict[str, Decimal | TieredPrices] = {RATES[key][0]: value for key, value in rates.items()}
    if "tiers" in item:
        price |= _tiered(document, (*where, "tiers"), item["tiers"], rates)
    if "per_request" in item:
        each = _number(document, (*where, "per_request"), item["per_request"], _MAX_PRICE)
        price["requests_kcount"] = each * 1000
    for key, (_, instead) in RATES.items():
        if instead and key in rates and instead not in rates:
            document.problem((*where, key), f"is a part of {instead}, whose price is missing")
    if not price:
        document.problem(where, f"has no price; give one of {', '.join(RATES)}, per_request")
    line = document.lines[where]
    return OwnPrice(provider, model.removesuffix("*"), model.endswith("*"), since, line, ModelPrice(**price))


def _tiered(
    document: Document, where: Keys, tiers: object, base: dict[str, Decimal]
) -> dict[str, Decimal | TieredPrices]:
    """The rates with their tiers; what a tier does not give stays as below it."""
    if not isinstance(tiers, list) or not tiers:
        document.problem(where, "expected a list of tiers, each with 'above' and prices")
        return {}
    levels, starts = [base], [0]
    for number, tier in enumerate(tiers):
        here: Keys = (*where, number)
        if not isinstance(tier, dict):
            document.problem(here, "expected keys with values")
            continue
        _known(document, here, tier, _TIER)
        rates = _rates(document, here, tier)
        for key in rates.keys() - base.keys():
            document.problem((*here, key), "has no price below the tiers; give one there, too")
        if not rates:
            document.problem(here, f"has no price; give one of {', '.join(RATES)}")
        if "above" not in tier:
            document.problem((*here, "above"), "is missing: the number of input tokens above which it holds")
            continue
        above = _number(document, (*here, "above"), tier["above"], _MAX_ABOVE)
        if above != int(above) or above <= starts[-1]:
            document.problem((*here, "above"), f"expected a whole number above {starts[-1]}, not {above}")
        starts.append(int(above))
        levels.append({**levels[-1], **rates})
    return {
        RATES[key][0]: TieredPrices(
            base[key], [Tier(start, level[key]) for start, level in zip(starts[1:], levels[1:], strict=True)]
        )
        for key in base
    }


def _known(document: Document, where: Keys, item: dict[str, Any], keys: Iterable[str]) -> None:
    for key in item.keys() - set(keys):
        document.problem((*where, key), f"unknown key; known are {', '.join(keys)}")


def _rates(document: Document, where: Keys, item: dict[str, Any]) -> dict[str, Decimal]:
    return {key: _number(document, (*where, key), item[key], _MAX_PRICE) for key in RATES if key in item}


def _text(document: Document, where: Keys, value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        document.problem(where, "expected a name")
        return ""
    return value.strip().lower()


def _number(document: Document, where: Keys, value: object, most: int) -> Decimal:
    """A number as the file writes it, so that 0.1 is a tenth."""
    expected = f"expected a number from 0 to {most:,} with up to {_MAX_PLACES} decimals"
    try:
        number = Decimal("NaN") if isinstance(value, bool | dict | list) else Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or not 0 <= number <= most or _places(number) > _MAX_PLACES:
        document.problem(where, f"{expected}, not {value}")
        return Decimal(0)
    return number


def _places(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return -exponent
