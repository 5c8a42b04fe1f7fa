"""In which steps a part is made unable to start, and able to: sector by sector of its first window. Pure.

One sector is written whole or not at all. FAT, squashfs and most others are known by their first sector, ext4
and erofs by the one at 1024: with both gone nothing starts, however the write of the others is torn.
"""

from typing import Final

SIGNS_BYTES: Final = 512
SUPERBLOCK: Final = (1024, 1536)
"""The sector in which ext4 and erofs are known; the first sector is free there."""

Step = tuple[int, int]
"""From where to where; all of it is durable before the next step."""


def invalid_steps(length_bytes: int) -> list[Step]:
    """The first window of this length, from the sectors on in which file systems say what they are."""
    wanted = (
        (0, SIGNS_BYTES),
        SUPERBLOCK,
        (SIGNS_BYTES, SUPERBLOCK[0]),
        (SUPERBLOCK[1], length_bytes),
    )
    clipped = [(start, min(end, length_bytes)) for start, end in wanted]
    return [(start, end) for start, end in clipped if start < end]


def valid_steps(first: bytes) -> list[Step]:
    """The same the other way round: the sector that makes this content able to start comes last."""
    steps = list(reversed(invalid_steps(len(first))))
    if _known_by_superblock(first) and SUPERBLOCK in steps:
        steps.remove(SUPERBLOCK)
        steps.append(SUPERBLOCK)
    return steps


def _known_by_superblock(first: bytes) -> bool:
    return first[1080:1082] == b"\x53\xef" or first[1024:1028] == b"\xe2\xe1\xf5\xe0"
