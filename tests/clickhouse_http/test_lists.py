"""The lists were made for one engine: its names are on record, so that a newer one's are noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from spanhouse.clickhouse_http import lists
from spanhouse.clickhouse_http.policy import Policy
from spanhouse.errors import UserError
from tests.clickhouse_http.conftest import Door

# Every name that was gone through, as `class name`. After an upgrade of chdb-core look at what the test
# below says is new, decide on it in spanhouse/clickhouse_http/lists.py, and add it here.
VETTED = Path(__file__).parent / "vetted_names.txt"
NAMES = """
    SELECT concat('function ', name) FROM system.functions
    UNION ALL SELECT concat('table_function ', name) FROM system.table_functions
    UNION ALL SELECT concat('table ', name) FROM system.tables WHERE database = 'system'
    UNION ALL SELECT concat('setting ', name) FROM system.settings
    UNION ALL SELECT concat('format ', name) FROM system.formats
"""


def test_the_engine_has_no_names_that_were_not_gone_through(read: Door) -> None:
    assert set(read.text(NAMES).splitlines()) - set(VETTED.read_text().splitlines()) == set()


def test_the_lists_name_what_exists(read: Door) -> None:
    vetted = {tuple(line.lower().split(" ", 1)) for line in VETTED.read_text().splitlines()}
    for kind, names in (
        ("function", lists.DENIED_FUNCTIONS | lists.ALLOWED_INTERNAL),
        ("table_function", lists.TABLE_FUNCTIONS),
        ("table", lists.SYSTEM_TABLES),
    ):
        assert {name for name in names if (kind, name.lower()) not in vetted} == set()


def test_another_engine_is_refused() -> None:
    class Result:
        def bytes(self) -> bytes:
            return b"27.1.1.1\n"

    class Session:
        def query(self, sql: str, form: str) -> Result:
            return Result()

    with pytest.raises(UserError, match=r"27\.1\.1\.1"):
        Policy(Session(), "spanhouse", {})
