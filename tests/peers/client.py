"""Drives the reference "everything" server with the official Python client and prints what came back, as JSON.

    client.py stdio COMMAND [ARG...]        (environment variables that start with COUNTERSIGN_ are handed on)
    client.py http URL                      (bearer token from PEER_TOKEN, where it is set)

Two runs that reach the same server print the same text: whatever differs from run to run (session ids, the random
level of a log message) is left out. What is awaited is awaited as an event with a deadline.
"""

import json
import os
import re
import sys

import anyio
import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

DEADLINE = 20
SESSION_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|undefined")


def transport(argv):
    kind, *rest = argv
    if kind == "stdio":
        env = {name: value for name, value in os.environ.items() if name.startswith("COUNTERSIGN_")}
        return StdioServerParameters(command=rest[0], args=rest[1:], env=env)
    token = os.environ.get("PEER_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return streamable_http_client(rest[0], http_client=httpx2.AsyncClient(headers=headers, timeout=DEADLINE))


def plain(model):
    dumped = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return json.loads(SESSION_ID.sub("SESSION", json.dumps(dumped)))


async def main():
    said = {}
    logged, updated = anyio.Event(), anyio.Event()

    async def sampling(_context, params):
        said["sampling asked"] = plain(params)
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="sampled"), model="none", stop_reason="endTurn"
        )

    async def elicitation(_context, params):
        said["elicitation asked"] = plain(params)
        return types.ElicitResult(action="accept", content={"name": "Ada", "check": True, "integer": 7})

    async def roots(_context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///home/agent/ledger", name="ledger")])

    async def logging(params):
        said["logging"] = type(params).__name__
        logged.set()

    async def message(note):
        if isinstance(note, types.ResourceUpdatedNotification):
            said["updated"] = plain(note)
            updated.set()

    async with Client(
        transport(sys.argv[1:]),
        read_timeout_seconds=DEADLINE,
        sampling_callback=sampling,
        elicitation_callback=elicitation,
        list_roots_callback=roots,
        logging_callback=logging,
        message_handler=message,
    ) as client:
        said["protocol"] = client.protocol_version
        said["server"] = plain(client.server_info)
        said["capabilities"] = plain(client.server_capabilities)
        said["instructions"] = client.instructions
        # Tools that depend on the client's capabilities are registered when the handshake is over.
        said["tools"] = [plain(tool) for tool in (await client.list_tools()).tools]
        said["echo"] = plain(await client.call_tool("echo", {"message": "two\nlines, \u00e9 and \u202e"}))
        said["sum"] = plain(await client.call_tool("get-sum", {"a": 2, "b": 40}))
        said["structured"] = plain(await client.call_tool("get-structured-content", {"location": "Chicago"}))
        said["unknown tool"] = plain(await client.call_tool("no-such-tool", {}))
        said["image"] = plain(await client.call_tool("get-tiny-image", {}))

        listed = (await client.list_resources()).resources
        said["resources"] = [plain(resource) for resource in listed]
        said["templates"] = [plain(one) for one in (await client.list_resource_templates()).resource_templates]
        said["resource"] = plain(await client.read_resource(str(listed[0].uri)))
        said["prompts"] = [plain(prompt) for prompt in (await client.list_prompts()).prompts]
        said["prompt"] = plain(await client.get_prompt("args-prompt", {"city": "Chicago", "state": "Illinois"}))
        reference = types.PromptReference(type="ref/prompt", name="completable-prompt")
        said["completion"] = plain(await client.complete(reference, {"name": "department", "value": "E"}))

        steps = []

        async def progress(done, total, text):
            steps.append([done, total, text])

        arguments = {"duration": 0.3, "steps": 3}
        said["long"] = plain(await client.call_tool("trigger-long-running-operation", arguments, progress_callback=progress))
        said["progress"] = steps

        said["sampling"] = plain(await client.call_tool("trigger-sampling-request", {"prompt": "hello", "maxTokens": 5}))
        said["elicitation"] = plain(await client.call_tool("trigger-elicitation-request", {}))
        said["roots"] = plain(await client.call_tool("get-roots-list", {}))

        await client.set_logging_level("debug")
        await client.subscribe_resource(str(listed[0].uri))
        # Over HTTP these arrive on the stream that the client opens in the background: ask until it is there.
        for tool, event in (("toggle-simulated-logging", logged), ("toggle-subscriber-updates", updated)):
            with anyio.fail_after(DEADLINE):
                while not event.is_set():
                    await client.call_tool(tool, {})
                    with anyio.move_on_after(0.3):
                        await event.wait()
        await client.unsubscribe_resource(str(listed[0].uri))
        await client.send_ping()

    json.dump(said, sys.stdout, indent=1, sort_keys=True)


anyio.run(main)
