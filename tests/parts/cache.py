"""Where the parts that tests need are kept, and how one is brought there."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "parts"


class PartError(Exception):
    """A part cannot be brought; the text says what is needed for it."""


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def part(name: str, version: str, make: Callable[[Path], None], sources: Sequence[Path] = ()) -> Path:
    """The folder `.cache/parts/<name>-<version>` with what `make` puts there; made only if it is not there.

    `make` works in a folder that gets its name only when it is whole, so a part whose making was cut off
    is made again. `sources` are files that the part is made of: it is made anew when they change.

    Raises:
        PartError: `make` failed.
    """
    if sources:
        version += "-" + hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:8]
    folder = CACHE / f"{name}-{version}"
    if folder.exists():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making it
        if folder.exists():
            return folder
        say(f"{name} {version}: to be made, once ...")
        started = time.monotonic()
        for left in CACHE.glob(f"{name}-*.unfinished-*"):
            shutil.rmtree(left)
        # Not the same name again: what an earlier run started may still write there.
        unfinished = Path(tempfile.mkdtemp(prefix=f"{name}-{version}.unfinished-", dir=CACHE))
        unfinished.chmod(0o755)
        make(unfinished)
        unfinished.rename(folder)
        say(f"{name} {version}: done in {time.monotonic() - started:.0f} s")
    return folder


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> None:
    """Run one step of a part's making.

    Raises:
        PartError: the program is not installed, or it failed; the text ends with what it said.
    """
    if shutil.which(str(command[0])) is None:
        raise PartError(f"{command[0]} is not installed")
    result = subprocess.run(
        command, cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if result.returncode:
        end = b"\n".join(result.stdout.splitlines()[-20:]).decode(errors="replace")
        raise PartError(f"`{' '.join(map(str, command))}` failed with code {result.returncode}:\n{end}")
