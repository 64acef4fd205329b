"""Objectives and budgets: from spanhouse.yaml into ClickHouse, where dashboards and alerts read them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from spanhouse.store import query_text, quote

if TYPE_CHECKING:
    from spanhouse.config import Config


def set_statements(config: Config) -> list[str]:
    """The statements that make those of `config` the ones that hold (sql/0005_objectives.sql).

    Each can be repeated, and writes only what has changed.
    """
    objectives = ((o.service, o.availability, o.latency_ms, o.latency_share) for o in config.objectives)
    budgets = ((b.tenant_id, b.usd_per_month) for b in config.budgets)
    return [_filled_in("set_objectives", objectives), _filled_in("set_budgets", budgets)]


def _filled_in(query: str, lines: Iterable[tuple[str, *tuple[float, ...]]]) -> str:
    texts = (f"({', '.join([quote(name), *map(repr, numbers)])})" for name, *numbers in lines)
    array = f"[{', '.join(texts)}]"
    return re.sub(r"\{lines:[^}]*\}", lambda _: array, query_text(query))
