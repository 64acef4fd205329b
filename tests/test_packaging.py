"""The wheel is whole: it runs without the repository, SQL and mapping tables inside."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Built from a copy, so that no build folder is left in the repository.
    source = folder / "source"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in files.decode().split("\0"):
        original, copy = ROOT / name, source / name
        if not name or not (original.exists() or original.is_symlink()):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if original.is_symlink():
            copy.symlink_to(original.readlink())
        else:
            copy.write_bytes(original.read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_has_code_and_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in subprocess.run(
        ["git", "ls-files", "spanhouse", "receivers", "processors", "exporters", "sql"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split():  # fmt: skip
        path = ROOT / name
        if path.is_file():
            inside = name if name.startswith("spanhouse/") else f"spanhouse/{name}"
            assert inside in names, name
    assert "spanhouse/page/static/index.html" in names


def test_an_installed_wheel_opens_a_store_and_has_dashboards(wheel: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(tmp_path / "site"),
    ]
    subprocess.run([*command, str(wheel)], check=True)
    code = (
        "import spanhouse, sys; from pathlib import Path\n"
        "assert Path(spanhouse.__file__).is_relative_to(sys.argv[1]), spanhouse.__file__\n"
        "from spanhouse.store import Store; from spanhouse.processors.normalize import Normalize\n"
        "Normalize()\n"
        "with Store(Path(sys.argv[1]) / 'data') as store: print(*store.rows('SHOW TABLES'))\n"
        "from spanhouse.page.panels import described, panel_statement\n"
        "for one in described():\n"
        "    for panel in (panel for row in one['rows'] for panel in row['panels']):\n"
        "        if panel['available'] and panel['kind'] != 'text':\n"
        "            panel_statement(one['name'], panel['id'], {})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "agent_events" in done.stdout
