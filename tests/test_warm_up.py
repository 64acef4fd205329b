"""What a start makes ready."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, sys, time
from numba.core.registry import CPUDispatcher
from spanhouse.warm_up import warm_up

def compiled():
    return {
        f"{module.__name__}.{name}": len(value.signatures)
        for module in list(sys.modules.values()) if (module.__name__ or "").startswith("spanhouse.")
        for name, value in vars(module).items() if isinstance(value, CPUDispatcher)
    }

warm_up()
before = compiled()
import numpy as np
from bench.payloads import Block
from bench.stages import processing
from spanhouse.exporters import native
from spanhouse.processing import Processed
for shape in ("chat", "wide"):
    block = Block(shape, 64)
    for done in processing().run(block.requests(np.random.default_rng(1), time.time_ns())):
        assert isinstance(done, Processed)
        assert done.finished.rows.height
        native.block(done.finished.rows)
after = compiled()
print({name for name, number in after.items() if number != before.get(name)})
print(sum(before.values()) > 10, gc.get_freeze_count() > 10_000)
print("pandas" in sys.modules)
"""


def test_nothing_is_compiled_later_nor_is_pandas_imported() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["set()", "True True", "False"]
