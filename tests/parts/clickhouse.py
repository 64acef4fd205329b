"""A ClickHouse server for tests: the embedded engine behind its HTTP endpoint, in a process of its own.

`python -m tests.parts.clickhouse FOLDER PORT` is that process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import requests

from spanhouse.clickhouse_http.server import Limits, start_clickhouse_http
from spanhouse.store import Store
from tests.parts.process import Process, free_port

_USER: Final = "SPANHOUSE_TEST_USER"
_PASSWORD: Final = "SPANHOUSE_TEST_PASSWORD"


class ClickHouse:
    """A server whose data lie in `folder` and whose port stays the same over restarts.

    The database is `spanhouse`, with all its tables. Clients may write and change tables. With `user` or
    `password` a client must give both (an empty user is `default`).

        with ClickHouse(tmp_path / "clickhouse") as clickhouse:
            clickhouse.sql("SELECT count() AS rows FROM agent_events")  # [{"rows": 0}]
            clickhouse.kill()
            clickhouse.start()

    Attributes:
        url: `http://host:port`.
    """

    def __init__(self, folder: Path, user: str = "", password: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._user = {"X-ClickHouse-User": user or "default", "X-ClickHouse-Key": password}
        self.process = Process(
            [sys.executable, "-m", "tests.parts.clickhouse", folder / "data", str(port)],
            folder / "clickhouse.log",
            {_USER: user, _PASSWORD: password, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def start(self) -> None:
        """Start it, on the data it had, and wait until it answers."""
        self.process.start()
        deadline = time.monotonic() + 120
        while not self.answers():
            assert self.process.running(), f"ClickHouse ended:\n{self.process.tail()}"
            assert time.monotonic() < deadline, f"ClickHouse does not answer:\n{self.process.tail()}"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def stop(self) -> None:
        """SIGTERM; queries that run are ended, the store is closed."""
        assert self.process.stop() == 0, self.process.tail()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self.process.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self.process.resume()

    def answers(self) -> bool:
        """Whether it can be reached."""
        try:
            return requests.get(f"{self.url}/ping", timeout=5).ok
        except requests.RequestException:
            return False

    def sql(self, query: str, **settings: str) -> list[dict[str, Any]]:
        """Run any statement and return its rows; values are as JSON has them, so a Decimal is a float."""
        answer = requests.post(
            self.url,
            data=query.encode(),
            params={"default_format": "JSONEachRow", **settings},
            headers=self._user,
            timeout=300,
        )
        assert answer.ok, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.running():
            self.kill()


async def _serve(data: Path, port: int) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    with Store(data) as store:
        endpoint = await start_clickhouse_http(
            store,
            "127.0.0.1",
            port,
            user=os.environ[_USER],
            password=os.environ[_PASSWORD],
            readonly=False,
            limits=Limits(max_concurrent=16),
        )
        await stopped.wait()
        await endpoint.stop()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
