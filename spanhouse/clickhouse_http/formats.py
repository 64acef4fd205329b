"""What the endpoint must know of ClickHouse's formats: content types, and which can be sent in pieces."""

from __future__ import annotations

from typing import Final

from spanhouse.clickhouse_http.native import skip_row_binary_header

_TEXT: Final = "text/plain; charset=UTF-8"
_TSV: Final = "text/tab-separated-values; charset=UTF-8"
_JSON: Final = "application/json; charset=UTF-8"
_NDJSON: Final = "application/x-ndjson; charset=UTF-8"
_CONTENT_TYPES: Final = {
    "TabSeparated": _TSV, "TSV": _TSV, "TabSeparatedRaw": _TSV, "TSVRaw": _TSV, "Raw": _TSV,
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "CSVWithNamesAndTypes": "text/csv; charset=UTF-8; header=present",
    "JSON": _JSON, "JSONStrings": _JSON, "JSONCompact": _JSON, "JSONCompactStrings": _JSON,
    "JSONColumns": _JSON, "JSONCompactColumns": _JSON, "JSONColumnsWithMetadata": _JSON,
    "JSONObjectEachRow": _JSON, "XML": "application/xml; charset=UTF-8",
    "Native": "application/octet-stream", "RowBinary": "application/octet-stream",
    "RowBinaryWithNames": "application/octet-stream",
    "RowBinaryWithNamesAndTypes": "application/octet-stream",
    "Arrow": "application/octet-stream", "ArrowStream": "application/octet-stream",
    "Parquet": "application/octet-stream", "ORC": "application/octet-stream",
    "Avro": "application/octet-stream", "MsgPack": "application/octet-stream",
    "BSONEachRow": "application/octet-stream", "Npy": "application/octet-stream",
    "RawBLOB": "application/octet-stream", "Prometheus": "text/plain; version=0.0.4; charset=UTF-8",
    "Markdown": "text/markdown; charset=UTF-8",
}  # fmt: skip

# Without the Raw ones: a line break in a column's name cannot be told from the header's end in them.
_LINES: Final = ("TabSeparated", "TSV", "CSV")

# Formats whose output is a plain sequence of rows or blocks. chDB repeats header and footer with every
# chunk of a stream, so the ones with a header have it cut off all chunks but the first (the number is
# its lines, 0 for none, -1 for RowBinary's own), and all other formats are made in one piece.
_HEADER_LINES: Final[dict[str, int]] = {
    **dict.fromkeys(
        (*_LINES, "TabSeparatedRaw", "TSVRaw", "Raw", "TSKV", "JSONEachRow", "JSONLines",
         "JSONL", "NDJSON", "JSONStringsEachRow", "JSONCompactEachRow", "JSONCompactStringsEachRow",
         "RowBinary", "Native", "MsgPack", "BSONEachRow", "LineAsString"),
        0,
    ),
    **{f"{base}WithNames": 1 for base in _LINES},
    **{f"{base}WithNamesAndTypes": 2 for base in _LINES},
    "JSONCompactEachRowWithNames": 1,
    "JSONCompactEachRowWithNamesAndTypes": 2,
    "JSONCompactStringsEachRowWithNames": 1,
    "JSONCompactStringsEachRowWithNamesAndTypes": 2,
    "RowBinaryWithNames": -1,
    "RowBinaryWithNamesAndTypes": -1,
}  # fmt: skip


def content_type(name: str) -> str:
    """The Content-Type ClickHouse sends with the format."""
    if name in _CONTENT_TYPES:
        return _CONTENT_TYPES[name]
    if name.startswith("JSON"):
        return _NDJSON
    if name.startswith(("TabSeparated", "TSV", "Raw")):
        return _TSV
    return _TEXT


def streams(name: str) -> bool:
    """Whether a result in this format may be sent chunk by chunk as the engine makes it."""
    return name in _HEADER_LINES


def has_header(name: str) -> bool:
    """Whether even an empty result in this format has bytes (which chDB's streams then leave out)."""
    return name == "Native" or _HEADER_LINES.get(name, 1) != 0


def header_length(name: str, chunk: bytes) -> int:
    """How many bytes at the start of a stream's chunk are the format's header."""
    lines = _HEADER_LINES[name]
    if lines < 0:
        return skip_row_binary_header(chunk, with_types=name.endswith("AndTypes"))
    end = 0
    for _ in range(lines):
        end = _line_end(chunk, end, quoted=name.startswith("CSV"))
    return end


def _line_end(chunk: bytes, start: int, *, quoted: bool) -> int:
    """Index after the line that starts at `start`; a line feed inside quotes belongs to a column's name."""
    end = chunk.index(b"\n", start) + 1
    while quoted and chunk.count(b'"', start, end) % 2:
        end = chunk.index(b"\n", end) + 1
    return end
