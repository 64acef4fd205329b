import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sdks.conftest import installed, need
from tests.sdks.expected import RESOURCE, SPAN, check

SOURCE = Path(__file__).parent / "node"
# Numbers are doubles there: the largest exact integer, and no way to say 3.0.
BIG = 2**53 - 1

pytestmark = pytest.mark.node


def install(folder: Path) -> None:
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=folder, check=True)


@pytest.fixture(scope="module")
def program() -> Path:
    need("npm")
    wanted = [SOURCE / "package.json", SOURCE / "package-lock.json"]
    folder = installed("node", wanted, install)
    return Path(shutil.copy(SOURCE / "send.mjs", folder))


@pytest.mark.parametrize(
    ("protocol", "door"), [("grpc", "otlp-grpc"), ("json", "otlp-http"), ("protobuf", "otlp-http")]
)
def test_node(spanhouse_up, sent, program, protocol, door):
    arguments = [protocol, spanhouse_up.url(door), sent.service, str(sent.start_ns)]
    output = subprocess.check_output(["node", program, *arguments], text=True, timeout=60)
    span = {key: value for key, value in SPAN.items() if key != "s.whole"}
    span |= {"s.big": BIG, "s.ints": [1, -2, BIG]}
    # Its tracers have no attributes.
    check(spanhouse_up, sent, json.loads(output), span=span, resource=RESOURCE | {"res.int": BIG}, scope={})
