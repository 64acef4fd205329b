"""The embedded store: migrations, who holds it, and rollups that agree with the rows."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from spanhouse import rollups, running
from spanhouse.config import Config
from spanhouse.dashboards.model import with_percentiles
from spanhouse.errors import Unavailable, UserError
from spanhouse.exporters.clickhouse import EmbeddedClickHouse
from spanhouse.objectives import set_statements
from spanhouse.otlp.decode import Decoder
from spanhouse.processors.normalize import Normalize
from spanhouse.rows import finish
from spanhouse.running import holder
from spanhouse.store import SQL, Store, query_text, statements
from tests.harness import COUNTED, request

# One engine path per process: tests of this file that need a folder of their own run in a child.


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("store")) as store:
        yield store


def in_child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with `path` and `Store` in a process of its own."""
    head = (
        "import sys; from pathlib import Path; from spanhouse.store import Store; path = Path(sys.argv[1])\n"
    )
    return subprocess.run(
        [sys.executable, "-c", head + code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_statements_end_at_semicolons_that_end_a_line() -> None:
    text = "-- a; comment\nSELECT ';' AS a,\n  2;\n\n-- last\nSELECT 3;\n-- nothing more\n"
    assert statements(text) == ["-- a; comment\nSELECT ';' AS a,\n  2", "-- last\nSELECT 3"]


# What stands for parameters of a query, by their types.
VALUES = {"String": "'1'", "Array": "[]", "Identifier": "agent_events"}


def test_every_query_file_is_one_statement_that_runs(store: Store) -> None:
    names = [file.name.removesuffix(".sql") for file in (SQL / "queries").iterdir()]
    every = [(name, rollup) for name in names for rollup in ("hour", "day")]
    for name, rollup in (*every, ("mend", "minute")):
        text = query_text(name, rollups.mending(rollup))
        store.rows(re.sub(r"\{\w+:(\w+)[^}]*\}", lambda of: VALUES.get(of[1], "1"), text))


def test_the_versions_are_recorded(store: Store) -> None:
    numbered = sorted(int(f.name[:4]) for f in SQL.iterdir() if f.name[:4].isdigit())
    recorded = [int(row) for row in store.rows("SELECT version FROM schema_versions ORDER BY version")]
    assert recorded == [number for number in numbered if number]


def test_opening_again_migrates_nothing_and_keeps_the_rows(tmp_path: Path) -> None:
    for expected in (0, 1, 2):
        done = in_child(
            "with Store(path) as store:\n"
            "    print(*store.rows('SELECT count() FROM agent_events'))\n"
            "    store.rows('INSERT INTO agent_events (ts) SELECT now()')\n",
            str(tmp_path),
        )
        assert done.stdout.split() == [str(expected)], done.stderr


def test_a_migration_cut_off_in_the_middle_is_finished_next_time(tmp_path: Path) -> None:
    code = (
        "with Store(path) as store:\n"
        "    print(*store.rows('SELECT count() FROM system.tables WHERE database = currentDatabase()'))\n"
    )
    whole = in_child(code, str(tmp_path))
    cut_off = (
        "with Store(path) as store:\n"
        "    store.rows('ALTER TABLE schema_versions DELETE WHERE version = 2 SETTINGS mutations_sync = 2')\n"
        "    store.rows('DROP VIEW agent_metrics_1m')\n"
    )
    assert in_child(cut_off, str(tmp_path)).returncode == 0
    again = in_child(code, str(tmp_path))
    assert again.stdout == whole.stdout, again.stderr


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    newer = "with Store(path) as store: store.rows('INSERT INTO schema_versions (version) SELECT 9999')"
    assert in_child(newer, str(tmp_path)).returncode == 0
    refused = in_child("Store(path)", str(tmp_path))
    assert "made by a newer spanhouse (schema 9999" in refused.stderr


def test_a_small_insert_makes_one_file_of_each_table(tmp_path: Path) -> None:
    """Also in stores that were made before tables were set up for it."""
    found = in_child(
        "from spanhouse.exporters.clickhouse import EmbeddedClickHouse\n"
        "from tests.exporters.conftest import rows\n"
        "ask = \"SELECT table, groupArray(part_storage_type) FROM system.parts WHERE table LIKE 'agent_%'"
        ' AND active AND rows > 0 GROUP BY table ORDER BY table"\n'
        "unset = 'ALTER TABLE agent_events RESET SETTING min_bytes_for_full_part_storage'\n"
        "with Store(path) as store:\n    store.rows(unset)\n"
        "with Store(path) as store:\n"
        "    exporter = EmbeddedClickHouse(store)\n"
        "    exporter.insert(rows(10))\n"
        "    print(*store.rows(ask), sep='\\n')\n"
        "    exporter.close()",
        str(tmp_path),
    )
    assert found.stdout.split() == [
        "agent_events", "['Packed']", "agent_metrics_1d_state", "['Packed']",
        "agent_metrics_1h_state", "['Packed']", "agent_metrics_1m_state", "['Packed']",
    ], found.stderr  # fmt: skip


def test_a_trace_is_found_without_reading_other_parts(tmp_path: Path) -> None:
    done = in_child(
        "from spanhouse.store import query_text\n"
        "with Store(path) as store:\n"
        "    store.rows('SYSTEM STOP MERGES agent_events')\n"
        "    for day in range(5):\n"
        "        store.rows('INSERT INTO agent_events (ts, trace_id) '\n"
        "            f'SELECT now() - {day} * 86400, hex(sipHash128({day}, number)) FROM numbers(100)')\n"
        "    parts = \"SELECT sum(value) FROM system.events WHERE event = 'SelectedParts'\"\n"
        "    (trace_id,) = store.rows('SELECT trace_id FROM agent_events ORDER BY 1 LIMIT 250, 1')\n"
        "    (before,) = store.rows(parts)\n"
        "    asked = query_text('trace').replace('{trace_id:String}', repr(trace_id))\n"
        "    store.session().query(asked.replace('{limit:UInt64}', '10'))\n"
        "    print(int(store.rows(parts)[0]) - int(before))\n",
        str(tmp_path),
    )
    assert done.stdout.split() == ["1"], done.stderr


def test_a_held_store_names_its_holder(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    hold = (
        "import sys; from pathlib import Path; from spanhouse.store import Store\n"
        "with Store(Path(sys.argv[1])): print('open', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "open\n"
        assert holder(tmp_path) == child.pid
        with pytest.raises(UserError, match=f"process {child.pid} has this store open"):
            Store(tmp_path)
        child.communicate("")
    assert holder(tmp_path) is None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--data .*file: Not a directory"):
        Store(tmp_path / "file")


INSERT = """
INSERT INTO agent_events
    (ts, tenant_id, status, latency_ms, user_id_hash, tokens_prompt, cost_usd, cost_source)
SELECT now64(9) - INTERVAL number SECOND, toString(number % 3), if(number % 10 = 0, 'error', 'ok'), number,
    if(number % 2 = 0, toString(number % 7), ''), number, 0.5, if(number % 4 = 0, 'unpriced', 'computed')
FROM numbers(9000)
"""
TOTALS = "SELECT sum(calls), sum(errors), sum(unpriced), sum(tokens_total), sum(cost_usd), max(users)"


def test_rollups_count_what_the_rows_hold_and_are_repaired_where_they_do_not(tmp_path: Path) -> None:
    done = in_child(
        f"from spanhouse.rollups import repair\n"
        f"with Store(path) as store:\n"
        f"    def totals():\n"
        f"        return [store.rows('{TOTALS} FROM agent_metrics_' + t) for t in ('1m', '1h', '1d')]\n"
        f"    store.rows('''{INSERT}''')\n"
        f"    before = totals()\n"
        f"    assert before == [['9000\\t900\\t2250\\t40495500\\t4500\\t7']] * 3, before\n"
        f"    assert repair(store) == 0\n"
        f"    store.rows('ALTER TABLE agent_metrics_1m_state DELETE WHERE minute < now() - 1800 '\n"
        f"               'SETTINGS mutations_sync = 2')\n"
        f"    assert totals() != before\n"
        f"    assert repair(store) > 0\n"
        f"    assert totals() == before\n"
        f"    store.rows('INSERT INTO agent_metrics_1h_state (hour, calls) SELECT toStartOfHour(now()), 1')\n"
        f"    assert repair(store) == 1\n"
        f"    assert totals() == before\n"
        f"    assert repair(store) == 0\n",
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr


BY_ENTRY = (
    "SELECT entry, sum(calls), uniqMerge(users), uniqMerge(sessions) FROM {} GROUP BY entry ORDER BY entry"
)
# Of ten spans one is a root, one is a server's and one has a parent elsewhere.
ENTRIES = """
INSERT INTO agent_events (ts, parent_span_id, span_kind, flags, user_id_hash, session_id, latency_ms)
SELECT now64(9) - INTERVAL number SECOND, if(number % 10 = 0, '', 'p'),
    if(number % 10 = 1, 'server', 'internal'), if(number % 10 = 2, 769, if(number % 10 = 3, 257, 1)),
    toString(number % 7), toString(number % 5), number % 100
FROM numbers(9000)
"""


def test_rollups_made_anew_have_the_entries_and_sessions_of_the_rows(tmp_path: Path) -> None:
    done = in_child(
        f"from spanhouse.rollups import repair\n"
        f"tables = ['agent_metrics_1m_state', 'agent_metrics_1h_state', 'agent_metrics_1d_state']\n"
        f"with Store(path) as store:\n"
        f"    def found(): return [store.rows('{BY_ENTRY}'.format(table)) for table in tables]\n"
        f"    store.rows('''{ENTRIES}''')\n"
        f"    before = found()\n"
        f"    assert before[0] == before[1] == before[2]\n"
        f"    counts = [row.split() for row in before[0]]\n"
        f"    assert counts == [['0', '6300', '7', '5'], ['1', '2700', '7', '3']], counts\n"
        f"    for table in tables: store.rows('TRUNCATE TABLE ' + table)\n"
        f"    assert repair(store) > 0\n"
        f"    assert found() == before, found()\n",
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr


def test_a_store_of_an_older_version_counts_on_and_gets_what_its_rollups_lacked(tmp_path: Path) -> None:
    old = (
        "import spanhouse.store as module\n"
        "every = list(module.migrations())\n"
        "module.migrations = lambda: iter(every[:4])\n"
    )
    totals = f"{TOTALS} FROM agent_metrics_1m"
    made = in_child(
        f"{old}with Store(path) as store:\n"
        f"    print(*store.rows('SELECT max(version) FROM schema_versions'))\n"
        f"    store.rows('''{INSERT}''')\n"
        f"    print(*store.rows('{totals}'))\n",
        str(tmp_path),
    )
    assert made.returncode == 0, made.stderr
    version, before = made.stdout.splitlines()
    assert version == "3"
    upgraded = in_child(
        f"from spanhouse.rollups import repair\n"
        f"with Store(path) as store:\n"
        f"    print(*store.rows('{totals}'))\n"
        f"    (row,) = store.rows('SELECT sum(calls), sum(entry), max(sessions) FROM agent_metrics_1h')\n"
        f"    assert row == '9000\\t0\\t0', row\n"
        f"    assert store.rows('SELECT sum(entry) FROM agent_events') == ['9000']\n"
        f"    store.rows('''{ENTRIES}''')\n"
        f"    for table in ('agent_metrics_1m', 'agent_metrics_1h'):\n"
        f"        select = 'SELECT sum(calls), sumIf(calls, entry), max(sessions) FROM '\n"
        f"        (row,) = store.rows(select + table)\n"
        f"        assert row == '18000\\t2700\\t5', row\n"
        f"    # What was counted before has neither entries nor histograms nor days; it is made anew.\n"
        f"    assert repair(store) > 0\n"
        f"    for table in ('agent_metrics_1m', 'agent_metrics_1h', 'agent_metrics_1d'):\n"
        f"        select = 'SELECT sum(calls), sumIf(calls, entry), max(sessions), min(p95 < 9.1e3) FROM '\n"
        f"        (row,) = store.rows(select + table)\n"
        f"        assert row == '18000\\t11700\\t5\\t1', row\n"
        f"    assert repair(store) == 0\n",
        str(tmp_path),
    )
    assert upgraded.returncode == 0, upgraded.stderr
    # The next process that writes to the store does so, as after a crash.
    assert running.was_unclean(tmp_path)
    assert upgraded.stdout.splitlines() == [before]


def refuse_inserts(store: Store, table: str, *, refuse: bool) -> None:
    """What the engine does when the disk is full, or stop doing it."""
    room = 10**18 if refuse else 0
    store.rows(f"ALTER TABLE {table} MODIFY SETTING min_free_disk_bytes_to_perform_insert = {room}")


@pytest.fixture
def exporter(store: Store) -> Iterator[EmbeddedClickHouse]:
    exporter = EmbeddedClickHouse(store)
    yield exporter
    exporter.close()


def some_rows() -> pl.DataFrame:
    normalize = Normalize()
    decoded = Decoder(normalize.wanted).decode([request(3).SerializeToString()])
    return finish(normalize(decoded.batch), normalize.targets).rows


def counts(store: Store) -> list[int]:
    """Spans by agent_events, and by its rollups."""
    return [int(store.rows(f"SELECT {count} FROM {table}")[0]) for table, count in COUNTED.items()]


def test_a_full_disk_is_an_error_and_is_over_when_there_is_room(
    store: Store, exporter: EmbeddedClickHouse
) -> None:
    before = counts(store)
    refuse_inserts(store, "agent_events", refuse=True)
    for _ in range(3):
        with pytest.raises(Unavailable, match="NOT_ENOUGH_SPACE"):
            exporter.insert(some_rows())
    assert counts(store) == before
    refuse_inserts(store, "agent_events", refuse=False)
    exporter.insert(some_rows())
    assert counts(store) == [count + 3 for count in before]


def test_equal_inserts_count_each(store: Store, exporter: EmbeddedClickHouse) -> None:
    # What the tables remember is for tokens: equal rows, or equal rollups of other rows, are no repetition.
    before = counts(store)
    rows = some_rows().with_columns(ingested_at=pl.lit(0).cast(pl.Datetime("ms", "UTC")))
    for _ in range(3):
        exporter.insert(rows)
    assert counts(store) == [count + 9 for count in before]
    rollups.rebuild(
        store, hours := [int(row) for row in store.rows("SELECT toUnixTimestamp(hour) FROM agent_metrics_1h")]
    )
    rollups.rebuild(store, hours)
    assert counts(store) == [count + 9 for count in before]


@pytest.mark.parametrize(
    "table", ["agent_metrics_1m_state", "agent_metrics_1h_state", "agent_metrics_1d_state"]
)
def test_rollups_agree_again_after_an_insert_that_reached_a_part_of_the_tables(
    store: Store, exporter: EmbeddedClickHouse, table: str
) -> None:
    refuse_inserts(store, table, refuse=True)
    with pytest.raises(Unavailable, match="NOT_ENOUGH_SPACE"):
        exporter.insert(some_rows())
    assert store.rollups_doubtful
    refuse_inserts(store, table, refuse=False)
    exporter.insert(some_rows())
    assert not store.rollups_doubtful
    assert len(set(counts(store))) == 1


def test_a_folder_that_the_engine_would_misread_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="question mark"):
        Store(tmp_path / "a?b")


def test_percentiles_merge_over_minutes(store: Store) -> None:
    store.rows(INSERT)
    (exact,) = store.rows("SELECT quantileExact(0.95)(latency_ms) FROM agent_events")
    merged = with_percentiles("${percentiles:latency}[2]")
    for rollup in ("1m", "1h", "1d"):
        (found,) = store.rows(f"SELECT {merged} FROM agent_metrics_{rollup}_state")
        assert float(found) == pytest.approx(float(exact), rel=0.011)


def test_objectives_and_budgets_are_their_newest_lines(store: Store) -> None:
    def set_to(**sections: list[dict[str, Any]]) -> list[list[str]]:
        for statement in set_statements(Config.model_validate(sections)):
            store.rows(statement)
        return [store.rows(f"SELECT * FROM {view} ORDER BY 1") for view in ("objectives", "budgets")]

    assert set_to() == [["\t0.99\t10000\t0.95"], []]
    changed = set_to(objectives=[{"service": "a"}], budgets=[{"usd_per_month": 7}])
    assert changed == [["a\t0.99\t10000\t0.95"], ["\t7"]]
    assert set_to() == [["\t0.99\t10000\t0.95"], []]


def test_every_client_can_read_the_types_of_what_people_query(store: Store) -> None:
    for table in ("agent_events", "agent_metrics_1m", "agent_metrics_1h", "agent_metrics_1d"):
        assert "AggregateFunction" not in "".join(store.rows(f"DESCRIBE {table}")), table
