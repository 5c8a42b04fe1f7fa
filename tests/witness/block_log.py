"""What a disk was told, write by write: QEMU's `blklogwrites` log, and every disk a cut may leave.

The format is that of dm-log-writes. One sector of header: magic, version, number of entries (u64 each,
little-endian), sector size (u32). Then for each entry one sector: first sector, number of sectors, flags,
length of data (u64 each), and the sectors that were written, if any. Source: Linux
`Documentation/admin-guide/device-mapper/log-writes.rst` and `drivers/md/dm-log-writes.c`.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAGIC: Final = 0x6A736677736872
VERSION: Final = 1
HEADER: Final = struct.Struct("<QQQI")
ENTRY: Final = struct.Struct("<QQQQ")
FLUSH: Final = 1
DISCARD: Final = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a write of these bytes, a discard (`zeros` bytes), or a flush without any."""

    offset: int
    content: bytes
    flushes: bool

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return bool(self.content)


@dataclass(frozen=True, slots=True)
class CrashImage:
    """One disk that a cut may leave.

    `durable` is how many entries had certainly been completed: what was acknowledged at or before
    that many must be found. `story` says how it came about.
    """

    content: bytes
    durable: int
    story: str


def entry_count(log: Path) -> int:
    """How many entries the log's header counts; QEMU writes it at each flush."""
    with log.open("rb") as file:
        header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        return 0
    magic, version, count, _ = HEADER.unpack(header)
    assert (magic, version) == (MAGIC, VERSION), "a log of another format"
    return int(count)


def read_log(log: Path) -> list[Entry]:
    """Every entry of a log."""
    with log.open("rb") as file:
        magic, version, count, sector_bytes = HEADER.unpack(file.read(HEADER.size))
        assert (magic, version) == (MAGIC, VERSION), "a log of another format"
        file.seek(sector_bytes)
        entries = []
        for _ in range(count):
            row = file.read(sector_bytes)
            sector, sectors, flags, _ = ENTRY.unpack_from(row)
            length = sectors * sector_bytes
            content = bytes(length) if flags & DISCARD else file.read(length)
            assert len(content) == length, "a log that ends inside an entry"
            entries.append(Entry(sector * sector_bytes, content, bool(flags & FLUSH)))
        return entries


def applied(content: bytearray, entry: Entry) -> None:
    """Do what an entry says."""
    content[entry.offset : entry.offset + len(entry.content)] = entry.content


def prefixes(base: bytes, entries: list[Entry]) -> Iterator[CrashImage]:
    """The disk after each entry that changes it, in the order in which they were written."""
    content = bytearray(base)
    for number, entry in enumerate(entries, start=1):
        if entry.writes:
            applied(content, entry)
            yield CrashImage(bytes(content), number, f"after entry {number}")


def windows(entries: list[Entry]) -> Iterator[tuple[int, list[Entry]]]:
    """The writes between two flushes, with how many entries came before the first of them."""
    start, window = 0, list[Entry]()
    for number, entry in enumerate(entries, start=1):
        if entry.writes:
            window.append(entry)
        if entry.flushes:
            if window:
                yield start, window
            start, window = number, []
    if window:
        yield start, window


def dropped(base: bytes, entries: list[Entry], each_max: int) -> Iterator[CrashImage]:
    """The disk with one write of a window lost, and all others of it there.

    `each_max` writes of a window are dropped in turn, spread over it when there are more.
    """
    content = bytearray(base)
    for start, window in windows(entries):
        step = max(1, len(window) // each_max)
        for lost in range(0, len(window) if len(window) > 1 else 0, step):
            image = bytearray(content)
            for place, entry in enumerate(window):
                if place != lost:
                    applied(image, entry)
            yield CrashImage(bytes(image), start, f"without write {lost + 1} after entry {start}")
        for entry in window:
            applied(content, entry)
