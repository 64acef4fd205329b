"""A process that serves one store through several endpoints.

For each line of its standard input it says how many queries run; it stops when the input ends.
"""

import asyncio
import json
import sys
from pathlib import Path

from spanhouse.clickhouse_http.server import Limits, start_clickhouse_http
from spanhouse.store import Store


async def main(data: Path) -> None:
    with Store(data) as store:
        tight = Limits(
            max_rows=100_000,
            max_seconds=1,
            max_memory_bytes=100_000_000,
            max_result_bytes=1_000_000,
            max_concurrent=1,
            max_waiting=1,
        )
        endpoints = {
            "read": await start_clickhouse_http(store, "127.0.0.1", 0, content_reader=("carol", "c0ntent")),
            "write": await start_clickhouse_http(store, "127.0.0.1", 0, readonly=False),
            "secret": await start_clickhouse_http(
                store, "127.0.0.1", 0, user="ann", password="s3cret", content_reader=("carol", "c0ntent")
            ),
            "tight": await start_clickhouse_http(store, "127.0.0.1", 0, limits=tight),
        }
        print(json.dumps({name: endpoint.port for name, endpoint in endpoints.items()}), flush=True)
        while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
            print(
                json.dumps({name: len(endpoint._running) for name, endpoint in endpoints.items()}), flush=True
            )
        await asyncio.gather(*(endpoint.stop() for endpoint in endpoints.values()))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
