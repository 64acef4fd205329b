import os
import subprocess
import sys


def test_mutated_payloads_with_every_index_checked(pytestconfig, tmp_path):
    # Its own cache: numba's does not tell kernels with and without the check apart.
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "0"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.otlp.fuzz", "80", "20261121"]
    done = subprocess.run(command, cwd=pytestconfig.rootpath, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
