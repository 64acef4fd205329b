"""Fixtures with the real parts, for all tests (`tests/conftest.py` takes them in).

The broker and the server are kept while tests use them one after the other: who stops one starts it again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.parts.__main__ import fetch
from tests.parts.cache import PartError

if TYPE_CHECKING:
    from tests.parts.clickhouse import ClickHouse
    from tests.parts.kafka import Kafka


def need(name: str) -> Path:
    """Where the part is. A test that cannot have it is skipped; on CI that is a failure."""
    try:
        return fetch(name)
    except PartError as error:
        text = f"{error}\n`python -m tests.parts {name}` brings the part {name}"
    if os.environ.get("CI"):
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker; each test makes topics and groups of its own in it."""
    need("kafka")
    from tests.parts.kafka import Kafka

    with Kafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka
    shutil.rmtree(kafka.folder / "data")


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A server with spanhouse's tables, empty at a module's first test."""
    from tests.parts.clickhouse import ClickHouse

    with ClickHouse(tmp_path_factory.mktemp("clickhouse")) as clickhouse:
        yield clickhouse
