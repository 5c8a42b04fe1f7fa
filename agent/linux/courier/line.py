"""One end of a socket between courier and agent: whole frames, with deadlines, or `FrameError`."""

import select
import socket
from typing import Final

from agent.linux.courier.frames import FRAME_BYTES_MAX, FrameError

SEND_TIMEOUT_S: Final = 10.0


class Line:
    """A connected SOCK_SEQPACKET socket, which keeps the bounds of what is sent."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    def send(self, frame: bytes) -> None:
        """Send one frame; the other end must take it in time. Raises `FrameError`."""
        self._socket.settimeout(SEND_TIMEOUT_S)
        try:
            self._socket.send(frame)
        except OSError as error:
            raise FrameError(f"the other process is gone ({error.strerror or error})") from error

    def receive(self, timeout_s: float) -> tuple[bytes, bytes] | None:
        """The letter and the content of the next frame; None when the time is up first."""
        if not self.ready(timeout_s):
            return None
        try:
            frame = self._socket.recv(FRAME_BYTES_MAX + 1)
        except OSError as error:
            raise FrameError(f"the other process is gone ({error.strerror or error})") from error
        if not frame:
            raise FrameError("the other process has ended")
        if len(frame) > FRAME_BYTES_MAX:
            raise FrameError(f"a frame of at most {FRAME_BYTES_MAX} bytes was expected")
        return frame[:1], frame[1:]

    def ready(self, timeout_s: float) -> bool:
        """Whether a frame, or the end, comes within this time."""
        poller = select.poll()
        poller.register(self._socket.fileno(), select.POLLIN)
        return bool(poller.poll(max(0.0, timeout_s) * 1000))

    def takes(self) -> bool:
        """Whether a frame can be sent now without waiting."""
        poller = select.poll()
        poller.register(self._socket.fileno(), select.POLLOUT)
        return bool(poller.poll(0))

    def close(self) -> None:
        """End it. A second call does nothing."""
        self._socket.close()


def dial(path: str) -> Line:
    """Connect to the other process. Raises `FrameError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        connection.settimeout(SEND_TIMEOUT_S)
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise FrameError(f"nobody answers at {path} ({error.strerror or error})") from error
    return Line(connection)
