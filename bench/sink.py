"""A ClickHouse server that forgets: what is inserted is counted and discarded, all else is answered truly.

`python -m bench.sink PORT UPSTREAM` answers at PORT. Queries go on to the ClickHouse server at the URL
UPSTREAM, so any client gets the answers and types that it expects; those that clients repeat before each
insert are asked there once. So it takes little CPU itself, in a process of its own.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import requests
from aiohttp import ClientSession, web

from tests.parts.process import Process, free_port

_COUNTED: Final = "/counted"
# What clients ask again and again; the answer changes only with the tables.
_REPEATED: Final = ("SELECT displayName()", "DESC")
_PASSED_ON: Final = ("Content-Type", "Content-Encoding", "X-ClickHouse-Format", "X-ClickHouse-Timezone",
                     "X-ClickHouse-Exception-Code", "X-ClickHouse-Server-Display-Name")  # fmt: skip

# A client that does not ask for them is not to get them.
_AUTOMATIC: Final = ("Accept-Encoding", "Content-Type", "User-Agent")

Answer = tuple[int, dict[str, str], bytes]


class Sink:
    """The running process.

    Attributes:
        url: `http://host:port`.
    """

    def __init__(self, folder: Path, upstream: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._process = Process(
            [sys.executable, "-m", "bench.sink", str(port), upstream], folder / "sink.log"
        )

    def counted(self) -> tuple[int, int]:
        """Inserts and their bytes since it was started."""
        answer = requests.get(self.url + _COUNTED, timeout=10).json()
        return answer["inserts"], answer["bytes"]

    def __enter__(self) -> Self:
        self._process.start()
        deadline = time.monotonic() + 60
        while True:
            try:
                self.counted()
            except requests.RequestException:
                assert self._process.running(), self._process.tail()
                assert time.monotonic() < deadline, "the sink does not answer"
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()


class _Server:
    def __init__(self, upstream: str, session: ClientSession) -> None:
        self._upstream = upstream
        self._session = session
        self._answers: dict[tuple[str, str, bytes], Answer] = {}
        self._inserts = self._bytes = 0

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == _COUNTED:
            return web.json_response({"inserts": self._inserts, "bytes": self._bytes})
        # What is inserted comes in chunks from all clients here, questions with their length.
        if request.headers.get("Transfer-Encoding") == "chunked":
            async for piece in request.content.iter_any():
                self._bytes += len(piece)
            self._inserts += 1
            return web.Response()
        body = await request.read()
        question = (request.query_string, request.headers.get("Accept-Encoding", ""), body)
        if (found := self._answers.get(question)) is None:
            found = await self._ask(request, body)
            text = request.query.get("query", "") or body.decode(errors="replace")
            if text.lstrip().startswith(_REPEATED) and found[0] == 200:
                self._answers[question] = found
        status, headers, data = found
        return web.Response(status=status, headers=headers, body=data)

    async def _ask(self, request: web.Request, body: bytes) -> Answer:
        headers = {name: value for name, value in request.headers.items() if not name.startswith("Content-L")}
        headers.pop("Host")
        url = f"{self._upstream}{request.path_qs}"
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            kept = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
            return answer.status, kept, await answer.read()


async def _serve(port: int, upstream: str) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with ClientSession(auto_decompress=False, skip_auto_headers=_AUTOMATIC) as session:
        server = _Server(upstream, session)
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await stopped.wait()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2]))
