"""What file system begins here, and what it is called: from the first bytes of a partition. Pure.

Layouts: ext2/3/4 and erofs superblocks as in the kernel's headers, FAT's boot sector as in Microsoft's
specification, squashfs by its magic, btrfs and XFS by their superblocks.
"""

from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 0x10000 + 4096
"""How much of a partition is looked at: btrfs has its superblock at 64 KiB."""


@dataclass(frozen=True, slots=True)
class FileSystem:
    """Both are empty where nothing is known; `kind` as `blkid` calls it."""

    kind: str = ""
    label: str = ""


UNKNOWN: Final = FileSystem()


def read_file_system(head: bytes) -> FileSystem:
    """The file system that begins with these bytes."""
    if head[1080:1082] == b"\x53\xef":
        return FileSystem("ext4", _text(head[1144:1160]))
    if head[1024:1028] == b"\xe2\xe1\xf5\xe0":
        return FileSystem("erofs", _text(head[1088:1104]))
    if head[82:87] == b"FAT32":
        return FileSystem("vfat", _fat_label(head[71:82]))
    if head[54:57] == b"FAT":
        return FileSystem("vfat", _fat_label(head[43:54]))
    if head[:4] == b"hsqs":
        return FileSystem("squashfs")
    if head[:4] == b"XFSB":
        return FileSystem("xfs", _text(head[108:120]))
    if head[0x10040:0x10048] == b"_BHRfS_M":
        return FileSystem("btrfs", _text(head[0x1012B:0x1022B]))
    return UNKNOWN


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode(errors="replace")


def _fat_label(field: bytes) -> str:
    label = field.decode("ascii", errors="replace").rstrip()
    return "" if label == "NO NAME" else label
