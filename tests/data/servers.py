"""A small web server on this machine, whose answers a test chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Answer", "Server", "serving", "whole"]

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server:
    """The address, what it serves, and what was asked of it.

    Each request takes the next of ``answers``; the last one is given again and again.
    """

    def __init__(self, address: str):
        self.address = address
        self.content = b""
        self.answers: list[Answer] = [whole]
        self.asked: list[str | None] = []  # the Range of each request


def whole(
    handler: BaseHTTPRequestHandler,
    content: bytes,
    *,
    cut: int | None = None,
    ranges: bool = True,
    length: bool = True,
) -> None:
    """The content, or the rest that was asked for; ``cut`` is how many bytes of it really come."""
    begin = 0
    asked = handler.headers.get("Range")
    if asked and ranges:
        begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        if begin >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
    else:
        handler.send_response(200)
    if length:
        handler.send_header("Content-Length", str(len(content) - begin))
    handler.end_headers()
    handler.wfile.write(content[begin:][:cut])


@contextmanager
def serving() -> Iterator[Server]:
    """A server for the time of a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.headers.get("Range"))
            answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            answer(self, server.content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = Server(f"http://127.0.0.1:{http.server_address[1]}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
