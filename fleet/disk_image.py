"""Whole-disk images: what partitions are in them, by GPT or MBR, read in one pass forward.

Layouts: UEFI specification 2.10, section 5.3 (GPT); the MBR with its chain of extended records as every
partitioner writes it. A sector has 512 bytes; a GPT may have been made for 4096.
"""

import heapq
import struct
import uuid
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.errors import ConfigError
from fleet.disk_image_label import HEAD_BYTES, UNKNOWN, FileSystem, read_file_system
from fleet.disk_image_source import Source

SECTOR_BYTES: Final = 512
SECTOR_SIZES: Final = (512, 4096)
BOOT_SIGNATURE: Final = b"\x55\xaa"
MBR_ENTRIES: Final = 446
MBR_ENTRY: Final = struct.Struct("<B3xB3xII")
GPT_HEADER: Final = struct.Struct("<8s4sII4xQQQQ16sQIII")
GPT_MAGIC: Final = b"EFI PART"
GPT_ENTRY: Final = struct.Struct("<16s16sQQQ72s")
GPT_TABLE_BYTES_MAX: Final = 1024 * 1024
PROTECTIVE: Final = 0xEE
EXTENDED: Final = frozenset({0x05, 0x0F, 0x85})
LOGICAL_MAX: Final = 128
HEAD: Final = 2 * 4096
"""Where a GPT's header may lie, for either size of sectors."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; `kind` is the type that the table says, `name` is empty in an MBR."""

    number: int
    start_bytes: int
    length_bytes: int
    kind: str
    name: str = ""
    file_system: FileSystem = UNKNOWN

    @property
    def words(self) -> str:
        """The partition in one line, for people."""
        told = [f"{self.number}: {self.length_bytes} bytes at {self.start_bytes}"]
        told += [self.file_system.kind] if self.file_system.kind else []
        told += [f"label {self.file_system.label!r}"] if self.file_system.label else []
        told += [f"name {self.name!r}"] if self.name else []
        return ", ".join(told)


class NoTableError(Exception):
    """What was opened is no whole disk; `head` is how it begins."""

    def __init__(self, head: bytes) -> None:
        super().__init__("no partition table")
        self.head = head


class _Forward:
    """A source whose position is known, and which can be read ahead of by as much as is asked for."""

    def __init__(self, source: Source, path: Path) -> None:
        self._source = source
        self._path = path
        self._kept = b""
        self._start = 0

    def at(self, offset: int, length_bytes: int) -> bytes:
        """Bytes from a place that is not before the one asked for last; fewer at the end."""
        if offset < self._start:
            raise ConfigError(
                f"{self._path}: a partition table in the order of the disk was expected, it goes back "
                f"from byte {self._start} to {offset}; make the image's partitions in their order"
            )
        known = self._start + len(self._kept)
        if offset >= known:
            self._source.skip(offset - known)
            self._kept = b""
        else:
            self._kept = self._kept[offset - self._start :]
        self._start = offset
        while len(self._kept) < length_bytes:
            part = self._source.read(length_bytes - len(self._kept))
            if not part:
                break
            self._kept += part
        return self._kept[:length_bytes]


def read_table(source: Source, path: Path) -> tuple[Partition, ...]:
    """The partitions of a whole disk, by number, without their file systems.

    Raises `NoTableError` for what is no whole disk, `ConfigError` for a table that is damaged.
    """
    forward = _Forward(source, path)
    head = forward.at(0, HEAD)
    rows = _mbr_rows(head[:SECTOR_BYTES])
    gpt = [size for size in SECTOR_SIZES if head[size : size + len(GPT_MAGIC)] == GPT_MAGIC]
    if gpt and (rows is None or any(kind == PROTECTIVE for kind, _, _ in rows) or not rows):
        return _gpt(forward, head, gpt[0], path)
    if not rows:
        raise NoTableError(head)
    return _mbr(forward, rows)


def find_labels(partitions: tuple[Partition, ...], source: Source) -> tuple[Partition, ...]:
    """The same partitions, with what their file systems are and how they are called."""
    forward = _Forward(source, Path())
    found = [
        replace(one, file_system=read_file_system(forward.at(one.start_bytes, HEAD_BYTES)))
        for one in sorted(partitions, key=lambda one: one.start_bytes)
    ]
    return tuple(sorted(found, key=lambda one: one.number))


def _mbr_rows(sector: bytes) -> list[tuple[int, int, int]] | None:
    """Type, first sector and count of each entry in use; None for a sector that is no such record.

    The boot sector of a FAT ends in the same signature, and is told by its jump and its own words.
    """
    if len(sector) < SECTOR_BYTES or sector[510:512] != BOOT_SIGNATURE:
        return None
    if sector[54:57] == b"FAT" or sector[82:85] == b"FAT" or sector[3:7] in (b"NTFS", b"EXFA"):
        return None
    rows = list(MBR_ENTRY.iter_unpack(sector[MBR_ENTRIES:510]))
    if any(status not in (0x00, 0x80) for status, _, _, _ in rows):
        return None
    return [(kind, first, count) for _, kind, first, count in rows if kind and count]


def _mbr(forward: _Forward, rows: list[tuple[int, int, int]]) -> tuple[Partition, ...]:
    """Primary partitions are 1 to 4 by their place in the record, those of the chain 5 and up."""
    head = forward.at(0, SECTOR_BYTES)
    found = [
        _mbr_partition(number, kind, first, count)
        for number, (_, kind, first, count) in enumerate(
            MBR_ENTRY.iter_unpack(head[MBR_ENTRIES:510]), start=1
        )
        if kind and count and kind not in EXTENDED
    ]
    for start in [first for kind, first, _ in rows if kind in EXTENDED]:
        found += _logical(forward, start)
    return tuple(found)


def _logical(forward: _Forward, start: int) -> list[Partition]:
    found: list[Partition] = []
    places = [start]
    while places and len(found) < LOGICAL_MAX:
        place = heapq.heappop(places)
        for kind, first, count in _mbr_rows(forward.at(place * SECTOR_BYTES, SECTOR_BYTES)) or []:
            if kind in EXTENDED:
                heapq.heappush(places, start + first)
            else:
                found.append(_mbr_partition(5 + len(found), kind, place + first, count))
    return found


def _mbr_partition(number: int, kind: int, first: int, count: int) -> Partition:
    return Partition(number, first * SECTOR_BYTES, count * SECTOR_BYTES, f"{kind:02x}")


def _gpt(forward: _Forward, head: bytes, sector_bytes: int, path: Path) -> tuple[Partition, ...]:
    row = GPT_HEADER.unpack_from(head, sector_bytes)
    header_bytes, header_sum, table_place, count, entry_bytes, table_sum = (
        row[2],
        row[3],
        row[9],
        row[10],
        row[11],
        row[12],
    )
    table_bytes = count * entry_bytes
    sound = (
        GPT_HEADER.size <= header_bytes <= sector_bytes
        and entry_bytes >= GPT_ENTRY.size
        and table_bytes <= GPT_TABLE_BYTES_MAX
    )
    header = bytearray(head[sector_bytes : sector_bytes + header_bytes])
    header[16:20] = bytes(4)
    if not sound or zlib.crc32(header) != header_sum:
        raise ConfigError(f"{path}: the GPT's header is damaged; build or copy the image again")
    table = forward.at(table_place * sector_bytes, table_bytes)
    if len(table) < table_bytes or zlib.crc32(table) != table_sum:
        raise ConfigError(f"{path}: the GPT's entries are damaged; build or copy the image again")
    found = []
    for number in range(count):
        kind, _, first, last, _, name = GPT_ENTRY.unpack_from(table, number * entry_bytes)
        if any(kind) and first <= last:
            found.append(
                Partition(
                    number=number + 1,
                    start_bytes=first * sector_bytes,
                    length_bytes=(last - first + 1) * sector_bytes,
                    kind=str(uuid.UUID(bytes_le=kind)),
                    name=name.decode("utf-16-le", errors="replace").split("\0")[0],
                )
            )
    return tuple(found)
