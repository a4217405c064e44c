"""The baseline of ``bench.http_routes``: aiohttp alone, serving bytes that lie in a folder."""

import argparse
from pathlib import Path

import uvloop
from aiohttp import web


def create_app(folder: Path) -> web.Application:
    """GET /json/NAME from memory, GET /file/NAME as ``web.FileResponse``."""
    bodies = {path.name: path.read_bytes() for path in folder.glob("*")}

    async def from_memory(request: web.Request) -> web.Response:
        body = bodies[request.match_info["name"]]
        return web.Response(body=body, content_type="application/json")

    async def from_file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(folder / request.match_info["name"])

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="{}", content_type="application/json")

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/json/{name}", from_memory)
    app.router.add_get("/file/{name}", from_file)
    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--outputs-dir", type=Path, required=True, help="folder of the bytes")
    options, _ = parser.parse_known_args()
    uvloop.install()
    app = create_app(options.outputs_dir)
    web.run_app(app, host="127.0.0.1", port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
