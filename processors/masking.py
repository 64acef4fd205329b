"""Apply the masking rules of `scrub_rules` to columns of text."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from spanhouse import metrics
from spanhouse.processors.scrub_rules import (
    ADDRESSES,
    CARD_RANGES,
    DIGITS,
    EMAIL_KEYS,
    RULES,
    SECRET_NAMES,
    USER_ID_KEYS,
    Rule,
)
from spanhouse.sieve import Sieve
from spanhouse.views import array, stack


def _gate(literals: str) -> str:
    """A pattern that is in every match of a rule with these literals."""
    return "(?i)" + "|".join(map(re.escape, literals.split())) if literals else DIGITS


_LITERALS: Final = " ".join(dict.fromkeys(" ".join(rule.literals for rule in RULES).split()))


def _in_polars(pattern: str) -> str:
    # polars knows Unicode's word boundary, the rules mean ASCII's.
    return pattern.replace(r"\b", r"(?-u:\b)")


_JSON: Final = r"^[ \t\r\n]*[\[{]"
_RULES_OR_JSON: Final = "|".join(
    (_JSON, *(f"(?:{_in_polars(pattern.regex)})" for rule in RULES for pattern in rule.patterns))
)
# One pass of these tells texts with something to look at from the many without: the first is many times
# faster, the second is exact.
SIEVE: Final = Sieve(_LITERALS.split())
_SIEVES: Final = {rule.name: Sieve(rule.literals.split(), numbers=not rule.literals) for rule in RULES}
_ANY: Final = _gate(_LITERALS) + "|" + DIGITS
_ADDRESSES: Final = Rule("email", "", ADDRESSES)
# Up to so many bytes it is the number of patterns that takes the time, above it is their search.
_SMALL: Final = 1 << 20
# A replacement may make room for a match that was hidden before, so rules run until nothing changes.
# Two or three rounds are the rule; every round leaves less to find.
_MAX_ROUNDS: Final = 32

# Rule, and what a JSON string looks like that is the name of a value to mask.
_NAMES: Final = {
    "user": f'^"(?:{"|".join(map(re.escape, USER_ID_KEYS))})"$',
    "key": f'(?i)(?:{"|".join(SECRET_NAMES)})"$',
    "email": f'^"(?:{"|".join(map(re.escape, EMAIL_KEYS))})"$',
}
_NUMBER_AFTER_NAME: Final = r"^([ \t\r\n]*:[ \t\r\n]*)-?[0-9][0-9.eE+-]*"
_JSON_TOKEN: Final = r'"(?:[^"\\]|\\.)*"|[^"]+'
_COLON: Final = r"^[ \t\r\n]*:"
# Escapes behind which there may be what is looked for; others, such as \n, are looked at as they are.
_HIDING: Final = r"\\[u/]"
_JSON_CARD: Final = r"(?:^|[^0-9.eE+-])[2-6][0-9]{12,18}(?:[^0-9.eE]|$)"
_JSON_NUMBER: Final = re.compile(r"(?<![0-9.eE+-])[0-9]{13,19}(?![0-9.eE])")
_CARD_RANGES: Final = re.compile(CARD_RANGES)
_NUMBERS: Final = re.compile("[0-9]+(?:[ -][0-9]+)*")
_ID_BEFORE: Final = re.compile(r"(?:_|(?<!\\)[A-Za-z]|[0-9]\.|[0-9A-Fa-f]{4}-)\Z")
_ID_AFTER: Final = re.compile("-?[A-Za-z_]")


def find(flagged: Sequence[pl.Series]) -> pl.Series:
    """The distinct texts, of those that `SIEVE` flags, that may hold something to mask."""
    if not flagged:
        return pl.Series("text", [], pl.String)
    texts = pl.concat([series.alias("text") for series in flagged]).unique()
    # Of much text the sieve flags little that has nothing.
    return texts.filter(texts.str.contains(_ANY)) if _is_small(texts) else texts


def mask(texts: pl.Series) -> pl.Series:
    """The texts, none of them null, with what the rules find masked; the same object if that is nothing."""
    # One search for all rules costs less than many, unless there is much text.
    if _is_small(texts) and not texts.str.contains(_RULES_OR_JSON).any():
        return texts
    before = texts
    is_json = _is_json(texts)
    if is_json.len():
        texts = _put(texts, is_json, mask_json(texts.gather(is_json), numbers=True))
    where = pl.int_range(texts.len(), eager=True)
    where = where.filter(~where.is_in(is_json.implode()))
    left = texts.gather(where)
    for _ in range(_MAX_ROUNDS):
        masked = _round(left)
        changed = (masked != left).arg_true()
        if not changed.len():
            break
        left, where = masked.gather(changed), where.gather(changed)
        texts = _put(texts, where, left)
    return before if texts is not before and texts.equals(before) else texts


def mask_emails(texts: pl.Series) -> pl.Series:
    """The texts with only e-mail addresses masked."""
    masked = _apply(_ADDRESSES, texts)
    return texts if masked is None else masked


def mask_json(texts: pl.Series, *, numbers: bool = False) -> pl.Series:
    """The same for texts that are JSON: strings and keys inside are masked, and JSON it stays.

    Args:
        texts: valid JSON.
        numbers: whether numbers are looked at as well.
    """
    tokens = pl.DataFrame(
        {"text": pl.int_range(texts.len(), eager=True), "token": texts.str.extract_all(_JSON_TOKEN)}
    ).explode("token")
    before = tokens["token"]
    is_string = before.str.starts_with('"')
    result = _mask_named(before, is_string)
    where = _suspicious(result)
    strings = result.gather(where).str.json_decode(pl.String)
    masked = mask(strings)
    changed = (masked != strings).arg_true()
    result = _put(result, where.gather(changed), _quote(masked.gather(changed)))
    if numbers:
        where = (~result.str.starts_with('"') & result.str.contains(_JSON_CARD)).arg_true()
        result = _put(result, where, _mask_json_cards(result.gather(where)))
    is_changed = tokens["text"].is_in(tokens["text"].filter(result != before).unique().implode())
    again = tokens.with_columns(result).filter(is_changed).group_by("text", maintain_order=True)
    joined = again.agg(pl.col("token").str.join())
    return _put(texts, joined["text"], joined["token"]) if joined.height else texts


def _suspicious(tokens: pl.Series) -> pl.Series:
    """Indices of JSON's strings that may hold something to mask; what escapes hide is not looked through."""
    flagged = tokens.str.contains(_HIDING).to_numpy()
    flagged[_flag(SIEVE, tokens)] = True
    return (pl.Series(flagged) & tokens.str.starts_with('"')).arg_true()


def _flag(sieve: Sieve, texts: pl.Series) -> NDArray[np.int64]:
    (rows,) = sieve.flag(stack([array(texts)]))
    return rows


def _mask_named(tokens: pl.Series, is_string: pl.Series) -> pl.Series:
    """JSON's tokens, with the texts and numbers masked whose name says what they are."""
    is_named = tokens.str.contains(_COLON) & ~is_string
    colons = is_named.arg_true()
    colons = colons.filter(colons > 0)
    names = tokens.gather(colons - 1)
    for rule, name in _NAMES.items():
        places = colons.filter(names.str.contains(name))
        if not places.len():
            continue
        after = tokens.gather(places)
        numbered = after.str.replace(_NUMBER_AFTER_NAME, f'${{1}}"[{rule}]"')
        found = (numbered != after).arg_true()
        values = places.filter(after.str.strip_chars() == ":") + 1
        values = values.filter(~tokens.gather(values).is_in(['""', f'"[{rule}]"']))
        if found.len() + values.len():
            metrics.SCRUBBED.labels(rule).inc(found.len() + values.len())
            tokens = _put(tokens, places.gather(found), numbered.gather(found))
            tokens = tokens.scatter(values, f'"[{rule}]"')
    return tokens


def _is_json(texts: pl.Series) -> pl.Series:
    """Indices of the texts that hold an array or a map as JSON."""
    where = texts.str.contains(_JSON).arg_true()
    return where.filter(pl.Series([_parses(text) for text in texts.gather(where)], dtype=pl.Boolean))


def _parses(text: str) -> bool:
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is not text
    except (ValueError, RecursionError):
        return False
    return True


def _is_small(texts: pl.Series) -> bool:
    return int(texts.str.len_bytes().sum()) < _SMALL


def _round(texts: pl.Series) -> pl.Series:
    small = _is_small(texts)
    for rule in RULES:
        if small:
            where = texts.str.contains(_gate(rule.literals)).arg_true()
        else:
            where = pl.Series(_flag(_SIEVES[rule.name], texts))
        if not where.len():
            continue
        masked = _apply(rule, texts.gather(where))
        if masked is not None:
            texts = _put(texts, where, masked)
    return texts


def _apply(rule: Rule, texts: pl.Series) -> pl.Series | None:
    """The texts with what the rule finds masked; None if it finds nothing."""
    before = texts
    for pattern, replacement, *_ in rule.patterns:
        pattern = _in_polars(pattern)
        where = texts.str.contains(pattern).arg_true()
        if where.len():
            found = texts.gather(where)
            masked = _mask_cards(found) if rule.luhn else found.str.replace_all(pattern, replacement)
            texts = _put(texts, where, masked)
    changed = int((texts != before).sum()) if texts is not before else 0
    if not changed:
        return None
    metrics.SCRUBBED.labels(rule.name).inc(changed)
    return texts


def _put(texts: pl.Series, where: pl.Series, values: pl.Series) -> pl.Series:
    return texts.clone().scatter(where, values)


def _quote(texts: pl.Series) -> pl.Series:
    """Texts as JSON strings."""
    objects = pl.select(pl.struct(v=texts).struct.json_encode()).to_series()
    return objects.str.strip_prefix('{"v":').str.strip_suffix("}")


def _mask_cards(texts: pl.Series) -> pl.Series:
    """One by one: few texts look like having a card number."""
    return pl.Series([_NUMBERS.sub(_mask_card, text) for text in texts], dtype=pl.String)


def _mask_json_cards(texts: pl.Series) -> pl.Series:
    """The same for what stands between JSON's strings: a number that is a card's becomes a string."""

    def quoted(match: re.Match[str]) -> str:
        return '"[card]"' if _is_card(match.group()) else match.group()

    masked = pl.Series([_JSON_NUMBER.sub(quoted, text) for text in texts], dtype=pl.String)
    metrics.SCRUBBED.labels("card").inc(int((masked != texts).sum()))
    return masked


def _mask_card(run: re.Match[str]) -> str:
    """A run of groups of digits with the card numbers in it replaced.

    A card number is made of whole groups, all but the last of at least four digits; lists of small numbers
    are none.
    """
    text, digits = run.string, run.group()
    groups = [match.span() for match in re.finditer("[0-9]+", digits)]
    # Groups that touch a letter, and those tied to them by dashes, are part of an id; digits after a
    # decimal point are part of a number.
    if _ID_BEFORE.search(text, max(0, run.start() - 5), run.start()):
        space = digits.find(" ")
        groups = [group for group in groups if group[0] > space >= 0]
    if _ID_AFTER.match(text, run.end()):
        space = digits.rfind(" ")
        groups = [group for group in groups if group[1] <= space]
    masked, done, first = "", 0, 0
    while first < len(groups):
        last = _card_end(digits, groups, first)
        if last is None:
            first += 1
            continue
        masked += digits[done : groups[first][0]] + "[card]"
        done = groups[last][1]
        first = last + 1
    return masked + digits[done:]


def _card_end(run: str, groups: Sequence[tuple[int, int]], first: int) -> int | None:
    """Index of the last group of the longest card number that starts with group `first`."""
    found, number = None, ""
    if run[groups[first][0]] not in "23456":
        return None
    for last in range(first, len(groups)):
        start, end = groups[last]
        number += run[start:end]
        if len(number) > 19:
            break
        if _is_card(number):
            found = last
        if end - start < 4:
            break
    return found


def _is_card(number: str) -> bool:
    """Whether it is of an issuer's range, with the check digit of ISO/IEC 7812-1, annex B."""
    if not _CARD_RANGES.fullmatch(number):
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in number[-2::-2])
    return (sum(doubled) + sum(map(int, number[-1::-2]))) % 10 == 0
