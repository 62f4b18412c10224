"""One call of the official Python client, which has no limit for it and asks for no progress; prints the answer.

    patient.py stdio COMMAND [ARG...]        (environment variables that start with COUNTERSIGN_ are handed on)
    patient.py http URL                      (bearer token from PEER_TOKEN, where it is set)
"""

import json
import os
import sys
import time

import anyio
import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client


def transport(argv):
    kind, *rest = argv
    if kind == "stdio":
        env = {name: value for name, value in os.environ.items() if name.startswith("COUNTERSIGN_")}
        return StdioServerParameters(command=rest[0], args=rest[1:], env=env)
    token = os.environ.get("PEER_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # What the client's own HTTP client would wait between two bytes is 300 s; comments keep it reading in far less.
    return streamable_http_client(rest[0], http_client=httpx2.AsyncClient(headers=headers, timeout=30))


async def main():
    async with Client(transport(sys.argv[1:])) as client:
        started = time.monotonic()
        answer = await client.call_tool("echo", {"message": "worth the wait"})
        seconds = round(time.monotonic() - started)
        answer = answer.model_dump(mode="json", by_alias=True, exclude_none=True)
        json.dump({"echo": answer, "seconds": seconds}, sys.stdout)


anyio.run(main)
