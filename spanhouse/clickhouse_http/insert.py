"""Finding the end of an INSERT's text, where its data begins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_TOKEN: Final = re.compile(
    rb"""(?P<space>\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)
    |(?P<quoted>'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|"(?:[^"\\]|\\.)*")
    |(?P<word>\w+)
    |(?P<open>\()|(?P<close>\))
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
# Data begins after the line break that ends the statement, or right behind it.
_AFTER_FORMAT: Final = re.compile(rb"[ \t\r\f\v]*;?[ \t\r\f\v]*\n?")


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT with data: its text without the format, the format, and where in the text data begins."""

    header: str
    format: str
    data_at: int


def is_insert(text: bytes) -> bool:
    """Whether the statement's first word is INSERT."""
    for token in _TOKEN.finditer(text):
        if token.lastgroup != "space":
            return token[0].upper() == b"INSERT"
    return False


def split(text: bytes) -> Insert | None:
    """The INSERT that `text` begins with; None where it takes its rows from a SELECT."""
    depth = 0
    tokens = (token for token in _TOKEN.finditer(text) if token.lastgroup != "space")
    for token in tokens:
        if token.lastgroup == "open":
            depth += 1
        elif token.lastgroup == "close":
            depth -= 1
        elif token.lastgroup == "other" and (token[0] in b"'`\"" or text.startswith(b"/*", token.start())):
            return None  # a quotation or comment without an end
        elif token.lastgroup == "word" and depth == 0:
            word = token[0].upper()
            if word in (b"SELECT", b"WITH"):
                return None
            if word == b"VALUES":
                return Insert(text[: token.start()].decode(), "Values", token.end())
            if word == b"FORMAT":
                name = next(tokens, None)
                if name is None or name.lastgroup != "word":
                    return None
                blank = _AFTER_FORMAT.match(text, name.end())
                assert blank is not None  # it may be empty
                return Insert(text[: token.start()].decode(), name[0].decode(), blank.end())
    return None
