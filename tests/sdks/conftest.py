import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Instance
from tests.sdks.expected import Sent

CACHE = Path(__file__).parents[2] / ".cache" / "sdks"


@pytest.fixture(scope="session")
def spanhouse_up(tmp_path_factory) -> Iterator[Instance]:
    with Instance(tmp_path_factory.mktemp("sdks") / "data") as instance:
        yield instance


@pytest.fixture
def sent() -> Sent:
    return Sent()


def need(tool: str) -> None:
    """Skip without the tool; on CI that is a failure."""
    if shutil.which(tool):
        return
    if os.environ.get("CI"):
        pytest.fail(f"{tool} is not installed")
    pytest.skip(f"{tool} is not installed")


def installed(name: str, wanted: list[Path], install: Callable[[Path], None]) -> Path:
    """Folder with what `install` puts there for copies of the `wanted` files; made anew when they change."""
    folder = CACHE / name
    stamp = folder / "installed"
    state = "".join(path.read_text() for path in wanted)
    if not stamp.exists() or stamp.read_text() != state:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in wanted:
            shutil.copy(path, folder)
        install(folder)
        stamp.write_text(state)
    return folder
