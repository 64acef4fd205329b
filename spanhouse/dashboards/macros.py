"""The macros of Grafana's ClickHouse data source, expanded as the plugin does it.

Source: the plugin's documentation, "Macros" and "Template variables" (version 4). Variables are written into
the statement as Grafana's `singlequote` format does, with quotes and backslashes of a value escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from spanhouse.store import quote

# What is chosen of a variable; None is "All". Of a text box it is one value, which may be empty.
Chosen = Sequence[str] | None

_TIME_MACROS: Final = re.compile(r"\$__(fromTime_ms|toTime_ms|fromTime|toTime|interval_s)\b")
_COLUMN_MACROS: Final = re.compile(r"\$__(timeFilter_ms|timeFilter|dateFilter|timeInterval)\(")
_VARIABLE: Final = re.compile(r"\$\{(?P<braced>\w+)(?::(?P<format>\w+))?\}|\$(?P<plain>[a-zA-Z]\w*)")
_CONDITIONAL: Final = "$__conditionalAll("
_UNKNOWN: Final = re.compile(r"\$__\w+\(?")


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a panel.

    Attributes:
        start, end: the time range, in UTC.
        interval_s: how many seconds a point of a chart is wide.
        chosen: values of variables; those not named are "All".
    """

    start: datetime
    end: datetime
    interval_s: int
    chosen: Mapping[str, Chosen] = field(default_factory=dict)


def expand(statement: str, query: Query) -> str:
    """`statement` as ClickHouse gets it.

    Raises:
        ValueError: a macro is not known, not closed or has the wrong number of arguments, or a variable is
            used alone that has none or several values.
    """
    text = _conditional(statement, query.chosen)
    # First macros, then values: a value that looks like a macro stays what it is.
    text = _columns(text)
    text = _TIME_MACROS.sub(lambda found: _time(found[1], query), text)
    if unknown := _UNKNOWN.search(text):
        raise ValueError(f"there is no macro {unknown[0]}")
    return _VARIABLE.sub(lambda found: _value(found, query.chosen), text)


def _time(name: str, query: Query) -> str:
    if name == "interval_s":
        return str(max(1, query.interval_s))
    moment = query.start if name.startswith("from") else query.end
    if name.endswith("_ms"):
        return f"fromUnixTimestamp64Milli({int(moment.timestamp() * 1000)})"
    return f"toDateTime({int(moment.timestamp())})"


def _columns(text: str) -> str:
    while found := _COLUMN_MACROS.search(text):
        (column,), end = _arguments(text, found.end(), 1)
        name = found[1]
        if name == "timeInterval":
            new = f"toStartOfInterval(toDateTime({column}), INTERVAL $__interval_s second)"
        elif name == "dateFilter":
            new = f"{column} >= toDate($__fromTime) AND {column} <= toDate($__toTime)"
        else:
            ms = name.removeprefix("timeFilter")
            new = f"{column} >= $__fromTime{ms} AND {column} <= $__toTime{ms}"
        text = text[: found.start()] + new + text[end:]
    return text


def _conditional(text: str, chosen: Mapping[str, Chosen]) -> str:
    while (start := text.rfind(_CONDITIONAL)) >= 0:
        (condition, variable), end = _arguments(text, start + len(_CONDITIONAL), 2)
        name = variable.strip().lstrip("${").rstrip("}")
        # As in the plugin: what comes to an empty text is "All" too, so an empty text box asks for nothing.
        text = text[:start] + (condition if ",".join(chosen.get(name) or ()) else "1=1") + text[end:]
    return text


def _arguments(text: str, start: int, count: int) -> tuple[list[str], int]:
    """The `count` arguments of a macro whose parenthesis has just been opened, and where it ends."""
    depth, begin = 1, start
    arguments: list[str] = []
    for place in range(start, len(text)):
        character = text[place]
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if not depth:
                arguments.append(text[begin:place])
                if len(arguments) != count:
                    raise ValueError(f"{count} arguments expected: {text[max(0, start - 20) : place + 1]}")
                return arguments, place + 1
        elif character == "," and depth == 1:
            arguments.append(text[begin:place])
            begin = place + 1
    raise ValueError(f"not closed: {text[max(0, start - 20) : start + 40]}")


def _value(found: re.Match[str], chosen: Mapping[str, Chosen]) -> str:
    name = found["braced"] or found["plain"]
    if name not in chosen:
        return found[0]
    values = chosen[name] or ()
    if found["format"] == "singlequote":
        return ", ".join(quote(value) for value in values)
    if found["format"]:
        raise ValueError(f"variable {name}: there is no format {found['format']}")
    if len(values) != 1:
        raise ValueError(f"variable {name}: expected one value, got {len(values)}")
    return values[0]
