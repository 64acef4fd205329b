"""The server by itself: its endpoint gone, its port taken."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest

from spanhouse.config import Address
from spanhouse.page.server import PageServer


def server(clickhouse: Address) -> PageServer:
    return PageServer(clickhouse, clickhouse, user="", password="", token="", grafana="")


def test_an_endpoint_that_is_gone_is_said() -> None:
    async def check() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            page = server(Address(*closed.getsockname()))
            await page.start("127.0.0.1", 0)
            try:
                async with aiohttp.ClientSession(f"http://127.0.0.1:{page.port}") as browser:
                    for path in (
                        "/api/panels/overview/requests",
                        "/api/values/tenant",
                        f"/api/traces/{'0' * 32}",
                    ):
                        async with browser.get(path) as answer:
                            assert answer.status == 502
                            assert "does not answer" in (await answer.json())["error"]
                    async with browser.get("/api/dashboards") as answer:
                        assert answer.status == 200
            finally:
                await page.stop()

    asyncio.run(check())


def test_a_result_that_breaks_off_is_not_taken_for_whole() -> None:
    async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        form = request.partition(b"X-ClickHouse-Format: ")[2].partition(b"\r\n")[0]
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-ClickHouse-Format: %b\r\n\r\n" % form
        writer.write(head + b'5\r\n["a"]\r\n')
        await writer.drain()
        writer.close()

    async def check() -> None:
        endpoint = await asyncio.start_server(breaks_off, "127.0.0.1", 0)
        page = server(Address(*endpoint.sockets[0].getsockname()))
        await page.start("127.0.0.1", 0)
        try:
            async with aiohttp.ClientSession(f"http://127.0.0.1:{page.port}") as browser:
                async with browser.get("/api/panels/overview/requests") as answer:
                    assert answer.status == 502
                with pytest.raises(aiohttp.ClientError):
                    async with browser.get("/api/panels/overview/requests?format=csv") as answer:
                        await answer.read()
        finally:
            await page.stop()
            endpoint.close()

    asyncio.run(check())


def test_a_port_that_is_taken() -> None:
    async def check() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(OSError, match="address already in use"):
                await server(Address("127.0.0.1", 1)).start("127.0.0.1", taken.getsockname()[1])

    asyncio.run(check())
