"""A Python program as an agent that reports through MCP, as agents with a language model do.

It starts the MCP server as its own child; who it is, and which slot it is about, stands in its environment.
"""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters


async def main() -> None:
    """Look at the own calendar, then report."""
    task = sys.stdin.readline().strip()
    print("working on:", task)
    own = {name: value for name, value in os.environ.items() if name.startswith("HARBORCAL_")}
    server = StdioServerParameters(command="harborcal", args=["mcp"], env={"PATH": os.environ["PATH"], **own})
    async with Client(server) as client:
        status = await client.call_tool("harborforge_calendar_status", {})
        print("status:", status.structured_content)
        done = await client.call_tool("harborforge_calendar_complete", {"summary": f"reviewed: {task}"})
        if done.is_error:
            sys.exit(str(done.content))


asyncio.run(main())
