"""The two doors on free ports."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from spanhouse.receivers import otlp_grpc, otlp_http
from tests.receivers.tools import LIMIT, KeepingPipeline


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One loop for all: grpc.aio is bound to the first that it sees."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def pipeline() -> KeepingPipeline:
    return KeepingPipeline()


def _serve(loop, start, pipeline):
    server = asyncio.run_coroutine_threadsafe(
        start(pipeline, "127.0.0.1", 0, max_body_bytes=LIMIT), loop
    ).result()
    yield server.port
    asyncio.run_coroutine_threadsafe(server.stop(0.1), loop).result()


@pytest.fixture
def grpc_port(loop, pipeline) -> Iterator[int]:
    yield from _serve(loop, otlp_grpc.start_otlp_grpc, pipeline)


@pytest.fixture
def http_port(loop, pipeline) -> Iterator[int]:
    yield from _serve(loop, otlp_http.start_otlp_http, pipeline)
