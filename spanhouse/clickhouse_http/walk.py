"""The walk over a statement's tree, as `parseQueryToJSON` gives it, node by node against the lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Protocol

from spanhouse.clickhouse_http import lists
from spanhouse.clickhouse_http.errors import READONLY, refused

Node = dict[str, Any]


class Rules(Protocol):
    """What the walk asks of the policy."""

    def setting(self, name: str, value: str, *, write: bool, clamp: bool) -> str | None:
        """The value to set; None for nothing."""

    def format(self, name: str) -> str:
        """The format's name, refused where it is not allowed."""

    def check_table(self, parent: str | None, table: str, database: str, *, write: bool = False) -> None:
        """Refuse a table that is not for this client."""

    def check_identifier(self, parts: list[str], database: str) -> None:
        """Refuse an identifier that may name such a table."""

    def allows_function(self, name: str) -> bool:
        """Whether the function is allowed."""


# Node types of a reading statement, and the keys under which such a node may hold text. A type or a
# text under a key that is not here is refused.
_NODES: Final = frozenset(
    {
        "SelectWithUnionQuery", "SelectQuery", "SelectIntersectExceptQuery", "ExpressionList", "Function",
        "Identifier", "TableIdentifier", "Literal", "Subquery", "WithElement", "Asterisk",
        "QualifiedAsterisk", "ColumnsRegexpMatcher", "QualifiedColumnsRegexpMatcher", "ColumnsListMatcher",
        "QualifiedColumnsListMatcher", "ColumnsTransformerList", "ColumnsApplyTransformer",
        "ColumnsExceptTransformer", "ColumnsReplaceTransformer", "ColumnsReplaceTransformerReplacement",
        "TablesInSelectQuery", "TablesInSelectQueryElement", "TableExpression", "TableJoin", "ArrayJoin",
        "OrderByElement", "WindowListElement", "WindowDefinition", "InterpolateElement", "SampleRatio",
        "SetQuery", "QueryParameter", "ExplainQuery", "ShowTablesQuery", "ShowColumnsQuery",
        "ShowIndexesQuery",
    }
)  # fmt: skip
_WRITE_NODES: Final = frozenset(
    {
        "InsertQuery", "CreateQuery", "Columns definition", "ColumnDeclaration", "DataType", "Storage",
        "ViewTargets", "TTLElement", "IndexDeclaration",
        "ProjectionDeclaration", "ProjectionSelectQuery", "DropQuery", "OptimizeQuery", "DeleteQuery",
        "AlterQuery", "AlterCommand", "Assignment", "Partition", "RenameQuery", "NameTypePair",
        "StorageOrderByElement",
    }
)  # fmt: skip
_TEXT_KEYS: Final = frozenset(
    {
        "type", "name", "alias", "union_mode", "kind", "strictness", "locality", "param_type", "lambda_arg",
        "pattern", "like", "window_name", "frame_type", "frame_begin_type", "frame_end_type", "column",
        "numerator", "denominator", "nulls_action", "func_name", "database", "table",
    }
)  # fmt: skip
_WRITE_TEXT_KEYS: Final = frozenset(
    {"format", "default_specifier", "mode", "destination_type", "alter_object", "command_type", "column_name",
     "table_database", "table_name", "from_database", "from_table", "to_database", "to_table", "rename_to"}
)  # fmt: skip
_TEXT_LISTS: Final = frozenset({"name_parts", "list_of_modes", "column_name_parts"})
_SHOW_KEYS: Final = frozenset(
    {"type", "like", "not_like", "case_insensitive_like", "from", "databases", "dictionaries", "settings",
     "changed", "full", "where_expression", "limit_length", "format_ast", "settings_ast"}
)  # fmt: skip
_EXPLAIN_KINDS: Final = re.compile(r"EXPLAIN(?: (?:AST|SYNTAX|QUERY TREE|PLAN|PIPELINE|ESTIMATE|ANALYZE))?")


def _without(node: Node, *keys: str) -> Node:
    return {key: value for key, value in node.items() if key not in keys}


class Walk:
    """One walk over the tree of a reading statement.

    A method `_visit_<type>` checks a node and returns the part of it that is still to be walked.

    Attributes:
        settings: what the statement's SETTINGS clauses set.
        totals: whether there is a WITH TOTALS in it.
    """

    nodes: ClassVar[frozenset[str]] = _NODES
    text_keys: ClassVar[frozenset[str]] = _TEXT_KEYS
    write: ClassVar[bool] = False

    def __init__(self, policy: Rules, database: str, parameters: Mapping[str, str]) -> None:
        self._policy = policy
        self._database = database
        self._parameters = parameters
        self._stack: list[Node] = []
        self.settings: dict[str, str] = {}
        self.totals = False

    def run(self, tree: Node) -> None:
        """Visit every node; raises at the first that is not allowed."""
        self._stack = [tree]
        while self._stack:
            node = self._stack.pop()
            kind = node.get("type")
            if kind not in self.nodes:
                raise refused(f"{kind or 'This construct'} is not allowed")
            handler = getattr(self, f"_visit_{kind.lower().replace(' ', '_')}", None)
            rest = handler(node) if handler else node
            for key, value in rest.items():
                self._take(key, value)

    def _take(self, key: str, value: Any) -> None:
        if isinstance(value, dict):
            self._stack.append(value)
        elif isinstance(value, list):
            if key in _TEXT_LISTS:
                return
            if not all(isinstance(item, dict) for item in value):
                raise refused(f"A list of {key} is not allowed")
            self._stack.extend(value)
        elif isinstance(value, str) and key not in self.text_keys:
            raise refused(f"{key} is not allowed")

    def _names(self, node: Node) -> Iterator[list[str]]:
        """An identifier's parts, with parameters filled in, in both ways a dot in one may be understood."""
        values = iter([self._parameters.get(child.get("name", ""), "") for child in node.get("children", ())])
        parts = [part or next(values, "") for part in node.get("name_parts") or [node["name"]]]
        yield parts
        if "children" in node:
            yield ".".join(parts).split(".")

    def _visit_literal(self, node: Node) -> Node:
        return {"alias": node.get("alias", "")}

    def _visit_identifier(self, node: Node) -> Node:
        for parts in self._names(node):
            self._policy.check_identifier(parts, self._database)
        return _without(node, "children")

    def _visit_tableidentifier(self, node: Node) -> Node:
        for parts in self._names(node):
            if len(parts) > 2:
                raise refused(f"Not enough privileges to read {'.'.join(parts)}")
            parent = parts[0] if len(parts) == 2 else None
            self._policy.check_table(parent, parts[-1], self._database)
        return _without(node, "children")

    def _visit_function(self, node: Node) -> Node:
        if not self._policy.allows_function(node["name"]):
            raise refused(f"Function {node['name']} does not exist or is not allowed")
        return node

    def _visit_tableexpression(self, node: Node) -> Node:
        function = node.get("table_function")
        if function is None:
            return node
        if function["name"].lower() not in lists.TABLE_FUNCTIONS:
            raise refused(f"Table function {function['name']} is not allowed")
        return node

    def _visit_columnsapplytransformer(self, node: Node) -> Node:
        if "func_name" in node and not self._policy.allows_function(node["func_name"]):
            raise refused(f"Function {node['func_name']} does not exist or is not allowed")
        return node

    def _visit_setquery(self, node: Node) -> Node:
        if node.keys() != {"type", "changes"}:
            raise refused("SET, and SETTINGS without plain values, are not allowed", READONLY)
        for change in node["changes"]:
            value = change["value"]
            if value.get("field_type") not in ("UInt64", "Int64", "Float64", "String", "Bool"):
                raise refused(f"The value of setting {change['name']} must be a number or a string", READONLY)
            plain = value["value"]
            text = str(int(plain)) if isinstance(plain, bool) else str(plain)
            kept = self._policy.setting(change["name"], text, write=self.write, clamp=False)
            if kept is not None:
                self.settings[change["name"]] = kept
        return {}

    def _visit_selectquery(self, node: Node) -> Node:
        self.totals |= bool(node.get("group_by_with_totals"))
        return node

    def _visit_selectwithunionquery(self, node: Node) -> Node:
        if "out_file" in node:
            raise refused("INTO OUTFILE is not allowed", READONLY)
        return _without(node, "format_ast")

    def _visit_explainquery(self, node: Node) -> Node:
        if not _EXPLAIN_KINDS.fullmatch(node["kind"]):
            raise refused(f"{node['kind']} is not allowed")
        options = node.get("settings", {"changes": []})
        if not all(change["value"].get("field_type") in ("UInt64", "Bool") for change in options["changes"]):
            raise refused("An option of EXPLAIN must be a number")
        return _without(node, "settings", "format_ast")

    def _visit_showtablesquery(self, node: Node) -> Node:
        shown = {key for key, value in node.items() if value is not False}
        if not shown <= _SHOW_KEYS:
            raise refused(f"SHOW {' '.join(sorted(shown - _SHOW_KEYS)).upper()} is not allowed")
        if "from" in node:
            for parts in self._names(node["from"]):
                self._policy.check_table(parts[0], "", self._database)
        return _without(node, "from", "settings", "format_ast")

    def _visit_showcolumnsquery(self, node: Node) -> Node:
        self._policy.check_table(node.get("database") or None, node["table"], self._database)
        return _without(node, "format_ast")

    _visit_showindexesquery = _visit_showcolumnsquery


def _check_table_settings(settings: Node | None) -> None:
    for change in settings["changes"] if settings else ():
        if not lists.TABLE_SETTINGS.fullmatch(change["name"]):
            raise refused(f"Table setting {change['name']} is not allowed")


class WriteWalk(Walk):
    """One walk over the tree of a statement that writes tables of the store or changes them."""

    nodes = _NODES | _WRITE_NODES
    text_keys = _TEXT_KEYS | _WRITE_TEXT_KEYS
    write = True

    def _target(self, node: Node, key: str = "table") -> None:
        table, parent = node.get(key), node.get("database")
        table = table["name"] if isinstance(table, dict) else table
        parent = parent["name"] if isinstance(parent, dict) else parent
        if not table:
            raise refused("Only tables can be created, changed or written to")
        self._policy.check_table(parent or None, table, self._database, write=True)

    def _visit_insertquery(self, node: Node) -> Node:
        if "infile" in node or "table_function" in node:
            raise refused("INSERT from or into anything but a table is not allowed")
        self._target(node)
        if "format" in node:
            self._policy.format(node["format"])
        return node

    def _visit_createquery(self, node: Node) -> Node:
        flags = ("attach", "temporary", "dictionary", "time_series_table", "attach_from_path", "uuid")
        if any(node.get(f"{has}{flag}") for flag in flags for has in ("", "is_", "has_")):
            raise refused("Only tables and views can be created")
        self._target(node)
        for target in node.get("targets", {}).get("targets", ()):
            if target.keys() != {"kind", "table_database", "table_name"}:
                raise refused("A view's target must be a table")
            self._policy.check_table(
                target["table_database"] or None, target["table_name"], self._database, write=True
            )
        return _without(node, "targets")

    def _visit_storage(self, node: Node) -> Node:
        engine = node.get("engine", {})
        if not lists.TABLE_ENGINES.fullmatch(engine.get("name", "")):
            raise refused(f"Table engine {engine.get('name')} is not allowed")
        _check_table_settings(node.get("settings"))
        arguments = engine.get("arguments", {"type": "ExpressionList"})
        return {**_without(node, "engine", "settings"), "arguments": arguments}

    def _visit_columndeclaration(self, node: Node) -> Node:
        return _without(node, "data_type", "codec", "name")

    def _visit_indexdeclaration(self, node: Node) -> Node:
        return _without(node, "index_type", "name")

    def _visit_ttlelement(self, node: Node) -> Node:
        if node.get("destination_type", "DELETE") != "DELETE":
            raise refused("TTL to a disk or volume is not allowed")
        return node

    def _visit_dropquery(self, node: Node) -> Node:
        if node["kind"] not in ("Drop", "Truncate") or node.get("has_all") or node.get("has_tables"):
            raise refused("Only tables and views can be dropped or truncated")
        self._target(node)
        return node

    def _visit_alterquery(self, node: Node) -> Node:
        if node.get("alter_object") != "TABLE":
            raise refused("Only tables can be altered")
        self._target(node)
        return node

    def _visit_altercommand(self, node: Node) -> Node:
        if node["command_type"] not in lists.ALTER_COMMANDS:
            raise refused(f"ALTER TABLE {node['command_type']} is not allowed")
        _check_table_settings(node.get("settings_changes"))
        return _without(node, "settings_changes")

    def _visit_optimizequery(self, node: Node) -> Node:
        self._target(node)
        return node

    _visit_deletequery = _visit_optimizequery

    def _visit_renamequery(self, node: Node) -> Node:
        for element in node["elements"]:
            for side in ("from", "to"):
                parent, table = element[f"{side}_database"], element[f"{side}_table"]
                self._policy.check_table(parent or None, table, self._database, write=True)
        if node.get("database") or node.get("dictionary"):
            raise refused("Only tables can be renamed")
        return _without(node, "elements")
