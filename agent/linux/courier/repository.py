"""`Repository` of an agent without a network: a child of the courier fetches.

What it hands over is checked as what any mirror hands over; here only the lengths are.
"""

from typing import Final

from agent.errors import FetchError, NotFoundError, UntrustedServerError
from agent.linux.courier import frames
from agent.linux.courier.frames import FrameError, Range
from agent.linux.courier.line import Line, dial

TIMEOUT_S: Final = 45.0
"""For one server; the courier asks them one after the other."""
CODES: Final = {kind.code: kind for kind in (FetchError, NotFoundError, UntrustedServerError)}
STREAMS: Final = 0x10000


class CourierRepository:
    """The fleet's servers at the other end of a Unix socket. Raises `FetchError` and its kinds."""

    def __init__(self, path: str, servers: int) -> None:
        self._path = path
        self._timeout_s = TIMEOUT_S * max(1, servers)
        self._line: Line | None = None
        self._number = 0

    def open(self, path: str, offset: int, length_max: int) -> "CourierStream":
        """The bytes of a file from offset on, at most `length_max`."""
        self._number = (self._number + 1) % STREAMS
        self.ask(frames.encode_range(Range(self._number, offset, length_max, path)))
        self.answer(frames.OPENED, self._number, path)
        return CourierStream(self, self._number, path, length_max)

    def close(self) -> None:
        """Hang up; the courier's child ends."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def ask(self, frame: bytes) -> None:
        """Say something to the courier."""
        try:
            if self._line is None:
                self._line = dial(self._path)
            self._line.send(frame)
        except FrameError as error:
            raise self._gone(error) from error

    def answer(self, kind: bytes, number: int, path: str) -> bytes:
        """What it answers about one stream."""
        try:
            return self._answer(kind, number, path)
        except FrameError as error:
            raise self._gone(error) from error

    def _answer(self, kind: bytes, number: int, path: str) -> bytes:
        frame = None if self._line is None else self._line.receive(self._timeout_s)
        if frame is None:
            raise FrameError(f"nothing came within {self._timeout_s:g} s")
        if frame[0] == frames.FAILED:
            failure = frames.parse_failure(frame[1])
            if failure.stream == number:
                raise CODES.get(failure.code, FetchError)(failure.sentence or path)
        stream, content = frames.parse_stream(frame[1])
        if frame[0] != kind or stream != number:
            raise FrameError(f"an answer about stream {number} was expected")
        return content

    def tell(self, frame: bytes) -> None:
        """Say something that needs no answer, if there is anyone."""
        if self._line is not None:
            try:
                self._line.send(frame)
            except FrameError:
                self.close()

    def _gone(self, error: FrameError) -> FetchError:
        self.close()
        return FetchError(
            f"the courier was expected at {self._path}: {error}; it will be tried again"
        )


class CourierStream:
    """The bytes of one answer, at most as long as asked for."""

    def __init__(self, repository: CourierRepository, number: int, path: str, left: int) -> None:
        self._repository = repository
        self._number = number
        self._path = path
        self._left = left

    def read(self, length_max: int) -> bytes:
        """At least one and at most `length_max` bytes; empty only at the end."""
        wanted = min(length_max, self._left, frames.PIECE_BYTES_MAX)
        if wanted == 0:
            return b""
        self._repository.ask(frames.encode_read(self._number, wanted))
        piece = self._repository.answer(frames.PIECE, self._number, self._path)
        if len(piece) > wanted:
            self._repository.close()
            raise FetchError(
                f"{self._path}: at most {wanted} bytes were expected from the courier, "
                f"{len(piece)} found; it will be tried again"
            )
        self._left = self._left - len(piece) if piece else 0
        return piece

    def close(self) -> None:
        """Stop fetching. A second call does nothing."""
        if self._number >= 0:
            self._repository.tell(frames.encode_stream(frames.CLOSE, self._number))
            self._number, self._left = -1, 0
