"""Opens an image file as a stream of the bytes that must end up on the board.

What a build leaves goes in as it is: raw, sparse or not, or packed with xz, gzip, zstd or bzip2, which are
told apart by their first bytes, never by name; with a block map beside it; and a whole disk, of which
one partition is taken. Nothing is unpacked to disk, and memory does not grow with the image.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from agent.errors import ConfigError
from fleet.disk_image import NoTableError, Partition, find_labels, read_table
from fleet.disk_image_choice import Choice, Whole, choose
from fleet.disk_image_map import MappedSource, find_map, read_map
from fleet.disk_image_source import Source, open_source

UNSUPPORTED: Final = (
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x3a\xff\x26\xed", "an Android sparse image"),
    (b"QFI\xfb", "a QEMU qcow2 image"),
)


class ImageStream(Protocol):
    """An image on its way in."""

    @property
    def file_bytes(self) -> int:
        """The length of the file that it comes from."""
        ...

    def read(self, length_bytes: int) -> bytes:
        """Exactly this many bytes of the image, or the rest of it.

        Raises `ConfigError` for a file that is damaged or cut short.
        """
        ...

    def consumed_bytes(self) -> int:
        """How far the file has been read, of `file_bytes`."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """What of a file becomes the image; `partition` is None for all of it."""

    path: Path
    packing: str
    block_map: Path | None
    partition: Partition | None


@dataclass(frozen=True, slots=True)
class PickyImage:
    """A file, what of it is wanted, and whether a block map beside it is heeded."""

    path: Path
    choice: Choice | None = None
    heed_map: bool = True


@contextmanager
def open_image(path: Path) -> Iterator[ImageStream]:
    """All of the image in a file. Raises `ConfigError` for one that is missing or of a foreign format.

    A whole disk is refused: no part of a slot takes one.
    """
    with open_picky(PickyImage(path)) as (stream, _):
        yield stream


@contextmanager
def open_picky(image: PickyImage) -> Iterator[tuple[ImageStream, Taken]]:
    """What is wanted of a file. Raises `ConfigError`, which lists the partitions that are there."""
    map_path = find_map(image.path) if image.heed_map else None
    partition = _partition(image, map_path)
    with _opened(image.path, map_path) as (source, packing):
        stream = _Piece(image.path, source, partition)
        yield stream, Taken(image.path, packing, map_path, partition)


class _Piece:
    """A source from the start of a partition to its end, or all of it."""

    def __init__(self, path: Path, source: Source, partition: Partition | None) -> None:
        self._path = path
        self._source = source
        self._skip_bytes = partition.start_bytes if partition else 0
        self._left = partition.length_bytes if partition else None

    @property
    def file_bytes(self) -> int:
        """The length of the file."""
        return self._source.file_bytes

    def read(self, length_bytes: int) -> bytes:
        """Exactly so many bytes, or the rest."""
        self._source.skip(self._skip_bytes)
        self._skip_bytes = 0
        if self._left is None:
            return read_exactly(self._source, length_bytes)
        wanted = min(length_bytes, self._left)
        content = read_exactly(self._source, wanted)
        if len(content) < wanted:
            raise ConfigError(
                f"{self._path}: the file is damaged or cut short: {self._left} bytes more of the "
                f"partition were expected, {len(content)} found; build or copy it again"
            )
        if self._left and wanted == self._left:
            self._source.finish()  # what guards the bytes that were read may stand behind them
        self._left -= wanted
        return content

    def consumed_bytes(self) -> int:
        """How far the file has been read."""
        return self._source.consumed_bytes()


def read_exactly(source: Source, length_bytes: int) -> bytes:
    """So many bytes, or what is left."""
    parts: list[bytes] = []
    missing = length_bytes
    while missing and (part := source.read(missing)):
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def _opened(path: Path, map_path: Path | None) -> Iterator[tuple[Source, str]]:
    with open_source(path) as (source, packing):
        mapped = source if map_path is None else MappedSource(source, read_map(map_path), path)
        yield mapped, packing


def _partition(image: PickyImage, map_path: Path | None) -> Partition | None:
    """The partition that is wanted; only its table is read, and what says the partitions' labels."""
    if isinstance(image.choice, Whole):
        return None
    with _opened(image.path, map_path) as (source, _):
        try:
            table = read_table(source, image.path)
        except NoTableError as error:
            _refuse_foreign(image.path, error.head)
            if image.choice is None:
                return None
            raise ConfigError(
                f"{image.path}: a whole disk was expected, since {image.choice.words} of it is wanted; "
                "it has no partition table"
            ) from error
    with _opened(image.path, map_path) as (source, _):
        return choose(find_labels(table, source), image.choice, image.path)


def _refuse_foreign(path: Path, magic: bytes) -> None:
    for start, words in UNSUPPORTED:
        if magic.startswith(start):
            raise ConfigError(
                f"{path}: a raw image, or one packed with xz, gzip, zstd or bzip2, was expected; "
                f"this is {words}. Convert it to a raw image first"
            )
