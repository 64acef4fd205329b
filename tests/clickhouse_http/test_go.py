"""clickhouse-go, the client inside Grafana's plugin and the Collector's exporter."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clickhouse_http.conftest import Doors

HERE = Path(__file__).parent / "go"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go") / "main"
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=HERE, check=True)
    return program


@pytest.mark.go
@pytest.mark.parametrize("compression", ["none", "lz4", "zstd", "gzip", "deflate"])
def test_clickhouse_go_reads_and_writes(doors: Doors, program: Path, compression: str) -> None:
    arguments = [str(program), str(doors.read.port), str(doors.write.port), compression]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "0 2 s2 2025-01-01T00:00:02Z map[k:2] [1 1] 2 true",
        "[n s] false",
        "true",
        "true",
        "true",
        "true",
        "30007",
    ]
