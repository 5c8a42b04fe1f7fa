"""A folder of a file system that promises less than any real one, below the real `LinuxFiles`.

The calls happen on a real folder; beside it this module keeps what a power cut could leave of each name.
The content of a file that was not synced may be whole, half there or empty, whatever its name says.
Entries of a folder that was not synced may be any that the name has had since.
"""

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from agent.linux.files import LinuxCalls


@dataclass(slots=True)
class _Content:
    """A file's content, and whether it was synced since it was written."""

    content: bytes | None
    synced: bool

    def possible(self) -> set[bytes | None]:
        """What of it a cut may leave."""
        if self.synced or self.content is None:
            return {self.content}
        return {b"", self.content[: len(self.content) // 2], self.content}


@dataclass(slots=True)
class WeakFolder:
    """The `Calls` of a folder that forgets; `fails_in` counts down to a sync that fails.

    `seen` collects, before and after each call, what a cut could leave of the watched name.
    """

    watched: str
    fails_in: int = 0
    seen: set[bytes | None] = field(default_factory=set)
    _calls: LinuxCalls = field(default_factory=LinuxCalls)
    _entries: dict[str, list[_Content]] = field(default_factory=dict)
    _synced: dict[int, bytes] = field(default_factory=dict)

    def possible(self) -> set[bytes | None]:
        """What a cut now could leave of the watched name."""
        versions = self._entries.get(self.watched, [_Content(None, synced=True)])
        return {content for version in versions for content in version.possible()}

    def fsync(self, descriptor: int) -> None:
        """Make durable, unless this is the one that fails."""
        self.seen |= self.possible()
        self.fails_in -= 1
        if self.fails_in == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._calls.fsync(descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._entries = {name: kept[-1:] for name, kept in self._entries.items()}
        else:
            self._synced[status.st_ino] = _content(descriptor)
        self.seen |= self.possible()

    def rename(self, source: str, target: str, folder: int) -> None:
        """Move an entry; its content comes along only as far as it was synced."""
        self.seen |= self.possible()
        descriptor = os.open(source, os.O_RDONLY, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            content = os.pread(descriptor, status.st_size, 0)
        finally:
            os.close(descriptor)
        self._calls.rename(source, target, folder)
        synced = self._synced.get(status.st_ino) == content
        self._versions(target).append(_Content(content, synced))
        self.seen |= self.possible()

    def unlink(self, name: str, folder: int) -> None:
        """Remove an entry."""
        self._calls.unlink(name, folder)
        self._versions(name).append(_Content(None, synced=True))
        self.seen |= self.possible()

    def _versions(self, name: str) -> list[_Content]:
        return self._entries.setdefault(name, [_Content(None, synced=True)])


def _content(descriptor: int) -> bytes:
    """The content of a file that may be open for writing only."""
    return Path(f"/proc/self/fd/{descriptor}").read_bytes()
