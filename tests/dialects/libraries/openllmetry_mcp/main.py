"""OpenLLMetry (Traceloop) for the MCP SDK's first version: a client, and a server in its own process."""

from __future__ import annotations

import asyncio
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.server.fastmcp import FastMCP
from opentelemetry.instrumentation.mcp import McpInstrumentor
from scenarios import get_weather, run, tracing

provider = tracing()
McpInstrumentor().instrument(tracer_provider=provider)


def serve() -> None:
    server = FastMCP("weather")
    server.tool()(get_weather)

    @server.tool()
    def get_tides(city: str) -> str:
        raise ValueError(f"no sea near {city}")

    server.run()


def call(tool: str) -> None:
    async def ask() -> None:
        parameters = StdioServerParameters(
            command=sys.executable, args=[__file__, "serve"], env=dict(os.environ)
        )
        async with stdio_client(parameters) as pipes, ClientSession(*pipes) as session:
            await session.initialize()
            await session.list_tools()
            result = await session.call_tool(tool, {"city": "Paris"})
            if result.isError:
                raise RuntimeError(result.content)

    asyncio.run(ask())


if sys.argv[1:] == ["serve"]:
    serve()
else:
    run(
        provider.force_flush,
        {"mcp_tool": lambda: call("get_weather"), "mcp_error": lambda: call("get_tides")},
    )
