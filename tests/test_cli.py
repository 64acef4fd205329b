"""The command line: help, `sql` on a running and on a closed store, `validate`, exit codes."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import Instance, eventually, request


def spanhouse(
    *arguments: str, stdin: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spanhouse", *arguments],
        input=stdin, capture_output=True, text=True, timeout=60, check=False, cwd=cwd,
    )  # fmt: skip


@pytest.mark.parametrize("command", ["up", "demo", "sql", "prices", "reprice", "validate"])
def test_every_command_explains_itself_with_examples(command: str) -> None:
    done = spanhouse(command, "--help")
    assert done.returncode == 0
    assert f"examples:\n  spanhouse {command}" in done.stdout


def test_wrong_usage_exits_2() -> None:
    assert spanhouse("nonsense").returncode == 2
    assert spanhouse().returncode == 2


def test_sql_on_a_running_and_on_a_closed_store(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    query = "SELECT service, count() AS n FROM agent_events GROUP BY service ORDER BY service"
    with Instance(tmp_path / "data") as instance:
        instance.post(request(3, service="checkout").SerializeToString())
        instance.post(request(2, service='quo"ted, ünï').SerializeToString())
        running = [
            spanhouse("sql", "--data", data, "--format", form, query) for form in ("table", "csv", "json")
        ]
        refused = spanhouse("sql", "--data", data, "DROP TABLE agent_events")
        assert refused.returncode == 1
        assert "DB::Exception" in refused.stderr
        by_url = spanhouse(
            "sql", "--url", instance.url("clickhouse-http"), "--format", "csv", "-", stdin=query
        )
        assert by_url.stdout == running[1].stdout
        assert instance.stop() == 0
    closed = [spanhouse("sql", "--data", data, "--format", form, query) for form in ("table", "csv", "json")]
    for done, form in zip(running, ("table", "csv", "json"), strict=True):
        assert done.returncode == 0, (form, done.stderr)
    assert [done.stdout for done in running] == [done.stdout for done in closed]
    table, text, lines = (done.stdout for done in closed)
    assert "checkout" in table
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"service": "checkout", "n": "3"},
        {"service": 'quo"ted, ünï', "n": "2"},
    ]
    assert [json.loads(line)["service"] for line in lines.splitlines()] == ["checkout", 'quo"ted, ünï']


def test_sql_says_what_is_wrong(tmp_path: Path) -> None:
    nothing = spanhouse("sql", "--data", str(tmp_path / "none"), "SELECT 1")
    assert nothing.returncode == 1
    assert "there is no store in" in nothing.stderr
    assert not (tmp_path / "none").exists()
    deaf = spanhouse("sql", "--url", "http://127.0.0.1:1", "SELECT 1")
    assert deaf.returncode == 1
    assert "http://127.0.0.1:1 does not answer" in deaf.stderr
    with Instance(tmp_path / "data") as instance:
        instance.stop()
    wrong = spanhouse("sql", "--data", str(tmp_path / "data"), "SELECT nonsense")
    assert wrong.returncode == 1
    assert "UNKNOWN_IDENTIFIER" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_sql_after_a_crash_asks_the_store(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        instance.post(request(3).SerializeToString())
        instance.kill()
    done = spanhouse(
        "sql", "--data", str(tmp_path / "data"), "--format", "csv", "SELECT count() AS n FROM agent_events"
    )
    assert done.stdout == '"n"\n3\n'


def test_validate_names_key_and_line(tmp_path: Path) -> None:
    file = tmp_path / "spanhouse.yaml"
    file.write_text("data: ./d\nprocessors:\n  guard:\n    cardinalty: {}\n")
    done = spanhouse("validate", str(file))
    assert done.returncode == 1
    assert "spanhouse.yaml:4: processors.guard.cardinalty" in done.stderr
    file.write_text("data: ./d\n")
    assert spanhouse("validate", str(file)).returncode == 0
    file.write_text("otlp-grpc: nonsense\n")
    up = spanhouse("up", "--config", str(file))
    assert up.returncode == 1
    assert "spanhouse.yaml:1: otlp-grpc" in up.stderr
    assert spanhouse("validate", str(tmp_path / "none.yaml")).returncode == 1


def test_sql_of_a_result_that_breaks_off_and_to_a_reader_that_has_enough(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        command = ("sql", "--url", instance.url("clickhouse-http"), "--format", "csv")
        broken = spanhouse(*command, "SELECT throwIf(number = 2000000) AS x FROM numbers(3000000)")
        query = "SELECT number FROM numbers(5000000)"
        with subprocess.Popen(
            [sys.executable, "-m", "spanhouse", *command, query],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as enough:  # fmt: skip
            assert enough.stdout
            assert enough.stderr
            assert enough.stdout.readline() == b'"number"\n'
            enough.stdout.close()
            assert enough.stderr.read() == b""
    assert broken.returncode == 1
    assert "not complete: Code: 395. DB::Exception: " in broken.stderr
    assert "Traceback" not in broken.stderr
    assert set(broken.stdout.splitlines()) == {'"x"', "0"}


def test_ctrl_c_ends_sql_and_its_query(tmp_path: Path) -> None:
    with Instance(tmp_path / "data") as instance:
        command = [sys.executable, "-m", "spanhouse", "sql", "--data", str(tmp_path / "data")]
        with subprocess.Popen(
            [*command, "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"]
        ) as client:
            eventually(lambda: instance.metric("spanhouse_queries_running") == 1)
            client.send_signal(signal.SIGINT)
            assert client.wait(60) != 0
        eventually(lambda: instance.metric("spanhouse_queries_running") == 0)
