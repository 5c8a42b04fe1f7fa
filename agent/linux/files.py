"""`Files` on Linux: one private folder, written by rename and made durable by fsync.

`replace` writes `NAME.new`, syncs it, renames it over NAME and syncs the folder. A cut before the
rename is durable leaves the old content, and perhaps a `NAME.new` that nobody reads and that the next
`replace` of that name clears away; in a folder below, where names need not come back, the first
`replace` of a process clears them all.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from agent.errors import StateError
from agent.linux.folders import make_private, parent_of
from agent.strict import NAME

CONTENT_BYTES_MAX: Final = 64 * 1024 * 1024
UNFINISHED: Final = ".new"
FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
ADVICE: Final = {
    errno.ENOSPC: "free some space on its file system",
    errno.EDQUOT: "free some space, or raise the quota of its owner",
    errno.EROFS: "mount its file system writable, after checking it for errors",
    errno.EIO: "check the medium, it does not keep what is written",
    errno.EACCES: "run lockgate as the user that owns it",
    errno.EPERM: "run lockgate as the user that owns it",
    errno.ELOOP: "remove the symbolic link that stands in its place",
    errno.ENOTDIR: "remove what stands in the place of a folder",
}


class Calls(Protocol):
    """The system calls on which durability rests, so that they can be counted, failed and taken out."""

    def fsync(self, descriptor: int) -> None:
        """Make a file's content, or a folder's entries, durable."""
        ...

    def rename(self, source: str, target: str, folder: int) -> None:
        """Let a name mean another file of the folder."""
        ...

    def unlink(self, name: str, folder: int) -> None:
        """Forget a name in the folder."""
        ...


class LinuxCalls:
    """The calls of this system."""

    def fsync(self, descriptor: int) -> None:
        """As `os.fsync`."""
        os.fsync(descriptor)

    def rename(self, source: str, target: str, folder: int) -> None:
        """As `os.rename` within one folder."""
        os.rename(source, target, src_dir_fd=folder, dst_dir_fd=folder)

    def unlink(self, name: str, folder: int) -> None:
        """As `os.unlink`."""
        os.unlink(name, dir_fd=folder)


class LinuxFiles:
    """Small files in one folder, which is created for its owner alone at the first write."""

    def __init__(self, folder: str, calls: Calls | None = None) -> None:
        self._folder = os.path.normpath(folder)
        self._calls = calls or LinuxCalls()
        self._durable_folders: set[str] = set()
        self._settled: set[str] = set()

    def read(self, name: str) -> bytes | None:
        """The content, or None. Symbolic links are not followed, unfinished files not seen."""
        part, leaf = self._split(name)
        with self._translated("read", name):
            try:
                with _folder(self._folder, part) as folder:
                    self._settle(part, folder)
                    return _read(leaf, folder)
            except FileNotFoundError:
                return None

    def replace(self, name: str, content: bytes) -> None:
        """Store content; a sync that fails is not tried again, the whole call has failed."""
        part, leaf = self._split(name)
        with self._translated("write", name):
            self._make_folders(part)
            with _folder(self._folder, part) as folder:
                _write(leaf + UNFINISHED, content, folder, self._calls)
                # A cut here leaves the old content and a NAME.new that is never read.
                self._calls.rename(leaf + UNFINISHED, leaf, folder)
                # A cut here leaves the old content or the new; the caller has not been told yet.
                self._calls.fsync(folder)

    def remove(self, name: str) -> None:
        """Forget a file; a cut inside leaves it whole or gone."""
        part, leaf = self._split(name)
        with (
            self._translated("remove", name),
            suppress(FileNotFoundError),  # no folder, no file
            _folder(self._folder, part) as folder,
        ):
            with suppress(FileNotFoundError):
                self._calls.unlink(leaf, folder)
            # Synced even when nothing was there: an earlier removal may not have been.
            self._calls.fsync(folder)

    def names(self, folder: str) -> tuple[str, ...]:
        """The finished files in a folder; none when there is no such folder."""
        self._split(folder)
        with self._translated("list", folder):
            try:
                with _folder(self._folder, folder) as descriptor:
                    return tuple(f"{folder}/{leaf}" for leaf in _leaves(descriptor))
            except FileNotFoundError:
                return ()

    def _settle(self, part: str, folder: int) -> None:
        """Sync a folder once in each process, before anything of it is believed.

        A process that was killed between its rename and its sync leaves a content that can be read
        and that a power cut would still take back.
        """
        if part not in self._settled:
            self._calls.fsync(folder)
            self._settled.add(part)

    def _split(self, name: str) -> tuple[str, str]:
        parts = name.split("/")
        good = all(NAME.fullmatch(part) and part not in (".", "..") for part in parts)
        if len(parts) > 2 or not good or name.endswith(UNFINISHED):
            raise StateError(
                f"a name of one or two parts of letters, digits, . _ - that does not end in "
                f"{UNFINISHED} was expected, {name[:200]!r} found; nothing was read or written"
            )
        return ("", name) if len(parts) == 1 else (parts[0], parts[1])

    def _make_folders(self, part: str) -> None:
        """Create what is missing, and sync every parent once in each process.

        Syncing also what is already there covers a process that ended between creating a folder and
        syncing its parent.
        """
        target = f"{self._folder}/{part}" if part else self._folder
        if target in self._durable_folders:
            return
        make_private(target)
        for folder in {parent_of(self._folder), parent_of(target)}:
            with _folder(folder, "") as descriptor:
                self._calls.fsync(descriptor)
        if part:  # requests of other processes are written beside it, never in it
            self._clear(part)
        self._durable_folders.add(target)

    def _clear(self, part: str) -> None:
        with _folder(self._folder, part) as folder:
            for leaf in _leaves(folder, unfinished=True):
                with suppress(FileNotFoundError):
                    self._calls.unlink(leaf, folder)

    @contextmanager
    def _translated(self, verb: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            advice = ADVICE.get(error.errno or 0, "look into the folder as the system sees it")
            raise StateError(
                f"cannot {verb} {self._folder}/{name}: {error.strerror or error}; {advice}"
            ) from error


@contextmanager
def _folder(base: str, part: str) -> Iterator[int]:
    """A descriptor of the folder; only `base` itself may be a symbolic link."""
    outer = os.open(base, FOLDER_FLAGS)
    try:
        if not part:
            yield outer
            return
        inner = os.open(part, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=outer)
        try:
            yield inner
        finally:
            os.close(inner)
    finally:
        os.close(outer)


def _leaves(folder: int, *, unfinished: bool = False) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.is_file(follow_symlinks=False)
            and NAME.fullmatch(entry.name)
            and entry.name.endswith(UNFINISHED) is unfinished
        )


def _read(leaf: str, folder: int) -> bytes:
    descriptor = os.open(leaf, READ_FLAGS, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > CONTENT_BYTES_MAX:
            raise OSError(errno.EINVAL, f"not a file of at most {CONTENT_BYTES_MAX} bytes")
        return file.read(CONTENT_BYTES_MAX)


def _write(leaf: str, content: bytes, folder: int, calls: Calls) -> None:
    """Store a new file, synced; when that fails, nothing of it stays to fill the disk."""
    with suppress(FileNotFoundError):
        calls.unlink(leaf, folder)  # what a cut left behind
    descriptor = os.open(leaf, WRITE_FLAGS, 0o600, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            calls.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            calls.unlink(leaf, folder)
        raise
