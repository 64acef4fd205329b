"""YAML with the line of every key, `${env:NAME}` filled in, and all mistakes found at once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

Keys = tuple[str | int, ...]

# libyaml, where PyYAML has it: a tenth of the time. Its messages are others, so `read` does without.
FAST_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_VARIABLE: Final = re.compile(r"\$\{env:([^}:]*)(:-[^}]*)?\}")


@dataclass(slots=True)
class Document:
    """A file's content and where it stands.

    Attributes:
        path: the file.
        data: its mappings, lists and scalars; {} where nothing follows a key.
        lines: line of each key and list item, by the keys that lead to it.
        problems: (line, text) of what is wrong with it.
    """

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Keys, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def problem(self, keys: Keys, text: str) -> None:
        """Note that something is wrong with the value at `keys`, or the nearest key above that exists."""
        nearest = keys
        while nearest and nearest not in self.lines:
            nearest = nearest[:-1]
        dotted = _dotted(keys)
        self.problems.append((self.lines.get(nearest, 1), f"{dotted}: {text}" if dotted else text))

    def report(self) -> list[str]:
        """`file:line: key: what is wrong`, in the order of lines."""
        return [f"{self.path}:{line}: {text}" for line, text in sorted(dict.fromkeys(self.problems))]


def read(path: Path) -> Document:
    """Read a file; what is wrong with it is in the document's `problems`."""
    document = Document(path)
    try:
        root = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        document.problems.append((1, f"cannot be read: {error.strerror}"))
    except UnicodeDecodeError as error:
        document.problems.append((1, f"is not UTF-8: {error.reason} at byte {error.start}"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        document.problems.append((line, f"is not YAML: {error.problem or error.context}"))
    except yaml.YAMLError as error:
        document.problems.append((1, f"is not YAML: {error}"))
    else:
        if isinstance(root, yaml.MappingNode):
            document.data = _mapping(document, root, (), ())
        elif root is not None:
            document.problems.append((root.start_mark.line + 1, "expected keys with values"))
    return document


def _value(document: Document, node: yaml.Node, keys: Keys, above: tuple[yaml.Node, ...]) -> Any:
    if node in above:
        document.problem(keys, "refers to itself")
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, keys, above)
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            document.lines[*keys, i] = item.start_mark.line + 1
        return [_value(document, item, (*keys, i), (*above, node)) for i, item in enumerate(node.value)]
    if "${env:" in node.value:
        return _fill_in(document, node.value, keys)
    try:
        value = yaml.SafeLoader("").construct_object(node)
        # Where a text is meant, 0123 must not become 83; where a number is, its text will do.
        return node.value if type(value) in (int, float) and str(value) != node.value else value
    except (yaml.YAMLError, ValueError) as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
        document.problem(keys, f"cannot be read: {problem}")
        return None


def _mapping(
    document: Document, node: yaml.MappingNode, keys: Keys, above: tuple[yaml.Node, ...]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append((line, f"{_dotted(keys)}: expected a name before the colon"))
            continue
        here = (*keys, key_node.value)
        if here in document.lines:
            document.problems.append(
                (line, f"{_dotted(here)}: stands here twice, first in line {document.lines[here]}")
            )
            continue
        document.lines[here] = line
        value = _value(document, value_node, here, (*above, node))
        # `guard:` with nothing behind it is a section with its defaults.
        values[key_node.value] = {} if value is None else value
    return values


def _fill_in(document: Document, text: str, keys: Keys) -> str:
    def variable(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = os.environ.get(name, default[2:] if default else None)
        if value is None:
            document.problem(
                keys, f"the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}"
            )
        return value or ""

    return _VARIABLE.sub(variable, text)


def _dotted(keys: Keys) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text
