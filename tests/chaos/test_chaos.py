"""A short run of the chaos, as CI can afford it. `make chaos` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.__main__ import run
from tests.parts.fixtures import need


@pytest.mark.timeout(900)
def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    need("kafka")
    need("collector")
    faults, verdict = run(seconds=45, seed=4, rate=300, folder=tmp_path)
    assert not verdict.problems, f"logs are in {tmp_path}"
    assert (verdict.lost, verdict.doubled) == (0, 0)
    assert verdict.stored == verdict.sent > 0
    assert faults > 5
