"""A short run of the fuzzer (`make fuzz` is the long one), and whether it sees an index out of bounds."""

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("atheris", reason="atheris has nothing for this system")

# How many groups of 16 payloads to run, and how many branches these must reach.
RUNS = {"decoder": (200, 605), "json": (300, 300)}


def run(root, *arguments, **variables):
    environment = os.environ | {"NUMBA_OPT": "0"} | variables  # compiles soonest
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, text=True, capture_output=True)


@pytest.mark.parametrize("target", RUNS)
def test_nothing_is_found(pytestconfig, tmp_path, target):
    runs, branches = RUNS[target]
    options = [f"-runs={runs}", "-seed=1", f"-artifact_prefix={tmp_path}/"]
    done = run(pytestconfig.rootpath, "-m", "tests.otlp.fuzz", target, *options)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    (reached,) = re.findall(r"DONE +cov: (\d+)", done.stderr)
    assert int(reached) > branches


KERNEL = """
from spanhouse.otlp.wire import entry

@entry
def read(array, index):
    if index == 1:
        return 7
    return array[index]
"""
PROBE = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
from tests.otlp.fuzz import edges
edges.instrument()
import numpy as np
spec = spec_from_file_location("spanhouse.probe", sys.argv[1])
probe = module_from_spec(spec)
spec.loader.exec_module(probe)
for index in (0, 1, 1, 1, 2, -1):
    try:
        print(probe.read(np.array([5, 6]), index))
    except IndexError:
        print("out of bounds")
print(list(edges.counters[len(edges.places) - 3 : len(edges.places)]))
"""


def test_an_index_out_of_bounds_is_seen_and_branches_are_counted(pytestconfig, tmp_path):
    (tmp_path / "probe.py").write_text(KERNEL)
    variables = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = run(pytestconfig.rootpath, "-c", PROBE, str(tmp_path / "probe.py"), **variables)
    assert done.stdout.split("\n")[:-1] == [
        *("5", "7", "7", "7", "out of bounds", "out of bounds"),
        "[6, 3, 3]",  # the function, its branch, and past it
    ], done.stderr
