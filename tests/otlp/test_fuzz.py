import os
import subprocess
import sys


def test_mutated_payloads_with_every_index_checked(pytestconfig):
    # Its own cache: numba's does not tell kernels with and without the check apart.
    cache = pytestconfig.cache.mkdir("numba-boundscheck")
    environment = os.environ | {
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_OPT": "0",
    }
    command = [sys.executable, "-m", "tests.otlp.fuzz", "200", "20261121"]
    done = subprocess.run(command, cwd=pytestconfig.rootpath, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
