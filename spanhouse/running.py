"""Who runs on a data folder, and whether the last one left it cleanly."""

from __future__ import annotations

import fcntl
import json
import re
from pathlib import Path
from typing import Final

# There while a process runs on the folder, and after it crashed.
MARKER: Final = "running.json"


def holder(data: Path) -> int | None:
    """Process id of who has the store open; None if nobody has, 0 if that one left no id.

    The engine locks the file `status` and writes its process id into it, but tells a second opener nothing.
    """
    try:
        file = (data / "clickhouse" / "status").open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = re.search(r"PID: (\d+)", file.read())
            return int(pid[1]) if pid else 0
    return None


def mark(data: Path, clickhouse_http: str = "") -> None:
    """Say that this process uses the folder, and where it answers queries once it does."""
    (data / MARKER).write_text(json.dumps({"clickhouse-http": clickhouse_http}))


def unmark(data: Path) -> None:
    """Say that the process has left cleanly."""
    (data / MARKER).unlink(missing_ok=True)  # somebody may have removed the folder


def was_unclean(data: Path) -> bool:
    """Whether the last process on the folder ended without `unmark`. Ask before `mark`."""
    return (data / MARKER).exists()


def endpoint_of(data: Path) -> str | None:
    """URL of the ClickHouse endpoint of the process that runs on the folder; None if none does."""
    if holder(data) is None or not (data / MARKER).exists():
        return None
    address = json.loads((data / MARKER).read_text())["clickhouse-http"]
    return f"http://{address}" if address else None
