"""Drives the reference "everything" server with the fastmcp client and prints what came back, as JSON.

    fast.py stdio COMMAND [ARG...]        (environment variables that start with COUNTERSIGN_ are handed on)
    fast.py http URL                      (bearer token from PEER_TOKEN, where it is set)

Two runs that reach the same server print the same text.
"""

import asyncio
import json
import os
import re
import sys

from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError

DEADLINE = 20
SESSION_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|undefined")


def transport(argv):
    kind, *rest = argv
    if kind == "stdio":
        env = {name: value for name, value in os.environ.items() if name.startswith("COUNTERSIGN_")}
        return StdioTransport(command=rest[0], args=rest[1:], env=env, keep_alive=False)
    token = os.environ.get("PEER_TOKEN")
    return StreamableHttpTransport(rest[0], headers={"Authorization": f"Bearer {token}"} if token else {})


def plain(model):
    dumped = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.loads(SESSION_ID.sub("SESSION", json.dumps(dumped)))


async def main():
    said, steps = {}, []

    async def elicitation(message, _kind, params, _context):
        said["elicitation asked"] = [message, plain(params)]
        return {"name": "Ada", "check": True, "integer": 7}

    async def progress(done, total, text):
        steps.append([done, total, text])

    async with Client(transport(sys.argv[1:]), timeout=DEADLINE, elicitation_handler=elicitation) as client:
        said["tools"] = [plain(tool) for tool in await client.list_tools()]
        said["echo"] = plain(await client.call_tool_mcp("echo", {"message": "two\nlines, \u00e9 and \u202e"}))
        said["sum"] = plain(await client.call_tool_mcp("get-sum", {"a": 2, "b": 40}))
        said["structured"] = plain(await client.call_tool_mcp("get-structured-content", {"location": "Chicago"}))
        try:
            await client.call_tool("no-such-tool", {})
        except ToolError as error:
            said["unknown tool"] = str(error)
        said["resources"] = [plain(resource) for resource in await client.list_resources()]
        said["templates"] = [plain(template) for template in await client.list_resource_templates()]
        said["resource"] = [plain(part) for part in await client.read_resource(said["resources"][0]["uri"])]
        said["prompts"] = [plain(prompt) for prompt in await client.list_prompts()]
        said["prompt"] = plain(await client.get_prompt("args-prompt", {"city": "Chicago", "state": "Illinois"}))
        arguments = {"duration": 0.3, "steps": 3}
        said["long"] = plain(
            await client.call_tool_mcp("trigger-long-running-operation", arguments, progress_handler=progress)
        )
        said["progress"] = steps
        said["elicitation"] = plain(await client.call_tool_mcp("trigger-elicitation-request", {}))

    json.dump(said, sys.stdout, indent=1, sort_keys=True)


asyncio.run(main())
