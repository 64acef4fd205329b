"""The Dockerfile as `docker build` reads it, and the build context that .dockerignore leaves."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dockerfile(check: Path) -> dict[str, Any]:
    done = subprocess.run(
        [check, "dockerfile", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def texts(dockerfile: dict[str, Any], stage: str, instruction: str) -> list[str]:
    """The instructions of a stage and of those it is made from."""
    found: list[str] = []
    stages = {one["Name"]: one for one in dockerfile["stages"]}
    while stage in stages:
        one = stages[stage]
        found = [i["Text"] for i in one["Instructions"] or () if i["Name"] == instruction] + found
        stage = one["Base"]
    return found


def test_docker_has_nothing_to_say_against_it(dockerfile: dict[str, Any]) -> None:
    assert dockerfile["warnings"] == []
    assert [stage["Name"] for stage in dockerfile["stages"]][-1] == "translator"


@pytest.mark.parametrize("stage", ["translator", "up"])
def test_the_image_runs_spanhouse_as_a_user_with_a_number(dockerfile: dict[str, Any], stage: str) -> None:
    assert texts(dockerfile, stage, "USER") == ["USER 10001:10001"]
    assert texts(dockerfile, stage, "ENTRYPOINT") == ['ENTRYPOINT ["spanhouse"]']
    assert texts(dockerfile, stage, "WORKDIR") == ["WORKDIR /var/lib/spanhouse"]
    # Nothing but the finished environment comes from the stages that have pip and its leavings.
    assert len(texts(dockerfile, stage, "COPY")) == 1


def test_code_is_compiled_for_the_cpu_type_that_the_image_asks_for(dockerfile: dict[str, Any]) -> None:
    """Otherwise it would be compiled anew at every start, as nothing can be written."""
    for stage in ("build", "translator"):
        assert any("NUMBA_CPU_NAME=generic" in text for text in texts(dockerfile, stage, "ENV"))
    assert any("spanhouse.warm_up" in text for text in texts(dockerfile, "build", "RUN"))


@pytest.mark.parametrize(("status", "said"), [(200, "ok\n"), (503, "worker 0: stored nothing for 301 s\n")])
def test_the_health_check_says_what_the_translator_says(
    dockerfile: dict[str, Any], status: int, said: str
) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            pass

    (text,) = texts(dockerfile, "translator", "HEALTHCHECK")
    command = json.loads(text[text.index("CMD ") + 4 :])
    assert command[0] == "python"
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = command[-1].replace("9464", str(server.server_port))
    try:
        done = subprocess.run(
            [sys.executable, *command[1:-1], code], capture_output=True, text=True, check=False
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.stdout.strip() == said.strip()
    assert (done.returncode == 0) == (status == 200)


def test_the_health_check_fails_when_nothing_listens(dockerfile: dict[str, Any]) -> None:
    (text,) = texts(dockerfile, "translator", "HEALTHCHECK")
    command = json.loads(text[text.index("CMD ") + 4 :])
    done = subprocess.run([sys.executable, *command[1:-1], command[-1].replace("9464", "1")], check=False,
                          capture_output=True)  # fmt: skip
    assert done.returncode != 0


def test_the_translator_does_without_what_is_left_out(dockerfile: dict[str, Any], tmp_path: Path) -> None:
    (command,) = texts(dockerfile, "build-translator", "RUN")[-1:]
    words = shlex.split(command)
    assert "chdb" in words[words.index("--yes") + 1 :]
    without = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in ('chdb', 'pandas', 'dateutil', 'datastore'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Without())\n"
    )

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", without + code], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = run("import spanhouse.translate, spanhouse.migrate, spanhouse.replay")
    assert done.returncode == 0, done.stderr
    done = run("import spanhouse.cli; spanhouse.cli.main(['up'])")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "spanhouse: this installation has no embedded ClickHouse: pip install chdb"
    )


def test_the_context_is_the_package_and_nothing_else(check: Path) -> None:
    done = subprocess.run([check, "context", ROOT], capture_output=True, text=True, check=True)
    files = set(json.loads(done.stdout))
    folders = ("spanhouse", "receivers", "processors", "exporters", "sql")
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", *folders],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    existing = {name for name in tracked if (ROOT / name).exists()}
    assert files == existing | {"pyproject.toml", "README.md", "LICENSE"}
    assert not any(re.search(r"\.env|\.key|\.nb[ic]", name) for name in files)
