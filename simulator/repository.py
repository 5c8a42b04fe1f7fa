"""A repository that counts what is asked of it, and can be as bad as any mirror."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Protocol

from agent.errors import FetchError, NotFoundError
from agent.interfaces import ByteStream
from simulator.clock import SimulatedClock
from simulator.faults import Faults, Fetch
from simulator.trace import Note, silent

STALL_S: Final = 60.0
READ_BYTES_MAX: Final = 64 * 1024
KINDS: Final = tuple(Fetch)


class Source(Protocol):
    """The files that a repository serves."""

    def length(self, path: str) -> int | None:
        """How long a file is; None when there is no such file."""
        ...

    def read(self, path: str, offset: int, length_bytes: int) -> bytes:
        """One part of a file, shorter at its end."""
        ...


@dataclass(frozen=True, slots=True)
class MemorySource:
    """Files in a dictionary, by path."""

    content: Mapping[str, bytes]

    def length(self, path: str) -> int | None:
        """How long a file is."""
        return len(self.content[path]) if path in self.content else None

    def read(self, path: str, offset: int, length_bytes: int) -> bytes:
        """One part of a file."""
        return self.content[path][offset : offset + length_bytes]


@dataclass(frozen=True, slots=True)
class FolderSource:
    """Files in a folder as the operator publishes it."""

    root: Path

    def length(self, path: str) -> int | None:
        """How long a file is."""
        file = self.root / path
        return file.stat().st_size if file.is_file() else None

    def read(self, path: str, offset: int, length_bytes: int) -> bytes:
        """One part of a file."""
        with (self.root / path).open("rb") as file:
            file.seek(offset)
            return file.read(length_bytes)

    def snapshot(self) -> MemorySource:
        """A copy of all that is published now, to be served again when it is old."""
        return MemorySource(
            {
                str(file.relative_to(self.root)): file.read_bytes()
                for file in sorted(self.root.rglob("*"))
                if file.is_file()
            }
        )


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was answered, at least in part."""

    path: str
    offset: int
    sent_bytes: int


@dataclass(slots=True)
class SimulatedRepository:
    """The `Repository` of simulated devices; `source` may be exchanged at any moment."""

    source: Source
    clock: SimulatedClock
    faults: Faults = field(default_factory=Faults)
    note: Note = silent
    bytes_per_s: float = 4e6
    requests: list[Request] = field(default_factory=list)

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        """The bytes of a file from offset on, unless a fault has it otherwise."""
        fault = self.faults.strike(KINDS, path)
        length = self.source.length(path)
        if fault is Fetch.MISSING or length is None:
            self.note("fetch", f"{path} is not there")
            self.requests.append(Request(path, offset, 0))
            raise NotFoundError(f"{path}: not found on the simulated repository")
        if fault is Fetch.STALLED:
            self.note("! stalled", path)
            self.clock.sleep(STALL_S)
            raise FetchError(f"{path}: nothing came for {STALL_S:.0f} s; will try again")
        end = min(length, offset + length_max)
        if fault is Fetch.TRUNCATED:
            end = min(end, offset + max(0, end - offset) // 2)
            self.note("! truncated", path)
        if fault is Fetch.WRONG_BYTES:
            self.note("! wrong bytes", path)
        self.note("fetch", f"{path} {offset}+{max(0, end - offset)}")
        return _Stream(self, path, offset, end, wrong=fault is Fetch.WRONG_BYTES)

    def count(self, pattern: str = "*") -> int:
        """How many requests for such paths were made."""
        return sum(1 for request in self.requests if fnmatchcase(request.path, pattern))

    def sent_bytes(self, pattern: str = "*") -> int:
        """How many bytes of such paths were sent."""
        return sum(
            request.sent_bytes for request in self.requests if fnmatchcase(request.path, pattern)
        )


@dataclass(slots=True)
class _Stream:
    """One answer on its way; a request is counted when it ends, with what was taken of it."""

    repository: SimulatedRepository
    path: str
    offset: int
    end: int
    wrong: bool
    _sent_bytes: int = 0
    _open: bool = True

    def read(self, length_max: int) -> bytes:
        """Some bytes; empty at the end."""
        if not self._open:
            raise FetchError(f"{self.path}: read after the stream was closed")
        position = self.offset + self._sent_bytes
        wanted = min(length_max, READ_BYTES_MAX, self.end - position)
        if wanted <= 0:
            return b""
        if self.repository.source.length(self.path) is None:
            raise FetchError(f"{self.path}: the server took it away in the middle; will try again")
        content = self.repository.source.read(self.path, position, wanted)
        self._sent_bytes += len(content)
        self.repository.clock.sleep(len(content) / self.repository.bytes_per_s)
        if self.wrong and content:
            content = content[:-1] + bytes([content[-1] ^ 0x01])
        return content

    def close(self) -> None:
        """Stop; a second call does nothing."""
        if self._open:
            self._open = False
            self.repository.requests.append(Request(self.path, self.offset, self._sent_bytes))
