"""Which attributes tell an evaluation: the section `evaluations` of the mapping files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import yaml

from spanhouse.processors.mapping_file import MappingFile

EVALUATION_TYPES: Final = ("evaluation", "feedback", "guardrail")
FIELDS: Final = ("name", "score", "label", "explanation", "evaluator")

_KEYS: Final = ("event", *FIELDS, "value", "type", "of", "where")


@dataclass(frozen=True, slots=True)
class EvaluationRule:
    """One way in which spans tell evaluations.

    Attributes:
        fields: by field the attributes that may tell it, the first one wins. A `*` in one stands for the
            number or name of one evaluation of several; those with the same text there belong together.
        event: the event that has these attributes; '' for the span.
        type: one of EVALUATION_TYPES.
        by_name: whether the result is in the attribute of the evaluation's name: a number or a truth value is
            the score, a text the label.
        of_parent: whether not the span itself but its parent was evaluated.
        scopes: the rule holds for these scopes only, for all where there are none; in them `*` stands
            for any text.
    """

    fields: dict[str, tuple[str, ...]]
    event: str = ""
    type: str = "evaluation"
    by_name: bool = False
    of_parent: bool = False
    scopes: tuple[str, ...] = ()


def read_evaluations(file: MappingFile, node: yaml.Node) -> list[EvaluationRule]:
    """The rules of a file's section; UserError where one cannot be."""
    return [_rule(file, item) for item in file.rules(node, "evaluations")]


def _rule(file: MappingFile, node: yaml.Node) -> EvaluationRule:
    what = "evaluations"
    entries = file.rule(node, what, _KEYS)
    fields: dict[str, tuple[str, ...]] = {
        field: file.one_or_more(entries[field][1], f"{what}.{field}") for field in FIELDS if field in entries
    }
    if "name" not in fields or not ({"score", "label", "value"} & entries.keys()):
        file.fail(node, f"{what}: a rule needs 'name', and 'score', 'label' or 'value'")
    for one in (one for texts in fields.values() for one in texts):
        if one.count("*") > 1:
            file.fail(node, f"{what}: '{one}' has more than one *")
    scopes = file.scopes(entries, what)
    choices = {"value": ("by_name",), "type": EVALUATION_TYPES, "of": ("parent",)}
    got = {key: file.text(entries[key][1], f"{what}.{key}") for key in choices if key in entries}
    for key, text in got.items():
        if text not in choices[key]:
            file.fail(entries[key][1], f"{what}: '{key}' must be {' or '.join(choices[key])}")
    return EvaluationRule(
        fields,
        event=file.text(entries["event"][1], f"{what}.event") if "event" in entries else "",
        type=got.get("type", "evaluation"),
        by_name="value" in got,
        of_parent="of" in got,
        scopes=scopes,
    )


def group_pattern(key: str) -> re.Pattern[str]:
    """Matches the attributes that a key with a `*` stands for; its group is what the star does."""
    before, star, after = key.partition("*")
    middle = "(.+)" if star else "()"
    return re.compile(f"{re.escape(before)}{middle}{re.escape(after)}", re.DOTALL)
