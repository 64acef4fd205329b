# ruff: noqa: E501 (one statement, one line)
"""The HTTP interface as a client without any library sees it."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import zlib

import lz4.frame
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import zstandard

from spanhouse.clickhouse_http.compression import decoder, frame
from spanhouse.clickhouse_http.native import empty_block, hello_block
from tests.clickhouse_http.conftest import Door, Doors

HELLO = "SELECT displayName(), version(), revision(), timezone()"


def unframe(data: bytes) -> bytes:
    return decoder(io.BytesIO(data), "", frames=True).read()


@pytest.mark.parametrize("path", ["/ping", "/", "/replicas_status"])
def test_health_checks_say_ok(read: Door, path: str) -> None:
    url = read.url.rstrip("/") + path
    assert requests.get(url, timeout=10).text == "Ok.\n"
    answer = requests.head(url, timeout=10)
    assert (answer.status_code, answer.text) == (200, "")


def test_another_path_is_not_found(read: Door) -> None:
    assert requests.get(read.url + "play", timeout=10).status_code == 404


def test_the_query_comes_in_the_url_in_the_body_or_split(read: Door) -> None:
    assert requests.get(read.url, params={"query": "SELECT 1"}, timeout=10).text == "1\n"
    assert requests.post(read.url, params={"query": "SELECT 2"}, timeout=10).text == "2\n"
    assert requests.post(read.url, data="SELECT 3", timeout=10).text == "3\n"
    assert requests.post(read.url, params={"query": "SELECT"}, data="4", timeout=10).text == "4\n"
    assert requests.put(read.url, data="SELECT 6", timeout=10).status_code == 501


def test_head_runs_nothing(read: Door) -> None:
    answer = requests.head(read.url, params={"query": "SELECT throwIf(1)"}, timeout=10)
    assert answer.status_code == 200


def test_format_clause_wins_over_default_format_and_header(read: Door) -> None:
    assert read.text("SELECT 1 AS a FORMAT JSONEachRow", default_format="CSV") == '{"a":1}\n'
    assert read.text("SELECT 'x'", default_format="CSV") == '"x"\n'
    assert read.ask("SELECT 'x'", headers={"X-ClickHouse-Format": "JSONCompactEachRow"}).text == '["x"]\n'
    assert read.ask("SELECT 1", default_format="jsoneachrow").headers["X-ClickHouse-Format"] == "JSONEachRow"


def test_the_answers_headers(read: Door) -> None:
    answer = read.ask("SELECT n FROM t", query_id="my-query", default_format="JSON")
    assert answer.headers["X-ClickHouse-Query-Id"] == "my-query"
    assert answer.headers["X-ClickHouse-Format"] == "JSON"
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert answer.headers["X-ClickHouse-Timezone"] == read.text("SELECT timezone()").strip()
    assert answer.headers["X-ClickHouse-Server-Display-Name"]
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["read_rows"] == "1000"
    assert len(answer.json()["data"]) == 1000
    assert len(read.ask("SELECT 1", query_id="bad\x01id").headers["X-ClickHouse-Query-Id"]) == 36


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
        ("CSV", "text/csv; charset=UTF-8; header=absent"),
        ("CSVWithNames", "text/csv; charset=UTF-8; header=present"),
        ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
        ("JSONCompact", "application/json; charset=UTF-8"),
        ("Native", "application/octet-stream"),
        ("Parquet", "application/octet-stream"),
        ("Pretty", "text/plain; charset=UTF-8"),
        ("XML", "application/xml; charset=UTF-8"),
    ],
)
def test_content_types(read: Door, form: str, content_type: str) -> None:
    assert read.ask("SELECT 1", default_format=form).headers["Content-Type"] == content_type


@pytest.mark.parametrize(
    "form",
    ["TSV", "TSVWithNames", "TSVWithNamesAndTypes", "CSV", "CSVWithNames", "CSVWithNamesAndTypes",
     "JSONEachRow", "JSONCompactEachRowWithNamesAndTypes", "RowBinary", "RowBinaryWithNamesAndTypes", "TSVRawWithNames",
     "JSONStringsEachRow", "MsgPack", "BSONEachRow", "TSKV", "JSONCompactStringsEachRowWithNames"],
)  # fmt: skip
def test_a_streamed_result_is_the_same_as_one_made_in_one_piece(read: Door, form: str) -> None:
    names = 'number AS "n, ""o""\\nx", toString(number) AS "b c"'
    streamed = read.ask(f"SELECT {names} FROM numbers(200000)", default_format=form).content
    # A query with totals is made in one piece, and these formats leave the totals out or put them last.
    whole = read.ask(
        f"SELECT {names} FROM numbers(200000) GROUP BY number WITH TOTALS ORDER BY number "
        "SETTINGS max_threads = 1",
        default_format=form,
    ).content
    assert whole.startswith(streamed)
    named, nameless = (
        ("JSONEachRow", "JSONStringsEachRow", "BSONEachRow", "TSKV"),
        ("TSV", "CSV", "RowBinary", "MsgPack"),
    )
    assert streamed.count(b"b c") == (200_000 if form in named else 0 if form in nameless else 1)


def test_arrow_and_parquet_are_whole_files(read: Door) -> None:
    sql = "SELECT number AS n, toString(number) AS s FROM numbers(200000)"
    arrow = pa.ipc.open_stream(read.ask(sql, default_format="ArrowStream").content).read_all()
    parquet = pq.read_table(io.BytesIO(read.ask(sql, default_format="Parquet").content))
    file = pa.ipc.open_file(read.ask(sql, default_format="Arrow").content).read_all()
    assert arrow.num_rows == parquet.num_rows == file.num_rows == 200_000


def test_an_empty_result_of_a_type_that_tables_should_not_have(read: Door) -> None:
    query = "SELECT l = 'a' AS x FROM t WHERE n > 9999 FORMAT CSVWithNamesAndTypes"
    assert read.text(query) == '"x"\n"LowCardinality(UInt8)"\n'


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("Native", empty_block([("n", "UInt64"), ("b c", "Map(LowCardinality(String), String)")])),
        ("TSVWithNames", b"n\tb c\n"),
        ("CSVWithNamesAndTypes", b'"n","b c"\n"UInt64","Map(LowCardinality(String), String)"\n'),
        ("RowBinaryWithNames", b"\x02\x01n\x03b c"),
        ("TSV", b""),
        ("JSONCompactEachRowWithNames", b'["n", "b c"]\n'),
    ],
)
def test_an_empty_result_still_has_its_columns(read: Door, form: str, expected: bytes) -> None:
    sql = "WITH x AS (SELECT n, m AS `b c` FROM t WHERE n > {limit:UInt64}) SELECT * FROM x"
    answer = read.ask(f"{sql} FORMAT {form} SETTINGS max_threads = 1", param_limit="5000")
    assert answer.content == expected


def test_parameters_are_substituted(read: Door) -> None:
    sql = "SELECT {a:UInt8} + 1, {b:String}, {c:Array(String)}, {d:Nullable(String)}, {e:DateTime('UTC')}"
    text = read.text(
        sql,
        param_a="4",
        param_b="it's \\t",
        param_c="['x','y']",
        param_d="\\N",
        param_e="2025-01-01 00:00:00",
    )
    assert text == "5\tit\\'s \\t\t['x','y']\t\\N\t2025-01-01 00:00:00\n"
    assert (
        read.text("SELECT n FROM {t:Identifier} WHERE {c:Identifier} = 5", param_t="t", param_c="n") == "5\n"
    )
    assert read.ask("SELECT {a:UInt8}").headers["X-ClickHouse-Exception-Code"] == "456"


def test_parameters_and_query_come_in_a_form(read: Door) -> None:
    files = {"query": (None, "SELECT {a:String} FORMAT CSV"), "param_a": (None, "x" * 100_000)}
    assert requests.post(read.url, files=files, timeout=10).text == f'"{"x" * 100_000}"\n'
    external = {"ext": ("ext.tsv", "1\n"), "ext_structure": (None, "a UInt8")}
    assert (
        requests.post(read.url, files=external, params={"query": "SELECT 1"}, timeout=10).status_code == 400
    )


def test_a_long_url_is_read(read: Door) -> None:
    ids = [f"trace{number}" for number in range(3000)]
    sql = "SELECT length({ids:Array(String)})"
    answer = requests.get(read.url, params={"query": sql, "param_ids": str(ids)}, timeout=10)
    assert answer.text == "3000\n"
    for params in (
        {"query": f"SELECT '{'x' * 300_000}'"},
        {"query": "SELECT 1 --", "param_x": "y" * 2_000_000},
    ):
        assert requests.get(read.url, params=params, timeout=10).status_code in (400, 413)
    form = {"query": (None, f"SELECT '{'x' * 300_000}'")}
    assert requests.post(read.url, files=form, timeout=10).status_code == 413


FIELD = b'--X\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT 7'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (FIELD + b"\r\n--X--\r\n", "multipart/form-data"),
        (FIELD + b"\r\n--X--\r\n", "multipart/form-data; boundary="),
        (FIELD + b"\r\n--X--\r\n", "multipart/form-data; boundary=Z"),
        (FIELD, "multipart/form-data; boundary=X"),
        (b"", "multipart/form-data; boundary=X"),
        (FIELD + b"\xff\r\n--X--\r\n", "multipart/form-data; boundary=X"),
        (b"--X\r\n\xff\r\n\r\nSELECT 7\r\n--X--\r\n", "multipart/form-data; boundary=X"),
        (b"--X\r\n\r\nSELECT 7\r\n--X--\r\n", "multipart/form-data; boundary=X"),
        ((FIELD + b"\r\n") * 10_000 + b"--X--\r\n", "multipart/form-data; boundary=X"),
    ],
)
def test_a_malformed_form_is_refused(read: Door, body: bytes, content_type: str) -> None:
    answer = read.ask(body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (400, "408")


@pytest.mark.parametrize("boundary", ["X", '"X"; charset=utf-8'])
def test_a_well_formed_form_is_read(read: Door, boundary: str) -> None:
    content_type = f"multipart/form-data; boundary={boundary}"
    assert read.ask(FIELD + b"\r\n--X--\r\n", headers={"Content-Type": content_type}).text == "7\n"


@pytest.mark.parametrize(
    ("name", "status"),
    [("X-ClickHouse-Format", 404), ("X-ClickHouse-Database", 404), ("Content-Encoding", 500),
     ("X-ClickHouse-Query-Id", 200), ("X-ClickHouse-User", 403)],
)  # fmt: skip
def test_headers_that_are_not_utf8(doors: Doors, name: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", doors.secret.port, timeout=30)
    headers = {"X-ClickHouse-User": "ann", "X-ClickHouse-Key": "s3cret"} | {name: b"\xff\xfe"}
    connection.request("POST", "/", "SELECT 1", headers)
    answer = connection.getresponse()
    assert answer.status == status
    assert answer.read().startswith(b"1\n" if status == 200 else b"Code: ")
    connection.close()


def test_databases(read: Door) -> None:
    for name in ("", "default", "spanhouse"):
        assert read.text("SELECT currentDatabase()", database=name) == "spanhouse\n"
    assert read.text("SELECT count() > 0 FROM tables", database="system") == "1\n"
    assert (
        read.ask("SELECT currentDatabase()", headers={"X-ClickHouse-Database": "default"}).text
        == "spanhouse\n"
    )
    assert read.ask("SELECT 1", database="nope").headers["X-ClickHouse-Exception-Code"] == "81"


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELEC 1", 400, 62),
        ("SELECT nope", 404, 47),
        ("SELECT * FROM nope", 404, 60),
        ("SELECT nope(1)", 403, 497),
        ("SELECT toUInt8('x')", 400, 6),
        ("SELECT throwIf(1)", 500, 395),
        ("SELECT 1 FORMAT Nope", 404, 73),
        ("SELECT 1 SETTINGS nope = 1", 404, 115),
        ("INSERT INTO t (n) VALUES (1)", 500, 164),
    ],
)
def test_errors_are_clickhouses(read: Door, sql: str, status: int, code: int) -> None:
    answer = read.ask(sql)
    assert answer.status_code == status
    assert answer.headers["X-ClickHouse-Exception-Code"] == str(code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert answer.text.count("Code: ") == 1
    assert answer.text.endswith(")\n")


def test_usual_clients_parameters_pass(read: Door) -> None:
    grafana = {"max_execution_time": "60", "enable_http_compression": "1", "client_protocol_version": "54460"}
    jdbc = {
        "compress": "0",
        "extremes": "0",
        "async_insert": "0",
        "http_headers_progress_interval_ms": "1000",
    }
    connect = {"session_id": "a", "wait_end_of_query": "1", "send_progress_in_http_headers": "1", "role": "x",
               "date_time_input_format": "best_effort", "session_timeout": "10", "cancel_http_readonly_queries_on_client_close": "1",
               "output_format_json_quote_64bit_integers": "0", "log_queries": "0", "readonly": "1",
               "allow_experimental_json_type": "1", "max_result_rows": "10", "result_overflow_mode": "break"}  # fmt: skip
    for params in (grafana, jdbc, connect):
        assert read.text("SELECT 1", **params) == "1\n"


UNPACK = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
    "lz4": lz4.frame.decompress,
}


@pytest.mark.parametrize("encoding", list(UNPACK))
@pytest.mark.parametrize("form", ["TSV", "JSON"])
def test_answers_are_compressed_as_accepted(read: Door, encoding: str, form: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", read.port, timeout=30)
    query = f"/?enable_http_compression=1&default_format={form}"
    connection.request("POST", query, "SELECT number FROM numbers(100000)", {"Accept-Encoding": encoding})
    answer = connection.getresponse()
    assert answer.headers["Content-Encoding"] == encoding
    plain = UNPACK[encoding](answer.read())
    assert plain.count(b"\n") >= 100_000
    connection.request("POST", "/", "SELECT nope", {"Accept-Encoding": encoding})
    answer = connection.getresponse()
    assert answer.headers["Content-Encoding"] is None
    assert answer.read().startswith(b"Code: 47.")
    connection.request("POST", "/?enable_http_compression=0", "SELECT 1", {"Accept-Encoding": encoding})
    assert connection.getresponse().read() == b"1\n"
    connection.close()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("zstd", lambda data: zstandard.ZstdCompressor().compress(data)),
        ("lz4", lz4.frame.compress),
    ],
)
def test_requests_may_be_compressed(read: Door, encoding: str, pack: object) -> None:
    assert callable(pack)
    body = pack(b"SELECT 'a b'")
    assert read.ask(body, headers={"Content-Encoding": encoding}).text == "a b\n"
    broken = read.ask(b"\x00" + body[1:-2], headers={"Content-Encoding": encoding})
    assert broken.status_code in (400, 500)
    assert broken.headers["X-ClickHouse-Exception-Code"] in ("62", "271")
    bomb = read.ask(pack(b"SELECT '" + b" " * 50_000_000 + b"'"), headers={"Content-Encoding": encoding})
    assert bomb.status_code == 413


def test_clickhouses_own_frames(read: Door) -> None:
    answer = read.ask(frame(b"SELECT number ") + frame(b"FROM numbers(400000)"), decompress="1", compress="1")
    assert unframe(answer.content) == b"".join(b"%d\n" % i for i in range(400_000))
    assert unframe(read.ask("SELECT nope", compress="1").content).startswith(b"Code: 47.")
    damaged = bytearray(frame(b"SELECT 1"))
    damaged[3] ^= 1
    for body in (bytes(damaged), frame(b"SELECT 1")[:-1], b"x" * 10, b"x" * 100):
        assert read.ask(body, decompress="1").headers["X-ClickHouse-Exception-Code"] == "271"


def test_unknown_request_compression_is_refused(read: Door) -> None:
    answer = read.ask("SELECT 1", headers={"Content-Encoding": "br"})
    assert answer.headers["X-ClickHouse-Exception-Code"] == "89"


def test_a_query_over_the_limit_is_refused(read: Door) -> None:
    assert read.ask("SELECT 1 -- " + "x" * 300_000).status_code == 413
    values = ", ".join(str(number) for number in range(30_000))
    assert read.text(f"SELECT count() FROM t WHERE n IN ({values})") == "1000\n"
    assert read.ask(b"SELECT '\xff'").status_code == 400


def test_the_first_query_of_clickhouse_go(read: Door) -> None:
    version, timezone = read.text("SELECT version(), timezone()").split()
    assert read.text("SELECT 1", client_protocol_version="9" * 5000) == "1\n"
    for protocol in ("0", "54453", "54454", "54479"):
        answer = read.ask(HELLO, default_format="Native", client_protocol_version=protocol)
        assert answer.content == hello_block("spanhouse", version, timezone, int(protocol))
    later = read.ask("SELECT 1 AS check", default_format="Native", client_protocol_version="54479")
    assert later.content == b"\x01\x01\x05check\x05UInt8\x01"


def test_user_and_password(doors: Doors) -> None:
    secret = doors.secret
    assert requests.get(secret.url + "ping", timeout=10).text == "Ok.\n"
    right = {"X-ClickHouse-User": "ann", "X-ClickHouse-Key": "s3cret"}
    assert secret.ask("SELECT 1", headers=right).text == "1\n"
    assert secret.ask("SELECT 1", user="ann", password="s3cret").text == "1\n"
    assert requests.post(secret.url, data="SELECT 1", auth=("ann", "s3cret"), timeout=10).text == "1\n"
    nobody = secret.ask("SELECT 1")
    assert nobody.status_code == 401
    assert nobody.headers["WWW-Authenticate"].startswith("Basic ")
    wrong = [
        secret.ask("SELECT 1", user="ann", password="x"),
        secret.ask("SELECT 1", user="bob", password="s3cret"),
        secret.ask("SELECT 1", user="ann"),
        secret.ask("SELECT 1", headers={"X-ClickHouse-User": "ann"}, user="ann", password="s3cret"),
        secret.ask("SELECT 1", headers={"Authorization": "Basic ####"}),
        secret.ask("SELECT 1", headers={"Authorization": "Bearer x"}),
        requests.post(secret.url, data="SELECT 1", auth=("ann", "x"), timeout=10),
    ]
    for answer in wrong:
        assert answer.status_code == 403
        assert answer.headers["X-ClickHouse-Exception-Code"] == "516"
        assert answer.text.startswith("Code: 516. DB::Exception: ")
    # Who asks nothing of its clients does not mind what they say.
    assert doors.read.ask("SELECT 1", user="default", password="x").text == "1\n"
