"""Block maps: which blocks of an image hold anything, with checksums, as `bmaptool create` writes them.

Format: the XML of bmap-tools, version 2.0. Blocks that are not mapped hold nothing that anybody wants: they
become zeros and are not read.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from agent.errors import ConfigError
from fleet.disk_image_source import Source

SUFFIX: Final = ".bmap"
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
BLOCK_BYTES_MAX: Final = 16 * 1024 * 1024
VERSION: Final = re.compile(r"2\.\d+")
RANGE: Final = re.compile(r"(\d+)(?:-(\d+))?")
CHECKSUM_TYPES: Final = frozenset({"sha256", "sha384", "sha512"})


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes that are mapped; `end` is the first one behind them."""

    start: int
    end: int
    checksum: str


@dataclass(frozen=True, slots=True)
class BlockMap:
    """All that is mapped of an image, in its order."""

    image_bytes: int
    checksum_type: str
    ranges: tuple[Range, ...]


def find_map(path: Path) -> Path | None:
    """The block map beside an image: its name, with none or some of its suffixes, and `.bmap`."""
    name = path.name
    for _ in range(len(path.suffixes) + 1):
        beside = path.with_name(name + SUFFIX)
        if beside.is_file():
            return beside
        name = Path(name).stem
    return None


def read_map(path: Path) -> BlockMap:
    """The block map in a file, if its own checksum is right. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: the block map cannot be read: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise _wrong(path, "plain XML of a reasonable length was expected")
    try:
        root = ET.fromstring(content)  # noqa: S314  # bounded, and without any definitions
    except (ET.ParseError, ValueError, LookupError) as error:
        raise _wrong(path, f"XML was expected: {error}") from error
    if root.tag != "bmap" or not VERSION.fullmatch(root.get("version", "")):
        raise _wrong(path, f"version 2.x was expected, {root.get('version', 'none')} found")
    try:
        return _parsed(path, root, content)
    except (KeyError, ValueError) as error:
        raise _wrong(path, f"{error} is missing or is no number") from error


def _parsed(path: Path, root: ET.Element, content: bytes) -> BlockMap:
    words = {one.tag: (one.text or "").strip() for one in root}
    checksum_type = words["ChecksumType"]
    if checksum_type not in CHECKSUM_TYPES:
        raise _wrong(path, f"checksums of an unknown kind, {checksum_type!r}")
    own = words["BmapFileChecksum"].encode()
    blank = content.replace(own, b"0" * len(own), 1)
    if not own or hashlib.new(checksum_type, blank).hexdigest().encode() != own:
        raise _wrong(path, "the map's own checksum is wrong: it was changed or cut short")
    image_bytes, block_bytes = int(words["ImageSize"]), int(words["BlockSize"])
    if image_bytes < 1 or not 1 <= block_bytes <= BLOCK_BYTES_MAX:
        raise _wrong(path, f"blocks of {block_bytes} bytes for {image_bytes}")
    ranges: list[Range] = []
    for one in root.iterfind("BlockMap/Range"):
        found = RANGE.fullmatch((one.text or "").strip())
        if found is None:
            raise _wrong(path, f"blocks as FIRST-LAST were expected, {one.text!r} found")
        first, last = int(found[1]), int(found[2] or found[1])
        start, end = first * block_bytes, min((last + 1) * block_bytes, image_bytes)
        if not (ranges[-1].end if ranges else 0) <= start < end:
            raise _wrong(path, f"the range {found[0]} is not behind the one before it")
        ranges.append(Range(start, end, one.get("chksum", "")))
    return BlockMap(image_bytes, checksum_type, tuple(ranges))


def _wrong(path: Path, told: str) -> ConfigError:
    return ConfigError(
        f"{path}: not a block map that can be used: {told}; copy it again, or go without it: --no-bmap"
    )


class MappedSource:
    """A source seen through its block map: what is mapped is checked, all else is zeros."""

    def __init__(self, source: Source, block_map: BlockMap, path: Path) -> None:
        self._source = source
        self._map = block_map
        self._path = path
        self._position = 0
        self._number = 0
        self._digest = hashlib.new(block_map.checksum_type)

    @property
    def file_bytes(self) -> int:
        """The length of the file."""
        return self._source.file_bytes

    def read(self, length_max: int) -> bytes:
        """Some bytes more; the last ones of a range only when the range has its checksum."""
        current = self._range()
        if current is None or self._position < current.start:
            return self._zeros(current.start if current else self._map.image_bytes, length_max)
        content = self._source.read(min(length_max, current.end - self._position))
        if not content:
            raise ConfigError(
                f"{self._path}: the file is damaged or cut short: it ends at byte {self._position}, "
                f"before what its block map says; build or copy it again"
            )
        self._digest.update(content)
        self._position += len(content)
        if self._position == current.end:
            self._check(current)
        return content

    def skip(self, length_bytes: int) -> None:
        """Pass over bytes; mapped ones are read, because their sum may cover wanted ones."""
        end = self._position + length_bytes
        while self._position < end and self.read(min(end - self._position, BLOCK_BYTES_MAX)):
            pass

    def finish(self) -> None:
        """Read on to the end of the range that was begun."""
        current = self._range()
        while current is not None and current.start < self._position < current.end:
            self.read(BLOCK_BYTES_MAX)
        self._source.finish()

    def consumed_bytes(self) -> int:
        """How far the file has been read."""
        return self._source.consumed_bytes()

    def _range(self) -> Range | None:
        while self._number < len(self._map.ranges):
            if self._position < self._map.ranges[self._number].end:
                return self._map.ranges[self._number]
            self._number += 1
        return None

    def _zeros(self, end: int, length_max: int) -> bytes:
        length = min(length_max, end - self._position)
        if length <= 0:
            if self._source.read(1):
                raise ConfigError(
                    f"{self._path}: {self._map.image_bytes} bytes were expected by its block map, more "
                    "found: the map is for another image; copy both again"
                )
            return b""
        self._source.skip(length)
        self._position += length
        return bytes(length)

    def _check(self, done: Range) -> None:
        found, self._digest = self._digest, hashlib.new(self._map.checksum_type)
        if done.checksum and found.hexdigest() != done.checksum:
            raise ConfigError(
                f"{self._path}: bytes {done.start} to {done.end} have another checksum than the block "
                "map says: the file is damaged or the map is for another image; copy both again"
            )
