"""Which attributes are content: the section `content` of the mapping files, and what it says of a key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import yaml

from spanhouse.processors.mapping_file import MappingFile

# What a prompt or completion is made of; the column `kind` of the table `content`.
CONTENT_KINDS: Final = ("input", "output", "system", "tool_arguments", "tool_result", "tool_definitions")
# What a pattern takes in besides, and is no content.
KEPT: Final = "kept"

_KEYS: Final = ("span", "event", "attribute", "where")
_CACHED: Final = 1 << 16
# Of `Content.of_key`: it depends on the scope.
ASK: Final = -1


@dataclass(frozen=True, slots=True)
class ContentRule:
    """Attributes that are content.

    Attributes:
        kind: one of CONTENT_KINDS, or KEPT.
        events: the names of the events they belong to, none for those of the span; `*` stands for any text.
        keys: their keys; the same.
        scopes: the rule holds for these scopes only, for all where there are none; the same.
    """

    kind: str
    events: tuple[str, ...]
    keys: tuple[str, ...]
    scopes: tuple[str, ...] = ()


def read_content(file: MappingFile, node: yaml.Node) -> list[ContentRule]:
    """The rules of a file's section, what is kept first; UserError where one cannot be."""
    rules: list[ContentRule] = []
    for kind, (key, value) in file.mapping(node, "content").items():
        if kind not in (KEPT, *CONTENT_KINDS):
            file.fail(key, f"{kind}: no such content; there are {', '.join((KEPT, *CONTENT_KINDS))}")
        rules += [_rule(file, f"content.{kind}", kind, item) for item in file.rules(value, f"content.{kind}")]
    return sorted(rules, key=lambda rule: rule.kind != KEPT)


def _rule(file: MappingFile, what: str, kind: str, node: yaml.Node) -> ContentRule:
    entries = file.rule(node, what, _KEYS)
    if ("span" in entries) == ("event" in entries) or ("event" in entries) != ("attribute" in entries):
        file.fail(node, f"{what}: a rule has either 'span', or 'event' and 'attribute'")
    scopes = file.scopes(entries, what)
    keys = file.one_or_more(entries["span" if "span" in entries else "attribute"][1], what)
    events = file.one_or_more(entries["event"][1], what) if "event" in entries else ()
    return ContentRule(kind, events, keys, scopes)


class Content:
    """Tells content apart by rules, of which the first that matches holds.

    Kinds are numbers: 0 for what is no content, else the place in CONTENT_KINDS and one more.
    """

    def __init__(self, rules: Sequence[ContentRule]) -> None:
        self._rules = [
            (
                0 if rule.kind == KEPT else CONTENT_KINDS.index(rule.kind) + 1,
                pattern(rule.events) if rule.events else None,
                pattern(rule.keys),
                pattern(rule.scopes) if rule.scopes else None,
            )
            for rule in rules
        ]
        self.of_event = lru_cache(_CACHED)(self._of_event)
        self.of_key = lru_cache(_CACHED)(self._of_key)
        self.kind = lru_cache(_CACHED)(self._kind)

    def _of_event(self, name: str) -> bool:
        """Whether events of this name have content."""
        return any(events is not None and events.fullmatch(name) for _, events, _, _ in self._rules)

    def _of_key(self, key: str) -> int:
        """The kind of a span's attribute, ASK where its scope decides."""
        for kind, events, keys, scopes in self._rules:
            if events is None and keys.fullmatch(key):
                return kind if scopes is None else ASK
        return 0

    def _kind(self, event: str | None, key: str, scope: str) -> int:
        """The kind of an attribute of an event, None for the span itself, of a scope's spans."""
        for kind, events, keys, scopes in self._rules:
            of_event = events is None if event is None else events is not None and events.fullmatch(event)
            if of_event and keys.fullmatch(key) and (scopes is None or scopes.fullmatch(scope)):
                return kind
        return 0


def pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any of the texts, in which `*` stands for any text."""
    parts = (".*".join(map(re.escape, text.split("*"))) for text in texts)
    return re.compile("|".join(parts), re.DOTALL)
