# ruff: noqa: E501 (one statement, one line)
"""The door gives a reader tables and nothing else: what must be refused, and what must not be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clickhouse_http.conftest import Door

CANARY = "canary-4711"


class Traps:
    """A file with a secret, a folder where nothing may appear, a port where nobody may knock."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "canary.csv"
        self.file.write_text(f"{CANARY},1\n")
        self.out = folder / "out.csv"
        self.script = folder / "ran"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.knocks = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.knocks += 1
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traps]:
    traps = Traps(tmp_path_factory.mktemp("traps"))
    yield traps
    traps.close()


# {f} the canary's path, {o} a path to write, {p} the listening port, {r} a file a script would make.
REFUSED = [
    # files by function
    "SELECT * FROM file('{f}')",
    "SELECT * FROM file('{f}', CSV, 'a String, b UInt8')",
    "SELECT file('{f}')",
    "SELECT FILE('{f}')",
    "SELECT `file`('{f}')",
    "SELECT arrayMap(x -> file(x), ['{f}'])",
    "SELECT (SELECT file('{f}'))",
    "SELECT 1 AS a WHERE file('{f}') != ''",
    "SELECT 1 ORDER BY file('{f}')",
    "SELECT 1 GROUP BY file('{f}')",
    "SELECT 1 LIMIT length(file('{f}'))",
    "SELECT sum(1) OVER (PARTITION BY file('{f}'))",
    "SELECT 1 FROM t WINDOW w AS (ORDER BY file('{f}'))",
    "SELECT 1 FROM t QUALIFY file('{f}') = ''",
    "SELECT 1 FROM t PREWHERE file('{f}') = ''",
    "SELECT n FROM t ORDER BY n WITH FILL FROM length(file('{f}'))",
    "SELECT n, s FROM t ORDER BY n WITH FILL INTERPOLATE (s AS file('{f}'))",
    "SELECT * APPLY(file) FROM (SELECT '{f}' AS p)",
    "SELECT * APPLY(x -> file(x)) FROM (SELECT '{f}' AS p)",
    "SELECT * REPLACE (file(p) AS p) FROM (SELECT '{f}' AS p)",
    "SELECT COLUMNS('p') APPLY(`fil\\x65`) FROM (SELECT '{f}' AS p)",
    "SELECT 1 FROM t ARRAY JOIN [file('{f}')] AS z",
    "SELECT 1 FROM t JOIN (SELECT file('{f}') AS s) u USING s",
    "SELECT 1 FROM t JOIN t AS u ON file('{f}') = u.s",
    "WITH file('{f}') AS x SELECT x",
    "WITH x AS (SELECT * FROM file('{f}')) SELECT * FROM x",
    "WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT length(file('{f}')) FROM x) SELECT * FROM x",
    "SELECT 1 UNION ALL SELECT length(file('{f}'))",
    "SELECT 1 INTERSECT SELECT length(file('{f}'))",
    "SELECT 'x' IN (SELECT file('{f}'))",
    "SELECT 'x' IN (file('{f}'))",
    "SELECT 'x' IN file('{f}')",
    "SELECT * FROM view(SELECT * FROM file('{f}'))",
    "SELECT * FROM viewIfPermitted(SELECT * FROM file('{f}') ELSE null('a String'))",
    "SELECT * FROM eval('SELECT * FROM file(''{f}'')')",
    "SELECT * FROM merge(file('{f}'))",
    "SELECT * FROM loop(file('{f}'))",
    "SELECT * FROM filesystem('/')",
    "SELECT * FROM fileCluster('c', '{f}')",
    "SELECT * FROM sqlite('{f}', 't')",
    "SELECT * FROM icebergLocal('{f}')",
    "SELECT * FROM deltaLakeLocal('{f}')",
    "FROM file('{f}') SELECT *",
    "(SELECT * FROM file('{f}'))",
    "SELECT * FROM (SELECT * FROM (SELECT * FROM file('{f}')))",
    "EXPLAIN SELECT * FROM file('{f}')",
    "EXPLAIN SYNTAX SELECT * FROM file('{f}')",
    "EXPLAIN AST SELECT * FROM file('{f}')",
    "EXPLAIN ANALYZE SELECT * FROM file('{f}')",
    "EXPLAIN QUERY TREE SELECT * FROM file('{f}')",
    "EXPLAIN PIPELINE graph = 1 SELECT * FROM file('{f}')",
    "SELECT * FROM (EXPLAIN SELECT * FROM file('{f}'))",
    "DESCRIBE TABLE file('{f}')",
    "DESC file('{f}')",
    "DESCRIBE (SELECT * FROM file('{f}'))",
    "DESCRIBE/**/TABLE file('{f}')",
    "/* /* */ DESCRIBE t */ SELECT file('{f}')",
    "-- DESCRIBE t\nSELECT file('{f}')",
    "SHOW TABLES WHERE file('{f}') != ''",
    "SHOW COLUMNS FROM t WHERE file('{f}') != ''",
    "SHOW INDEX FROM t WHERE file('{f}') != ''",
    "SHOW FUNCTIONS LIKE 'x' FORMAT CSV INTO OUTFILE '{o}'",
    # files by identifier
    "SELECT * FROM default.`{f}`",
    "SELECT * FROM `default`.`{f}`",
    'SELECT * FROM "default"."{f}"',
    "SELECT * FROM `default.{f}`",
    "SELECT * FROM `{f}`",
    "SELECT * FROM spanhouse.`{f}`",
    "SELECT 'x' IN default.`{f}`",
    "SELECT 'x' IN (default.`{f}`)",
    "SELECT 'x' NOT IN default.`{f}`",
    "SELECT 'x' GLOBAL IN default.`{f}`",
    "SELECT in('x', default.`{f}`)",
    "WITH default.`{f}` AS q SELECT ('x', 1) IN q",
    "SELECT arrayMap(x -> (x, 1) IN default.`{f}`, ['a'])",
    "SELECT default.`{f}`.c1 FROM default.`{f}`",
    "SELECT `a\n  Function x`, * FROM default.`{f}` AS `b)\n TableIdentifier t`",
    "DESCRIBE default.`{f}`",
    "DESCRIBE TABLE default.`{f}`",
    "EXISTS default.`{f}`",
    "EXISTS TABLE default.`{f}`",
    "SHOW CREATE default.`{f}`",
    "SHOW CREATE TABLE default.`{f}`",
    "SHOW COLUMNS FROM default.`{f}`",
    "SHOW COLUMNS FROM `{f}` FROM default",
    "SHOW TABLES FROM default",
    "CHECK TABLE default.`{f}`",
    "SELECT * FROM overlay.`{f}`",
    # writing files
    "SELECT 1 INTO OUTFILE '{o}'",
    "SELECT 1 INTO OUTFILE '{o}' AND STDOUT FORMAT CSV",
    "SELECT 1 INTO OUTFILE '{o}' TRUNCATE FORMAT CSV",
    "INSERT INTO FUNCTION file('{o}', CSV, 'a UInt8') VALUES (1)",
    "INSERT INTO TABLE FUNCTION file('{o}', CSV, 'a UInt8') SELECT 1",
    "INSERT INTO t (s) FROM INFILE '{f}' FORMAT CSV",
    "SELECT 1 FORMAT Protobuf SETTINGS format_schema = '{f}:x'",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{f}'",
    "SELECT 1 FORMAT CapnProto SETTINGS output_format_schema = '{o}'",
    "SELECT 1 SETTINGS output_format_schema = '{o}'",
    "SELECT 1 SETTINGS input_format_record_errors_file_path = '{o}'",
    "SELECT formatRow('Template', 1) SETTINGS format_template_row = '{f}'",
    "SELECT * FROM (SELECT 1 SETTINGS format_schema = '{f}')",
    "BACKUP TABLE t TO File('{o}')",
    "RESTORE TABLE t FROM File('{f}')",
    "EXPORT TABLE t TO File('{o}')",
    # network
    "SELECT * FROM url('http://127.0.0.1:{p}/')",
    "SELECT * FROM url('http://127.0.0.1:{p}/', CSV, 'a String')",
    "SELECT * FROM urlCluster('c', 'http://127.0.0.1:{p}/')",
    "DESCRIBE url('http://127.0.0.1:{p}/')",
    "DESC TABLE s3('http://127.0.0.1:{p}/b/x.csv')",
    "SELECT * FROM s3('http://127.0.0.1:{p}/b/x.csv')",
    "SELECT * FROM gcs('http://127.0.0.1:{p}/b/x.csv')",
    "SELECT * FROM remote('127.0.0.1:{p}', system.one)",
    "SELECT * FROM remote('127.0.0.1:{p}', view(SELECT 1))",
    "SELECT * FROM remoteSecure('127.0.0.1:{p}', system.one)",
    "SELECT * FROM mysql('127.0.0.1:{p}', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:{p}', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('127.0.0.1:{p}', 'd', 't', 'u', 'p', 'a String')",
    "SELECT * FROM redis('127.0.0.1:{p}', 'k', 'k String')",
    "SELECT * FROM jdbc('http://127.0.0.1:{p}', 't')",
    "SELECT * FROM odbc('DSN=x', 't')",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:{p}/x')",
    "SELECT * FROM iceberg('http://127.0.0.1:{p}/')",
    "SELECT * FROM prometheusQuery('t', 'up', 1)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM clusterAllReplicas('default', system.one)",
    "SELECT hasColumnInTable('127.0.0.1:{p}', 'd', 't', 'c')",
    "SELECT 1 IN remote('127.0.0.1:{p}', system.one)",
    "SELECT aiGenerate('hello')",
    "SELECT * FROM t SETTINGS format_avro_schema_registry_url = 'http://127.0.0.1:{p}'",
    "SELECT 1 SETTINGS url_base = 'http://127.0.0.1:{p}'",
    # processes and this process
    "SELECT * FROM python(store)",
    "SELECT * FROM Python(os)",
    "SELECT * FROM executable('touch {r}', TSV, 'a String')",
    "SELECT * FROM executable('touch {r}', TSV, 'a String', (SELECT 1))",
    "SELECT * FROM arrowstream('x')",
    "SELECT * FROM input('a String')",
    "SELECT * FROM dictionary('d')",
    "SELECT dictGet('d', 'a', 1)",
    "SELECT joinGet('j', 'a', 1)",
    "SELECT * FROM merge('default', '.*')",
    "SELECT * FROM merge(REGEXP('.*'), '.*')",
    "SELECT addressToLine(1)",
    "SELECT getServerSetting('path')",
    "SELECT getMacro('a')",
    "SELECT hostName()",
    "SELECT showCertificate()",
    "SELECT * FROM mergeTreeIndex('spanhouse', 't')",
    "SELECT evalMLMethod(1)",
    "SELECT __getScalar('x')",
    # tables about other people, the machine, the configuration
    "SELECT * FROM system.processes",
    "SELECT * FROM system.server_settings",
    "SELECT * FROM system.users",
    "SELECT * FROM system.named_collections",
    "SELECT * FROM system.stack_trace",
    "SELECT * FROM system.disks",
    "SELECT * FROM system.errors",
    "SELECT * FROM system.`stack_trace`",
    "SELECT 1 IN system.users",
    "DESCRIBE system.users",
    "SHOW CREATE TABLE system.users",
    "SHOW PROCESSLIST",
    "SHOW CLUSTERS",
    "SHOW USERS",
    "SHOW GRANTS",
    "SHOW ACCESS",
    "SHOW FILESYSTEM CACHES",
    "SHOW CREATE DATABASE default",
    # statements that are not reading
    "INSERT INTO t (n) VALUES (1)",
    "INSERT INTO t (n) SELECT 1",
    "CREATE TABLE u (a UInt8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE u (a UInt8)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE FUNCTION f AS x -> file(x)",
    "CREATE DATABASE d ENGINE = Filesystem('/')",
    "CREATE DICTIONARY d (a UInt8) PRIMARY KEY a SOURCE(FILE(PATH '{f}' FORMAT CSV)) LAYOUT(FLAT()) LIFETIME(1)",
    "CREATE NAMED COLLECTION c AS a = 1",
    "CREATE USER u",
    "ATTACH TABLE t",
    "DETACH TABLE t",
    "DROP TABLE t",
    "TRUNCATE TABLE t",
    "ALTER TABLE t DELETE WHERE 1",
    "ALTER TABLE t ATTACH PARTITION 1 FROM u",
    "DELETE FROM t WHERE 1",
    "OPTIMIZE TABLE t FINAL",
    "RENAME TABLE t TO u",
    "EXCHANGE TABLES t AND u",
    "UNDROP TABLE t",
    "GRANT ALL ON *.* TO default",
    "SET max_threads = 2",
    "SET readonly = 0",
    "SET ROLE ALL",
    "USE system; SELECT * FROM users",
    "USE nope",
    "USE /etc",
    "KILL QUERY WHERE 1 SYNC",
    "SYSTEM SHUTDOWN",
    "SYSTEM FLUSH LOGS",
    "BEGIN TRANSACTION",
    "EXECUTE AS default SELECT 1",
    "WATCH t",
    "EXPLAIN CURRENT TRANSACTION",
    "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1:{p}') COLUMNS (a UInt8)",
    # several statements
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE t",
    "SELECT 1;; DROP TABLE t",
    "SELECT 1 PARALLEL WITH SELECT 2",
    "SELECT 1 PARALLEL WITH DROP TABLE t",
    # settings that lift limits or open doors
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT 1 SETTINGS max_execution_time = 0",
    "SELECT 1 SETTINGS max_execution_time = 100000",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1 SETTINGS max_threads = 1000",
    "SELECT 1 SETTINGS max_result_rows = DEFAULT",
    "SELECT 1 SETTINGS allow_ddl = 0",
    "SELECT 1 SETTINGS allow_experimental_eval_table_function = 1",
    "SELECT 1 SETTINGS additional_table_filters = {{'system.one': 'file(''{f}'') != '''''}}",
    "SELECT 1 SETTINGS additional_result_filter = 'file(''{f}'') != '''''",
    "SELECT 1 SETTINGS dialect = 'prql'",
    "SELECT 1 SETTINGS http_allow_table_as_file = 1",
    "SELECT * FROM (SELECT 1 SETTINGS max_execution_time = 0)",
    "SELECT 1 UNION ALL SELECT 2 SETTINGS allow_ddl = 0",
    "SELECT 1 FORMAT CSV SETTINGS log_comment = 'x'",
    # what does not parse, or is nothing
    "",
    "   ",
    "-- nothing",
    "SELEC 1",
    "SELECT (",
    "exit",
    "SELECT 1\0 FROM file('{f}')",
]  # fmt: skip


@pytest.mark.parametrize("template", REFUSED)
def test_is_refused(read: Door, traps: Traps, template: str) -> None:
    sql = template.format(f=traps.file, o=traps.out, p=traps.port, r=traps.script)
    answer = read.ask(sql)
    assert answer.status_code in (400, 403, 404, 500), answer.text
    assert "X-ClickHouse-Exception-Code" in answer.headers
    assert answer.text.startswith("Code: ")
    assert CANARY not in answer.text
    assert not traps.out.exists()
    assert not traps.script.exists()
    assert traps.knocks == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("readonly", "0"),
        ("allow_ddl", "0"),
        ("allow_experimental_eval_table_function", "1"),
        ("additional_table_filters", "{'system.one':'file(\\'/etc/passwd\\')!=\\'\\''}"),
        ("dialect", "prql"),
        ("format_schema", "/etc/passwd:x"),
        ("format_template_row", "/etc/passwd"),
        ("output_format_schema", "/tmp/x"),
        ("format_display_secrets_in_show_and_select", "1"),
        ("local_filesystem_read_method", "mmap"),
        ("http_allow_table_as_file", "1"),
        ("no_such_setting", "1"),
        ("max_threads = 1, readonly", "0"),
        ("param_a = 1, readonly", "0"),
    ],
)
def test_a_setting_in_the_url_that_opens_a_door_is_refused(read: Door, name: str, value: str) -> None:
    answer = read.ask("SELECT 1", **{name: value})
    assert answer.status_code in (400, 403, 404, 500), answer.text
    assert answer.headers["X-ClickHouse-Exception-Code"] in ("115", "164", "408")


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("SELECT * FROM {a:Identifier}", {"param_a": "default.{f}"}),
        ("SELECT * FROM {a:Identifier}", {"param_a": "{f}"}),
        ("SELECT * FROM {a:Identifier}.{b:Identifier}", {"param_a": "default", "param_b": "{f}"}),
        ("SELECT * FROM default.{b:Identifier}", {"param_b": "{f}"}),
        ("SELECT * FROM system.{b:Identifier}", {"param_b": "users"}),
        ("SELECT ('x', 1) IN {a:Identifier}.{b:Identifier}", {"param_a": "default", "param_b": "{f}"}),
        ("SELECT * FROM file({a:String})", {"param_a": "{f}"}),
        ("SELECT {a:Identifier}({b:String})", {"param_a": "file", "param_b": "{f}"}),
        ("SELECT 1 SETTINGS max_threads = {a:UInt64}", {"param_a": "1000"}),
        ("SELECT 1 FROM t WHERE {a:String} = file('{f}')", {"param_a": "x"}),
    ],
)
def test_parameters_open_no_door(read: Door, traps: Traps, sql: str, parameters: dict[str, str]) -> None:
    filled = {name: value.replace("{f}", str(traps.file)) for name, value in parameters.items()}
    answer = read.ask(sql.replace("{f}", str(traps.file)), **filled)
    assert answer.status_code in (400, 403, 404, 500), answer.text
    assert CANARY not in answer.text


@pytest.mark.parametrize(
    "form", ["Protobuf", "Template", "CapnProto", "DataFrame", "ArrowTable", "nonsense", "a b"]
)
def test_default_formats_that_need_files_are_refused(read: Door, form: str) -> None:
    assert read.ask("SELECT 1", default_format=form).headers["X-ClickHouse-Exception-Code"] == "73"


@pytest.mark.parametrize(
    ("database", "sql"),
    [("system", "SELECT * FROM users"), ("system", "SELECT 1 IN users"), ("system", "DESCRIBE stack_trace"),
     ("system", "SHOW CREATE TABLE users"), ("system", "SELECT * FROM processes AS p"), ("nope", "SELECT 1"),
     ("/etc", "SELECT 1")],
)  # fmt: skip
def test_another_database_opens_no_door(read: Door, database: str, sql: str) -> None:
    assert read.ask(sql, database=database).status_code in (403, 404)


ALLOWED = [
    "SELECT 1",
    "select 1;",
    "/* grafana */ SELECT 1 -- comment",
    "(SELECT 1)",
    "SELECT * FROM system.databases",
    "SELECT name FROM system.tables WHERE database = 'spanhouse'",
    "SELECT name, type FROM system.columns WHERE database = 'spanhouse' AND table = 't'",
    "SELECT name, alias_to FROM system.functions LIMIT 3",
    "SELECT name, value FROM system.settings LIMIT 3",
    "SELECT * FROM system.data_type_families LIMIT 3",
    "SELECT * FROM system.build_options",
    "SELECT * FROM system.time_zones LIMIT 1",
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'spanhouse'",
    "SELECT column_name FROM INFORMATION_SCHEMA.COLUMNS WHERE table_name = 't'",
    "SHOW TABLES",
    "SHOW TABLES FROM spanhouse LIKE '%a%'",
    "SHOW FULL TABLES",
    "SHOW DATABASES",
    "SHOW COLUMNS FROM t",
    "SHOW INDEX FROM t",
    "SHOW CREATE TABLE t",
    "SHOW CREATE TABLE `spanhouse`.`t` FORMAT TSVRaw",
    "SHOW SETTINGS LIKE 'max_threads'",
    "SHOW FUNCTIONS LIKE 'abs'",
    "SHOW ENGINES",
    "SHOW DICTIONARIES",
    "USE spanhouse",
    "USE `default`;",
    "EXISTS TABLE t",
    "EXISTS t",
    "EXISTS DATABASE spanhouse",
    "DESCRIBE TABLE t",
    "DESC t",
    "DESCRIBE TABLE spanhouse.t FORMAT JSON",
    "DESCRIBE (SELECT n, s FROM t)",
    "DESCRIBE TABLE agent_events SETTINGS describe_compact_output = 1",
    "EXPLAIN SELECT * FROM t",
    "EXPLAIN PIPELINE SELECT * FROM t",
    "EXPLAIN PLAN indexes = 1 SELECT * FROM t WHERE n = 1",
    "EXPLAIN SYNTAX SELECT * FROM t",
    "EXPLAIN ESTIMATE SELECT * FROM t",
    "EXPLAIN QUERY TREE SELECT 1",
    # what Grafana's plugin makes of its macros
    "SELECT toStartOfInterval(toDateTime(ts), INTERVAL 60 second) AS time, count() FROM t "
    "WHERE ts >= toDateTime(1735689600) AND ts <= toDateTime(1735693200) GROUP BY time ORDER BY time",
    "SELECT ts AS time, n FROM t WHERE ts >= fromUnixTimestamp64Milli(1735689600000) "
    "AND ts <= fromUnixTimestamp64Milli(1735693200000) ORDER BY ts DESC LIMIT 100",
    "SELECT DISTINCT l FROM t LIMIT 1000",
    'SELECT toUnixTimestamp64Milli(ts) AS `time (ms)`, s AS "tokens/s" FROM t ORDER BY `time (ms)` LIMIT 1',
    "SELECT arrayJoin(mapKeys(m)) AS keys FROM t GROUP BY keys",
    "SELECT arrayMap(key -> map('key', key, 'value', m[key]), mapKeys(m)) AS tags FROM t LIMIT 1",
    "SELECT multiIf(n > 1, 'a', n = 1, 'b', 'c') AS level, count(*) FROM t GROUP BY level WITH TOTALS",
    "SELECT * FROM t WHERE m['k'] ILIKE '%1%' AND l IN ('0', '1') AND n NOT IN (1, 2) LIMIT 5",
    # the rest of the language
    "WITH x AS (SELECT n FROM t LIMIT 3), 2 AS two SELECT n * two FROM x",
    "WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM x WHERE n < 5) SELECT sum(n) FROM x",
    "SELECT n, sum(n) OVER w, row_number() OVER (PARTITION BY l ORDER BY n) FROM t "
    "WINDOW w AS (PARTITION BY l ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) LIMIT 3",
    "SELECT quantileTDigestMerge(0.5)(q) FROM (SELECT l, quantileTDigestState(0.5)(n) AS q FROM t GROUP BY l)",
    "SELECT quantiles(0.5, 0.9)(n), uniqExact(s), countIf(n > 3), sumMap(map('a', n)), any(s), argMax(s, n), "
    "count(DISTINCT l), avgOrNull(x), groupUniqArrayIf(2)(l, n > 1), countDistinctIf(l, 1) FROM t",
    "SELECT JSONExtractString('{\"a\": \"b\"}', 'a'), '{\"a\": 1}'::JSON.a, JSON_VALUE('{\"a\": 1}', '$.a')",
    "SELECT a.n, b.s FROM t AS a LEFT JOIN t AS b ON a.n = b.n LIMIT 1",
    "SELECT * FROM t ANY INNER JOIN (SELECT n, s AS s2 FROM t) AS u USING (n) LIMIT 1",
    "SELECT * FROM t AS a ASOF JOIN t AS b ON a.l = b.l AND a.ts >= b.ts LIMIT 1",
    "SELECT n, z FROM t ARRAY JOIN a AS z LIMIT 1",
    "SELECT n FROM t WHERE n IN (SELECT n FROM t WHERE n < 5) AND (n, s) IN ((1, 's1'), (2, 's2'))",
    "SELECT EXISTS(SELECT 1 FROM t), CASE l WHEN '0' THEN 1 ELSE 2 END, CASE WHEN n > 1 THEN 1 END FROM t LIMIT 1",
    "SELECT n FROM t UNION ALL SELECT 1 UNION DISTINCT SELECT 2",
    "SELECT n FROM t INTERSECT SELECT 5",
    "SELECT n FROM t EXCEPT SELECT 5 LIMIT 2",
    "SELECT * EXCEPT (m) REPLACE (n + 1 AS n) APPLY(toString) FROM t LIMIT 1",
    "SELECT COLUMNS('^n$') APPLY(max), t.* FROM t GROUP BY ALL LIMIT 1",
    "SELECT l, count() FROM t GROUP BY GROUPING SETS ((l), ())",
    "SELECT l, count() FROM t GROUP BY ROLLUP(l) ORDER BY ALL",
    "SELECT n FROM t ORDER BY n DESC NULLS LAST LIMIT 1 BY l LIMIT 2 OFFSET 1",
    "SELECT toStartOfHour(ts) AS h FROM t GROUP BY h ORDER BY h WITH FILL STEP 3600",
    "SELECT number FROM numbers(3)",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT * FROM values('a UInt8, b String', (1, 'x'))",
    "SELECT * FROM (VALUES (1, 2), (3, 4))",
    "SELECT * FROM view(SELECT 1)",
    "SELECT CAST(1, 'Enum8(\\'a\\' = 1)'), 1::String, DATE '2025-01-01', INTERVAL 1 DAY, now() - INTERVAL '1 day'",
    "SELECT arrayFilter(v -> v > 1, [1, 2]), if(1, 'a', 'b')",
    "SELECT 1 AS `default`, `default` + 1",
    "SELECT file.n FROM (SELECT 1 AS n) AS file",
    "SELECT 1 AS url, url, format('{} {}', 'a', 'b')",
    "SELECT 'SELECT * FROM file(''/etc/passwd'')'",
    "SELECT n FROM t SETTINGS max_threads = 1",
    "SELECT n FROM t LIMIT 1 SETTINGS max_execution_time = 5, join_use_nulls = 1 FORMAT JSON",
    "SELECT * FROM (SELECT n FROM t SETTINGS max_threads = 1) LIMIT 1",
    "SELECT count() FROM agent_events",
    "SELECT count() FROM agent_events WHERE ts > now() - 60",
    "SELECT @@version, currentUser(), currentDatabase(), version(), timezone()",
    "SELECT getSetting('max_threads')",
    "SELECT count() FROM t WHERE n BETWEEN 1 AND 5 AND s LIKE 's%' AND x IS NOT NULL AND NOT (n = 3)",
]


@pytest.mark.parametrize("sql", ALLOWED)
def test_is_allowed(read: Door, sql: str) -> None:
    answer = read.ask(sql)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("table", ["tables", "columns", "parts"])
def test_system_tables_do_not_open_files(read: Door, traps: Traps, table: str) -> None:
    column = "table" if table != "tables" else "name"
    text = read.text(f"SELECT * FROM system.{table} WHERE database = 'default' AND {column} = '{traps.file}'")
    assert text == ""
    assert read.text(f"SELECT count() FROM system.tables WHERE name LIKE '%{traps.file.name}%'") == "0\n"


@pytest.mark.parametrize(
    "sql",
    ["(" * 250_000 + "1 1", "SELECT sum" + "If" * 120_000 + "(1)", "EXISTS t" + " " * 250_000 + "x",
     "SELECT name, value, readonly FROM system.settings LIMIT 1" + " " * 200_000 + "WITH TIES",
     "/*" * 120_000, "SELECT " + "CASE WHEN 1 THEN " * 4000, "SELECT " + "a," * 120_000 + "a", "DESC" + " " * 250_000, "SELECT " + "f()," * 60_000 + "1"],
)  # fmt: skip
def test_texts_made_to_take_long_are_refused_soon(read: Door, sql: str) -> None:
    assert read.ask(sql).status_code in (400, 403, 500)


def test_settings_clauses_take_effect_and_cannot_lift_limits(read: Door) -> None:
    assert read.text("SELECT getSetting('max_execution_time') SETTINGS max_execution_time = 7") == "7\n"
    assert read.text("SELECT getSetting('max_execution_time')", max_execution_time="0") == "60\n"
    assert read.text("SELECT getSetting('max_execution_time')", max_execution_time="9999") == "60\n"
    for nothing in ("-1", "0.0000001", "1e-9", "nan"):  # the engine takes the first three for no limit
        assert read.text("SELECT getSetting('max_execution_time')", max_execution_time=nothing) == "60\n"
    for clause in ("-1", "0.0000001", "'0.0000001'", "false"):
        answer = read.ask(f"SELECT 1 SETTINGS max_execution_time = {clause}")
        assert answer.headers["X-ClickHouse-Exception-Code"] == "452"
    assert read.text("SELECT getSetting('readonly')", readonly="2") == "1\n"
    inner = read.text("SELECT * FROM (SELECT getSetting('max_threads') SETTINGS max_threads = 1)")
    assert inner == "1\n"


def test_a_refusal_says_what_is_allowed(read: Door) -> None:
    answer = read.ask("SELECT * FROM url('http://localhost/')")
    assert answer.status_code == 403
    assert answer.headers["X-ClickHouse-Exception-Code"] == "497"
    assert "database spanhouse" in answer.text


def test_deeply_nested_statements_are_refused_and_the_process_lives(read: Door) -> None:
    for sql in ("SELECT " + "(" * 5000 + "1" + ")" * 5000, "SELECT " + "abs(" * 400 + "1" + ")" * 400,
                "SELECT 1" + " + 1" * 20_000):  # fmt: skip
        assert read.ask(sql).status_code in (400, 403, 500)
    assert read.text("SELECT 1") == "1\n"
