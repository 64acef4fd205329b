"""Mutations of OTLP/JSON that keep it JSON, in all the forms that JSON has for the same."""

import json
import random
from collections.abc import Callable
from typing import Any

from spanhouse.otlp.json_schema import ENTRIES, NAMES, WIDTH
from tests.otlp.fuzz.mutate import scramble

_BLOB = NAMES.tobytes()
FIELDS = [_BLOB[start:end].decode() for start, end in ENTRIES.reshape(-1, WIDTH)[:, :2].tolist()]


class Number(str):
    """A number as it is written."""


class Object(list):
    """The members of an object: [name, value] each."""


NUMBERS = (
    *(
        "0",
        "-0",
        "1",
        "-1",
        "1.0",
        "1e3",
        "1E+2",
        "10e-1",
        "1.5",
        "0.1",
        "5e-324",
        "1e400",
        "-1e-400",
        "0e99",
    ),
    *("2147483647", "2147483648", "-2147483648", "4294967295", "4294967296", "9223372036854775807"),
    *("9223372036854775808", "-9223372036854775808", "18446744073709551615", "18446744073709551616"),
    *("1844674407370955161.5", "18446744073709551615e0", "184467440737095516150e-1", "1e19", "-1e18", "1e18"),
)
TEXTS = ("", "a", "5B8E", "00ff", "-_8=", "+/8", "QQ==", 'é\n"\\/\b\f\r\t\x7f', "\U0001d11e", "\ud834", "NaN")


def parse(text: str) -> Any:
    """The tree of a JSON text: `Object`, list, str, `Number`, bool, None."""
    return json.loads(text, object_pairs_hook=Object, parse_int=Number, parse_float=Number)


class JsonMutator:
    """Makes new bodies of others; `plain` mutates bytes."""

    def __init__(self, plain: Callable[[bytes, int, random.Random], bytes] = scramble) -> None:
        self._rnd = random.Random()
        self._scramble = plain

    def __call__(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Return the mutation of `data` that the seed stands for."""
        rnd = self._rnd
        rnd.seed(seed)
        if rnd.randrange(3):
            try:
                tree = parse(data.decode())
            except (ValueError, RecursionError):
                return self._plain(data, max_size)
            for _ in range(rnd.choice((1, 1, 2, 4))):
                self._mutate(tree)
            self._odd = rnd.choice((0.0, 0.0, 0.02, 0.3))
            result = self._text(tree).encode(errors="surrogatepass")
            if len(result) <= max_size:
                return result
        return self._plain(data, max_size)

    def _plain(self, data: bytes, most: int) -> bytes:
        return self._scramble(data, most, self._rnd)

    def _mutate(self, tree: Any) -> None:
        # Of something inside an object or a list.
        rnd = self._rnd
        if not isinstance(tree, list) or not tree:
            return
        at = rnd.randrange(len(tree))
        value = tree[at][1] if isinstance(tree, Object) else tree[at]
        if isinstance(value, list) and value and rnd.randrange(5):
            self._mutate(value)
            return
        match rnd.randrange(8):
            case 0:
                tree.insert(rnd.randrange(len(tree) + 1), tree[at])
            case 1:
                del tree[at]
            case 2:
                tree.insert(rnd.randrange(len(tree)), tree.pop(at))
            case 3 if isinstance(tree, Object):
                tree.insert(at, [rnd.choice(FIELDS), self._any(2)])
            case 4 if isinstance(tree, Object):
                tree[at] = [rnd.choice((rnd.choice(FIELDS), self._change(tree[at][0]))), value]
            case _ if isinstance(tree, Object):
                tree[at] = [tree[at][0], self._change(value)]
            case _:
                tree[at] = self._change(value)

    def _change(self, value: Any) -> Any:
        rnd = self._rnd
        if rnd.randrange(3):
            return self._any(2)
        if isinstance(value, Number):
            return Number(self._plain(value.encode(), len(value) + 4).decode(errors="replace"))
        if isinstance(value, str):
            changed = self._plain(value.encode(errors="replace"), len(value) + 8)
            return changed.decode(errors="surrogateescape")
        return [value] if rnd.randrange(2) else Object([[rnd.choice(FIELDS), value]])

    def _any(self, depth: int) -> Any:
        rnd = self._rnd
        kinds = [
            lambda: None,
            lambda: bool(rnd.randrange(2)),
            lambda: Number(rnd.choice(NUMBERS)),
            lambda: rnd.choice((rnd.choice(NUMBERS), rnd.choice(FIELDS), "Infinity", "-Infinity")),
            lambda: rnd.choice(TEXTS),
        ]
        if depth:
            kinds.append(lambda: [self._any(depth - 1) for _ in range(rnd.randrange(3))])
            kinds.append(
                lambda: Object([rnd.choice(FIELDS), self._any(depth - 1)] for _ in range(rnd.randrange(3)))
            )
        return rnd.choice(kinds)()

    def _space(self) -> str:
        return self._rnd.choice((" ", "\n", "\t \r")) if self._rnd.random() < self._odd else ""

    def _text(self, tree: Any) -> str:
        space = self._space
        if isinstance(tree, Number):
            return str(tree)
        if isinstance(tree, str):
            return self._string(tree)
        if not isinstance(tree, list):
            return json.dumps(tree)
        if isinstance(tree, Object):
            items = [f"{self._string(name)}{space()}:{space()}{self._text(value)}" for name, value in tree]
        else:
            items = [self._text(item) for item in tree]
        inside = f"{space()},{space()}".join(items)
        return f"{{{space()}{inside}{space()}}}" if isinstance(tree, Object) else f"[{space()}{inside}]"

    def _string(self, text: str) -> str:
        plain = json.dumps(text, ensure_ascii=False)[1:-1]
        if self._odd and "\\" not in plain:
            plain = "".join(self._escaped(c) if self._rnd.random() < self._odd else c for c in plain)
        return f'"{plain}"'

    def _escaped(self, character: str) -> str:
        if character == "/":
            return "\\/"
        escaped = json.dumps(character)[1:-1]
        return f"\\u{ord(character):04x}" if escaped == character else escaped
