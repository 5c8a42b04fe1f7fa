"""What an image does once it is started: a stamp in its first sector says so.

The stamp lies at byte 128 of the first 512: ext4 leaves its first 1024 bytes free, and in a FAT boot
sector or an MBR that is the middle of the boot code, so a stamped file system stays a clean one. It
names the behaviour and the SHA-256 of everything from byte 512 on: the simulator sees at each boot
whether a slot is whole, which a real board finds out the hard way.

Stamp, little-endian:  8s magic "LKGSIM01" | 16s behaviour | u64 length of the image | 32s SHA-256
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random as Generator
from typing import Final

MAGIC: Final = b"LKGSIM01"
STAMP: Final = struct.Struct("<8s16sQ32s")
STAMP_OFFSET: Final = 128
SECTOR_BYTES: Final = 512
EXT4_MAGIC_OFFSET: Final = 1080
EXT4_MAGIC: Final = b"\x53\xef"
FAT_SIGNATURE_OFFSET: Final = 510
FAT_SIGNATURE: Final = b"\x55\xaa"
READ_BYTES: Final = 1024 * 1024

Read = Callable[[int, int], bytes]


class Behaviour(StrEnum):
    """What a system does when it is started, the best first."""

    HEALTHY = "healthy"
    FAILS_CHECKS = "fails-checks"
    HANGS = "hangs"
    NEVER_BOOTS = "never-boots"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a part of a slot holds: would a bootloader start it, is it whole, what does it then do.

    `intact` is None where nobody stamped the image.
    """

    startable: bool
    intact: bool | None
    behaviour: Behaviour


NOTHING: Final = Verdict(startable=False, intact=None, behaviour=Behaviour.NEVER_BOOTS)


def stamp(content: bytes, behaviour: Behaviour) -> bytes:
    """The image with a stamp; nothing else of it changes."""
    if len(content) < SECTOR_BYTES:
        content = content.ljust(SECTOR_BYTES, b"\0")
    digest = hashlib.sha256(content[SECTOR_BYTES:]).digest()
    return (
        _stamped(content[:SECTOR_BYTES], behaviour, len(content), digest) + content[SECTOR_BYTES:]
    )


def stamp_file(path: Path, behaviour: Behaviour) -> None:
    """Stamp an image of any size where it lies."""
    with path.open("r+b") as file:
        first = file.read(SECTOR_BYTES).ljust(SECTOR_BYTES, b"\0")
        digest = hashlib.sha256()
        while block := file.read(READ_BYTES):
            digest.update(block)
        length_bytes = max(file.tell(), SECTOR_BYTES)
        file.seek(0)
        file.write(_stamped(first, behaviour, length_bytes, digest.digest()))


def _stamped(first: bytes, behaviour: Behaviour, length_bytes: int, digest: bytes) -> bytes:
    row = STAMP.pack(MAGIC, behaviour.encode(), length_bytes, digest)
    return first[:STAMP_OFFSET] + row + first[STAMP_OFFSET + len(row) :]


def inspect(read: Read, size_bytes: int, *, deep: bool = True) -> Verdict:
    """Judge what a device of this size holds; `read` takes an offset and a length.

    Unless it goes `deep` it looks at the first sectors alone, as a bootloader does.
    """
    if size_bytes < SECTOR_BYTES:
        return NOTHING
    first = read(0, min(size_bytes, 2048))
    magic, name, length_bytes, digest = STAMP.unpack_from(first, STAMP_OFFSET)
    if magic != MAGIC:
        return _unstamped(first)
    word = name.rstrip(b"\0").decode("ascii", "replace")
    if word not in set(Behaviour) or not SECTOR_BYTES <= length_bytes <= size_bytes:
        return NOTHING
    if not deep:
        return Verdict(startable=True, intact=None, behaviour=Behaviour(word))
    found = hashlib.sha256()
    for offset in range(SECTOR_BYTES, length_bytes, READ_BYTES):
        found.update(read(offset, min(READ_BYTES, length_bytes - offset)))
    return Verdict(startable=True, intact=found.digest() == digest, behaviour=Behaviour(word))


def inspect_bytes(content: bytes) -> Verdict:
    """Judge an image in memory."""
    return inspect(lambda offset, length: content[offset : offset + length], len(content))


def inspect_file(path: Path) -> Verdict:
    """Judge an image in a file."""
    with path.open("rb") as file:

        def read(offset: int, length_bytes: int) -> bytes:
            file.seek(offset)
            return file.read(length_bytes)

        return inspect(read, path.stat().st_size)


def _unstamped(first: bytes) -> Verdict:
    ext4 = first[EXT4_MAGIC_OFFSET : EXT4_MAGIC_OFFSET + 2] == EXT4_MAGIC
    fat = first[FAT_SIGNATURE_OFFSET : FAT_SIGNATURE_OFFSET + 2] == FAT_SIGNATURE
    if ext4 or fat:
        return Verdict(startable=True, intact=None, behaviour=Behaviour.HEALTHY)
    return NOTHING


def make_small_image(seed: int, sectors: int, behaviour: Behaviour = Behaviour.HEALTHY) -> bytes:
    """A stamped image for fast tests: the same seed and size give the same bytes.

    One sector in four is zeros, so that every kind of window occurs.
    """
    chance = Generator(seed)  # noqa: S311  # repeatable on purpose
    rows = [
        bytes(SECTOR_BYTES) if number % 4 == 3 else chance.randbytes(SECTOR_BYTES)
        for number in range(sectors)
    ]
    return stamp(b"".join(rows), behaviour)
