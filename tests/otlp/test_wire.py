import os
import subprocess
import sys
from pathlib import Path

from numba import config

from spanhouse.otlp import wire

ROOT = Path(__file__).parents[2]


def test_kernels_are_compiled_anew_when_any_of_their_files_changed(tmp_path, monkeypatch):
    def twice(number):
        return 2 * number

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    hits = []
    for sources in ("as they were", "as they were", "changed"):
        monkeypatch.setattr(wire, "_SOURCES", sources)
        compiled = wire.entry(twice)
        assert compiled(21) == 42
        hits.append(sum(compiled.stats.cache_hits.values()))
    assert hits == [0, 1, 0]


def test_what_was_compiled_is_used_where_nothing_can_be_written(tmp_path):
    """As in a container: the folders belong to somebody else, or the file system is read-only."""
    (tmp_path / "kernels.py").write_text(
        "from spanhouse.otlp.wire import entry\n\n\n@entry\ndef twice(number):\n    return 2 * number\n"
    )
    code = "import kernels; kernels.twice(21); print(sum(kernels.twice.stats.cache_hits.values()))"
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:
        # Root may write anywhere, unless this capability is taken away.
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{ROOT}", "HOME": str(tmp_path)}

    def hits() -> int:
        return int(
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        )

    assert hits() == 0
    folders = [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert hits() == 1
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    finally:
        for folder in folders:
            folder.chmod(0o755)
