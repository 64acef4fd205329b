"""`python -m tests.parts [NAME ...]` brings the parts that tests need, into `.cache/parts`."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Final

from tests.parts.cache import PartError, say

# The module of each, whose `fetch` brings the part and says where it is.
PARTS: Final = {
    "kafka": "tests.parts.kafka",
    "collector": "tests.parts.collector",
    "promtool": "tests.parts.promtool",
    "compose": "tests.compose.parts",
    "chromium": "tests.parts.chromium",
    "axe": "tests.parts.axe",
}


def fetch(name: str) -> Path:
    """Where the part is; it is brought if it is not there.

    Raises:
        PartError: it could not be brought.
    """
    path: Path = importlib.import_module(PARTS[name]).fetch()
    return path


def main() -> int:
    """Bring the parts that are named, or all; 1 if one of them could not be brought."""
    parser = argparse.ArgumentParser(prog="python -m tests.parts", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PARTS)} (default: all)")
    names = parser.parse_args().names or list(PARTS)
    if unknown := sorted(set(names) - set(PARTS)):
        parser.error(f"{', '.join(unknown)}: there are {', '.join(PARTS)}")
    failed = 0
    for name in names:
        try:
            fetch(name)
        except PartError as error:
            failed += 1
            say(f"{name}: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
