"""`BlockDevice` on Linux: partitions, and plain files where a container has no others.

What is small goes through the kernel's cache and is not durable before `flush`, which also drops the cache,
so that what is read afterwards has been on the medium. What is large goes past it where that can be.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.errors import InstallError
from agent.linux.direct import STEP_BYTES, DirectFile

if TYPE_CHECKING:
    from agent.linux.write_behind import WriteBehind

BLKFLSBUF: Final = 0x1261  # linux/fs.h: write back and forget the buffers of a block device
MOUNTS: Final = "/proc/self/mountinfo"
DIRECT_BYTES_MIN: Final = 64 * 1024
"""What is shorter is read through the cache, since its neighbours will be wanted too."""


class LinuxBlockDevice:
    """One block device, opened at its first use. Raises `InstallError`.

    Reading is allowed while it is mounted, because the active slot is; writing is not, and the first
    write claims the device so that nobody can mount it meanwhile. From the first `flush_behind` to the next
    `flush` a thread writes.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader: int | None = None
        self._writer: int | None = None
        self._direct = DirectFile(path)
        self._behind: WriteBehind | None = None
        self._size_bytes: int | None = None

    @property
    def size_bytes(self) -> int:
        """The size of the device; it does not change while it is open."""
        if self._size_bytes is None:
            with self._translated("find the size of"):
                self._size_bytes = os.lseek(self._for_reading(), 0, os.SEEK_END)
        return self._size_bytes

    def read(self, offset: int, length_bytes: int) -> bytes:
        """Exactly this many bytes."""
        self._check_bounds("read", offset, length_bytes)
        try:  # a delta has tens of thousands of these, for which a context manager costs too much
            if self._behind is not None:
                return self._behind.newest(offset, length_bytes, self._read_written)
            return self._read_written(offset, length_bytes)
        except OSError as error:
            raise self._refused("read", error) from error

    def holds(self, offset: int, content: bytes) -> bool:
        """Whether a read finds exactly this content; nothing is copied for it."""
        self._check_bounds("read", offset, len(content))
        if self._behind is not None:
            if self._behind.awaits(offset, len(content)):
                return self.read(offset, len(content)) == content
            view = self._behind.found(offset, len(content))
            if view is not None:
                return content.startswith(view)
        with self._translated("read"):
            return all(
                content.startswith(self._read_step(offset + start, len(content) - start), start)
                for start in range(0, len(content), STEP_BYTES)
            )

    def write(self, offset: int, content: bytes) -> None:
        """Hand bytes to the kernel; a cut before the next flush may lose any part of them."""
        self._check_bounds("write", offset, len(content))
        if self._behind is not None:
            self._behind.write(offset, content)
            return
        with self._translated("write"):
            self._write_cached(offset, content)

    def flush_behind(self) -> None:
        """Begin a flush, and return when the one before is complete; what follows is written by a thread.

        The first time nothing is begun by then: all that was written is flushed here.
        """
        if self._behind is None:
            self.flush()
            from agent.linux.write_behind import WriteBehind  # noqa: PLC0415  # for what installs alone

            with self._translated("write"):
                self._behind = WriteBehind(self._path, self._for_writing(), self._write_cached)
                self._behind.start()
            return
        with self._closing_at_error():
            self._behind.flush()

    def flush(self) -> None:
        """Sync, then forget the cache; also when this process wrote nothing.

        What is read back may have been written by a process that did not live to sync it, or by a
        bootloader that never does: it must not count before it is durable.
        """
        with self._closing_at_error():
            self._end_behind()
            descriptor = self._for_reading() if self._writer is None else self._writer
            os.fsync(descriptor)
        _forget_cache(descriptor)

    def close(self) -> None:
        """Let the device go; the next use opens it again."""
        with suppress(OSError):
            self._end_behind()
        self._direct.close()
        for descriptor in (self._reader, self._writer):
            if descriptor is not None:
                os.close(descriptor)
        self._reader = self._writer = self._size_bytes = None

    def _end_behind(self) -> None:
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.end()

    @contextmanager
    def _closing_at_error(self) -> Iterator[None]:
        """After a failed sync the kernel may call lost pages clean, so a second one proves nothing.

        The device is closed, its cache dropped, and whoever tries again must read back what is there.
        """
        try:
            with self._translated("flush"):
                yield
        except InstallError:
            for descriptor in (self._reader, self._writer):
                if descriptor is not None:
                    _forget_cache(descriptor)
            self.close()
            raise

    def _read_written(self, offset: int, length_bytes: int) -> bytes:
        if length_bytes >= DIRECT_BYTES_MIN and self._writer is not None:
            return self._read_large(offset, length_bytes)
        # Of what is only read the kernel reads ahead.
        return self._read_cached(offset, length_bytes)

    def _read_large(self, offset: int, length_bytes: int) -> bytes:
        pieces = []
        for start in range(offset, offset + length_bytes, STEP_BYTES):
            step_bytes = min(STEP_BYTES, offset + length_bytes - start)
            found = self._direct.read(start, step_bytes)
            pieces.append(self._read_cached(start, step_bytes) if found is None else bytes(found))
        return b"".join(pieces)

    def _read_step(self, offset: int, left_bytes: int) -> "memoryview | bytes":
        """The next bytes of so many, from the medium."""
        length_bytes = min(STEP_BYTES, left_bytes)
        found = self._direct.read(offset, length_bytes)
        if found is not None:
            return found
        self._forget(offset, length_bytes)
        return self._read_cached(offset, length_bytes)

    def _read_cached(self, offset: int, length_bytes: int) -> bytes:
        descriptor = self._for_reading()
        content = os.pread(descriptor, length_bytes, offset)
        if len(content) < length_bytes:
            content += _read_rest(descriptor, length_bytes - len(content), offset + len(content))
        return content

    def _write_cached(self, offset: int, content: bytes) -> None:
        """The medium begins to take the bytes at once, so that a flush waits for less.

        Of pages that are not written yet this advice makes the kernel begin to write (mm/fadvise.c).
        """
        start, rest = offset, memoryview(content)
        descriptor = self._for_writing()
        while rest:
            count = os.pwrite(descriptor, rest, offset)
            offset += count
            rest = rest[count:]
        self._forget(start, len(content))

    def _forget(self, offset: int, length_bytes: int) -> None:
        os.posix_fadvise(self._for_reading(), offset, length_bytes, os.POSIX_FADV_DONTNEED)

    def _check_bounds(self, verb: str, offset: int, length_bytes: int) -> None:
        assert offset >= 0, "an offset counts from the start"
        assert length_bytes >= 0, "a length is not negative"
        if offset + length_bytes > self.size_bytes:
            raise InstallError(
                f"cannot {verb} {length_bytes} bytes at {offset} of {self._path}: "
                f"it has {self.size_bytes} bytes; check that the board profile names the right device"
            )

    def _for_reading(self) -> int:
        if self._reader is None:
            self._reader = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            mode = os.fstat(self._reader).st_mode
            if not stat.S_ISBLK(mode) and not stat.S_ISREG(mode):
                raise OSError(errno.ENOTBLK, "a block device was expected, it is something else")
        return self._reader

    def _for_writing(self) -> int:
        if self._writer is None:
            found = os.fstat(self._for_reading())
            flags = os.O_RDWR | os.O_CLOEXEC
            if stat.S_ISBLK(found.st_mode):
                self._refuse_mounted(found.st_rdev)
                flags |= os.O_EXCL  # for a block device: refuse if anything in the kernel holds it
            self._writer = os.open(self._path, flags)
        return self._writer

    def _refuse_mounted(self, number: int) -> None:
        table = Path(MOUNTS).read_text("utf-8", "replace")  # folders have any bytes as their names
        place = mount_point(table, number)
        if place is not None:
            raise InstallError(
                f"cannot write {self._path}: it is mounted at {place}; an update only writes what "
                f"does not run, check that the board profile names the right device, or unmount it"
            )

    @contextmanager
    def _translated(self, verb: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._refused(verb, error) from error

    def _refused(self, verb: str, error: OSError) -> InstallError:
        return InstallError(
            f"cannot {verb} {self._path}: {error.strerror or error}; {_advice(error)}"
        )


def mount_point(table: str, number: int) -> str | None:
    """Where a device, by its major and minor number, is mounted according to a mountinfo table.

    Each line has the number in its third field and the place in its fifth (proc_pid_mountinfo(5)).
    """
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in table.split("\n"):
        fields = line.split(" ")
        if len(fields) > 4 and fields[2] == wanted:
            return fields[4]
    return None


def _read_rest(descriptor: int, length_bytes: int, offset: int) -> bytes:
    pieces: list[bytes] = []
    while length_bytes > 0:
        piece = os.pread(descriptor, length_bytes, offset)
        if not piece:
            raise OSError(errno.EIO, f"it ends at byte {offset}, before its size")
        pieces.append(piece)
        offset += len(piece)
        length_bytes -= len(piece)
    return b"".join(pieces)


def _forget_cache(descriptor: int) -> None:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    if stat.S_ISBLK(os.fstat(descriptor).st_mode):
        try:
            fcntl.ioctl(descriptor, BLKFLSBUF, 0)
        except PermissionError:
            return  # needs CAP_SYS_ADMIN; the advice above has dropped all clean pages already


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EBUSY:
            return "something else uses it (a mount, swap, a volume): check the board profile"
        case errno.EIO:
            return "the medium reports an error; if that stays so, replace it"
        case errno.ENOENT | errno.ENOTBLK | errno.ENXIO:
            return "check that the board profile names the right device"
        case errno.EACCES | errno.EPERM:
            return "lockgate must run as root, or be allowed this device"
        case errno.EROFS:
            return "it is write-protected"
        case errno.ENOSPC:
            return "the file that stands for a device needs more room below it"
        case _:
            return "the active slot is untouched; try again, then check the medium"
