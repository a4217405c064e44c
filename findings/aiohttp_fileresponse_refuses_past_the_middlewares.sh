#!/usr/bin/env bash
# aiohttp 3.14.5: a FileResponse decides on 416, 412 and 404 once the middlewares have returned.
# Guess that missed: an error middleware sees every refusal of a handler's reply, and can give it a body.
# Seen: the middleware sees 200; the client gets 416, 412 or 404 with an empty body.
# Who promises errors in a form of their own overrides set_status and write_eof of a subclass.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiohttp==3.14.5
cd "$folder"
venv/bin/python - <<'PYTHON'
import asyncio
from pathlib import Path

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

seen = []


@web.middleware
async def errors(request, handler):
    response = await handler(request)
    seen.append(response.status)
    return response


async def main():
    Path("file").write_bytes(b"0123456789")
    app = web.Application(middlewares=[errors])
    app.router.add_get("/file", lambda _: asyncio.sleep(0, web.FileResponse("file")))
    app.router.add_get("/gone", lambda _: asyncio.sleep(0, web.FileResponse("gone")))
    asked = [
        ("/file", {"Range": "bytes=99-"}, 416),
        ("/file", {"If-Match": '"another"'}, 412),
        ("/gone", {}, 404),
    ]
    async with TestServer(app) as server, aiohttp.ClientSession() as client:
        for path, headers, status in asked:
            async with client.get(server.make_url(path), headers=headers) as reply:
                body = await reply.read()
            print(f"aiohttp {aiohttp.__version__}: {path} {headers}: {reply.status}, body {body!r},"
                  f" the middleware saw {seen[-1]}")
            assert (reply.status, body, seen[-1]) == (status, b"", 200)


asyncio.run(main())
PYTHON
