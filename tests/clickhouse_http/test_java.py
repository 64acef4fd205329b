"""The JDBC driver, which speaks RowBinary in ClickHouse's own frames."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clickhouse_http.conftest import Doors

HERE = Path(__file__).parent / "java"


@pytest.mark.java
def test_jdbc_reads(doors: Doors, tmp_path: Path) -> None:
    project = shutil.copytree(HERE, tmp_path / "java")
    listing = project / "classpath"
    build = ["mvn", "-q", "-B", "compile", "dependency:build-classpath", f"-Dmdep.outputFile={listing}"]
    subprocess.run(build, cwd=project, check=True)
    classpath = f"{project / 'target' / 'classes'}:{listing.read_text()}"
    command = ["java", "-cp", classpath, "Main", str(doors.read.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    expected = ["1 s1 1", "2 s2 2", "989", "n false", "44999850000", "8", "true"]
    assert done.stdout.splitlines() == expected * 3
