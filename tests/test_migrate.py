"""`spanhouse migrate`: tables on a server, and what it would do to users and clusters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from spanhouse.cluster import Cluster
from spanhouse.config import ClickHouseSettings, Config
from spanhouse.errors import UserError
from spanhouse.exporters.clickhouse_server import ClickHouseServer
from spanhouse.migrate import access_statements, migrate
from spanhouse.objectives import set_statements
from spanhouse.store import TABLE_SETTINGS, Store, migrations, plain, schema_version, statements
from tests.parts.clickhouse import ClickHouse

SECRETS = {
    "SPANHOUSE_WRITER_PASSWORD": "w-s3cret",
    "SPANHOUSE_READER_PASSWORD": "r-s3cret",
    "SPANHOUSE_TENANT_PASSWORD": "t-s3cret",
}
CREATED = {
    found[2]: found[1]
    for _, _, text in migrations()
    for found in re.finditer(r"^CREATE ([A-Z ]+) IF NOT EXISTS (\w+)", text, re.MULTILINE)
}


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with ClickHouse(tmp_path_factory.mktemp("clickhouse")) as clickhouse:
        yield clickhouse


@pytest.fixture
def empty(clickhouse: ClickHouse) -> ClickHouse:
    """A server whose database has no tables."""
    drop_all(clickhouse)
    return clickhouse


def drop_all(clickhouse: ClickHouse) -> None:
    # Views before what they read.
    for name in sorted(CREATED, key=lambda name: CREATED[name] == "TABLE"):
        clickhouse.sql(f"DROP TABLE IF EXISTS {name} SYNC")


def run(clickhouse: ClickHouse, **options: object) -> str:
    """What `spanhouse migrate` says."""
    said: list[str] = []
    assert migrate(ClickHouseSettings(url=clickhouse.url), {}, said.append, **options) == 0  # type: ignore[arg-type]
    return "\n".join(said)


def made(clickhouse: ClickHouse) -> list[dict[str, object]]:
    return clickhouse.sql(
        "SELECT name, uuid, create_table_query, metadata_modification_time FROM system.tables "
        "WHERE database = 'spanhouse' ORDER BY name"
    )


def versions(clickhouse: ClickHouse) -> list[tuple[int, str]]:
    rows = clickhouse.sql("SELECT version, name FROM schema_versions ORDER BY version")
    return [(row["version"], row["name"]) for row in rows]


KNOWN = [(version, name) for version, name, _ in migrations() if version]


def test_a_server_gets_the_tables_of_the_embedded_store(clickhouse: ClickHouse) -> None:
    if not made(clickhouse):
        run(clickhouse)
    # What a server's are set to is the server's own.
    own = "".join(f", {name} = {value}" for name, value in TABLE_SETTINGS.items())
    embedded = {
        table["name"]: str(table["create_table_query"]).replace(own, "") for table in made(clickhouse)
    }
    drop_all(clickhouse)
    assert f"are at version {schema_version()}" in run(clickhouse)
    assert {table["name"]: table["create_table_query"] for table in made(clickhouse)} == embedded
    assert versions(clickhouse) == KNOWN
    server = ClickHouseServer(clickhouse.url, "spanhouse", "", "")
    server.check()
    server.close()


def test_a_second_time_changes_nothing(empty: ClickHouse) -> None:
    run(empty)
    before = made(empty)
    run(empty)
    assert made(empty) == before
    assert versions(empty) == KNOWN


def test_what_was_cut_off_is_finished(empty: ClickHouse) -> None:
    run(empty)
    names = [table["name"] for table in made(empty)]
    empty.sql("ALTER TABLE schema_versions DELETE WHERE version >= 2", mutations_sync="2")
    empty.sql("DROP VIEW agent_metrics_1m SYNC")
    run(empty)
    assert [table["name"] for table in made(empty)] == names
    assert versions(empty) == KNOWN


def test_what_was_cut_off_while_a_view_had_another_name_is_finished(empty: ClickHouse) -> None:
    run(empty)
    names = [table["name"] for table in made(empty)]
    empty.sql("ALTER TABLE schema_versions DELETE WHERE version >= 4", mutations_sync="2")
    empty.sql("RENAME TABLE agent_metrics_1m_mv TO agent_metrics_1m_mv_renamed")
    run(empty)
    assert [table["name"] for table in made(empty)] == names


def test_several_at_once_do_no_harm(empty: ClickHouse) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: run(empty), range(4)))
    assert {table["name"] for table in made(empty)} == set(CREATED)
    assert set(versions(empty)) == set(KNOWN)
    empty.sql("INSERT INTO agent_events (ts) SELECT now()")
    assert empty.sql("SELECT toInt32(sum(calls)) AS calls FROM agent_metrics_1h") == [{"calls": 1}]


def test_objectives_and_budgets_are_those_of_the_configuration(empty: ClickHouse) -> None:
    def aims(text: str, dry_run: bool = False) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        config = Config.model_validate(yaml.safe_load(text) or {})
        run(empty, afterwards=set_statements(config), dry_run=dry_run)
        return tuple(empty.sql(f"SELECT * FROM {view} ORDER BY 1") for view in ("objectives", "budgets"))  # type: ignore[return-value]

    default = {"service": "", "availability": 0.99, "latency_ms": 10000, "latency_share": 0.95}
    assert aims("") == ([default], [])
    text = """
        objectives: [{service: "it's", availability: 0.999}, {latency_ms: 0.5}]
        budgets: [{usd_per_month: 1e3}, {tenant_id: acme, usd_per_month: 200}]
    """
    changed = (
        [default | {"latency_ms": 0.5}, default | {"service": "it's", "availability": 0.999}],
        [{"tenant_id": "", "usd_per_month": 1000}, {"tenant_id": "acme", "usd_per_month": 200}],
    )
    assert aims(text, dry_run=True) == ([default], [])
    assert aims(text) == changed
    count = "(SELECT count() FROM {}_state)"
    lines = f"SELECT toInt32({count.format('objectives')} + {count.format('budgets')}) AS lines"
    before = empty.sql(lines)
    # The same again is not written again.
    assert aims(text) == changed
    assert empty.sql(lines) == before == [{"lines": 5}]
    assert aims("objectives: []\nbudgets: [{tenant_id: acme, usd_per_month: 200}]") == ([], changed[1][1:])
    assert aims("") == ([default], [])
    # What runs without a configuration leaves them as they are.
    run(empty)
    assert empty.sql("SELECT count() AS n FROM objectives", output_format_json_quote_64bit_integers="0") == [
        {"n": 1}
    ]


def test_a_dry_run_says_everything_and_does_nothing(empty: ClickHouse) -> None:
    said = run(empty, dry_run=True)
    assert made(empty) == []
    for name in CREATED:
        assert re.search(rf"^CREATE [A-Z ]+ IF NOT EXISTS {name}\b", said, re.MULTILINE), name
    assert re.search(r"^ALTER TABLE agent_metrics_1m_mv MODIFY QUERY\b", said, re.MULTILINE)
    run(empty)
    assert "CREATE" not in run(empty, dry_run=True)


def test_what_cannot_be_is_said(empty: ClickHouse, tmp_path: Path) -> None:
    def fails(text: str, environ: dict[str, str] | None = None, tenant: str = "", **settings: str) -> None:
        with pytest.raises(UserError, match=text):
            migrate(
                ClickHouseSettings(**({"url": empty.url} | settings)), environ or {}, print, tenant=tenant
            )

    fails(r"exporters\.clickhouse\.url is not set", url="")
    fails("does not answer", url="http://127.0.0.1:1")
    fails("is not the name of a cluster", cluster="a'b")
    fails("expected up to 64 letters", SECRETS, tenant="a`b")
    fails("SPANHOUSE_TENANT_PASSWORD", {}, tenant="acme")
    # The embedded engine has no users.
    fails("refused", SECRETS)
    empty.sql("INSERT INTO schema_versions (version) SELECT 9999")
    fails("made by a newer spanhouse")
    with ClickHouse(tmp_path, password="s3cret") as other:
        fails("check exporters.clickhouse.user and password", url=other.url)


def test_without_passwords_there_are_no_users() -> None:
    assert list(access_statements("spanhouse", {})) == []
    only = [text for text, _ in access_statements("spanhouse", {"SPANHOUSE_READER_PASSWORD": "x"})]
    assert any("CREATE USER IF NOT EXISTS spanhouse_reader" in text for text in only)
    assert not any("spanhouse_writer" in text for text in only)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("engine")) as store:
        yield store


def parsed(engine: Store, statement: str) -> str:
    """The statement in the engine's own words; it knows the syntax of what it cannot do."""
    quoted = statement.replace("\\", "\\\\").replace("'", "\\'")
    return "\n".join(engine.rows(f"SELECT formatQuery('{quoted}')")).replace("\\'", "'").replace("\\n", "\n")


ACCESS = list(access_statements("spanhouse", SECRETS, "acme"))
CLUSTER = Cluster("main", "spanhouse")


def on_cluster() -> list[str]:
    numbered = [one for _, _, text in migrations() for one in statements(text)]
    every = [plain(one) for one in numbered] + [text for text, _ in ACCESS]
    return [CLUSTER.create_database(), *(text for one in every for text in CLUSTER.rewrite(one))]


def test_every_statement_is_clickhouses_language(engine: Store) -> None:
    for statement, shown in ACCESS:
        parsed(engine, statement)
        parsed(engine, shown)
    for statement in on_cluster():
        assert "ON CLUSTER main" in parsed(engine, statement).replace("'main'", "main"), statement


def test_settings_of_profiles_and_tables_exist(engine: Store) -> None:
    known = set(engine.rows("SELECT name FROM system.settings"))
    (profile,) = [text for text, _ in ACCESS if "SETTINGS PROFILE IF NOT EXISTS" in text]
    named = set(re.findall(r"(\w+) = ", profile))
    assert len(named) > 4
    assert named <= known
    of_tables = set(engine.rows("SELECT name FROM system.merge_tree_settings"))
    named = {
        name for text in on_cluster() if "MODIFY SETTING" in text for name in re.findall(r"(\w+) = ", text)
    }
    window = "replicated_deduplication_window"
    assert named == {"min_level_for_wide_part", window, f"{window}_seconds"}
    assert named <= of_tables


def test_passwords_are_sent_as_hashes_and_shown_to_nobody() -> None:
    text = "\n".join(statement for statement, _ in ACCESS)
    shown = "\n".join(shown for _, shown in ACCESS)
    for secret in SECRETS.values():
        assert secret not in text + shown
    for user, secret in (("spanhouse_writer", "w-s3cret"), ("`spanhouse_tenant_acme`", "t-s3cret")):
        found = re.findall(rf"USER[A-Z ]* {user} IDENTIFIED WITH sha256_hash BY '(\w+)' SALT '(\w+)'", text)
        assert len(found) == 2
        for hashed, salt in found:
            assert hashed == hashlib.sha256((secret + salt).encode()).hexdigest()
            assert hashed not in shown
            assert salt not in shown


def test_the_writer_reads_no_content_and_the_reader_writes_nothing(engine: Store) -> None:
    grants = [text for text, _ in ACCESS if text.startswith("GRANT")]
    of = {
        role: [g for g in grants if g.endswith(f"TO spanhouse_{role}")]
        for role in ("write", "read", "tenant")
    }
    columns = set(
        engine.rows("SELECT name FROM system.columns WHERE database = 'spanhouse' AND table = 'agent_events'")
    )
    (listed,) = [
        re.search(r"SELECT\s*\((.*)\)", g, re.DOTALL)
        for g in of["write"]
        if " ON agent_events " in g and "SELECT" in g
    ]
    assert listed
    readable = {name.strip() for name in listed[1].split(",")}
    assert readable <= columns
    # The ids of sessions are read, as the hashes of users are: the rollups count how many there are.
    content = {
        "name", "attrs", "resource", "scope_attrs", "events.attrs", "events.name", "links.attrs",
        "error_message", "status_message", "trace_state",
    }  # fmt: skip
    assert content < columns
    assert not readable & content
    # What the mending statements read of the rows is what the view of the rollup reads.
    (view,) = engine.rows("SELECT as_select FROM system.tables WHERE name = 'agent_metrics_1m_mv'")
    assert {name for name in columns if re.search(rf"\b{re.escape(name)}\b", view)} <= readable
    for role in ("read", "tenant"):
        assert of[role]
        about_parts = [grant for grant in of[role] if " ON system.parts" in grant]
        assert len(about_parts) == (role == "read")
        rest = [grant for grant in of[role] if grant not in about_parts]
        assert all(re.fullmatch(r"GRANT SELECT ON \w+ TO \w+", grant) for grant in rest)


def test_prompts_and_completions_have_a_reader_of_their_own() -> None:
    grants = [text for text, _ in ACCESS if re.match(r"GRANT .* ON content TO", text)]
    assert [re.sub(r"\s+", " ", grant) for grant in grants] == [
        "GRANT INSERT ON content TO spanhouse_write",
        "GRANT SELECT (ts, trace_id, span_id) ON content TO spanhouse_write",
        "GRANT SELECT ON content TO spanhouse_content",
    ]
    assert not [text for text, _ in ACCESS if text.startswith("GRANT spanhouse_content")]


def test_a_tenant_sees_its_rows_only() -> None:
    policies = [text for text, _ in ACCESS if "ROW POLICY" in text]
    with_rows = (
        "agent_events", "evaluations", "agent_metrics_1m_state", "agent_metrics_1h_state",
        "agent_metrics_1d_state", "budgets_state",
    )  # fmt: skip
    for table in (*with_rows, "content"):
        about = [policy for policy in policies if f" ON {table} " in policy]
        assert [policy.partition("USING ")[2] for policy in about] == [
            "1 TO ALL EXCEPT spanhouse_tenant",
            "0 TO spanhouse_tenant",
            "tenant_id = 'acme' TO `spanhouse_tenant_acme`",
        ]
    # Whatever else it may read are views, whose tables these are.
    granted = {
        text.split()[3] for text, _ in ACCESS if re.match(r"GRANT SELECT ON \w+ TO spanhouse_tenant", text)
    }
    # Objectives are of services.
    views = {
        "agent_metrics_1m", "agent_metrics_1h", "agent_metrics_1d",
        "budgets", "objectives", "objectives_state",
    }  # fmt: skip
    assert granted == {*with_rows, *views, "otel_traces", "otel_traces_trace_id_ts"}


def test_names_follow_the_database() -> None:
    text = "\n".join(statement for statement, _ in access_statements("staging", SECRETS, "acme"))
    assert "spanhouse" not in text
    assert "staging_tenant_acme" in text


def test_a_cluster_has_replicated_tables_and_distributed_ones_over_them() -> None:
    text = on_cluster()
    for table, engine, key in (
        ("agent_events", "MergeTree", "cityHash64(trace_id)"),
        ("content", "MergeTree", "cityHash64(trace_id)"),
        ("evaluations", "MergeTree", "cityHash64(trace_id)"),
        ("agent_metrics_1m_state", "AggregatingMergeTree", "toUnixTimestamp(minute)"),
        ("agent_metrics_1h_state", "AggregatingMergeTree", "toUnixTimestamp(hour)"),
        ("agent_metrics_1d_state", "AggregatingMergeTree", "toUInt16(day)"),
    ):
        (local,) = [one for one in text if f"TABLE IF NOT EXISTS spanhouse.{table}_local " in one]
        assert (
            f"ENGINE = Replicated{engine}('/clickhouse/tables/{{shard}}/spanhouse/{table}', '{{replica}}')"
            in local
        )
        assert "TTL" in local
        (over,) = [one for one in text if f"TABLE IF NOT EXISTS spanhouse.{table} " in one]
        assert over.endswith(f"ENGINE = Distributed('main', 'spanhouse', '{table}_local', {key})")
        (window,) = [
            one for one in text if f"ALTER TABLE spanhouse.{table}_local" in one and "_window = " in one
        ]
        assert "replicated_deduplication_window = 10000" in window
        for statement in ("GRANT", "CREATE ROW POLICY"):
            of_either = [
                {
                    one.replace(f"{name} ", "T ")
                    for one in text
                    if one.startswith(statement) and f" {name} " in one
                }
                for name in (f"spanhouse.{table}", f"spanhouse.{table}_local")
            ]
            assert of_either[0] == of_either[1]
            assert of_either[0]
    for table in ("schema_versions", "objectives_state", "budgets_state"):
        (note,) = [one for one in text if f"TABLE IF NOT EXISTS spanhouse.{table} " in one]
        assert f"ReplicatedMergeTree('/clickhouse/tables/spanhouse/{table}', '{{shard}}-{{replica}}')" in note
    for view, target, source in (
        ("1m", "1m_state", "agent_events"),
        ("1h", "1h_state", "agent_metrics_1m_state"),
        ("1d", "1d_state", "agent_metrics_1h_state"),
    ):
        (made,) = [one for one in text if f"VIEW IF NOT EXISTS spanhouse.agent_metrics_{view}_mv " in one]
        assert f"TO spanhouse.agent_metrics_{target}_local AS" in made
        assert re.findall(r"FROM (\S+)", made) == [f"spanhouse.{source}_local"]
        modified = [one for one in text if f"ALTER TABLE spanhouse.agent_metrics_{view}_mv " in one]
        # The days' view has not been changed yet.
        assert len(modified) == (0 if view == "1d" else 2)
        for one in modified:
            assert " MODIFY QUERY\n" in one
            assert re.findall(r"FROM (\S+)", one) == [f"spanhouse.{source}_local"]
        shown = [one for one in text if f" VIEW IF NOT EXISTS spanhouse.agent_metrics_{view} " in one]
        replaced = [one for one in text if f"CREATE OR REPLACE VIEW spanhouse.agent_metrics_{view} " in one]
        assert (len(shown), len(replaced)) == (1, len(modified))
        for one in shown + replaced:
            assert re.findall(r"FROM (\S+)", one) == [f"spanhouse.agent_metrics_{target}"]
    for view in ("otel_traces", "otel_traces_trace_id_ts"):
        (shown,) = [one for one in text if f"VIEW IF NOT EXISTS spanhouse.{view} " in one]
        assert re.findall(r"FROM ([\w.]+)", shown) == ["spanhouse.agent_events"]
    assert not any("RENAME" in one for one in text)
    for view in ("objectives", "budgets"):
        (shown,) = [one for one in text if f"VIEW IF NOT EXISTS spanhouse.{view} " in one]
        assert re.findall(r"FROM ([\w.]+)", shown) == [f"spanhouse.{view}_state"]


def test_new_columns_of_a_cluster_are_those_of_both_tables() -> None:
    added = [one for one in on_cluster() if "ADD COLUMN" in one]
    commands: dict[str, list[str]] = {}
    for one in added:
        name, _, rest = one.removeprefix("ALTER TABLE spanhouse.").partition(" ON CLUSTER 'main' ")
        commands.setdefault(name, []).append(rest)
    tables = ("agent_events", "agent_metrics_1m_state", "agent_metrics_1h_state")
    assert set(commands) == {f"{table}{of}" for table in tables for of in ("", "_local")}
    for table in tables:
        local = [one.partition(",\n    MODIFY ORDER BY") for one in commands[f"{table}_local"]]
        assert commands[table] == [columns for columns, _, _ in local]
        assert any(order for _, _, order in local) == (table != "agent_events")
    # The local table first: what is asked of the other one is asked of it.
    assert [list(commands).index(f"{table}_local") < list(commands).index(table) for table in tables] == [
        True
    ] * 3


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE agent_events",
        "ALTER TABLE agent_events ADD COLUMN x UInt8",
        "ALTER TABLE agent_events ADD COLUMN IF NOT EXISTS x UInt8, DROP COLUMN y",
        "ALTER TABLE agent_events ADD COLUMN IF NOT EXISTS x UInt8, MODIFY TTL ts",
        "ALTER TABLE unknown ADD COLUMN IF NOT EXISTS x UInt8",
        "ALTER TABLE v MODIFY QUERY SELECT 1 FROM agent_events AS e JOIN schema_versions AS s ON 1",
        "ALTER TABLE v MODIFY QUERY SELECT 1 FROM unknown AS e",
        "RENAME TABLE IF EXISTS agent_events TO other",
        "RENAME TABLE IF EXISTS a_mv TO b_mv_renamed",
        "ALTER TABLE agent_events MODIFY SETTING ttl_only_drop_parts = 0",
        "ALTER TABLE agent_events ADD INDEX IF NOT EXISTS i x TYPE minmax GRANULARITY 1, ADD COLUMN y UInt8",
        "CREATE TABLE agent_events (a UInt8) ENGINE = MergeTree\nORDER BY a",
        "CREATE TABLE IF NOT EXISTS unknown (a UInt8)\nENGINE = MergeTree\nORDER BY a",
        "CREATE TABLE IF NOT EXISTS agent_events (a UInt8)\nENGINE = Memory\n",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS v TO agent_metrics_1m_state AS SELECT 1 FROM "
        "agent_events AS e JOIN schema_versions AS s ON 1",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS v TO unknown AS SELECT 1 FROM agent_events AS e",
        "CREATE VIEW IF NOT EXISTS v AS SELECT 1 FROM unknown",
        "GRANT ALL ON *.* TO spanhouse_read",
        "GRANT SELECT ON system.query_log TO spanhouse_read",
        "REVOKE SELECT ON agent_events FROM spanhouse_read",
    ],
)
def test_a_statement_not_known_for_a_cluster_is_an_error(statement: str) -> None:
    with pytest.raises(ValueError, match=r"not known for a cluster|no sharding key|more than one table"):
        CLUSTER.rewrite(statement)
