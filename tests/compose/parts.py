"""The program that reads compose.yaml and the Dockerfile with Docker's own code (`check/main.go`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.parts.cache import part, run

_SOURCE: Final = Path(__file__).parent / "check"


def fetch() -> Path:
    """The program, built with Go.

    Raises:
        PartError: it could not be built.
    """
    sources = [_SOURCE / name for name in ("main.go", "go.mod", "go.sum")]
    return part("compose", "check", _build, sources) / "check"


def _build(folder: Path) -> None:
    run(["go", "build", "-C", _SOURCE, "-o", folder / "check", "."], folder)
