"""The statements of sql/ for a cluster: replicated and sharded tables instead of local ones.

For each table T there are a replicated T_local on every node and a Distributed T over them, so readers and
the translator use the same names as on one server. A trace is on one shard. Rollups are made on the shard
that has the rows. Statements are rewritten by their beginning; what is not known here is an error.
"""

from __future__ import annotations

import re
from typing import Final

# What the rows of a table are sharded by.
_SHARDING: Final = {
    "agent_events": "cityHash64(trace_id)",
    "content": "cityHash64(trace_id)",
    "evaluations": "cityHash64(trace_id)",
    "agent_metrics_1m_state": "toUnixTimestamp(minute)",
    "agent_metrics_1h_state": "toUnixTimestamp(hour)",
    "agent_metrics_1d_state": "toUInt16(day)",
}
# On every node whole.
_EVERYWHERE: Final = frozenset({"schema_versions", "objectives_state", "budgets_state"})

# ClickHouse's own hour is short for a translator that was stopped over a weekend.
DEDUPLICATION_SECONDS: Final = 7 * 24 * 3600

_CREATE_TABLE: Final = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<table>\w+)(?P<columns>\s*\(.*\))\s*ENGINE = (?P<engine>\w*MergeTree)"
    r"(?P<rest>\n.*)",
    re.DOTALL,
)
_CREATE_MATERIALIZED: Final = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS (?P<view>\w+) TO (?P<target>\w+) AS\b(?P<before>.*?)"
    r"\bFROM (?P<source>\w+) AS (?P<after>.*)",
    re.DOTALL,
)
_MODIFY_MATERIALIZED: Final = re.compile(
    r"ALTER TABLE (?P<view>\w+) MODIFY QUERY\b(?P<before>.*?)\bFROM (?P<source>\w+) AS (?P<after>.*)",
    re.DOTALL,
)
# To and fro.
_RENAME: Final = re.compile(
    r"RENAME TABLE IF EXISTS (?:(?P<view>\w+_mv) TO (?P=view)_renamed|(?P<back>\w+_mv)_renamed TO (?P=back))"
)
_CREATE_VIEW: Final = re.compile(
    r"(?P<what>CREATE VIEW IF NOT EXISTS|CREATE OR REPLACE VIEW) (?P<view>\w+) AS\b(?P<select>.*)", re.DOTALL
)
_WINDOW: Final = re.compile(
    r"ALTER TABLE (?P<table>\w+) MODIFY SETTING non_replicated_deduplication_window = (?P<window>\d+)"
)
_COMPACT: Final = re.compile(
    r"ALTER TABLE (?P<table>\w+) (?P<change>MODIFY SETTING min_level_for_wide_part = \d+)"
)
# Up to the next command, which begins with two words in capitals.
_ADD_COLUMN: Final = r"ADD COLUMN IF NOT EXISTS\s+(?:(?!,\s*[A-Z]+ [A-Z]).)+"
_ADD_COLUMNS: Final = re.compile(
    rf"ALTER TABLE (?P<table>\w+)\s+(?P<columns>{_ADD_COLUMN}(?:,\s*{_ADD_COLUMN})*)"
    r"(?P<order>,\s*MODIFY ORDER BY\s*\([\w\s,]+\))?",
    re.DOTALL,
)
_ADD_INDEX: Final = re.compile(r"ALTER TABLE (?P<table>\w+) (?P<change>ADD INDEX IF NOT EXISTS \w+ [^,]+)")
_DROP_INDEX: Final = re.compile(r"ALTER TABLE (?P<table>\w+) (?P<change>DROP INDEX IF EXISTS \w+)")
_CODEC: Final = r"MODIFY COLUMN \w+ CODEC\([\w(), ]+\)"
_CODECS: Final = re.compile(rf"ALTER TABLE (?P<table>\w+)\s+(?P<change>{_CODEC}(?:,\s*{_CODEC})*)")
_ACCESS: Final = re.compile(
    r"(?P<what>CREATE (?:ROLE|SETTINGS PROFILE|QUOTA|USER) IF NOT EXISTS|ALTER USER)\s+"
    r"(?P<name>`[^`]+`|\w+)(?P<rest>.*)",
    re.DOTALL,
)
_GRANT: Final = re.compile(
    r"GRANT (?P<what>(?:INSERT|SELECT).*?) ON (?P<table>\w+|system\.parts)\s+TO (?P<whom>\w+)", re.DOTALL
)
_GRANT_ROLE: Final = re.compile(r"GRANT (?P<role>\w+) TO (?P<whom>`[^`]+`|\w+)")
_POLICY: Final = re.compile(
    r"CREATE ROW POLICY IF NOT EXISTS (?P<name>`[^`]+`|\w+) ON (?P<table>\w+) (?P<rest>USING .*)", re.DOTALL
)


class Cluster:
    """Rewrites statements for the cluster `name` and a database.

    Needs the macros {shard} and {replica} on every node, and internal_replication in the cluster's shards.
    """

    def __init__(self, name: str, database: str) -> None:
        self._database = database
        self._name = name
        self._on = f"ON CLUSTER '{name}'"
        self._handlers = {
            _CREATE_TABLE: self._create_table,
            _CREATE_MATERIALIZED: self._create_materialized,
            _MODIFY_MATERIALIZED: self._modify_materialized,
            _RENAME: self._rename,
            _CREATE_VIEW: self._create_view,
            _WINDOW: self._window,
            _ADD_COLUMNS: self._add_columns,
            _ADD_INDEX: self._change_local,
            _DROP_INDEX: self._change_local,
            _CODECS: self._change_local,
            _COMPACT: self._change_local,
            _ACCESS: self._access,
            _GRANT: self._grant,
            _GRANT_ROLE: self._grant_role,
            _POLICY: self._policy,
        }

    def create_database(self) -> str:
        """The statement that makes the database on every node."""
        return f"CREATE DATABASE IF NOT EXISTS {self._database} {self._on}"

    def rewrite(self, statement: str) -> list[str]:
        """What `statement`, without comments, becomes.

        Raises:
            ValueError: nothing is known of such a statement.
        """
        for pattern, handler in self._handlers.items():
            if match := pattern.fullmatch(statement):
                return handler(match)
        raise ValueError(f"not known for a cluster: {statement}")

    def _full(self, table: str) -> str:
        return f"{self._database}.{table}"

    def _local(self, table: str) -> str:
        if table not in _SHARDING:
            raise ValueError(f"table {table} has no sharding key here")
        return self._full(f"{table}_local")

    def _create_table(self, match: re.Match[str]) -> list[str]:
        table, columns, engine, rest = match["table"], match["columns"], match["engine"], match["rest"]
        path = f"/clickhouse/tables/{{shard}}/{self._database}/{table}"
        if table in _EVERYWHERE:
            # One path, so that all nodes are replicas of each other.
            path, replica = path.replace("{shard}/", ""), "{shard}-{replica}"
            engine = f"Replicated{engine}('{path}', '{replica}')"
            full = self._full(table)
            return [f"CREATE TABLE IF NOT EXISTS {full} {self._on}{columns}\nENGINE = {engine}{rest}"]
        local, key = self._local(table), _SHARDING[table]
        engine = f"Replicated{engine}('{path}', '{{replica}}')"
        return [
            f"CREATE TABLE IF NOT EXISTS {local} {self._on}{columns}\nENGINE = {engine}{rest}",
            f"CREATE TABLE IF NOT EXISTS {self._full(table)} {self._on} AS {local}\n"
            f"ENGINE = Distributed('{self._name}', '{self._database}', '{table}_local', {key})",
        ]

    def _create_materialized(self, match: re.Match[str]) -> list[str]:
        return [
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self._full(match['view'])} {self._on} "
            f"TO {self._local(match['target'])} AS{self._of_one_shard(match)}"
        ]

    def _modify_materialized(self, match: re.Match[str]) -> list[str]:
        return [f"ALTER TABLE {self._full(match['view'])} {self._on} MODIFY QUERY{self._of_one_shard(match)}"]

    def _rename(self, _: re.Match[str]) -> list[str]:
        """Nothing: repeated with every migration, it would make views miss inserts now and then.

        What it is for (sql/0004_entries.sql), translators mend.
        """
        return []

    def _of_one_shard(self, match: re.Match[str]) -> str:
        """The SELECT of a materialized view, from the local table."""
        if re.search(r"\b(FROM|JOIN)\b", match["before"] + match["after"]):
            raise ValueError(f"view {match['view']} reads more than one table")
        return f"{match['before']}FROM {self._local(match['source'])} AS {match['after']}"

    def _create_view(self, match: re.Match[str]) -> list[str]:
        tables = re.findall(r"\b(?:FROM|JOIN) (\w+)", match["select"])
        select = match["select"]
        for table in tables:
            if table not in _EVERYWHERE:
                self._local(table)
            select = re.sub(rf"\b(FROM|JOIN) {table}\b", rf"\1 {self._full(table)}", select)
        return [f"{match['what']} {self._full(match['view'])} {self._on} AS{select}"]

    def _window(self, match: re.Match[str]) -> list[str]:
        return [
            f"ALTER TABLE {self._local(match['table'])} {self._on} MODIFY SETTING "
            f"replicated_deduplication_window = {match['window']}, "
            f"replicated_deduplication_window_seconds = {DEDUPLICATION_SECONDS}"
        ]

    def _add_columns(self, match: re.Match[str]) -> list[str]:
        """The order is the local table's alone; its columns are also those of the Distributed one."""
        table, columns = match["table"], match["columns"]
        return [
            f"ALTER TABLE {self._local(table)} {self._on} {columns}{match['order'] or ''}",
            f"ALTER TABLE {self._full(table)} {self._on} {columns}",
        ]

    def _change_local(self, match: re.Match[str]) -> list[str]:
        return [f"ALTER TABLE {self._local(match['table'])} {self._on} {match['change']}"]

    def _access(self, match: re.Match[str]) -> list[str]:
        return [f"{match['what']} {match['name']} {self._on}{match['rest']}"]

    def _grant(self, match: re.Match[str]) -> list[str]:
        return [
            f"GRANT {self._on} {match['what']} ON {table} TO {match['whom']}"
            for table in self._both(match["table"])
        ]

    def _grant_role(self, match: re.Match[str]) -> list[str]:
        return [f"GRANT {self._on} {match['role']} TO {match['whom']}"]

    def _policy(self, match: re.Match[str]) -> list[str]:
        return [
            f"CREATE ROW POLICY IF NOT EXISTS {match['name']} {self._on} ON {table} {match['rest']}"
            for table in self._both(match["table"])
        ]

    def _both(self, table: str) -> list[str]:
        """The Distributed table and the one below; a shard asks the rights of the user who asked first."""
        if table in _SHARDING:
            return [self._full(table), self._local(table)]
        return [table if table.startswith("system.") else self._full(table)]
