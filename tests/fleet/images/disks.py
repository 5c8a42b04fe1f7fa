"""Disk images as builds leave them: partitioned by sfdisk, with file systems by mkfs, packed and mapped."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024
PROGRAMS: Final = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
GPT: Final = """label: gpt
start=2048, size=4096, type=uefi, name=esp
start=8192, size=16384, type=linux, name=system-a
start=24576, size=8192, type=linux, name=data
"""
MBR: Final = """label: dos
start=2048, size=4096, type=c, bootable
start=8192, size=16384, type=83
"""
LOGICAL: Final = """label: dos
start=2048, size=4096, type=c
start=8192, size=40960, type=5
start=10240, size=16384, type=83
start=28672, size=8192, type=83
"""


def run(*command: str | Path, text: str = "") -> str:
    """Run a program that must succeed; what it printed."""
    done = subprocess.run(
        command, input=text, env=PROGRAMS, check=True, capture_output=True, text=True
    )
    return done.stdout


@dataclass(frozen=True, slots=True)
class Disk:
    """A whole-disk image, and the file systems that were put into its partitions."""

    path: Path
    boot: bytes
    root: bytes


def make_disk(folder: Path, script: str, starts: tuple[int, int]) -> Disk:
    """A sparse disk of 32 MiB; `starts` are the first sectors of the FAT and of the ext4."""
    boot, root = folder / "boot.fs", folder / "root.fs"
    with boot.open("wb") as file:
        file.truncate(2 * MIB)
    run("mkfs.vfat", "-n", "BOOTFS", "-i", "12345678", "--invariant", boot)
    content = folder / "content"
    content.mkdir()
    (content / "os-release").write_text("NAME=harbour\n" * 5000)
    run("mkfs.ext4", "-q", "-L", "rootfs", "-d", content, root, "8M")
    path = folder / "disk.img"
    with path.open("wb") as file:
        file.truncate(32 * MIB)
    run("sfdisk", "--quiet", path, text=script)
    for source, start in zip((boot, root), starts, strict=True):
        run(
            "dd",
            f"if={source}",
            f"of={path}",
            f"seek={start}",
            "conv=notrunc,sparse",
            "status=none",
        )
    return Disk(path, boot.read_bytes(), root.read_bytes())


def pack(path: Path, program: str) -> Path:
    """The file, packed by a program of the system; the raw one stays."""
    suffix = {"xz": ".xz", "gzip": ".gz", "zstd": ".zst", "bzip2": ".bz2"}[program]
    run(program, "--keep", "--quiet", path)
    return path.with_name(path.name + suffix)
