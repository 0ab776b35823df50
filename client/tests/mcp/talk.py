"""The official Python client of MCP, told what to do by lines of JSON on stdin; each is answered by one on stdout.

The first argument says which server: {"command", "args", "env"} or {"url", "token"}, with "mode" as the client
has it and "elicit", the answer to every elicitation, where the client is to say that it takes them.
"""

import json
import sys

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult


def plain(result):
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


async def main():
    config = json.loads(sys.argv[1])
    told = []

    async def elicit(context, params):
        told.append(params.message)
        return ElicitResult(action=config["elicit"], content={} if config["elicit"] == "accept" else None)

    if "url" in config:
        headers = {"Authorization": f"Bearer {config['token']}"}
        server = streamable_http_client(config["url"], http_client=httpx2.AsyncClient(headers=headers, timeout=60))
    else:
        server = StdioServerParameters(command=config["command"], args=config["args"], env=config["env"])
    callback = elicit if "elicit" in config else None
    async with Client(server, mode=config["mode"], elicitation_callback=callback) as client:

        async def call(step):
            progress = []
            with anyio.CancelScope() as scope:

                async def on_progress(done, total, message):
                    progress.append([done, message])
                    if step.get("cancel"):
                        scope.cancel()

                wanted = on_progress if "progress" in step else None
                result = await client.call_tool(step["call"], step["arguments"], progress_callback=wanted)
                return {"result": plain(result), "progress": progress, "told": told}
            return {"cancelled": True, "progress": progress}

        async def take(step):
            try:
                if "call" in step:
                    return await call(step)
                return plain(await client.list_tools(cache_mode="bypass"))
            except MCPError as e:
                return {"error": {"code": e.error.code, "message": e.error.message}}

        print(json.dumps({"version": client.protocol_version}), flush=True)
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps(await take(json.loads(line))), flush=True)


anyio.run(main)
