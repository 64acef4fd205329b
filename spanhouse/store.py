"""The embedded ClickHouse (chDB): one store per data folder, one process per store.

Facts of the engine that shape this file: one path per process, any number of sessions on it; a session
runs one query at a time; a query still running when the process exits is a segmentation fault; after
the engine is loaded a forked child hangs, so children must be spawned.
"""

from __future__ import annotations

import importlib.resources
import re
import time
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode

from spanhouse.errors import UserError
from spanhouse.running import holder, mark

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SQL: Final[Traversable] = importlib.resources.files("spanhouse") / "sql"

# The tables remember blocks by their content (sql/0003_exactly_once.sql), and two inserts may well come to
# the same rollup.
EVERY_BLOCK: Final = "deduplicate_insert = 'disable', deduplicate_insert_select = 'disable'"

# The version from which on rollups have days and histograms; those of older ones are made anew.
ROLLUPS_SINCE: Final = 12

# Of the whole process, given with its first connection. The engine's own 5 GB a cache are for a server.
ENGINE_SETTINGS: Final = {
    "mark_cache_size": 64 << 20,
    "index_mark_cache_size": 16 << 20,
    "primary_index_cache_size": 64 << 20,
    "vector_similarity_index_cache_size": 1 << 20,
}

# Of every session. A few rows by an id, such as a trace, lie in one of many parts: the engine by itself opens
# all of them before it asks their indexes (half of the time in a store of 130 parts, measured on 26.9), and
# one thread is done with small indexes sooner than several.
_SESSION_SETTINGS: Final = "use_skip_indexes_on_data_read = 0, max_threads_for_indexes = 1"

# Of every table here, whatever a server's would be.
TABLE_SETTINGS: Final = {
    # A part of less than 10 MB is one file instead of 14 to 33: making and removing files took a third of a
    # small insert's CPU. Not of servers', which may be older.
    "min_bytes_for_full_part_storage": 10 << 20,
    # Parts are merged ten at a time instead of five, which takes a fifth off the CPU of small inserts and
    # leaves ten of a size in the day that is written.
    "merge_selector_base": 10,
}


def statements(text: str) -> list[str]:
    """The statements of a file of `sql/`: each ends with `;` at the end of a line."""
    parts = (part.strip() for part in re.split(r";[ \t]*(?:\n|$)", text))
    return [part for part in parts if re.sub(r"--[^\n]*", "", part).strip()]


def statement(*path: str) -> str:
    """The one statement of a file of `sql/`, whose last name is given without `.sql`."""
    (found,) = statements(SQL.joinpath(*path[:-1], f"{path[-1]}.sql").read_text())
    return found


def query_text(name: str, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """The one statement of `sql/queries/<name>.sql`, with what `{…}` of `names` stands for."""
    return named(statement("queries", name), names)


def named(text: str, names: Mapping[str, str]) -> str:
    """A statement with the tables, columns and expressions that its `{…}` stand for."""
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def plain(text: str) -> str:
    """A statement without its comments."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--")).strip()


def quote(text: str) -> str:
    """`text` as a string literal of ClickHouse's SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def migrations() -> Iterator[tuple[int, str, str]]:
    """(version, name, text) of the numbered files, in order."""
    for file in sorted(SQL.iterdir(), key=lambda f: f.name):
        if match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name):
            yield int(match[1]), match[2], file.read_text()


def schema_version() -> int:
    """The newest version of the tables that this spanhouse knows."""
    return max(version for version, _, _ in migrations())


class Store:
    """An open store. Sessions are cheap (0.3 ms); take one per thread or query and close it.

    Raises:
        UserError: another process has the store open, or the folder cannot be used.
    """

    DATABASE: Final = "spanhouse"

    def __init__(self, path: Path) -> None:
        try:
            import chdb  # loads the engine (300 MB); commands that need no store do without
        except ModuleNotFoundError as error:
            raise UserError("this installation has no embedded ClickHouse: pip install chdb") from error

        self.path = path / "clickhouse"
        if "?" in str(path):
            raise UserError(f"--data {path}: the engine takes no folder with a question mark in its name")
        # Rows may have been stored that the rollups do not count; `rollups.repair` mends that.
        self.rollups_doubtful = False
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--data {path}: {error.strerror}; name a folder that can be written") from error
        if (pid := holder(path)) is not None:
            raise UserError(
                f"--data {path}: process {pid or 'unknown'} has this store open; stop it, ask it through its "
                "ClickHouse endpoint, or name another folder with --data"
            )
        self._connect = chdb.connect
        try:
            self._root = chdb.connect(f"{self.path}?{urlencode(ENGINE_SETTINGS)}")
        except RuntimeError as error:
            raise UserError(f"--data {path}: the store cannot be opened: {error}") from error
        # At every opening `default` is an overlay over the file system: its tables would be any file.
        self._root.query("DROP DATABASE default")
        self._root.query("CREATE DATABASE default ENGINE = Memory")
        self._root.query(f"CREATE DATABASE IF NOT EXISTS {self.DATABASE} ENGINE = Atomic")
        self._root.query(f"USE {self.DATABASE}")
        self._migrate()

    def _migrate(self) -> None:
        for version, name, text in migrations():
            if version == 0:
                (create,) = statements(text)
                self._root.query(create)
                done = {int(row) for row in self.rows("SELECT version FROM schema_versions")}
                newest = max(done, default=0)
                continue
            if version in done:
                continue
            for statement in statements(text):
                self._root.query(statement)
            if version == ROLLUPS_SINCE and done:
                # As after an unclean stop: whoever opens the store next to write to it makes them anew.
                mark(self.path.parent)
            self._root.query(f"INSERT INTO schema_versions (version, name) SELECT {version}, '{name}'")
        if newest > version:
            raise UserError(
                f"--data {self.path.parent}: the store was made by a newer spanhouse (schema {newest}, "
                f"this one knows {version}); install that version or newer"
            )
        self._set_up_tables()

    def _set_up_tables(self) -> None:
        settings = [f"{name} = {value}" for name, value in TABLE_SETTINGS.items()]
        others = " OR ".join(f"position(engine_full, '{setting}') = 0" for setting in settings)
        for table in self.rows(
            f"SELECT name FROM system.tables WHERE database = '{self.DATABASE}' "
            f"AND engine LIKE '%MergeTree' AND ({others})"
        ):
            self._root.query(f"ALTER TABLE {table} MODIFY SETTING {', '.join(settings)}")

    def in_place(self) -> bool:
        """Whether the folder is still the one that was opened, by the engine's lock file in it."""
        return (self.path / "status").exists()

    def rows(self, sql: str) -> list[str]:
        """Lines of `sql`'s result as TabSeparated text, run in the store's own session."""
        result = self._root.query(sql, "TabSeparated")
        return str(result).splitlines()

    def session(self) -> Any:
        """A new chDB session in the database `spanhouse`; the caller closes it."""
        session = self._connect(str(self.path))
        session.query(f"USE {self.DATABASE}")
        session.query(f"SET {_SESSION_SETTINGS}")
        return session

    def client(self) -> Client:
        """A clickhouse-connect client of the embedded engine; the caller closes it."""
        import clickhouse_connect  # 0.1 s that a start need not wait for

        return clickhouse_connect.get_client(interface="chdb", path=str(self.path), database=self.DATABASE)

    def close(self) -> None:
        """Kill what still runs, wait for it, and close the engine; every session must be idle by then."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            running = self.rows(
                "SELECT query_id FROM system.processes WHERE query NOT LIKE '%system.processes%'"
            )
            if not running:
                break
            ids = ", ".join(f"'{query_id}'" for query_id in running)
            self._root.query(f"KILL QUERY WHERE query_id IN ({ids}) ASYNC")
            time.sleep(0.02)
        self._root.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def existing_store(path: Path) -> Store:
    """The store of a folder that has one; UserError where it has none."""
    if not (path / "clickhouse").is_dir():
        raise UserError(f"there is no store in {path}; name its folder with --data")
    return Store(path)
