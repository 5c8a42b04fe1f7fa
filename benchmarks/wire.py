"""A relay before a server that says how many bytes have reached the other side, as TCP counts them.

What a server hands to its kernel is no measure: when the one who asked is killed, much of it was never
sent. The bytes that were acknowledged are; TLS, headers and handshakes are in them.
"""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
PIECE_BYTES: Final = 256 * 1024
SETTLE_S: Final = 10.0
SEGMENT_BYTES: Final = 1448
"""As on Ethernet; what one segment of a loopback interface carries would blur the count."""
ACKNOWLEDGED: Final = slice(120, 128)
"""`tcpi_bytes_acked` in `struct tcp_info` (linux/tcp.h)."""


class Relay:
    """Passes connections on to a port of this machine, for the length of this context."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self._workers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._reached_bytes = 0
        self.port = 0

    def __enter__(self) -> Self:
        """Listen."""
        self._listener = socket.create_server((HOST, 0))
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,))
        self._acceptor.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take no more connections, and wait for those that are open."""
        if self._listener is not None and self._acceptor is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join(SETTLE_S)
            self._listener.close()
        self.taken_bytes()

    def taken_bytes(self) -> int:
        """What has reached clients since the last call; all of them must be gone by now."""
        for worker in self._workers:
            worker.join(SETTLE_S)
            assert not worker.is_alive(), "the clients are gone"
        self._workers.clear()
        taken, self._reached_bytes = self._reached_bytes, 0
        return taken

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener was shut down
            for client, _ in iter(listener.accept, None):
                worker = threading.Thread(target=self._serve, args=(client,))
                worker.start()
                self._workers.append(worker)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection((HOST, self._behind)) as server:
            asking = threading.Thread(target=_pass_on, args=(client, server))
            asking.start()
            _pass_on(server, client)
            asking.join()
            info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED.stop)
        with self._lock:
            self._reached_bytes += int.from_bytes(info[ACKNOWLEDGED], "little")


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Everything until one side has no more or is gone, which the other is then told."""
    piece = bytearray(PIECE_BYTES)
    with suppress(OSError):
        while count := source.recv_into(piece):
            sink.sendall(memoryview(piece)[:count])
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
