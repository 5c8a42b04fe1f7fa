"""Packs a tree as ext4 and as squashfs, so that the same tree always makes the same bytes."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.root_tree import BUILT_AT_S

IDENTITY: Final = "5bd2ff1c-6f51-4d0c-9c1e-0a5e8f3b7a01"
HASH_SEED: Final = "a1d0c6e8-3f2b-4b7e-8d21-6c1f5e0b9d42"
RESERVED_INODES: Final = 10
ROOT_INODE: Final = 2
MOMENTS: Final = ("ctime", "atime", "crtime")
PARTS_OF_SECONDS: Final = ("ctime_extra", "atime_extra", "crtime_extra", "mtime_extra")


def make_ext4(tree: Path, image: Path, size_mib: int) -> None:
    """A partition image; mke2fs takes some times of its inodes from this computer, which are set anew."""
    options = f"hash_seed={HASH_SEED},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"
    environment = {**os.environ, "E2FSPROGS_FAKE_TIME": str(BUILT_AT_S), "TZ": "UTC"}
    part = image.with_suffix(".part")
    part.unlink(missing_ok=True)
    kind = ("-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-U", IDENTITY, "-L", "rootfs")
    content = ("-E", options, "-O", "^has_journal", "-d", str(tree))
    command = ("mke2fs", *kind, *content, str(part), f"{size_mib}M")
    subprocess.run(command, env=environment, check=True, capture_output=True)
    script = "".join(line for inode in _used_inodes(part) for line in _times(inode))
    setting = ("debugfs", "-w", "-f", "/dev/stdin", str(part))
    subprocess.run(
        setting, input=script, text=True, env=environment, check=True, capture_output=True
    )
    subprocess.run(("e2fsck", "-fn", str(part)), check=True, capture_output=True)
    part.rename(image)


def _used_inodes(image: Path) -> Iterator[int]:
    shown = subprocess.run(
        ("dumpe2fs", str(image)), capture_output=True, text=True, check=True
    ).stdout
    count = re.search(r"Inode count:\s+(\d+)", shown)
    if count is None:
        raise RuntimeError(f"{image}: dumpe2fs says nothing of its inodes")
    free: set[int] = set()
    for ranges in re.findall(r"Free inodes: ([0-9, -]+)", shown):
        for text in filter(None, (one.strip() for one in ranges.split(","))):
            first, _, last = text.partition("-")
            free.update(range(int(first), int(last or first) + 1))
    for inode in range(ROOT_INODE, int(count[1]) + 1):
        if (inode == ROOT_INODE or inode > RESERVED_INODES) and inode not in free:
            yield inode


def _times(inode: int) -> Iterator[str]:
    for field in MOMENTS:
        yield f"sif <{inode}> {field} @{BUILT_AT_S}\n"
    for field in PARTS_OF_SECONDS:
        yield f"sif <{inode}> {field} 0\n"


def make_squashfs(tree: Path, image: Path) -> None:
    """A compressed read-only image, as many build systems make it."""
    part = image.with_suffix(".part")
    part.unlink(missing_ok=True)
    packing = ("-comp", "zstd", "-Xcompression-level", "15", "-b", "131072")
    same = ("-noappend", "-reproducible", "-mkfs-time", str(BUILT_AT_S))
    command = ("mksquashfs", str(tree), str(part), *packing, *same, "-no-progress")
    subprocess.run(command, check=True, capture_output=True)
    part.rename(image)
