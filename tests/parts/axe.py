"""axe-core, which finds what people with disabilities cannot use on a page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.parts.cache import part, run

_VERSION: Final = "4.14.1"


def fetch() -> Path:
    """The script, out of the npm package `axe-core`.

    Raises:
        PartError: npm is not installed, or the package could not be brought.
    """
    return part("axe", _VERSION, _unpack) / "package/axe.min.js"


def _unpack(folder: Path) -> None:
    run(["npm", "pack", "--silent", f"axe-core@{_VERSION}"], folder)
    archive = f"axe-core-{_VERSION}.tgz"
    run(["tar", "-xzf", archive, "package/axe.min.js", "package/LICENSE"], folder)
    (folder / archive).unlink()
