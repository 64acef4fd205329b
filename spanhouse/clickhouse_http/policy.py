"""What a statement may do: the door gives a reader tables and nothing else.

The engine's own parser reads a statement twice without running it: `classify_query` tells its class and
that it is a single statement, `parseQueryToJSON` gives its whole tree. The tree is walked against
lists (`lists`) of node types, functions, tables, settings and formats; whatever is not known is refused.
A third guard is the session the statement then runs in, which has `readonly = 1`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from spanhouse.clickhouse_http import lists
from spanhouse.clickhouse_http.errors import (
    READONLY,
    SETTING_CONSTRAINT_VIOLATION,
    SYNTAX_ERROR,
    UNKNOWN_DATABASE,
    UNKNOWN_FORMAT,
    UNKNOWN_SETTING,
    ClickHouseError,
    refused,
)
from spanhouse.clickhouse_http.walk import Node, Walk, WriteWalk
from spanhouse.errors import UserError
from spanhouse.store import quote

_COMBINATOR: Final = re.compile(
    r"(?:simplestate|ordefault|distinct|resample|foreach|argmax|argmin|ornull|tuple|merge|state|array|null|map|if)$"
)

# A shorter time the engine would round to none, which means no limit.
_LEAST_LIMIT: Final = 0.001

# With combinators; also the end of taking them off one by one.
_LONGEST_FUNCTION: Final = 200

# Statements whose tree the engine does not give; their grammar is small enough to be matched here.
_NAME: Final = r"(?:[A-Za-z_]\w*|`[^`\\]+`|\"[^\"\\]+\")"
_TAIL: Final = r"(?:\s+FORMAT\s+(?P<format>\w+))?$"
_COMMENTS: Final = re.compile(r"(?:\s+|--[^\n]*\n|/\*(?:(?!/\*).)*?\*/)*", re.DOTALL)
_DESCRIBE: Final = re.compile(r"(?:DESCRIBE|DESC)\s+(?:TABLE\s+)?(?P<rest>.+)$", re.IGNORECASE | re.DOTALL)
_ABOUT_TABLE: Final = re.compile(
    rf"(?:EXISTS(?:\s+(?:TABLE|VIEW))?|SHOW\s+CREATE(?:\s+(?:TABLE|VIEW))?)\s+"
    rf"(?:(?P<database>{_NAME})\s*\.\s*)?(?P<table>{_NAME}){_TAIL}",
    re.IGNORECASE,
)
_ABOUT_DATABASE: Final = re.compile(
    rf"(?:EXISTS|SHOW\s+CREATE)\s+DATABASE\s+(?P<database>{_NAME}){_TAIL}", re.IGNORECASE
)
_ABOUT_ENGINE: Final = re.compile(
    rf"SHOW\s+(?:ENGINES|FUNCTIONS(?:\s+I?LIKE\s+'[^'\\]*')?|SETTING\s+\w+){_TAIL}", re.IGNORECASE
)
_USE: Final = re.compile(rf"USE\s+(?:DATABASE\s+)?(?P<database>{_NAME})$", re.IGNORECASE)
_KEYWORDS: Final = frozenset({"table", "view", "database", "dictionary", "temporary"})


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may run.

    Attributes:
        sql: the text to run.
        reads: whether it only reads; it then runs in a read-only session.
        is_select: whether it is a SELECT, so that its result can be streamed and described.
        tree: its tree, empty where the engine gives none.
        format: the output format its FORMAT clause names, in the engine's spelling.
        settings: what its SETTINGS clauses set; to be set in the session beforehand, as a read-only
            session accepts such a clause only where it changes nothing.
        totals: whether there is a WITH TOTALS in it.
    """

    sql: str
    reads: bool
    is_select: bool
    tree: Node
    format: str | None
    settings: dict[str, str]
    totals: bool = False


def _unquote(name: str) -> str:
    return name[1:-1] if name[:1] in '`"' else name


class Policy:
    """The lists, completed by what the engine says of itself.

    Raises:
        UserError: the engine is not of the version whose functions were gone through.
    """

    def __init__(self, session: Any, database: str, limits: Mapping[str, int]) -> None:
        """`limits` are the highest values of those settings."""

        def rows(sql: str) -> list[list[str]]:
            return [line.split("\t") for line in session.query(sql, "TSV").bytes().decode().split("\n")[:-1]]

        ((version,),) = rows("SELECT version()")
        if not version.startswith(lists.VETTED_ENGINE):
            raise UserError(
                f"The ClickHouse endpoint knows what is safe in the engine {lists.VETTED_ENGINE}x, but this "
                f"one is {version}: install the chdb-core release that spanhouse asks for"
            )
        self._database = database
        self._hidden: frozenset[str] = lists.CONTENT_TABLES
        self._one_at_a_time = threading.Lock()
        self._limits = dict(limits)
        self.databases = {database, "system", *lists.INFORMATION_SCHEMAS}
        self._every_database = {name for (name,) in rows("SELECT name FROM system.databases")} | {"default"}
        tables = "SELECT name FROM system.tables WHERE database = 'system'"
        self._system_tables = {name for (name,) in rows(tables)}
        self._settings = {name: value for name, value in rows("SELECT name, value FROM system.settings")}  # noqa: C416
        self._formats = {
            name.lower(): name
            for (name,) in rows("SELECT name FROM system.formats WHERE is_output OR is_input")
            if name.lower() not in lists.DENIED_FORMATS
        }
        table_functions = {name.lower() for (name,) in rows("SELECT name FROM system.table_functions")}
        self._aggregates: set[str] = set()
        self._functions = set(lists.PARSER_FUNCTIONS)
        denied = set(lists.DENIED_FUNCTIONS) | (table_functions - lists.TABLE_FUNCTIONS - {"format"})
        columns = "lower(name), lower(alias_to), is_aggregate, categories, origin"
        functions = rows(f"SELECT {columns} FROM system.functions")
        for name, _, _, category, origin in functions:
            internal = name.startswith("__") or category in lists.DENIED_CATEGORIES
            if origin != "System" or (internal and name not in lists.ALLOWED_INTERNAL):
                denied.add(name)
        for name, alias_of, is_aggregate, _, _ in functions:
            if name not in denied and alias_of not in denied:
                (self._aggregates if is_aggregate == "1" else self._functions).add(name)

    def with_content(self) -> Policy:
        """The same for who may read prompts and completions, too."""
        policy = copy(self)
        policy._hidden = frozenset()
        return policy

    def format(self, name: str) -> str:
        """The engine's spelling of a format's name."""
        try:
            return self._formats[name.lower()]
        except KeyError:
            text = f"Unknown format {name}, or one that needs files. (UNKNOWN_FORMAT)"
            raise ClickHouseError(UNKNOWN_FORMAT, text, refused=True) from None

    def database(self, name: str) -> str:
        """The database a client means; its `default` is the one the tables are in."""
        if name in ("", "default"):
            return self._database
        if name not in self.databases:
            raise ClickHouseError(UNKNOWN_DATABASE, f"Database {name} does not exist. (UNKNOWN_DATABASE)")
        return name

    def setting(self, name: str, value: str, *, write: bool, clamp: bool) -> str | None:
        """The value to set, None where nothing is to be set.

        With `clamp` a value over a limit becomes the limit; else it is an error, for the engine will
        read the statement as it is.
        """
        if name == "readonly" and value in ("0", "1", "2"):
            if value == "0":
                raise ClickHouseError(READONLY, "Cannot modify 'readonly' setting. (READONLY)", refused=True)
            return None
        allowed = lists.ALLOWED_SETTINGS.fullmatch(name) and not lists.DENIED_SETTINGS.fullmatch(name)
        writes = lists.WRITE_SETTINGS.fullmatch(name)
        if writes and clamp and not write:
            return None  # JDBC sends such with every query; a reader's does not insert
        if not allowed and not (write and writes):
            if name not in self._settings:
                raise ClickHouseError(UNKNOWN_SETTING, f"Unknown setting '{name}'. (UNKNOWN_SETTING)")
            if self._settings[name] == value:
                return None
            text = f"Cannot modify '{name}' setting in readonly mode: it is not one a reader may set."
            raise ClickHouseError(READONLY, f"{text} (READONLY)", refused=True)
        limit = self._limits.get(name)
        if limit is None or _LEAST_LIMIT <= _number(value) <= limit:
            return value
        if clamp:
            return str(limit)
        text = f"Setting {name} should be over 0 and not over {limit} (SETTING_CONSTRAINT_VIOLATION)"
        raise ClickHouseError(SETTING_CONSTRAINT_VIOLATION, text, refused=True)

    def check(
        self, session: Any, sql: str, database: str, parameters: Mapping[str, str], *, write: bool = False
    ) -> Statement:
        """Decide on a statement; nothing of it is run.

        One statement at a time: a text made to be slow to parse is not to take a core from ingest for
        every query that may run.

        `session` must not be read-only yet; `database` is the one it uses, `parameters` are the values
        of the statement's `{name:Type}`.

        Raises:
            ClickHouseError: the statement is refused, or does not parse.
        """
        with self._one_at_a_time:
            return self._check(session, sql, database, parameters, write=write)

    def _check(
        self, session: Any, sql: str, database: str, parameters: Mapping[str, str], *, write: bool
    ) -> Statement:
        if "\0" in sql:
            raise ClickHouseError(SYNTAX_ERROR, "A statement cannot have a NUL character. (SYNTAX_ERROR)")
        text = sql[match.end() :] if (match := _COMMENTS.match(sql)) else sql
        text = text.rstrip("; \t\r\n")
        words = re.finditer(r"\w+", text)
        if next(words, None) is None or next(words, None) is None:
            # chDB would read a name alone as a SELECT, and `exit` as a command to its own client.
            raise ClickHouseError(SYNTAX_ERROR, "Syntax error: empty query. (SYNTAX_ERROR)")
        parsed = text
        if describe := _DESCRIBE.match(text):
            # The text that is checked is the text that is run.
            text, parsed = f"DESCRIBE TABLE {describe['rest']}", f"SELECT * FROM {describe['rest']}"
        if use := _USE.match(text):
            # As in ClickHouse without a session_id: checked, and forgotten with the request.
            database = self.database(_unquote(use["database"]))
            return Statement(f"USE {database}", True, False, {}, None, {})
        report = session._conn.classify_query(text, self._database)
        kind = report["query_class"].name
        if report["statement_count"] > 1:
            text = "Syntax error (Multi-statements are not allowed): one statement a query. (SYNTAX_ERROR)"
            raise ClickHouseError(SYNTAX_ERROR, text, refused=True)
        if kind not in ("READ_ONLY", "UNKNOWN") and not (write and kind == "MUTATING"):
            raise refused(f"Cannot execute a statement of class {kind} in readonly mode", READONLY)
        if kind == "READ_ONLY" and (simple := self._simple(text, database)):
            return simple
        tree = self._parse(session, parsed)
        if kind == "UNKNOWN":
            text = "The statement cannot be classified. (SYNTAX_ERROR)"
            raise ClickHouseError(SYNTAX_ERROR, text, refused=True)
        walk = (Walk if kind == "READ_ONLY" else WriteWalk)(self, database, parameters)
        walk.run(tree)
        chosen = tree.get("format_ast", {}).get("name")
        return Statement(
            sql=text,
            reads=kind == "READ_ONLY",
            is_select=not describe and tree["type"] in ("SelectWithUnionQuery", "SelectIntersectExceptQuery"),
            tree=tree,
            format=self.format(chosen) if chosen else None,
            settings=walk.settings,
            totals=walk.totals,
        )

    def _parse(self, session: Any, sql: str) -> Node:
        try:
            # Not a parameter of its own name, so that it cannot clash with the client's.
            result = session.query(f"SELECT parseQueryToJSON({quote(sql)})", "TSVRaw")
            tree: Node = json.loads(result.bytes())
        except RecursionError:
            raise refused("The statement is nested too deeply") from None
        except Exception as error:  # noqa: BLE001 (chDB's class is private; anything here refuses the statement)
            failure = ClickHouseError.from_engine(error)
            message = str(failure).split(": In scope SELECT parseQueryToJSON(")[0]
            if failure.code == SYNTAX_ERROR:
                raise ClickHouseError(SYNTAX_ERROR, f"{message} (SYNTAX_ERROR)") from None
            raise refused(f"The statement is not of a kind that can be checked ({message})") from None
        return tree

    def _simple(self, text: str, database: str) -> Statement | None:
        if match := _ABOUT_DATABASE.match(text):
            self.check_table(_unquote(match["database"]), "", database)
        elif (match := _ABOUT_TABLE.match(text)) and match["table"].lower() not in _KEYWORDS:
            parent = match["database"]
            self.check_table(_unquote(parent) if parent else None, _unquote(match["table"]), database)
        elif not (match := _ABOUT_ENGINE.match(text)):
            return None
        chosen = match["format"]
        return Statement(text, True, False, {}, self.format(chosen) if chosen else None, {})

    def check_table(self, parent: str | None, table: str, database: str, *, write: bool = False) -> None:
        """Refuse a table that is not for this client; an empty `table` stands for the database itself."""
        parent = database if parent is None else parent
        if parent == self._database and table in self._hidden and not write:
            raise refused(
                f"Not enough privileges for {parent}.{table}: prompts and completions have a reader"
            )
        if parent == self._database or (parent in lists.INFORMATION_SCHEMAS and not write):
            return
        if parent == "system" and not write and (not table or table in lists.SYSTEM_TABLES):
            return
        hint = f" (its tables are in database {self._database})" if parent == "default" else ""
        raise refused(f"Not enough privileges for {parent}.{table}{hint}")

    def check_identifier(self, parts: list[str], database: str) -> None:
        """Refuse an identifier that could name a table not for readers, as it can behind IN."""
        if len(parts) == 1:
            if database == "system" and parts[0] in self._system_tables:
                self.check_table("system", parts[0], database)
            if database == self._database and parts[0] in self._hidden:
                self.check_table(None, parts[0], database)
            if not parts[0].startswith("default."):
                return
            parts = parts[0].split(".", 1)
        if parts[0] in self._every_database and (parts[0] != "system" or parts[1] in self._system_tables):
            self.check_table(parts[0], parts[1], database)

    def allows_function(self, name: str) -> bool:
        """Whether the name is a function, or an aggregate function with combinators, for readers."""
        name = name.lower()
        if len(name) > _LONGEST_FUNCTION:
            return False
        if name in self._functions or name in self._aggregates or name in lists.TABLE_FUNCTIONS:
            return True
        while match := _COMBINATOR.search(name):
            name = name[: match.start()]
            if name in self._aggregates:
                return True
        return False


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0
