"""`spanhouse reprice`: costs of stored rows by the prices of now, and rollups that agree with them.

Nothing is remembered between two runs and every step sets what is, rather than adding to it: rows get the
cost that follows from their own columns, rollups get what they lack of the rows. So a run that was cut off
anywhere is finished by the next. A day is a partition; one is done after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from spanhouse import rollups, running
from spanhouse.config import Config
from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters.clickhouse_address import Address
from spanhouse.exporters.clickhouse_server import insert_settings
from spanhouse.processors.normalize import Normalize
from spanhouse.processors.price import Price
from spanhouse.rollups import ROLLUPS
from spanhouse.store import existing_store, named, plain, statement

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_EPOCH: Final = date(1970, 1, 1)
# A day's rows are rewritten while the server is waited for.
_ANSWER_SECONDS: Final = 3600
# A server takes no parameter over 128 kB.
_MOST_BYTES: Final = 50_000
_MOST_RATES: Final = 1_500
_TRIES: Final = 5
_RATES: Final = (
    "input", "cache_read", "cache_write", "output", "reasoning", "request", "prices_input", "prices_output",
)  # fmt: skip
_TIER_SOURCES: Final = ("span", "resource", "scope")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the rows are.

    Attributes:
        events: the table to change, for ALTER TABLE.
        settings: settings of an insert, by its token.
        quiet_seconds: rollups into which rows came more lately are left for the next run.
    """

    client: Client
    events: str
    settings: Callable[[str], dict[str, Any]]
    quiet_seconds: int

    def ask(self, text: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of a query."""
        return list(self.client.query(text, parameters=parameters).named_results())

    def do(self, text: str, settings: dict[str, Any], **parameters: Any) -> None:
        """Run a statement."""
        self.client.command(text, parameters, settings=settings)


@dataclass(slots=True)
class Change:
    """What new prices change for a model (or all): sums over rows that differ."""

    calls: int = 0
    reported: int = 0
    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    unpriced_before: int = 0
    unpriced_after: int = 0

    def add(self, row: dict[str, Any]) -> None:
        """Add a row of sql/reprice/differences.sql."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + row[name])


@dataclass(slots=True)
class Prices:
    """The prices of now, as parameters of the statements in sql/reprice/."""

    price: Price
    normalize: Normalize
    of_key: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        names = self.normalize.by_attributes("service_tier")[0]
        self.of_key = {"times": [t.hour * 3600 + t.minute * 60 + t.second for t in self.price.times]}
        for source in _TIER_SOURCES:
            keys = [name.partition(":")[2] for name in names if name.startswith(f"{source}:")]
            self.of_key[f"of_{source}"] = keys

    def parameters(self, day: date, keys: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Parameters that give the rates of these keys (rows of keys.sql), so many as one statement takes."""
        texts: list[str] = []
        first: list[int] = []
        steps: list[list[int]] = []
        rates: list[dict[str, Any]] = []
        tiers = self._tiers([row["key"][3] for row in keys])
        for row, tier in zip(keys, tiers, strict=True):
            provider, model, number, _ = row["key"]
            at = datetime.combine(day, self.price.times[number - 1], UTC)
            found = self.price.rates(provider, model, tier, at) or [(0, _NOTHING)]
            texts.append(row["text"])
            first.append(len(rates) + 1)
            steps.append([step for step, _ in found[1:]])
            rates += [of_step for _, of_step in found]
            if len(rates) > _MOST_RATES or sum(len(text.encode()) for text in texts) > _MOST_BYTES:
                yield self._filled(texts, first, steps, rates)
                texts, first, steps, rates = [], [], [], []
        if texts:
            yield self._filled(texts, first, steps, rates)

    def _filled(
        self, texts: list[str], first: list[int], steps: list[list[int]], rates: list[dict[str, Any]]
    ) -> dict[str, Any]:
        columns = {name: [of_step[name] for of_step in rates] for name in _RATES}
        numbers = list(range(1, len(texts) + 1))
        of_keys = {"keys": texts, "numbers": numbers, "first": first, "steps": steps}
        return self.of_key | of_keys | columns

    def _tiers(self, texts: list[list[str]]) -> list[str]:
        """Service tiers by what stands in the attributes that may name one."""
        names, tier = self.normalize.by_attributes("service_tier")
        ordered = [f"{source}:{key}" for source in _TIER_SOURCES for key in self.of_key[f"of_{source}"]]
        frame = pl.DataFrame(texts, schema=dict.fromkeys(ordered, pl.String), orient="row")
        return frame.select(names).select(tier).to_series().to_list() if names else [""] * len(texts)


_NOTHING: Final[dict[str, Any]] = {
    **dict.fromkeys(_RATES[:6], Decimal(0)), "prices_input": False, "prices_output": False,
}  # fmt: skip


def reprice(
    config: Config, first: date, last: date, say: Say, *, dry_run: bool, agreed: Callable[[], bool]
) -> int:
    """Price the rows of some days (UTC, both included) anew.

    Args:
        config: names the store or server, the price file and the mappings.
        first: the first day.
        last: the last one.
        say: prints a line.
        dry_run: change nothing, say what would change.
        agreed: asked before rows are changed, after it was said how.

    Returns:
        The exit code: 1 if it was not agreed to, or if rollups are left that cannot be brought to agree yet.

    Raises:
        UserError: the store is in use, or the server is away or refuses.
    """
    prices = Prices(
        Price(**config.processors.get("price", {})), Normalize(**config.processors.get("normalize", {}))
    )
    with _target(config, dry_run=dry_run) as target:
        return _reprice(target, prices, first, last, say, dry_run=dry_run, agreed=agreed)


def _reprice(
    target: Target, prices: Prices, first: date, last: date, say: Say, *,
    dry_run: bool, agreed: Callable[[], bool],
) -> int:  # fmt: skip
    bounds = {"first_day": (first - _EPOCH).days, "last_day": (last - _EPOCH).days}
    days = target.ask(_text("days"), **bounds)
    changes: dict[tuple[str, str], Change] = {}
    changed: dict[int, list[dict[str, Any]]] = {}
    for row in days:
        for parameters in _parameters(target, prices, row["day"]):
            found = target.ask(_text("differences"), day=row["day"], **parameters)
            if found:
                changed.setdefault(row["day"], []).append(parameters)
            for one in found:
                changes.setdefault((one["provider"], one["model"]), Change()).add(one)
    for line in _table(changes):
        say(line)
    if nameless := sum(row["nameless"] for row in days):
        say(f"{nameless:,} rows stay as they are: guard replaced their model or provider by __other__")
    calls = sum(row["calls"] for row in days)
    differ = sum(change.calls for change in changes.values())
    say(f"{first} to {last}: {calls:,} rows with usage, {differ:,} get other costs")
    if dry_run:
        return 0
    if changed and not agreed():
        return 1
    waiting = 0
    for number, row in enumerate(days, 1):
        day = _EPOCH + timedelta(days=row["day"])
        for parameters in changed.get(row["day"], ()):
            update = _text("update").replace("{events}", target.events)
            target.do(update, _WAIT, partition=str(day), **parameters)
        left = _agree(target, row["day"])
        waiting += left
        state = (
            f"{left:,} groups of the rollups wait, rows come into them" if left else "rows and rollups agree"
        )
        say(f"{day}: {state} ({number} of {len(days)} days)")
    if waiting:
        say("run this again in some minutes; if they still differ then, run `spanhouse repair` before it")
    return 1 if waiting else 0


# As store.EVERY_BLOCK.
_EVERY_BLOCK: Final = {"deduplicate_insert": "disable", "deduplicate_insert_select": "disable"}
# Until all replicas have done it.
_WAIT: Final = {"mutations_sync": 2}


def _parameters(target: Target, prices: Prices, day: int) -> list[dict[str, Any]]:
    keys = target.ask(_text("keys"), day=day, **prices.of_key)
    return list(prices.parameters(_EPOCH + timedelta(days=day), keys))


# The statement that gives a rollup's differences, and the names in it.
_ROLLUPS: Final = (
    ("minutes", ROLLUPS["minute"]),
    ("coarser", ROLLUPS["hour"]),
    ("coarser", ROLLUPS["day"]),
)


def _agree(target: Target, day: int) -> int:
    """Add to the rollups of a day what they lack; returns how many groups cannot be brought to agree yet."""
    waiting = 0
    for difference, names in _ROLLUPS:
        add, differing = (_text(name, difference, names) for name in ("add", "differing"))
        parameters = {"day": day, "quiet": target.quiet_seconds}
        for attempt in range(_TRIES):
            (found,) = target.ask(differing, **parameters)
            if not found["ready"]:
                break
            # Two that see the same add it once. Where the same was added before, it takes another try.
            token = f"reprice {names['period']}s {day} {found['fingerprint']} {attempt}"
            target.do(add, target.settings(token), **parameters)
        waiting += found["ready"] + found["waiting"]
    return waiting


def _text(name: str, difference: str = "", names: Mapping[str, str] = MappingProxyType({})) -> str:
    """A statement of sql/reprice/ with the expressions and names that stand in it."""
    text = plain(statement("reprice", name))
    if difference:
        text = text.replace("{difference}", plain(statement("reprice", difference)))
    text = named(text, names)
    for part in ("price", "number", "key"):  # each may name those after it
        text = text.replace(f"{{{part}}}", plain(statement("reprice", part)))
    return text


def _table(changes: dict[tuple[str, str], Change]) -> Iterator[str]:
    if not changes:
        return
    rows = sorted(changes.items(), key=lambda item: (-abs(item[1].after - item[1].before), item[0]))
    yield f"{'provider':<20} {'model':<40} {'rows':>10} {'unpriced':>21} {'USD before':>18} {'USD after':>18}"
    for (provider, model), change in rows:
        unpriced = f"{change.unpriced_before:,} -> {change.unpriced_after:,}"
        yield (
            f"{provider:<20.60} {model:<40.100} {change.calls:>10,} {unpriced:>21} "
            f"{change.before:>18,.6f} {change.after:>18,.6f}"
        )
    if reported := sum(change.reported for change in changes.values()):
        yield f"{reported:,} of these rows keep the cost they reported; only cost_computed_usd changes"


@contextmanager
def _target(config: Config, *, dry_run: bool) -> Iterator[Target]:
    """The server that the configuration names, else the store."""
    settings = config.exporters.clickhouse
    if settings.url:
        address = Address.parse(settings.url, settings.user, settings.password)
        events = "agent_events"
        if settings.cluster:
            events = f"{settings.database}.agent_events_local ON CLUSTER '{settings.cluster}'"
        try:
            with address.errors(), address.client(_ANSWER_SECONDS, settings.database) as client:
                yield Target(
                    client,
                    events,
                    lambda token: insert_settings(client, token, settings.cluster),
                    rollups.QUIET_SECONDS,
                )
        except Unavailable as error:
            raise UserError(str(error)) from error
        return
    if (pid := running.holder(config.data)) is not None:
        raise UserError(
            f"process {pid or 'unknown'} has the store in {config.data} open: stop it until this is done"
        )
    with existing_store(config.data) as store:
        if not dry_run:
            # Rollups whose calls differ from the rows are not for this command.
            rollups.repair(store)
            running.mark(config.data)
        client = store.client()
        try:
            yield Target(client, "agent_events", lambda _: _EVERY_BLOCK, 0)
        finally:
            client.close()
    if not dry_run:
        running.unmark(config.data)
