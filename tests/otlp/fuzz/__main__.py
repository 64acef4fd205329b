"""libFuzzer over the decoder, led by the branches that its kernels take, with every index checked.

    python -m tests.otlp.fuzz decoder [libFuzzer's options] [corpus folder, or files to run again]
    python -m tests.otlp.fuzz decoder --reached FOLDER

The second says which branches a corpus reaches. `json` in place of `decoder` is the door for OTLP/JSON.

Each input, with some mutations of it, is given to the target, and the results are compared with a slow
reference. Where they differ, the smallest part of the group that still does is written to `wrong-0`,
`wrong-1`, … behind libFuzzer's `-artifact_prefix`; what libFuzzer itself writes makes the same group again.
"""

import os
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

# Before numba is imported. A cache of its own: numba's does not tell kernels with checks from those without.
SCRATCH = tempfile.TemporaryDirectory(prefix="spanhouse-fuzz-")
os.environ |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": SCRATCH.name, "POLARS_MAX_THREADS": "1"}

import atheris  # noqa: E402
import numba  # noqa: E402
import numpy as np  # noqa: E402

from tests.otlp.fuzz import edges  # noqa: E402

warnings.simplefilter("ignore", numba.NumbaWarning)
edges.instrument()

from tests.otlp.fuzz.targets import TARGETS, Target  # noqa: E402

GROUP = 16
# A span of more attributes than it may have takes 2 kB.
MAX_SIZE = 2100


class Fuzz:
    """A target as libFuzzer calls it.

    An input of libFuzzer's stands for a group: itself and its mutations of GROUP - 1 seeds, which are the
    same at any time. To decode a group takes little longer than to decode one payload.
    """

    def __init__(self, target: Target, prefix: str = "") -> None:
        self._target, self._prefix = target, prefix
        self._child = target.mutator()
        # `Fuzz` puts another function in place of `Mutate`.
        self._other = target.mutator(lambda data, size, _rnd: atheris.Mutate(data, size))
        self._registered = False

    def __call__(self, data: bytes) -> None:
        """Run a group."""
        if not self._registered:
            edges.register()
            self._registered = True
        group = self.group(data)
        if self._wrong(group):
            self._report(group)
        counts = np.frombuffer(edges.counters, np.uint8)
        counts[:] = counts // GROUP + (counts % GROUP > 0)  # of one, on the average

    def group(self, data: bytes) -> list[bytes]:
        """What an input stands for."""
        seeds = range(zlib.crc32(data), zlib.crc32(data) + GROUP - 1)
        return [data, *(self._child(data, MAX_SIZE, seed) for seed in seeds)]

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        """A new input for libFuzzer: one of those that were in the group, or another."""
        which, is_child = divmod(seed % (2 * GROUP - 2), 2)
        child = self._child(data, MAX_SIZE, zlib.crc32(data) + which) if is_child else b""
        return child if 0 < len(child) <= max_size else self._other(data, max_size, seed)

    def _report(self, group: list[bytes]) -> None:
        group = next(([data] for data in group if self._wrong([data])), group)
        for data in list(group):
            rest = [other for other in group if other is not data]
            if rest and self._wrong(rest):
                group = rest
        for i, data in enumerate(group):
            Path(f"{self._prefix}wrong-{i}").write_bytes(data)
        self._target.check(group)
        raise AssertionError("wrong once, but not again")

    def _wrong(self, group: list[bytes]) -> bool:
        try:
            self._target.check(group)
        except Exception:  # noqa: BLE001 whatever it is, `_report` raises it again
            return True
        return False


def fuzz(target: Target, arguments: list[str]) -> None:
    """Run libFuzzer, from the target's own seeds besides what lies in the corpus."""
    target.check(target.seeds)  # the kernels compile here, outside of libFuzzer's times
    seeds = Path(SCRATCH.name, "seeds")
    seeds.mkdir()
    for i, seed in enumerate(target.seeds):
        (seeds / str(i)).write_bytes(seed)
    options = ["-timeout=60", f"-max_len={MAX_SIZE}", *arguments]
    if not any(Path(argument).is_file() for argument in arguments):
        options.append(str(seeds))
    prefix = [option.partition("=")[2] for option in arguments if option.startswith("-artifact_prefix=")]
    run = Fuzz(target, "".join(prefix))
    atheris.Setup([sys.argv[0], *options], run, custom_mutator=run.mutate)
    atheris.Fuzz()


def reached(target: Target, corpus: Path) -> None:
    """Print how many branches of each file the seeds and the corpus reach, and which they do not."""
    run = Fuzz(target)
    for data in (*target.seeds, *(file.read_bytes() for file in sorted(corpus.iterdir()))):
        target.check(run.group(data))
    files: dict[str, list[tuple[str, bool]]] = {}
    for place, count in zip(edges.places, edges.counters, strict=False):
        name, _, line = place.partition(":")
        files.setdefault(name, []).append((line, count > 0))
    for name, lines in files.items():
        not_reached = [line for line, was in lines if not was]
        if len(not_reached) < len(lines):
            print(f"{name}: {len(lines) - len(not_reached)} of {len(lines)}; not", *not_reached)


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if rest[:1] == ["--reached"]:
        reached(TARGETS[what], Path(rest[1]))
    else:
        fuzz(TARGETS[what], rest)
