"""A real headless Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.parts.cache import PartError, part, run, say

_PACKAGES: Final = ("chromium-headless-shell", "fonts-inter", "fonts-dejavu-core")
_BINARY: Final = "usr/lib/chromium/chromium-headless-shell"
# The same letters on every machine, whatever is installed there.
_FONTS: Final = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">root/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
  <alias><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
  <alias><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""
_START: Final = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
libraries=$(find "$here/root" -name '*.so*' -printf '%h\\n' | sort -u | tr '\\n' ':')
export LD_LIBRARY_PATH="$libraries$LD_LIBRARY_PATH"
export FONTCONFIG_FILE="$here/fonts.conf" XDG_CACHE_HOME="$here/cache"
exec "$here/root/@BINARY@" "$@"
"""


def fetch() -> Path:
    """A program that starts it, out of the system's packages, which are not installed; else an installed one.

    Raises:
        PartError: it could not be brought.
    """
    if shutil.which("apt-get"):
        return part("chromium", "package", _unpack) / "chromium"
    for name in ("chromium-headless-shell", "chromium", "google-chrome"):
        if found := shutil.which(name):
            return Path(found)
    raise PartError("there is neither apt-get nor an installed chromium")


def _unpack(folder: Path) -> None:
    download, root = folder / "download", folder / "root"
    _download(download)
    for package in sorted(download.glob("archives/*.deb")):
        run(["dpkg", "-x", package, root], folder)
    shutil.rmtree(download)
    for unused in ("usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(root / unused, ignore_errors=True)
    (folder / "fonts.conf").write_text(_FONTS)
    start = folder / "chromium"
    start.write_text(_START.replace("@BINARY@", _BINARY))
    start.chmod(0o755)
    run([start, "--version"], folder)


def _download(folder: Path) -> None:
    """The packages and what of theirs is not installed, as files; as any user."""
    for sub in ("archives/partial", "lists/partial"):
        (folder / sub).mkdir(parents=True)
    own = ["-o", "Debug::NoLocking=1", "-o", f"Dir::Cache={folder}"]
    own += ["-o", f"Dir::Cache::Archives={folder / 'archives'}"]
    try:
        _get(own, folder)
    except PartError:
        say("chromium: apt-get's list of packages is missing or old; reading it again, for this only ...")
        own += ["-o", f"Dir::State::Lists={folder / 'lists'}"]
        run(["apt-get", *own, "update"], folder)
        _get(own, folder)


def _get(options: Sequence[str], folder: Path) -> None:
    # Fonts are brought though they may be installed: nothing but these is used.
    only = ["--yes", "--download-only", "--no-install-recommends", "--reinstall"]
    run(["apt-get", *options, *only, "install", *_PACKAGES], folder)
