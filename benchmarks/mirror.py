"""A mirror without a network: the blobs of a folder, and a count of what is asked of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from agent.interfaces import ByteStream


@dataclass(slots=True)
class _Stream:
    file: IO[bytes]
    left: int

    def read(self, length_max: int) -> bytes:
        """At most so many bytes."""
        content = self.file.read(min(length_max, self.left))
        self.left -= len(content)
        return content

    def close(self) -> None:
        """Close the file."""
        self.file.close()


@dataclass(slots=True)
class Mirror:
    """A `Repository` in which `blobs/HEX` is the file HEX of the folder."""

    blobs: Path
    opened: list[str] = field(default_factory=list)
    asked_bytes: int = 0

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        """The bytes of a file from offset on."""
        self.opened.append(path)
        self.asked_bytes += length_max
        file = (self.blobs / Path(path).name).open("rb")
        file.seek(offset)
        return _Stream(file, length_max)
