r"""The rules of `scrub` as statements of the Collector's transform processor (OTTL).

    python -m spanhouse.collector_rules > otel-collector/scrub.yaml

A test checks that the file is up to date, others that a Collector with it and `processors/scrub.py` agree.

OTTL has no loops, so statements work on whole maps of attributes. The four kinds of maps (of resource, scope,
span and event) get the same two lists: `_look` takes out what is known by its name and marks the map if there
may be more to find, which is cheap; `_mask` runs on marked maps alone. Names and messages are put among the
attributes meanwhile. Where OTTL cannot do what scrub does it masks more (docs/collector.md).

In `cache`: `r` text of all attributes, `t` the same in lower case, `f` attributes with lists and maps
flattened, `p0`, `p1` … whether patterns may match, `n` lists and maps as JSON, `o` as they came, `m` those
with something masked, `s` attributes whose key names a secret, `j` a map as JSON, `g` lists and maps while
their numbers get guards, `c` a number like a card's.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from spanhouse.processors.mapping import load
from spanhouse.processors.normalize import BUILT_IN, MAPPINGS
from spanhouse.processors.scrub_rules import (
    ADDRESSES,
    CARD_RANGES,
    EMAIL_KEYS,
    RULES,
    SECRET_HEADERS,
    SECRET_NAMES,
    USER_ID_HASH,
    USER_ID_KEYS,
    Pattern,
    Rule,
)

# Columns whose attributes get one name, the mapping's first, in the resource and in the span.
_UNIFORM: Final = ("service", "env", "tenant_id")
_CONTEXTS: Final = ("resource", "scope", "span", "spanevent")
# Where a user's id is looked for, and the texts beside the attributes.
_SOURCES: Final = ("attributes", "resource.attributes", "scope.attributes")
_TEXTS: Final = {
    "scope": ("name", "version"),
    "span": ("name", "status.message"),
    "spanevent": ("name",),
}

# Control characters, which keys do not have: after a key, after a value, before keys of our own.
_EQUALS, _END, _OWN = "\x01", "\x02", "\x03"
_HIT: Final = f"{_OWN}hit"
# Hides the number after it from the rule for card numbers; starts with a private-use character.
_GUARD: Final = "\ue000_"
# So many different numbers like a card's have their check digit checked in one map; others are masked.
_CHECKED: Final = 3

_SECRET_KEY: Final = f"(?i)(?:{'|'.join((*SECRET_NAMES, *SECRET_HEADERS))})$"
_SECRET_ENDS: Final = (
    *("key", "keyid", "key_id", "key-id", "secret", "token", "passwd", "password", "passphrase"),
    *("authorization", "cookie"),
)
_SYNTAX: Final = re.compile(r"[\\.^$*+?{}\[\]|()]")
_HASH: Final = "^[0-9a-f]{32}$"
_MASKED: Final = rf"^(?s:(.*\[(?:{'|'.join(rule.name for rule in RULES)})\].*))$"

# Not after a decimal point, nor in a UUID.
_CARD_START: Final = (
    r"(^|[^0-9A-Za-z_.-]|(?:^|[^0-9])\.|(?:^|[^0-9A-Fa-f])[0-9A-Fa-f]{0,3}-|\\[bfnrt]|\\u[0-9a-fA-F]{4})"
)
# Card numbers in groups: a card's first four digits, then the usual groupings of 13 to 19 digits.
_GROUPED: Final = (
    r"(?:4[0-9]{3}|5[0-8][0-9]{2}|6[0-9]{3}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720|20[0-4])"
    r"|3(?:0[0-5]|[4-9][0-9])[0-9])"
    r"(?:(?:[ -][0-9]{4}){3}(?:[ -][0-9]{3})?|(?:[ -][0-9]{4}){2}[ -][0-9]{1,7}"
    r"|[ -][0-9]{4}[ -][0-9]{5,11}|[ -][0-9]{5,7}[ -][0-9]{4,9}"
    r"|[0-9]{1,4}[ -][0-9]{4,7}[ -][0-9]{4,7}|[0-9]{2,9}[ -][0-9]{7,12})"
)
# A number in a list that is JSON.
_JSON_ITEM: Final = rf"([\[,][ \t\r\n]*)(?:{CARD_RANGES})([ \t\r\n]*[,\]])"


class _Group(NamedTuple):
    """Statements of one context; `anchor` names a list for use again, which is then its name alone."""

    about: str
    context: str
    statements: Sequence[str]
    conditions: Sequence[str] = ()
    anchor: str = ""


def render() -> str:
    """The file's text."""
    lines = [
        "# Made by `python -m spanhouse.collector_rules` from processors/scrub_rules.py; do not edit it.",
        "# docs/collector.md says what it does.",
        "processors:",
        "  transform/scrub:",
        "    # What cannot be scrubbed is refused, and never passed on.",
        "    error_mode: propagate",
        "    trace_statements:",
    ]
    anchors: set[str] = set()
    for group in _groups():
        lines += [f"      # {group.about}", f"      - context: {group.context}"]
        if group.conditions:
            lines += ["        conditions:", *(f"          - {_yaml(text)}" for text in group.conditions)]
        if group.anchor in anchors:
            lines.append(f"        statements: *{group.anchor}")
            continue
        lines.append("        statements:" + (f" &{group.anchor}" if group.anchor else ""))
        lines += [f"          - {_yaml(text)}" for text in group.statements]
        anchors |= {group.anchor} - {""}
    return "\n".join(lines) + "\n"


def _groups() -> Iterator[_Group]:
    ids = [f"{path}[{_text(key)}]" for path in _SOURCES for key in USER_ID_KEYS]
    first_id = f"Coalesce([{', '.join(ids)}])"
    no_ids = [
        f'delete_key({path}, {_text(key)}) where {path}[{_text(key)}] == ""'
        for path in _SOURCES
        for key in USER_ID_KEYS
    ]
    yield _Group("An empty id is none.", "span", no_ids, [f'{first_id} == ""'])
    yield _Group("The hash of the user's id: the first of span, resource, scope.", "span", [*_hash(first_id)])
    yield _Group("What only spans have.", "span", [*_span_fields()])
    for source in ("resource", "span"):
        yield _Group(f"One name each ({source}).", source, [*_uniform(source)])
    for context in _TEXTS:
        yield _Group(f"Texts join the attributes ({context}).", context, [*_texts_in(context)])
    for context in _CONTEXTS:
        yield _Group(f"What is known by its name ({context}).", context, [*_look()], anchor="look")
    is_hit = [f"attributes[{_text(_HIT)}] != nil"]
    for context in _CONTEXTS:
        yield _Group(f"What is found by its form ({context}).", context, [*_mask()], is_hit, "mask")
    for context in _TEXTS:
        yield _Group(f"Texts back in their places ({context}).", context, [*_texts_out(context)])


def _hash(first_id: str) -> Iterator[str]:
    path, key = f"attributes[{_text(USER_ID_HASH)}]", '"${env:SPANHOUSE_HASH_KEY}"'
    yield f'set(cache["id"]["v"], {first_id})'
    yield (
        f'set(cache["id"]["v"], {path}) where cache["id"] == nil and {path} != nil and {path} != ""'
        f" and not {_is_hash(path)}"
    )
    yield 'stringify_all(cache["id"]) where cache["id"] != nil'
    inner = f'SHA256(Concat([{key}, cache["id"]["v"]], ":"))'
    yield (
        f'set({path}, Substring(SHA256(Concat([{key}, {inner}], ":")), 0, 32))'
        ' where cache["id"] != nil and cache["id"]["v"] != ""'
    )


def _span_fields() -> Iterator[str]:
    for pattern in ADDRESSES:
        yield _replace("trace_state", pattern)
    # OTTL can neither read nor change a link; setting them to themselves takes them all away.
    yield "set(dropped_links_count, dropped_links_count + Len(links)) where Len(links) > 0"
    yield "set(links, links) where Len(links) > 0"


def _uniform(source: str) -> Iterator[str]:
    for column in _UNIFORM:
        rules = [rule for name in BUILT_IN for rule in load(MAPPINGS / name).get(column, [])]
        keys = [rule.source.partition(":")[2] for rule in rules if rule.source.startswith(f"{source}:")]
        for key in keys[1:]:
            first, other = f"attributes[{_text(keys[0])}]", f"attributes[{_text(key)}]"
            yield f'set({first}, {other}) where ({first} == nil or {first} == "") and {other} != ""'
            yield f"delete_key(attributes, {_text(key)}) where {other} != nil and {other} == {first}"


def _texts_in(context: str) -> Iterator[str]:
    for field in _TEXTS[context]:
        yield f'set(attributes[{_text(_OWN + field)}], {field}) where {field} != ""'


def _texts_out(context: str) -> Iterator[str]:
    for field in _TEXTS[context]:
        path = f"attributes[{_text(_OWN + field)}]"
        yield f"set({field}, {path}) where {path} != nil"
        yield f"delete_key(attributes, {_text(_OWN + field)}) where {path} != nil"


def _look() -> Iterator[str]:
    for keys in (USER_ID_KEYS, EMAIL_KEYS):  # apart, for Go is slow with longer ones
        names = "|".join(map(re.escape, keys))
        yield f"delete_matching_keys(attributes, {_text(f'^(?:{names})$')})"
    path = f"attributes[{_text(USER_ID_HASH)}]"
    yield f"delete_key(attributes, {_text(USER_ID_HASH)}) where {path} != nil and not {_is_hash(path)}"
    yield from _as_text()
    found: dict[str, list[str]] = {}
    for pattern in _patterns():
        # An address takes long to find, and is there where its hint is.
        exact = "true" if pattern in ADDRESSES else f'IsMatch(cache["r"], {_text(pattern.regex)})'
        found.setdefault(_gate(pattern), []).append(exact)
    conditions = [f"({gate}) and ({_any(matches)})" for gate, matches in found.items()]
    yield f"set(attributes[{_text(_HIT)}], true) where {_any([*conditions, _has_secret_keys()])}"


def _mask() -> Iterator[str]:
    # Keys that are not UTF-8 would be other ones after JSON. Two characters, for one alone Go seeks as bytes.
    not_text = _text(r"[\x{fffd}\x{fffe}]")
    yield f'replace_all_patterns(attributes, "key", {not_text}, {_text(chr(0xFFFD))})'
    yield from _as_text()
    for gate, flag in _flags().items():
        yield f"set({flag}, true) where {gate}"
    yield from _secret_keys()
    yield from _nested_in()
    texts = [pattern for pattern in _patterns() if pattern.literals]
    numbers = [pattern for pattern in _patterns() if not pattern.literals]
    for pattern in texts:
        yield _replace("attributes", pattern)
    yield from _not_cards()
    # scrub's rules run until nothing changes, but only numbers that touch need another round.
    for pattern in (*numbers, *numbers):
        yield _replace("attributes", pattern)
    yield f'replace_all_patterns(attributes, "value", {_text(_GUARD)}, "") where {_numbers()}'
    yield from _nested_out()
    for pattern in _patterns():
        yield _replace("attributes", pattern, keys=True)
    yield f"delete_key(attributes, {_text(_HIT)})"


def _as_text() -> Iterator[str]:
    def text(path: str) -> str:
        return f"ToKeyValueString({path}, {_text(_EQUALS)}, {_text(_END)})"

    end, raw, flat = _text(_END), 'cache["r"]', 'cache["f"]'
    yield f'set({raw}, Concat([{text("attributes")}, ""], {end}))'
    # A list or map has no text if NaN or infinity is in it; its parts have.
    yield f"set({flat}, attributes) where {_contains(_EQUALS + _END, text=raw)}"
    yield f"flatten({flat}, resolve_conflicts=true) where {flat} != nil"
    yield f'set({raw}, Concat([{raw}, {text(flat)}, ""], {end})) where {flat} != nil'
    # Every quote has got a backslash.
    yield f"replace_pattern({raw}, {_text(re.escape(chr(92) + chr(34)))}, {_text(chr(34))})"
    yield f'set(cache["t"], ToLowerCase({raw}))'


def _secret_keys() -> Iterator[str]:
    found = 'cache["s"]'
    yield f"set({found}, attributes) where {_has_secret_keys()}"
    yield f"keep_matching_keys({found}, {_text(_SECRET_KEY)}) where {found} != nil"
    yield f"stringify_all({found}) where {found} != nil"
    yield f'replace_all_patterns({found}, "value", "^(?s:.+)$", "[key]") where {found} != nil'
    yield f'merge_maps(attributes, {found}, "update") where {found} != nil'


def _nested_in() -> Iterator[str]:
    """Lists and maps become JSON texts, for the rules."""
    nested, there = 'cache["n"]', 'cache["n"] != nil'
    is_odd = 'cache["f"] != nil'
    yield f"set({nested}, attributes) where {_contains(_EQUALS + '[', _EQUALS + '{')} or {is_odd}"
    # An s tells texts, which may look like JSON, too.
    yield f'replace_all_patterns({nested}, "value", "^", "s") where {there}'
    yield f"stringify_all({nested}) where {there}"
    not_finite = _text(f"{_EQUALS}(?:nan|-?infinity){_END}")
    unreadable = f'replace_all_patterns({nested}, "value", "^$", {_text(json.dumps(["[key]"]))})'
    yield f'{unreadable} where {there} and {is_odd} and IsMatch(cache["t"], {not_finite})'
    yield from _keep_values(nested, r"^[^\[{](?s:.*)$")
    yield f'delete_key(cache, "n") where {there} and Len({nested}) == 0'
    yield f'set(cache["o"], {nested}) where {there}'
    yield f'merge_maps(cache["o"], attributes, "update") where {there}'
    yield f'merge_maps(attributes, {nested}, "update") where {there}'


def _nested_out() -> Iterator[str]:
    """Lists and maps as they came, but for those in which something was masked."""
    masked, there = 'cache["m"]', 'cache["n"] != nil'
    yield f'set({masked}, cache["n"]) where {there}'
    yield f'merge_maps({masked}, attributes, "update") where {there}'
    yield f'replace_all_patterns({masked}, "value", {_text(_MASKED)}, {_text("m${1}")}) where {there}'
    yield from _keep_values(masked, "^[^m](?s:.*)$")
    yield f'replace_all_patterns({masked}, "value", "^m", "") where {there}'
    yield f'merge_maps(attributes, cache["o"], "update") where {there}'
    yield f'merge_maps(attributes, {masked}, "update") where {there}'


def _not_cards() -> Iterator[str]:
    """Guard numbers of lists and maps, and the first few that a wrong check digit tells from a card's.

    The latter only in one piece: of groups nobody knows which ones make a number.
    """
    nested, there = 'cache["g"]', f'cache["n"] != nil and {_numbers()}'
    yield f'set({nested}, cache["n"]) where {there}'
    yield f'merge_maps({nested}, attributes, "update") where {there}'
    item = _text(r"([\[,:]-?)([2-6][0-9]{12,18})([,\]}])")
    guarded = _text("${1}" + _GUARD + "${2}${3}")
    for _ in range(2):  # for two neighbours share their comma
        yield f'replace_all_patterns({nested}, "value", {item}, {guarded}) where {there}'
    yield f'merge_maps(attributes, {nested}, "update") where {there}'
    number, found = 'cache["c"]["n"]', f'{_numbers()} and cache["c"]["n"] != nil'
    candidate = _text(rf"{_CARD_START}(?P<n>{CARD_RANGES})\b")
    for _ in range(_CHECKED):
        yield f'set(cache["c"], ExtractPatterns(cache["r"], {candidate})) where {_numbers()}'
        guarded = f'Concat([{_text(_GUARD)}, {number}], "")'
        yield (
            f'replace_all_patterns(attributes, "value", {number}, {guarded})'
            f" where {found} and not IsValidLuhn({number})"
        )
        yield f'replace_pattern(cache["r"], {number}, "") where {found}'


def _keep_values(texts: str, others: str) -> Iterator[str]:
    """Take out of a map of texts those that match `others`, and empty ones."""
    there = f"{texts} != nil"
    yield f'replace_all_patterns({texts}, "value", {_text(others)}, "") where {there}'
    yield f'set(cache["j"], String({texts})) where {there}'
    empty = _text(r'"(?:[^"\\]|\\.)*":"",?')
    yield f'replace_pattern(cache["j"], {empty}, "") where {there}'
    yield f'replace_pattern(cache["j"], {_text(",}$")}, "}}") where {there}'
    yield f'set({texts}, ParseJSON(cache["j"])) where {there}'


def _patterns() -> Iterator[Pattern]:
    for rule in RULES:
        if not rule.luhn:
            yield from rule.patterns
            continue
        # No pattern computes a check digit: all are masked that have an issuer's digits and no guard.
        mask, hints = f"[{rule.name}]", rule.patterns[0].hints
        value = rf"((\\*\")[ \t\r\n]*:[ \t\r\n]*)(?:{CARD_RANGES})([ \t\r\n]*[,}}])"
        yield Pattern(value, "${1}${2}" + mask + "${2}${3}", hints=hints)
        yield Pattern(_JSON_ITEM, '${1}"' + mask + '"${2}', hints=hints)
        yield Pattern(rf"{_CARD_START}(?:{CARD_RANGES})\b", "${1}" + mask, hints=hints)
        yield Pattern(rf"{_CARD_START}{_GROUPED}\b", "${1}" + mask, hints=hints)


def _replace(path: str, pattern: Pattern, *, keys: bool = False) -> str:
    regex, replacement = _text(pattern.regex), _text(pattern.replacement)
    if path != "attributes":
        return f"replace_pattern({path}, {regex}, {replacement})"
    mode = "key" if keys else "value"
    flag = _flags()[_gate(pattern)]
    return f'replace_all_patterns({path}, "{mode}", {regex}, {replacement}) where {flag} != nil'


def _flags() -> dict[str, str]:
    """Where the result of each pattern's condition is kept."""
    gates = dict.fromkeys(map(_gate, _patterns()))
    return {gate: f'cache["p{number}"]' for number, gate in enumerate(gates)}


def _numbers() -> str:
    """Whether there is a number like a card's."""
    return f"{_flags()[_gate(_rule('card').patterns[0])]} != nil"


def _gate(pattern: Pattern) -> str:
    """A condition that holds wherever the pattern matches one of the attributes, and is fast."""
    return _any(
        f'IsMatch(cache["t"], {_text(hint)})' if _SYNTAX.search(hint) else _contains(hint)
        for hint in pattern.hints or pattern.literals.split()
    )


def _contains(*literals: str, text: str = 'cache["t"]') -> str:
    return _any(f"Index({text}, {_text(literal)}) >= 0" for literal in literals)


def _has_secret_keys() -> str:
    return _contains(*(end + _EQUALS for end in _SECRET_ENDS))


def _is_hash(path: str) -> str:
    return f"(IsString({path}) and IsMatch({path}, {_text(_HASH)}))"


def _any(conditions: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(conditions))


def _rule(name: str) -> Rule:
    return next(rule for rule in RULES if rule.name == name)


def _text(text: str) -> str:
    """A text in OTTL. The Collector's configuration wants a dollar twice."""
    return json.dumps(text).replace("$", "$$")


def _yaml(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    sys.stdout.write(render())
