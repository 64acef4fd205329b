"""`spanhouse prices`: what models cost, where a price comes from, and which models seen have none."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice

from spanhouse.config import Config
from spanhouse.errors import Unavailable, UserError
from spanhouse.processors.price import Model, Price, steps_of
from spanhouse.processors.price_file import RATES, OwnPrice
from spanhouse.running import endpoint_of
from spanhouse.sql_command import asked
from spanhouse.store import existing_store, plain, query_text

Say = Callable[[str], None]
_SORTS: Final = tuple(RATES)
_HEAD: Final = f"{'':<64}" + "".join(f"{sort:>13}" for sort in (*_SORTS, "per request"))
# Service tiers that the bundled prices know.
_TIERS: Final = ("flex", "priority", "fast", "batch")


def show(config: Config, say: Say, *, model: str, provider: str, at: date | None) -> int:
    """Say what models cost: one explained, or all in a list.

    Args:
        config: names the price file.
        say: prints a line.
        model: as a span names it; '' lists all.
        provider: as a span names it; in a list, only its models.
        at: day (UTC) whose prices are asked for, at its beginning; None for now.

    Returns:
        The exit code: 1 where the model's price is not known.
    """
    settings = config.processors.get("price", {})
    price = Price(**settings)
    moment = datetime.combine(at, time(0), UTC) if at else datetime.now(UTC)
    if model:
        return _explain(price, settings.get("file"), say, model, provider, moment)
    say(f"US dollars per million tokens, and per request, at {moment:%Y-%m-%d}\n{_HEAD}")
    for name, known in _all(price, provider, moment):
        for line in _lines(name, known):
            say(line)
    return 0


def unpriced(config: Config, say: Say) -> int:
    """Say which models seen have no price, from a server, the running instance or the store at rest."""
    rows = _unpriced(config)
    if not rows:
        say("no calls without a known price")
        return 0
    say(f"{'provider':<24} {'model':<48} {'calls':>12} {'tokens':>18} {'last seen':>10}")
    for row in rows:
        calls, tokens = int(row["calls"]), int(row["tokens"])
        say(f"{row['provider']:<24} {row['model']:<48} {calls:>12,} {tokens:>18,} {row['last_seen']:>10}")
    say("\ngive them a price in the price file (processors.price.file), then `spanhouse reprice`")
    return 0


def _all(price: Price, provider: str, at: datetime) -> Iterator[tuple[str, ModelPrice]]:
    for entry in price.own:
        if entry.begins <= at and provider.lower() in ("", entry.provider):
            yield f"{_name(entry)} (own, line {entry.line})", entry.price
    for seller in get_snapshot().providers:
        if provider.lower() in ("", seller.id):
            for model in seller.models:
                yield f"{seller.id} {model.id}", model.get_prices(at)


def _name(entry: OwnPrice) -> str:
    return f"{entry.provider or 'any'} {entry.model}{'*' if entry.prefix else ''}"


def _explain(price: Price, file: object, say: Say, model: str, provider: str, at: datetime) -> int:
    found = price.model(provider, model)
    known = found.price(at, "")
    of = f"{model} of {provider or 'any provider'} at {at:%Y-%m-%d}"
    if known is None:
        say(f"{of}: no price is known, its calls are unpriced")
        for entry in found.own:
            say(f"{file}:{entry.line} has one from {entry.since} on")
        say("a price of your own goes into the price file (processors.price.file):")
        lines = [
            "prices:",
            f"  - model: {json.dumps(model)}",
            "    input: 0.15  # dollars per million tokens",
        ]
        say("\n".join([*lines, "    output: 0.60"]))
        return 1
    say(f"{of}: {_origin(found, known[1], file)}\n{_HEAD}")
    for line in _lines("price", known[0]):
        say(line)
    if known[1] is not None:
        return 0
    for tier in _TIERS:
        special = found.price(at, tier)
        if special and special[0] != known[0]:
            for line in _lines(f"service tier {tier}", special[0]):
                say(line)
    return 0


def _origin(found: Model, entry: OwnPrice | None, file: object) -> str:
    if entry is not None:
        since = f", from {entry.since} on" if entry.since > date.min else ""
        return f"{file}:{entry.line}, {_name(entry)}{since}"
    version = importlib.metadata.version("genai-prices")
    model = found.bundled.id if found.bundled else ""
    return f"bundled (genai-prices {version}): provider {found.seller}, model {model}, found as {found.name}"


def _lines(name: str, price: ModelPrice) -> Iterable[str]:
    """The rates, and those above each number of input tokens from which others hold."""
    for above, rates in steps_of(price):
        label = f"  above {above:,} input tokens" if above else name
        per_million = [_money(rates[sort] * 1_000_000) for sort in _SORTS]
        if not rates["prices_input"] and not rates["prices_output"]:
            yield f"{label:<64}  not by tokens: unpriced"
            continue
        yield f"{label:<64}" + "".join(f"{text:>13}" for text in (*per_million, _money(rates["request"])))


def _money(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _unpriced(config: Config) -> list[dict[str, Any]]:
    settings = config.exporters.clickhouse
    text = plain(query_text("unpriced"))
    if settings.url:
        # Imported here, as it is for servers only.
        from spanhouse.exporters.clickhouse_server import ClickHouseServer

        server = ClickHouseServer.of(settings)
        try:
            return server.query("unpriced").rows(named=True)
        except Unavailable as error:
            raise UserError(str(error)) from error
        finally:
            server.close()
    if url := endpoint_of(config.data):
        user = settings.user or ("default" if settings.password else "")
        with asked(url, text, "JSONEachRow", user, settings.password, timeout=120) as response:
            return [json.loads(line) for line in response]
    with existing_store(config.data) as store:
        session = store.session()
        try:
            return [json.loads(row) for row in str(session.query(text, "JSONEachRow")).splitlines()]
        finally:
            session.close()
