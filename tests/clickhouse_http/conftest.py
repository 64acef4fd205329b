from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests


@dataclass
class Door:
    """One endpoint, asked without any ClickHouse client."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, sql: str | bytes, /, headers: dict[str, str] | None = None, **params: str
    ) -> requests.Response:
        data = sql.encode() if isinstance(sql, str) else sql
        return requests.post(self.url, data=data, params=params, headers=headers, timeout=60)

    def text(self, sql: str, **params: str) -> str:
        answer = self.ask(sql, **params)
        assert answer.status_code == 200, answer.text
        return answer.text


@dataclass
class Doors:
    process: subprocess.Popen[str]
    read: Door
    write: Door
    secret: Door
    tight: Door

    def running(self) -> dict[str, int]:
        """How many queries each endpoint runs."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        counts: dict[str, int] = json.loads(self.process.stdout.readline())
        return counts

    def stop(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=60)


def start(data: Path) -> Doors:
    command = [sys.executable, "-m", "tests.clickhouse_http.serve", str(data)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ports = json.loads(process.stdout.readline())
    return Doors(process, **{name: Door(port) for name, port in ports.items()})


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    doors = start(tmp_path_factory.mktemp("clickhouse-http") / "data")
    doors.write.text(
        "CREATE TABLE t (n UInt64, s String, ts DateTime64(9, 'UTC'), m Map(LowCardinality(String), String), "
        "a Array(Float64), d Decimal(18, 10), l LowCardinality(String), x Nullable(Int32)) "
        "ENGINE = MergeTree ORDER BY n"
    )
    doors.write.text(
        "INSERT INTO t SELECT number, concat('s', toString(number)), "
        "toDateTime64('2025-01-01 00:00:00', 9, 'UTC') + number, map('k', toString(number)), "
        "[number / 2, 1], number / 10, toString(number % 3), "
        "if(number % 2 = 0, NULL, number) FROM numbers(1000)"
    )
    yield doors
    assert doors.stop() == 0


@pytest.fixture
def read(doors: Doors) -> Door:
    return doors.read


@pytest.fixture
def write(doors: Doors) -> Door:
    return doors.write
