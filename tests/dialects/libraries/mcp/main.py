"""The MCP SDK's own telemetry, from its second version on: a client, and a server in its own process."""

from __future__ import annotations

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters
from mcp.server.mcpserver import MCPServer
from scenarios import get_weather, run, tracing

provider = tracing()


def serve() -> None:
    server = MCPServer("weather")
    server.tool()(get_weather)

    @server.tool()
    def get_tides(city: str) -> str:
        raise ValueError(f"no sea near {city}")

    server.run("stdio")


def call(tool: str) -> None:
    async def ask() -> None:
        parameters = StdioServerParameters(
            command=sys.executable, args=[__file__, "serve"], env=dict(os.environ)
        )
        async with Client(parameters) as client:
            await client.list_tools()
            result = await client.call_tool(tool, {"city": "Paris"})
            if result.is_error:
                raise RuntimeError(result.content)

    asyncio.run(ask())


if sys.argv[1:] == ["serve"]:
    serve()
else:
    run(
        provider.force_flush,
        {"mcp_tool": lambda: call("get_weather"), "mcp_error": lambda: call("get_tides")},
    )
