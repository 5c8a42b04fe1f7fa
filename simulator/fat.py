"""Makes small FAT partitions and reads files from them as a bootloader does.

Written apart from the agent's own reader, so that one mistake cannot hide in both. The maker knows
FAT12 and FAT16, the reader FAT32 too. Source: Microsoft FAT specification (2005).
"""

import struct
from collections.abc import Callable, Mapping
from typing import Final

SECTOR: Final = 512
ROOT_ENTRIES: Final = 64
FATS: Final = 2
Read = Callable[[int, int], bytes]


class FatError(ValueError):
    """The bytes are no FAT file system that a bootloader would take."""


def fat_image(files: Mapping[str, bytes], size_bytes: int = 64 * 1024) -> bytes:
    """A partition with these files of 8.3 names in its root, one sector per cluster.

    FAT12 below 4085 clusters, FAT16 from there on.
    """
    sectors = size_bytes // SECTOR
    fat_sectors, clusters, bits = _sizes(sectors)
    links = [0xFF8 if bits == 12 else 0xFFF8, (1 << bits) - 1] + [0] * clusters
    root = bytearray()
    data = bytearray()
    for name, content in files.items():
        needed = -(-len(content) // SECTOR)
        first = 2 + len(data) // SECTOR if needed else 0
        for number in range(needed):
            last = number == needed - 1
            links[first + number] = (1 << bits) - 1 if last else first + number + 1
        data += content.ljust(needed * SECTOR, b"\0")
        root += _directory_entry(name, first, len(content))
    assert len(data) <= clusters * SECTOR, "the files do not fit"
    image = _boot_sector(sectors, fat_sectors, bits)
    image += _table(links, bits).ljust(fat_sectors * SECTOR, b"\0") * FATS
    image += bytes(root).ljust(ROOT_ENTRIES * 32, b"\0") + bytes(data)
    return image.ljust(size_bytes, b"\0")


def read_root_file(read: Read, name: str) -> bytes | None:
    """The file's content, None when there is none; `read(offset, length)`. Raises `FatError`."""
    boot = read(0, SECTOR)
    if len(boot) < SECTOR or boot[0x1FE] != 0x55 or boot[0x1FF] != 0xAA:
        raise FatError("no boot signature")
    return _Reader(read, boot).file(name)


class _Reader:
    def __init__(self, read: Read, boot: bytes) -> None:
        def number(at: int, width: int) -> int:
            return int.from_bytes(boot[at : at + width], "little")

        self._read = read
        self._sector = number(0x0B, 2)
        self._cluster = number(0x0D, 1) * self._sector
        self._table = number(0x0E, 2) * self._sector
        fat_sectors = number(0x16, 2) or number(0x24, 4)
        root = self._table + number(0x10, 1) * fat_sectors * self._sector
        self._root, self._root_length = root, number(0x11, 2) * 32
        if not self._sector or not self._cluster:
            raise FatError("sectors or clusters of no length")
        root_sectors = -(-self._root_length // self._sector)
        self._data = root + root_sectors * self._sector
        total = number(0x13, 2) or number(0x20, 4)
        self._clusters = (total * self._sector - self._data) // self._cluster
        self._wide = number(0x16, 2) == 0
        self._root_cluster = number(0x2C, 4)

    def file(self, name: str) -> bytes | None:
        stem, _, suffix = name.upper().partition(".")
        wanted = f"{stem:8}{suffix:3}".encode("ascii")
        directory = (
            self._chain(self._root_cluster)
            if self._wide
            else self._read(self._root, self._root_length)
        )
        for at in range(0, len(directory), 32):
            entry = directory[at : at + 32]
            if entry[0] == 0:
                return None
            if entry.startswith(wanted) and not entry[11] & 0x18:
                length = int.from_bytes(entry[28:32], "little")
                first = int.from_bytes(entry[26:28], "little")
                if self._wide:
                    first += int.from_bytes(entry[20:22], "little") << 16
                return self._chain(first)[:length] if length else b""
        return None

    def _chain(self, cluster: int) -> bytes:
        content = bytearray()
        for _ in range(4096):
            if not 2 <= cluster < self._clusters + 2:
                return bytes(content)
            content += self._read(self._data + (cluster - 2) * self._cluster, self._cluster)
            cluster = self._link(cluster)
        raise FatError("a chain without an end")

    def _link(self, cluster: int) -> int:
        if self._wide:
            raw = self._read(self._table + 4 * cluster, 4)
            return int.from_bytes(raw, "little") & 0x0FFFFFFF
        if self._clusters >= 4085:
            return int.from_bytes(self._read(self._table + 2 * cluster, 2), "little")
        pair = int.from_bytes(self._read(self._table + cluster + cluster // 2, 2), "little")
        return pair >> 4 if cluster & 1 else pair & 0xFFF


def _sizes(sectors: int) -> tuple[int, int, int]:
    """Sectors per table, clusters and bits per entry that fit together."""
    for bits in (12, 16):
        for fat_sectors in range(1, 257):
            clusters = sectors - 1 - FATS * fat_sectors - ROOT_ENTRIES * 32 // SECTOR
            if not 0 < clusters < 65525 or (clusters < 4085) != (bits == 12):
                continue
            if (clusters + 2) * bits <= fat_sectors * SECTOR * 8:
                return fat_sectors, clusters, bits
    raise FatError(f"no FAT12 or FAT16 has {sectors} sectors with one per cluster")


def _boot_sector(sectors: int, fat_sectors: int, bits: int) -> bytes:
    short = sectors if sectors < 65536 else 0
    block = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        b"\xeb\x3c\x90",
        b"LOCKGATE",
        SECTOR,
        1,  # sectors per cluster
        1,  # reserved sectors
        FATS,
        ROOT_ENTRIES,
        short,
        0xF8,  # a fixed disk
        fat_sectors,
        32,  # sectors per track
        2,  # heads
        0,  # hidden sectors
        0 if short else sectors,
        0x80,
        0,
        0x29,
        0x10C26A7E,  # volume id
        b"NO NAME    ",
        f"FAT{bits}   ".encode("ascii"),
    )
    return block.ljust(SECTOR - 2, b"\0") + b"\x55\xaa"


def _directory_entry(name: str, cluster: int, length_bytes: int) -> bytes:
    stem, _, suffix = name.upper().partition(".")
    if not 0 < len(stem) <= 8 or len(suffix) > 3:
        raise FatError(f"an 8.3 name was expected, {name!r} found")
    padded = stem.ljust(8).encode("ascii") + suffix.ljust(3).encode("ascii")
    date = (2026 - 1980) << 9 | 1 << 5 | 1
    return struct.pack(
        "<11sBBBHHHHHHHI", padded, 0x20, 0, 0, 0, date, date, 0, 0, date, cluster, length_bytes
    )


def _table(links: list[int], bits: int) -> bytes:
    if bits == 16:
        return struct.pack(f"<{len(links)}H", *links)
    packed = bytearray()
    for even, odd in zip(links[::2], [*links[1::2], 0], strict=False):
        packed += (even | odd << 12).to_bytes(3, "little")
    return bytes(packed)
