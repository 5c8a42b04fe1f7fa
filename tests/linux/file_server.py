"""An HTTPS server for static files with ranges, which can be told to misbehave."""

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.linux.authority import Credential

HOST = "127.0.0.1"
Answer = Callable[["Handler"], None]


@dataclass(slots=True)
class Shelf:
    """What a server has: files, and paths at which it does something else."""

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    ending: threading.Event = field(default_factory=threading.Event)


class Server(ThreadingHTTPServer):
    """Serves one shelf; broken connections are what its clients are tested with."""

    daemon_threads = False
    block_on_close = True

    def __init__(self, shelf: Shelf, credential: Credential) -> None:
        super().__init__((HOST, 0), Handler)
        self.shelf = shelf
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(credential.certificate, credential.key)

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self.shelf.connections += 1
        with suppress(OSError), self.context.wrap_socket(request, server_side=True) as secured:
            secured.settimeout(1)
            Handler(secured, client_address, self)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        shelf = self.server.shelf
        shelf.requests.append({"path": self.path, **self.headers})
        with suppress(OSError):
            if self.path in shelf.answers:
                self.close_connection = True
                shelf.answers[self.path](self)
            elif self.path in shelf.files:
                self.serve(shelf.files[self.path])
            else:
                self.reply(404, b"no such file")

    def wanted(self) -> tuple[int, int]:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        assert found is not None, "the agent always asks for a range"
        return int(found[1]), int(found[2])

    def serve(self, content: bytes) -> None:
        start, last = self.wanted()
        if start >= len(content):
            self.reply(416, b"")
            return
        last = min(last, len(content) - 1)
        self.reply(206, content[start : last + 1], ("Content-Range", f"bytes {start}-{last}/9999"))

    def reply(self, status: int, content: bytes, *headers: tuple[str, str]) -> None:
        self.start(status, ("Content-Length", str(len(content))), *headers)
        self.wfile.write(content)

    def start(self, status: int, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def drip(self, pieces: Iterator[bytes], pause_s: float) -> None:
        """Send pieces slowly, until the client has had enough."""
        for piece in pieces:
            if self.server.shelf.ending.wait(pause_s):
                return
            self.wfile.write(piece)
            self.wfile.flush()

    def stall(self) -> None:
        self.server.shelf.ending.wait(20)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # its name there
        """Say nothing."""


@contextmanager
def running_server(shelf: Shelf, credential: Credential) -> Iterator[Server]:
    server = Server(shelf, credential)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        shelf.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
