"""Errors as ClickHouse gives them: a code, a text, and the HTTP status its server answers with."""

from __future__ import annotations

import re
from typing import Final

SYNTAX_ERROR: Final = 62
UNKNOWN_FORMAT: Final = 73
UNKNOWN_DATABASE: Final = 81
UNKNOWN_COMPRESSION_METHOD: Final = 89
UNKNOWN_SETTING: Final = 115
TIMEOUT_EXCEEDED: Final = 159
READONLY: Final = 164
TOO_MANY_SIMULTANEOUS_QUERIES: Final = 202
QUERY_IS_TOO_LARGE: Final = 229
ABORTED: Final = 236
MEMORY_LIMIT_EXCEEDED: Final = 241
NOT_ENOUGH_SPACE: Final = 243
QUERY_WAS_CANCELLED: Final = 394
TOO_MANY_ROWS_OR_BYTES: Final = 396
BAD_REQUEST_PARAMETER: Final = 408
SETTING_CONSTRAINT_VIOLATION: Final = 452
ACCESS_DENIED: Final = 497
AUTHENTICATION_FAILED: Final = 516
CANNOT_DECOMPRESS: Final = 271
UNKNOWN_EXCEPTION: Final = 1002

# The server's own table, exceptionCodeToHTTPStatus.cpp; what is not named is 500.
_STATUS: Final[dict[int, int]] = {
    **dict.fromkeys((192, 193, 497, 512, 516), 403),
    **dict.fromkeys(
        (6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 408, 427,
         441, 675, 676),
        400,
    ),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511), 404),
    194: 401,
    159: 408,
    229: 413,
    48: 501,
    76: 503,
    209: 503,
    439: 503,
    202: 503,
    236: 503,
}  # fmt: skip

_ALLOWED: Final = (
    "this endpoint reads the tables of database spanhouse, information_schema and part of system, "
    "with SELECT, WITH, SHOW, DESCRIBE, EXISTS and EXPLAIN"
)
_WRAPPERS: Final = re.compile(r"^(?:Streaming (?:query|insert \w+) failed: |Failed to [\w ]+: )+")
# The file that an insert's data was kept in.
_FILE: Final = re.compile(r"\(in file/uri /dev/fd/\d+\)(?:: )?")
_CODE: Final = re.compile(r"Code: (\d+)\. DB::Exception: ")


class ClickHouseError(Exception):
    """An error to be sent to the client.

    Attributes:
        code: ClickHouse's error code.
        refused: whether the endpoint refused the statement (rather than the engine failing at it).
    """

    def __init__(self, code: int, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.refused = refused

    @classmethod
    def from_engine(cls, error: BaseException) -> ClickHouseError:
        """The engine's exception, without what chDB's Python layer wraps around it."""
        text = _FILE.sub("", _WRAPPERS.sub("", str(error)))
        match = _CODE.match(text)
        if match is None:
            return cls(UNKNOWN_EXCEPTION, text)
        code = match[1]
        while text.startswith(prefix := f"Code: {code}. DB::Exception: "):
            text = text[len(prefix) :]
        return cls(int(code), text)

    @property
    def status(self) -> int:
        """HTTP status of an answer that consists of this error."""
        return _STATUS.get(self.code, 500)

    @property
    def body(self) -> bytes:
        """The text that clients expect as the answer's body."""
        return f"Code: {self.code}. DB::Exception: {self}\n".encode(errors="replace")


def refused(what: str, code: int = ACCESS_DENIED) -> ClickHouseError:
    """An error that says what was refused and what is allowed."""
    name = {ACCESS_DENIED: "ACCESS_DENIED", READONLY: "READONLY"}[code]
    return ClickHouseError(code, f"{what}: {_ALLOWED}. ({name})", refused=True)
