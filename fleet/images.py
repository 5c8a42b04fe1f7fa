"""Opens an image file, packed or not, as a stream of the bytes that must end up on the board.

Raw images and those packed with xz, gzip or zstd are told apart by their first bytes, never by name.
Nothing is unpacked to disk, and memory does not grow with the image.
"""

import gzip
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from agent.errors import ConfigError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

XZ: Final = b"\xfd7zXZ\x00"
GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
UNSUPPORTED: Final = (
    (b"PK\x03\x04", "a zip archive"),
    (b"BZh", "packed with bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x3a\xff\x26\xed", "an Android sparse image"),
    (b"QFI\xfb", "a QEMU qcow2 image"),
)
MAGIC_BYTES: Final = 8


class Readable(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes:
        """At most this many bytes; empty only at the end."""
        ...


class _Input(Readable, Protocol):
    def tell(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ImageStream:
    """An image on its way in. `read` raises `ConfigError` for a file that is damaged or cut short."""

    path: Path
    file_bytes: int
    _unpacked: Readable
    _file: _Input

    def read(self, length_bytes: int) -> bytes:
        """Exactly this many bytes of the image, or the rest of it."""
        parts: list[bytes] = []
        missing = length_bytes
        try:
            while missing and (part := self._unpacked.read(missing)):
                parts.append(part)
                missing -= len(part)
        except (OSError, EOFError, lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
            raise ConfigError(
                f"{self.path}: the file is damaged or cut short ({error}); build or copy it again"
            ) from error
        return b"".join(parts)

    def consumed_bytes(self) -> int:
        """How far the file has been read, of `file_bytes`."""
        return self._file.tell()


@contextmanager
def open_image(path: Path) -> Iterator[ImageStream]:
    """The image in a file. Raises `ConfigError` for a file that is missing or of a foreign format."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            magic = file.read(MAGIC_BYTES)
            file.seek(0)
        except OSError as error:
            raise ConfigError(f"{path}: the image cannot be read: {error.strerror}") from error
        unpacked: Readable = file
        if magic.startswith(XZ):
            unpacked = stack.enter_context(lzma.open(file))
        elif magic.startswith(GZIP):
            unpacked = stack.enter_context(gzip.open(file))
        elif magic.startswith(ZSTD):
            unpacked = stack.enter_context(zstd.open(file))
        else:
            _refuse_foreign(path, magic)
        yield ImageStream(path, path.stat().st_size, unpacked, file)


def _refuse_foreign(path: Path, magic: bytes) -> None:
    for start, words in UNSUPPORTED:
        if magic.startswith(start):
            raise ConfigError(
                f"{path}: a raw image, or one packed with xz, gzip or zstd, was expected; "
                f"this is {words}. Convert it to a raw image first"
            )
