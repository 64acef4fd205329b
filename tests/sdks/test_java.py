import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.sdks.conftest import installed, need
from tests.sdks.expected import SPAN, check

SOURCE = Path(__file__).parent / "java"

pytestmark = pytest.mark.java


def install(folder: Path) -> None:
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    subprocess.run(command, cwd=folder, check=True)


@pytest.fixture(scope="module")
def libraries() -> Path:
    need("java")
    need("mvn")
    return installed("java", [SOURCE / "pom.xml"], install) / "lib"


@pytest.mark.parametrize(("protocol", "door"), [("grpc", "otlp-grpc"), ("http/protobuf", "otlp-http")])
def test_java(spanhouse_up, sent, libraries, protocol, door):
    command = ["java", "-Dfile.encoding=UTF-8", "-cp", f"{libraries}{os.sep}*", SOURCE / "Send.java"]
    arguments = [protocol, spanhouse_up.url(door), sent.service, str(sent.start_ns)]
    output = subprocess.check_output([*command, *arguments], text=True, timeout=120)
    # Its tracers have no attributes, and it writes an empty string as a value that is not set.
    check(spanhouse_up, sent, json.loads(output), span=SPAN | {"s.empty": None}, scope={})
