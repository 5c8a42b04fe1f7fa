"""The child of the courier that fetches for one agent: HTTPS on one side, frames on the other.

It lives as long as the agent's connection, and with it goes all the memory that HTTPS costs.
"""

from typing import Final, Protocol

from agent.errors import FetchError
from agent.linux.courier import frames
from agent.linux.courier.frames import Failure, FrameError
from agent.linux.courier.line import Line

STREAMS_MAX: Final = 8
IDLE_S: Final = 3600.0
"""An agent that asks for nothing for so long gets a new child when it does."""


class Stream(Protocol):
    """Bytes on their way. Raises `FetchError`."""

    def read(self, length_max: int) -> bytes:
        """At least one byte; empty only at the end."""
        ...

    def close(self) -> None:
        """Stop."""
        ...


class Source(Protocol):
    """Where they come from."""

    def open(self, path: str, offset: int, length_max: int) -> Stream:
        """Part of a file. Raises `FetchError`."""
        ...


class Fetching:
    """Serves the requests of one connection until it ends."""

    def __init__(self, line: Line, source: Source) -> None:
        self._line = line
        self._source = source
        self._streams: dict[int, Stream] = {}

    def serve(self) -> None:
        """Until the agent goes away, says nothing for long, or says what nobody may."""
        try:
            while (frame := self._line.receive(IDLE_S)) is not None:
                self._answer(*frame)
        except FrameError:
            return
        finally:
            for stream in self._streams.values():
                stream.close()
            self._line.close()

    def _answer(self, kind: bytes, content: bytes) -> None:
        match kind:
            case frames.FETCH:
                self._open(frames.parse_range(content))
            case frames.READ:
                self._read(*frames.parse_read(content))
            case frames.CLOSE:
                self._close(frames.parse_stream(content)[0])
            case _:
                raise FrameError(f"request {kind!r} is unknown")

    def _open(self, wanted: frames.Range) -> None:
        self._close(wanted.stream)
        if len(self._streams) >= STREAMS_MAX:
            raise FrameError(f"at most {STREAMS_MAX} streams were expected at once")
        try:
            stream = self._source.open(wanted.path, wanted.offset, wanted.length_max)
        except FetchError as error:
            self._fail(wanted.stream, error)
        else:
            self._streams[wanted.stream] = stream
            self._line.send(frames.encode_stream(frames.OPENED, wanted.stream))

    def _read(self, number: int, length_bytes: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            raise FrameError(f"stream {number} is not open")
        try:
            piece = stream.read(length_bytes)
        except FetchError as error:
            self._close(number)
            self._fail(number, error)
        else:
            self._line.send(frames.encode_stream(frames.PIECE, number, piece))

    def _close(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None:
            stream.close()

    def _fail(self, number: int, error: FetchError) -> None:
        self._line.send(frames.encode_failure(Failure(number, error.code, str(error))))
