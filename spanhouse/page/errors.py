"""Problems as a status and a sentence that helps."""

from __future__ import annotations

import re
from typing import Final

from spanhouse.clickhouse_http import errors as codes

_CODE: Final = re.compile(r"Code: (\d+)\. DB::Exception: ")
_POSITION: Final = re.compile(
    r"failed at position \d+ \((?P<near>.*?)\)(?: \(line (?P<line>\d+), col (?P<column>\d+)\))?", re.DOTALL
)
_END: Final = re.compile(r"failed at position \d+ \(end of query\)")
_LESS: Final = "Choose a shorter time range, or filter by tenant, service or model."
_NEAR: Final = 40
_LONGEST: Final = 500


class Problem(Exception):  # noqa: N818
    """What cannot be answered.

    Attributes:
        status: of the HTTP answer.
        detail: what ClickHouse said, whole; '' where it said nothing.
    """

    def __init__(self, status: int, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.detail = detail


def from_clickhouse(text: str) -> Problem:
    """The endpoint's error text as a problem."""
    text = text.strip()
    found = _CODE.match(text)
    code = int(found[1]) if found else codes.UNKNOWN_EXCEPTION
    message = text[found.end() :] if found else text
    status, sentence = _explained(code, message)
    return Problem(status, sentence, text)


def _explained(code: int, message: str) -> tuple[int, str]:
    match code:
        case codes.SYNTAX_ERROR:
            return 400, _syntax(message)
        case codes.TIMEOUT_EXCEEDED:
            return 504, f"The query took too long and was stopped. {_LESS}"
        case codes.MEMORY_LIMIT_EXCEEDED:
            return 507, f"The query needed more memory than it may have. {_LESS}"
        case codes.TOO_MANY_ROWS_OR_BYTES:
            return 507, f"The result is too large. {_LESS}"
        case codes.TOO_MANY_SIMULTANEOUS_QUERIES:
            return 503, "Too many queries are running. Try again in a moment."
        case codes.ABORTED | codes.QUERY_WAS_CANCELLED:
            return 503, "The query was stopped, as spanhouse is shutting down."
        case codes.AUTHENTICATION_FAILED:
            return 502, "The ClickHouse endpoint refused the page. Restart spanhouse."
        case codes.ACCESS_DENIED | codes.READONLY | codes.SETTING_CONSTRAINT_VIOLATION:
            return 403, f"This statement is not allowed here: {_plain(message)}"
        case codes.QUERY_IS_TOO_LARGE:
            return 413, "The query is too large: it may have 256 KiB."
    status = 400 if codes.ClickHouseError(code, "").status < 500 else 500
    return status, f"ClickHouse cannot run this: {_plain(message)}"


def _syntax(message: str) -> str:
    if "Multi-statements" in message:
        return "Only one statement can run at a time. Remove what follows the first one."
    if "empty query" in message:
        return "There is no statement to run. Write one, for example: SELECT count() FROM agent_events"
    if _END.search(message):
        return "The statement is not complete: something is missing at its end."
    if found := _POSITION.search(message):
        near = " ".join(found["near"].split())
        near = near if len(near) <= _NEAR else f"{near[:_NEAR]}…"
        place = f"line {found['line']}, column {found['column']}" if found["line"] else "the start"
        return f"The SQL has a mistake at {place}, near: {near}"
    return f"The SQL has a mistake: {_plain(message)}"


def _plain(message: str) -> str:
    """The message in one line without the engine's additions: the error's name, scope and version."""
    message = re.sub(r"\s*\(version [^)]*\)\s*$", "", message)
    message = re.sub(r"\.?\s*\([A-Z_]+\)\s*$", "", message)
    message = " ".join(message.split(": In scope ")[0].split(": While ")[0].split())
    message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
    return message if message.endswith((".", "…", "?")) else f"{message}."
