"""A server that only lists tools, in two pages, and exits on anything that it should not be asked."""

import json
import os
import sys

PAGES = {
    None: (["get_deal", {"readOnlyHint": True}], ["bad\u202ename", {"readOnlyHint": True, "destructiveHint": True}]),
    "2": (["wipe", {"destructiveHint": True}], [",".join(sorted(os.environ)), None]),
}

for line in sys.stdin:
    message = json.loads(line)
    method = message["method"]
    if method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    elif method == "tools/list":
        cursor = message["params"].get("cursor")
        result = {"tools": [{"name": name, "annotations": claims or {}} for name, claims in PAGES[cursor]]}
        if cursor is None:
            result["nextCursor"] = "2"
    elif method == "notifications/initialized":
        continue
    else:
        sys.exit(3)
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
