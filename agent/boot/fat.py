"""Finds where the bytes of a small file lie on a FAT partition, without ever writing through FAT.

Reads only what it needs and refuses all that is odd. Source: Microsoft FAT specification (2005):
section 3.1 to 3.4 (BIOS parameter block), 3.5 (type of FAT), 4 (entries), 6.1 and 6.7 (directory).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from agent.boot.medium import SECTOR_BYTES, read_state
from agent.errors import BootControlError
from agent.interfaces import BlockDevice

ENTRY_BYTES: Final = 32
DIRECTORY_BYTES_MAX: Final = 65536 * ENTRY_BYTES
FAT16_CLUSTERS_MIN: Final = 4085
FAT32_CLUSTERS_MIN: Final = 65525
LONG_NAME: Final = 0x0F
VOLUME_OR_FOLDER: Final = 0x18
FREE: Final = 0xE5
END: Final = 0x00


@dataclass(frozen=True, slots=True)
class FileSector:
    """The one sector that holds a whole file: its byte offset on the device, the file's length."""

    offset: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class _Volume:
    """Where things lie on the partition, in its own sectors; `root_cluster` is 0 but on FAT32."""

    device: BlockDevice
    sector_bytes: int
    cluster_sectors: int
    fat_start: int
    fat_sectors: int
    root_start: int
    data_start: int
    cluster_count: int
    root_cluster: int
    entry_bits: int

    def sector(self, number: int) -> bytes:
        return read_state(
            self.device, number * self.sector_bytes, self.sector_bytes, "FAT partition"
        )

    def cluster_start(self, cluster: int) -> int:
        if not 2 <= cluster < self.cluster_count + 2:
            _refuse(f"a cluster from 2 to {self.cluster_count + 1}", str(cluster))
        return self.data_start + (cluster - 2) * self.cluster_sectors

    def next_cluster(self, cluster: int) -> int | None:
        """The cluster after this one, None at the end of the chain."""
        at = cluster * self.entry_bits // 8
        number, inside = divmod(at, self.sector_bytes)
        if number >= self.fat_sectors:
            _refuse(f"an allocation table with an entry for cluster {cluster}", "a shorter one")
        entry = self.sector(self.fat_start + number)[inside : inside + 4]
        if self.entry_bits == 12 and len(entry) < 2:  # the only kind that crosses sectors
            entry += self.sector(self.fat_start + number + 1)[:1]
        value = int.from_bytes(entry[: 2 if self.entry_bits < 32 else 4], "little")
        if self.entry_bits == 12 and cluster % 2:
            value >>= 4
        width = min(self.entry_bits, 28)  # the top four bits of FAT32 are reserved
        value &= (1 << width) - 1
        return None if value >= (1 << width) - 8 else value


def find_file(device: BlockDevice, name: str) -> FileSector:
    """Where the file of this 8.3 name in the root directory lies. Raises `BootControlError`.

    The file must fit into one sector of 512 bytes, be alone in its cluster and not be empty: only
    then can one write replace it whole without a change to the file system around it.
    """
    volume = _volume(device)
    entry = _entry(volume, name)
    high, low, length_bytes = struct.unpack_from("<H4xHI", entry, 20)
    if not 0 < length_bytes <= SECTOR_BYTES:
        _refuse(f"{name} of 1 to {SECTOR_BYTES} bytes", f"{length_bytes} bytes")
    cluster = low | (high << 16 if volume.entry_bits == 32 else 0)
    start = volume.cluster_start(cluster)
    if volume.next_cluster(cluster) is not None:
        _refuse(f"{name} in a single cluster", "a chain that goes on or is broken")
    return FileSector(offset=start * volume.sector_bytes, length_bytes=length_bytes)


def _volume(device: BlockDevice) -> _Volume:
    boot = read_state(device, 0, SECTOR_BYTES, "FAT boot sector")
    if boot[510:] != b"\x55\xaa":
        _refuse("the signature 55 aa at the end of the boot sector", boot[510:].hex(" "))
    sector_bytes, cluster_sectors, reserved, fats, root_entries, short_total, short_fat = (
        struct.unpack_from("<HBHBHHxH", boot, 11)
    )
    long_total, long_fat, flags, version, root_cluster = struct.unpack_from("<IIHHI", boot, 32)
    if sector_bytes not in (512, 1024, 2048, 4096):
        _refuse("sectors of 512, 1024, 2048 or 4096 bytes", str(sector_bytes))
    if cluster_sectors == 0 or cluster_sectors & (cluster_sectors - 1):
        _refuse("a power of two of sectors per cluster", str(cluster_sectors))
    if reserved == 0 or fats == 0:
        _refuse("reserved sectors and at least one allocation table", f"{reserved} and {fats}")
    fat32 = short_fat == 0
    if fat32 and (flags & 0x80 or version or root_entries or root_cluster < 2):
        _refuse("FAT32 with mirrored tables, version 0 and a root cluster", "something else")
    fat_sectors = long_fat if fat32 else short_fat
    root_start = reserved + fats * fat_sectors
    data_start = root_start + -(-root_entries * ENTRY_BYTES // sector_bytes)
    total = short_total or long_total
    if fat_sectors == 0 or total <= data_start or total * sector_bytes > device.size_bytes:
        _refuse(
            f"a file system that ends within the partition's {device.size_bytes} bytes",
            f"{total} sectors of {sector_bytes} bytes, data from {data_start} on",
        )
    count = (total - data_start) // cluster_sectors
    if fat32 != (count >= FAT32_CLUSTERS_MIN):  # readers disagree on what this is
        _refuse(f"FAT32 exactly from {FAT32_CLUSTERS_MIN} clusters on", f"{count} clusters")
    return _Volume(
        device=device,
        sector_bytes=sector_bytes,
        cluster_sectors=cluster_sectors,
        fat_start=reserved,
        fat_sectors=fat_sectors,
        root_start=root_start,
        data_start=data_start,
        cluster_count=count,
        root_cluster=root_cluster if fat32 else 0,
        entry_bits=32 if fat32 else 12 if count < FAT16_CLUSTERS_MIN else 16,
    )


def _entry(volume: _Volume, name: str) -> bytes:
    wanted = _short_name(name)
    for entry in _entries(volume):
        if entry[:11] == wanted and entry[11] & 0x3F != LONG_NAME:
            if entry[11] & VOLUME_OR_FOLDER:
                _refuse(f"a file called {name}", "a folder or a label")
            return entry
    return _refuse(f"{name} in the root directory", "no such file")


def _entries(volume: _Volume) -> Iterator[bytes]:
    """The entries of the root directory up to its end mark, without the deleted ones."""
    for sector in _directory(volume):
        for at in range(0, len(sector), ENTRY_BYTES):
            if sector[at] == END:
                return
            if sector[at] != FREE:
                yield sector[at : at + ENTRY_BYTES]


def _directory(volume: _Volume) -> Iterator[bytes]:
    """The sectors of the root directory, bounded even if its chain is a circle."""
    if not volume.root_cluster:
        for number in range(volume.root_start, volume.data_start):
            yield volume.sector(number)
        return
    cluster: int | None = volume.root_cluster
    cluster_bytes = volume.cluster_sectors * volume.sector_bytes
    for _ in range(-(-DIRECTORY_BYTES_MAX // cluster_bytes)):
        if cluster is None:
            return
        start = volume.cluster_start(cluster)
        for number in range(start, start + volume.cluster_sectors):
            yield volume.sector(number)
        cluster = volume.next_cluster(cluster)


def _short_name(name: str) -> bytes:
    stem, _, suffix = name.upper().partition(".")
    return stem.ljust(8).encode("ascii") + suffix.ljust(3).encode("ascii")


def _refuse(expected: str, found: str) -> NoReturn:
    raise BootControlError(
        f"FAT partition: {expected} was expected, {found} found; make the partition anew with "
        "the file written once and nothing else that changes (docs/boards.md)"
    )
