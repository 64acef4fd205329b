import json
import subprocess
from pathlib import Path

import pytest

from tests.sdks.conftest import CACHE, need
from tests.sdks.expected import check

SOURCE = Path(__file__).parent / "go"

pytestmark = pytest.mark.go


@pytest.fixture(scope="module")
def program() -> Path:
    need("go")
    program = CACHE / "go" / "send"
    program.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=SOURCE, check=True)
    return program


@pytest.mark.parametrize(("protocol", "door"), [("grpc", "otlp-grpc"), ("http", "otlp-http")])
def test_go(spanhouse_up, sent, program, protocol, door):
    output = subprocess.check_output(
        [program, protocol, spanhouse_up.url(door), sent.service, str(sent.start_ns)], text=True, timeout=60
    )
    check(spanhouse_up, sent, json.loads(output))
