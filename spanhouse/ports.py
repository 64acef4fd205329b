"""The ports that a command opens, and what both `up` and `translate` open: those of OTLP."""

from __future__ import annotations

import resource
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from spanhouse.config import Address
from spanhouse.errors import port_taken
from spanhouse.receivers.otlp_grpc import start_otlp_grpc
from spanhouse.receivers.otlp_http import start_otlp_http

if TYPE_CHECKING:
    from spanhouse.config import Config
    from spanhouse.pipeline import Pipeline

Stop = Callable[[], Awaitable[None]]
# Listens at an address; gives back the port and what ends it. Raises OSError or RuntimeError if it cannot.
Start = Callable[[Address], Awaitable[tuple[int, Stop]]]


def otlp_servers(
    config: Config, pipeline: Pipeline, *, shared: bool = False
) -> list[tuple[str, Address, Start]]:
    """(flag, address, how to start it) of both OTLP servers; `shared` if others listen there, too."""

    async def otlp_grpc(address: Address) -> tuple[int, Stop]:
        server = await start_otlp_grpc(
            pipeline, address.host, address.port, max_body_bytes=config.max_body_bytes, shared=shared
        )
        return server.port, server.stop

    async def otlp_http(address: Address) -> tuple[int, Stop]:
        server = await start_otlp_http(
            pipeline, address.host, address.port, max_body_bytes=config.max_body_bytes, shared=shared
        )
        return server.port, server.stop

    return [("otlp-grpc", config.otlp_grpc, otlp_grpc), ("otlp-http", config.otlp_http, otlp_http)]


async def open_port(name: str, address: Address, start: Start) -> tuple[Address, Stop]:
    """Where it listens, and what ends it.

    Raises:
        UserError: it cannot listen there.
    """
    try:
        port, stop = await start(address)
    except (OSError, RuntimeError) as error:
        raise port_taken(name, address, error) from error
    return Address(address.host, port), stop


def allow_connections() -> None:
    """A connection is a file: the usual soft limit of 1,024 is soon reached."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
