"""promtool, which checks Prometheus' rules and runs their unit tests."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from tests.parts.cache import PartError, part, run, say

_GO_VERSION: Final = "v0.307.3"


def fetch() -> Path:
    """The program, out of the system's package `prometheus`, which is not installed; else built with Go.

    Raises:
        PartError: it could not be brought.
    """

    if shutil.which("apt-get"):
        return part("promtool", "package", _unpack) / "promtool"
    return part("promtool", _GO_VERSION, _build) / "promtool"


def _unpack(folder: Path) -> None:
    download = folder / "download"
    _download(download)
    run(["dpkg", "-x", *download.glob("*.deb"), "package"], folder)
    (folder / "package/usr/bin/promtool").rename(folder / "promtool")
    shutil.rmtree(download)
    shutil.rmtree(folder / "package")


def _build(folder: Path) -> None:
    say("promtool: there is no apt-get, so it is built with Go, some minutes ...")
    package = "github.com/prometheus/prometheus/cmd/promtool"
    # Not by `go install`, which refuses a module with `exclude` in its go.mod.
    run(["go", "mod", "init", "spanhouse.test/promtool"], folder)
    run(["go", "get", f"{package}@{_GO_VERSION}"], folder)
    run(["go", "build", "-mod=mod", "-o", "promtool", package], folder)


def _download(folder: Path) -> None:
    """The package, as a file; as any user, and where the system's list of packages is missing or old."""
    (folder / "lists/partial").mkdir(parents=True)
    try:
        run(["apt-get", "download", "prometheus"], folder)
    except PartError:
        say("promtool: apt-get's list of packages is missing or old; reading it again, for this only ...")
        own = ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
        run(["apt-get", *own, "update"], folder)
        run(["apt-get", *own, "download", "prometheus"], folder)
