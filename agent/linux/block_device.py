"""`BlockDevice` on Linux: partitions, and plain files where a container has no others.

Writes go to the kernel's cache and are not durable before `flush`, which also drops the cache, so
that what is read afterwards has been on the medium.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from agent.errors import InstallError

BLKFLSBUF: Final = 0x1261  # linux/fs.h: write back and forget the buffers of a block device
MOUNTS: Final = "/proc/self/mountinfo"


class LinuxBlockDevice:
    """One block device, opened at its first use. Raises `InstallError`.

    Reading is allowed while it is mounted, because the active slot is; writing is not, and the first
    write claims the device so that nobody can mount it meanwhile.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader: int | None = None
        self._writer: int | None = None
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
        try:  # a delta has a hundred thousand of these, for which a context manager costs too much
            descriptor = self._for_reading()
            content = os.pread(descriptor, length_bytes, offset)
            if len(content) < length_bytes:
                content += _read_rest(
                    descriptor, length_bytes - len(content), offset + len(content)
                )
        except OSError as error:
            raise self._refused("read", error) from error
        return content

    def write(self, offset: int, content: bytes) -> None:
        """Hand bytes to the kernel; a cut before the next flush may lose any part of them.

        The medium begins to take them at once, while the next bytes are made, so that a flush waits for less:
        of pages that are not written yet this advice makes the kernel begin to write (mm/fadvise.c).
        """
        self._check_bounds("write", offset, len(content))
        start, rest = offset, memoryview(content)
        with self._translated("write"):
            descriptor = self._for_writing()
            while rest:
                count = os.pwrite(descriptor, rest, offset)
                offset += count
                rest = rest[count:]
            os.posix_fadvise(descriptor, start, len(content), os.POSIX_FADV_DONTNEED)

    def flush(self) -> None:
        """Sync, then forget the cache; also when this process wrote nothing.

        What is read back may have been written by a process that did not live to sync it, or by a
        bootloader that never does: it must not count before it is durable.

        After a failed sync the kernel may call lost pages clean, so a second one proves nothing: the
        device is closed, its cache dropped, and whoever tries again must read back what is there.
        """
        with self._translated("flush"):
            descriptor = self._for_reading() if self._writer is None else self._writer
        try:
            with self._translated("flush"):
                os.fsync(descriptor)
        except InstallError:
            _forget_cache(descriptor)
            self.close()
            raise
        _forget_cache(descriptor)

    def close(self) -> None:
        """Let the device go; the next use opens it again."""
        for descriptor in (self._reader, self._writer):
            if descriptor is not None:
                os.close(descriptor)
        self._reader = self._writer = self._size_bytes = None

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
