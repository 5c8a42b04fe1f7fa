"""A simulated chip on a TCP port, for `socket://` addresses; each connection is power coming back.

Unless `resets_on_open` says no.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.interfaces import LineSettings
from simulator.mcu.pump import Stop, always, pump
from simulator.mcu.wire import TimedWire

LOOK_S: Final = 0.1


@dataclass(slots=True)
class TcpPort:
    """One listening port of this computer; `settings` pace the wire, since a socket has no baud rate."""

    wire: TimedWire
    settings: LineSettings | None = None
    connections: int = 0
    resets_on_open: Callable[[], bool] = always
    _listener: socket.socket | None = None

    def open(self, port: int = 0) -> int:
        """Listen on the loopback address; 0 takes a free port, which is returned."""
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(LOOK_S)
        number: int = self._listener.getsockname()[1]
        return number

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()

    def serve(self, stop: Stop) -> None:
        """Serve one connection after the other until somebody says stop."""
        while self.serve_one(stop):
            pass

    def serve_one(self, stop: Stop) -> bool:
        """Wait for a connection and serve it to its end; False when somebody said stop."""
        assert self._listener is not None, "the port is opened first"
        while not stop():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self.carry(connection, stop)
            return not stop()
        return False

    def carry(self, connection: socket.socket, stop: Stop) -> None:
        """Serve one client to its end."""
        if self.resets_on_open():
            self.wire.reset(time.monotonic())
        pump(self.wire, connection.fileno(), lambda: self.settings, stop)
