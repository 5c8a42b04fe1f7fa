"""Reads and writes a device past the kernel's cache (open(2), `O_DIRECT`).

What is read so comes from the medium; what is written so displaces nothing that the running system needs,
and neither is copied once more. The kernel wants whole blocks, in memory that begins where a page does. What
is not aligned like that goes through the cache, as everything does where a file system knows no other way.
"""

import errno
import fcntl
import mmap
import os
import stat
import struct
from typing import Final

BLKSSZGET: Final = 0x1268  # linux/fs.h: what a device reads and writes as a whole
BLKZEROOUT: Final = 0x127F  # linux/fs.h: a range that is to be zeros when it is read
RANGE: Final = struct.Struct("=QQ")
"""Start and length, as `BLKZEROOUT` takes them."""
FILE_BLOCK_BYTES: Final = 4096
STEP_BYTES: Final = 1024 * 1024
"""So much is moved by one call."""


class DirectFile:
    """One descriptor of a device and one buffer, both made at their first use. Raises `OSError`.

    It serves one thread; another one has its own.
    """

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self._path = path
        self._flags = flags
        self._descriptor: int | None = None
        self._block_bytes = 0
        self._unknown = False
        self._zeroes = True
        self._buffer: memoryview | None = None

    def read(self, offset: int, length_bytes: int) -> memoryview | None:
        """At most `STEP_BYTES`, in memory that the next call uses again; None where it cannot be."""
        assert length_bytes <= STEP_BYTES, "the buffer is no longer"
        return self.read_into(self._memory()[:length_bytes], offset)

    def read_into(self, view: memoryview, offset: int) -> memoryview | None:
        """As much as there is room for in memory that begins where a page does; None where it cannot be."""
        descriptor = self._usable(offset, len(view))
        if descriptor is None:
            return None
        done = 0
        while done < len(view):
            try:
                count = os.preadv(descriptor, [view[done:]], offset + done)
            except OSError as error:
                self._judge(error)
                return None
            if not count:
                return None
            done += count
        return view.toreadonly()

    def write_zeros(self, offset: int, length_bytes: int) -> bool:
        """Whether the device made these bytes zeros by itself, without any being sent to it."""
        descriptor = self._usable(offset, length_bytes)
        if descriptor is None or not self._zeroes:
            return False
        try:
            fcntl.ioctl(descriptor, BLKZEROOUT, RANGE.pack(offset, length_bytes))
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            self._zeroes = False
        return self._zeroes

    def write(self, offset: int, contents: list[bytes]) -> bool:
        """Whether these were written one behind the other; where they cannot be, a part may have been."""
        descriptor = self._usable(offset, sum(map(len, contents)))
        if descriptor is None:
            return False
        memory = self._memory()
        used = 0
        for content in contents:
            given = memoryview(content)
            while given:
                step_bytes = min(STEP_BYTES - used, len(given))
                memory[used : used + step_bytes] = given[:step_bytes]
                used, given = used + step_bytes, given[step_bytes:]
                if used == STEP_BYTES:
                    if not self._write_out(descriptor, memory, offset):
                        return False
                    offset, used = offset + used, 0
        return not used or self._write_out(descriptor, memory[:used], offset)

    def _write_out(self, descriptor: int, view: memoryview, offset: int) -> bool:
        done = 0
        while done < len(view):
            try:
                done += os.pwritev(descriptor, [view[done:]], offset + done)
            except OSError as error:
                self._judge(error)
                return False
        return True

    def close(self) -> None:
        """Let the device go; the next use opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._buffer, self._unknown = None, None, False

    def _usable(self, offset: int, length_bytes: int) -> int | None:
        if self._descriptor is None and not self._unknown:
            try:
                self._descriptor = os.open(self._path, self._flags | os.O_CLOEXEC | os.O_DIRECT)
            except OSError as error:
                self._judge(error)
            else:
                self._block_bytes = _block_bytes(self._descriptor)
        if self._unknown or offset % self._block_bytes or length_bytes % self._block_bytes:
            return None
        return self._descriptor

    def _judge(self, error: OSError) -> None:
        """A file system, or a device, that does not know this way says that the call makes no sense."""
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise error
        self._unknown = True

    def _memory(self) -> memoryview:
        if self._buffer is None:
            self._buffer = memoryview(mmap.mmap(-1, STEP_BYTES))
        return self._buffer


def _block_bytes(descriptor: int) -> int:
    if not stat.S_ISBLK(os.fstat(descriptor).st_mode):
        return FILE_BLOCK_BYTES
    size = fcntl.ioctl(descriptor, BLKSSZGET, bytes(4))
    return int.from_bytes(size, "little")
