"""A file server on this machine that can be told to misbehave, one request after another."""

import hashlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["FileServer", BaseHTTPRequestHandler], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that leaves is expected
            super().handle_error(request, client_address)


class FileServer:
    """Serves ``content`` at every path. ``answers`` are used up one a request, then it behaves.

    ``seen`` are the headers of each request. ``gone_on`` lets a stalled answer end.
    """

    def __init__(self, content: bytes, etag: str = '"one"') -> None:
        self.content = content
        self.etag = etag
        self.answers: list[Answer] = []
        self.seen: list[dict[str, str]] = []
        self.gone_on = threading.Event()
        self.url = ""

    @property
    def sha256(self) -> str:
        """Of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def file_url(self, name: str) -> str:
        """Where a file of that name is to be had."""
        return f"{self.url}/{name}"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One request."""
        self.seen.append(dict(handler.headers.items()))
        (self.answers.pop(0) if self.answers else whole)(self, handler)


@contextmanager
def serve_files(content: bytes, etag: str = '"one"') -> Iterator[FileServer]:
    """A server for the length of a block."""
    files = FileServer(content, etag)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            files.answer(self)

        def do_HEAD(self) -> None:
            files.seen.append(dict(self.headers.items()))
            _head(files, self)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    files.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield files
    finally:
        files.gone_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _begins_at(files: FileServer, handler: BaseHTTPRequestHandler) -> int:
    """From which byte on, by Range and If-Range."""
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if asked is None or handler.headers.get("If-Range", files.etag) != files.etag:
        return 0
    return int(asked[1])


def _head(
    files: FileServer, handler: BaseHTTPRequestHandler, *, status: int = 0, length: int = -1
) -> int:
    """Send the head of a good answer; at which byte it begins."""
    begin = _begins_at(files, handler)
    total = len(files.content)
    handler.send_response(status or (206 if begin else 200))
    handler.send_header("Content-Length", str(total - begin if length < 0 else length))
    handler.send_header("Content-Type", "application/octet-stream")
    if files.etag:
        handler.send_header("ETag", files.etag)
    if begin:
        handler.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
    handler.end_headers()
    return begin


def whole(files: FileServer, handler: BaseHTTPRequestHandler) -> None:
    """Behave."""
    if _begins_at(files, handler) >= len(files.content) > 0:
        status(416)(files, handler)
        return
    handler.wfile.write(files.content[_head(files, handler) :])


def breaks_off_after(count: int) -> Answer:
    """Close the connection after so many bytes of what was promised."""

    def answer(files: FileServer, handler: BaseHTTPRequestHandler) -> None:
        begin = _head(files, handler)
        handler.wfile.write(files.content[begin : begin + count])
        handler.close_connection = True

    return answer


def stalls_after(count: int) -> Answer:
    """Send so many bytes and then nothing, with the connection open."""

    def answer(files: FileServer, handler: BaseHTTPRequestHandler) -> None:
        begin = _head(files, handler)
        handler.wfile.write(files.content[begin : begin + count])
        handler.wfile.flush()
        files.gone_on.wait(20)
        handler.close_connection = True

    return answer


def ignores_range(files: FileServer, handler: BaseHTTPRequestHandler) -> None:
    """Send everything whatever is asked for."""
    del handler.headers["Range"]
    whole(files, handler)


def says_length(length: int) -> Answer:
    """Promise so many bytes, and send that many of the content."""

    def answer(files: FileServer, handler: BaseHTTPRequestHandler) -> None:
        begin = _head(files, handler, length=length)
        handler.wfile.write(files.content[begin : begin + length])
        handler.close_connection = True

    return answer


def without_length(files: FileServer, handler: BaseHTTPRequestHandler) -> None:
    """Send in chunks, and never say how long it is."""
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    size = f"{len(files.content):x}\r\n".encode()
    handler.wfile.write(size + files.content + b"\r\n0\r\n\r\n")


def status(code: int, body: bytes = b"no", kind: str = "text/plain") -> Answer:
    """Answer with a status and nothing of use."""

    def answer(files: FileServer, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirects(to: str, **headers: str) -> Answer:
    """Send on to another address; underscores in names of headers are dashes."""

    def answer(files: FileServer, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def hub(files: FileServer, sha256: str = "", size: int = -1) -> Answer:
    """Redirect as Hugging Face does, with what it says of the file."""
    return redirects(
        f"{files.url}/bytes",
        X_Linked_Etag=f'"{sha256 or files.sha256}"',
        X_Linked_Size=str(len(files.content) if size < 0 else size),
    )
