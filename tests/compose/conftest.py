"""The program that reads compose.yaml and the Dockerfile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parts.fixtures import need


@pytest.fixture(scope="session")
def check() -> Path:
    return need("compose")
