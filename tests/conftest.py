"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

pytest_plugins = ["tests.parts.fixtures"]

# CI repeats the same examples, so that a change is judged by itself; runs at home look for new ones.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("home", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "home")
