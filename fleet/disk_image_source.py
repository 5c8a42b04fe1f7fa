"""Where the bytes of an image come from: a raw file with its holes, or what a packed one unpacks to.

Both go forward only. A hole costs neither a read nor memory that was not there before.
"""

import bz2
import errno
import gzip
import lzma
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

from agent.errors import ConfigError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

XZ: Final = b"\xfd7zXZ\x00"
GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
BZIP2: Final = b"BZh"
MAGIC_BYTES: Final = 8
SKIP_BYTES: Final = 1024 * 1024


class Source(Protocol):
    """Bytes on their way forward. Raises `ConfigError` for a file that is damaged or cut short."""

    @property
    def file_bytes(self) -> int:
        """The length of the file."""
        ...

    def read(self, length_max: int) -> bytes:
        """At least one and at most so many bytes; empty only at the end."""
        ...

    def skip(self, length_bytes: int) -> None:
        """Pass over so many bytes, or to the end."""
        ...

    def finish(self) -> None:
        """See to it that all that was read is what the file's own checksums say."""
        ...

    def consumed_bytes(self) -> int:
        """How far the file has been read."""
        ...


class _Unpacked(Protocol):
    def read(self, size: int, /) -> bytes: ...


@contextmanager
def open_source(path: Path) -> Iterator[tuple[Source, str]]:
    """The bytes in a file, and the name of what it is packed with, `raw` for nothing."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            magic = file.read(MAGIC_BYTES)
            file.seek(0)
        except OSError as error:
            raise ConfigError(f"{path}: the image cannot be read: {error.strerror}") from error
        unpacked: _Unpacked
        if magic.startswith(XZ):
            unpacked, packing = stack.enter_context(lzma.open(file)), "xz"
        elif magic.startswith(GZIP):
            unpacked, packing = stack.enter_context(gzip.open(file)), "gzip"
        elif magic.startswith(ZSTD):
            unpacked, packing = stack.enter_context(zstd.open(file)), "zstd"
        elif magic.startswith(BZIP2):
            unpacked, packing = stack.enter_context(bz2.open(file)), "bzip2"
        else:
            yield RawSource(path, file), "raw"
            return
        yield PackedSource(path, file, unpacked), packing


def _damaged(path: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"{path}: the file is damaged or cut short ({error}); build or copy it again"
    )


class PackedSource:
    """What a packed file unpacks to; its checksums stand at its end, so that is where `finish` goes."""

    def __init__(self, path: Path, file: IO[bytes], unpacked: _Unpacked) -> None:
        self._path = path
        self._file = file
        self._unpacked = unpacked

    @property
    def file_bytes(self) -> int:
        """The length of the packed file."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, length_max: int) -> bytes:
        """Some bytes more."""
        try:
            return self._unpacked.read(length_max)
        except (OSError, EOFError, lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
            raise _damaged(self._path, error) from error

    def skip(self, length_bytes: int) -> None:
        """Unpack so many bytes and forget them."""
        left = length_bytes
        while left > 0 and (content := self.read(min(left, SKIP_BYTES))):
            left -= len(content)

    def finish(self) -> None:
        """Unpack the rest: a sum that is wrong shows there."""
        while self.read(SKIP_BYTES):
            pass

    def consumed_bytes(self) -> int:
        """How far the packed file has been read."""
        return self._file.tell()


class RawSource:
    """A raw file; where the file system says that there is a hole, zeros without a read."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._descriptor = file.fileno()
        self._size = file.seek(0, os.SEEK_END)
        self._position = 0
        self._end = 0
        self._hole = False

    @property
    def file_bytes(self) -> int:
        """The length of the file, its holes included."""
        return self._size

    def read(self, length_max: int) -> bytes:
        """Some bytes more, all of them data or all of them of one hole."""
        if self._position >= self._size:
            return b""
        if self._position >= self._end:
            self._look()
        length = min(length_max, self._end - self._position)
        content = bytes(length) if self._hole else self._data(length)
        self._position += len(content)
        return content

    def skip(self, length_bytes: int) -> None:
        """Go on without reading."""
        self._position = min(self._size, self._position + length_bytes)

    def finish(self) -> None:
        """A raw file has no checksums."""

    def consumed_bytes(self) -> int:
        """How far the file has been read."""
        return self._position

    def _data(self, length: int) -> bytes:
        try:
            content = os.pread(self._descriptor, length, self._position)
        except OSError as error:
            raise _damaged(self._path, error) from error
        if not content:
            raise _damaged(self._path, EOFError("it became shorter while it was read"))
        return content

    def _look(self) -> None:
        """Find out what is at this place, and how far it goes."""
        try:
            data = os.lseek(self._descriptor, self._position, os.SEEK_DATA)
        except OSError as error:
            # ENXIO: from here on there is nothing but a hole. Anything else: no holes are known here.
            self._hole, self._end = error.errno == errno.ENXIO, self._size
            return
        self._hole = data > self._position
        self._end = data if self._hole else os.lseek(self._descriptor, self._position, os.SEEK_HOLE)
