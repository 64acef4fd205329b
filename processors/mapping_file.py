"""A mapping file's YAML, read through its node tree: a mistake is reported with the file and the line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import yaml

from spanhouse.errors import UserError
from spanhouse.yaml_lines import FAST_LOADER

Entries = dict[str, tuple[yaml.Node, yaml.Node]]


class MappingFile:
    """One file.

    Every method raises UserError, naming file, line and key, where the file has something else.

    Attributes:
        path: where it is.
        root: its top node.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            root = yaml.compose(path.read_text("utf-8"), Loader=FAST_LOADER)
        except OSError as error:
            raise UserError(f"{path}: cannot read the mapping: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: the mapping is not UTF-8 text") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UserError(f"{path}, line {line}: not valid YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise UserError(f"{path}: not valid YAML: {error}") from error
        if root is None:
            raise UserError(f"{path}: the mapping is empty; it needs the key 'columns'")
        self.root = root

    def mapping(self, node: yaml.Node, what: str) -> Entries:
        """Key -> the nodes of the key and of its value."""
        if not isinstance(node, yaml.MappingNode):
            self.fail(node, f"{what}: must be a mapping of keys to values")
        if not node.value:
            self.fail(node, f"{what}: must not be empty")
        entries: Entries = {}
        for key_node, value in node.value:
            key = self.text(key_node, what)
            if key in entries:
                self.fail(key_node, f"{what}: '{key}' is there twice")
            entries[key] = (key_node, value)
        return entries

    def rule(self, node: yaml.Node, what: str, keys: Sequence[str]) -> Entries:
        """The same of a rule, which may have these keys."""
        entries = self.mapping(node, what)
        for key, (key_node, _) in entries.items():
            if key not in keys:
                self.fail(key_node, f"{what}: unknown key '{key}'; a rule's keys are {', '.join(keys)}")
        return entries

    def scopes(self, rule: Entries, what: str) -> tuple[str, ...]:
        """The scopes that a rule of content or evaluations holds for; () where it does not ask for any."""
        scopes: tuple[str, ...] = ()
        if "where" in rule:
            for key, (key_node, value) in self.mapping(rule["where"][1], f"{what}.where").items():
                if key != "scope":
                    self.fail(key_node, f"{what}.where: '{key}' cannot be asked for, only 'scope'")
                scopes = self.one_or_more(value, f"{what}.where.scope")
        return scopes

    def rules(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """The items of a list of rules."""
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{what}: must be a list of rules")
        return list(node.value)

    def one_or_more(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        """A text, or a list of them."""
        is_list = isinstance(node, yaml.SequenceNode)
        return self.texts(node, what) if is_list else (self.text(node, what),)

    def values(self, node: yaml.Node, what: str) -> dict[str, str]:
        """A mapping of texts to texts."""
        return {key: self.text(value, what) for key, (_, value) in self.mapping(node, what).items()}

    def texts(self, node: yaml.Node, what: str) -> tuple[str, ...]:
        """A list of texts."""
        if not isinstance(node, yaml.SequenceNode):
            self.fail(node, f"{what}: must be a list")
        return tuple(self.text(item, what) for item in node.value)

    def text(self, node: yaml.Node, what: str) -> str:
        """A text that is not empty."""
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            self.fail(node, f"{what}: must be a text that is not empty")
        return str(node.value)

    def fail(self, node: yaml.Node, text: str) -> NoReturn:
        """Say what is wrong at a node."""
        raise UserError(f"{self.path}, line {node.start_mark.line + 1}: {text}")
