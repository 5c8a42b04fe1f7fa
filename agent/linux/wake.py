"""Wakes the running service: a Unix datagram socket at `RUNTIME/wake`.

A datagram says only "look again"; its content is not read. Who may write to the socket is the
business of its permissions and those of the runtime folder. A service manager may have made it, so
that a datagram starts the service (sd_listen_fds(3)).
"""

import os
import socket
from contextlib import suppress
from typing import Final

from agent.errors import StateError
from agent.linux.folders import make_private, parent_of

WAKE_SOCKET: Final = "wake"
DATAGRAMS_MAX: Final = 64  # the kernel queues about ten


class Waker:
    """The receiving end, for the wait of the service. Raises `StateError`."""

    def __init__(self, path: str, passed: tuple[int, ...] = ()) -> None:
        self._path = path
        self._passed = passed
        self._socket: socket.socket | None = None

    def fileno(self) -> int:
        """The descriptor to wait for; the socket is made at the first call.

        The path is taken over from a process that was killed: the state lock keeps out another
        that still runs.
        """
        if self._socket is None:
            self._socket = self._open()
        return self._socket.fileno()

    def drain(self) -> bool:
        """Whether someone called since the last time; many calls count as one."""
        if self._socket is None:
            return False
        for count in range(DATAGRAMS_MAX):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return count > 0
        return True

    def close(self) -> None:
        """Stop listening. A second call does nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            if not self._passed:
                _unlink(self._path)

    @staticmethod
    def send(path: str) -> bool:
        """Wake the service that listens at path; False when none does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            try:
                sender.sendto(b"\n", path)
            except BlockingIOError:
                return True  # its queue is full of calls already
            except OSError:
                return False
        return True

    def _open(self) -> socket.socket:
        if self._passed:
            given = socket.socket(fileno=self._passed[0])
            given.setblocking(False)
            return given
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            make_private(parent_of(self._path))
            _unlink(self._path)
            listener.bind(self._path)
            os.chmod(self._path, 0o600)
        except OSError as error:
            listener.close()
            raise StateError(
                f"cannot listen at {self._path}: {error.strerror or error}; "
                f"paths.runtime must be a short path in memory that lockgate may write"
            ) from error
        return listener


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
