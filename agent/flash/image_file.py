"""Image files for microcontrollers: Intel HEX, Motorola S-records and raw binary, as regions. Pure.

Both text formats say where each record belongs; a raw file begins where the settings say. A file is
refused as a whole for one byte that is not as it must be: half an image is no image.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from agent.errors import FlashImageError
from agent.flash import ERASED, ChipImage, Region

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
ADDRESS_END: Final = 1 << 32


class ImageFormat(StrEnum):
    """How an image file is written."""

    RAW = "raw"
    INTEL_HEX = "intel-hex"
    SREC = "srec"


def join_regions(pieces: Iterable[Region]) -> ChipImage:
    """Pieces in any order as regions that do not touch. Raises `FlashImageError` where two overlap."""
    regions: list[Region] = []
    gathered = bytearray()
    start = end = 0
    for piece in sorted(pieces, key=lambda region: region.start):
        if not piece.content:
            continue
        if gathered and piece.start < end:
            raise FlashImageError(
                f"each address was expected once, {piece.start:#x} is given twice; make the image again"
            )
        if piece.end > ADDRESS_END:
            raise FlashImageError(f"addresses below 2^32 were expected, {piece.end - 1:#x} found")
        if gathered and piece.start > end:
            regions.append(Region(start, bytes(gathered)))
            gathered.clear()
        if not gathered:
            start = piece.start
        gathered += piece.content
        end = piece.end
    if gathered:
        regions.append(Region(start, bytes(gathered)))
    if not regions:
        raise FlashImageError("an image with at least one byte was expected, an empty one found")
    return ChipImage(tuple(regions))


def raw_image(content: bytes, start: int) -> ChipImage:
    """A raw binary that begins at this address. Raises `FlashImageError`."""
    return join_regions([Region(start, content)])


def check_length(content: bytes) -> None:
    """Refuse a file that no chip could hold. Raises `FlashImageError`."""
    if len(content) > FILE_BYTES_MAX:
        raise FlashImageError(
            f"an image file of at most {FILE_BYTES_MAX} bytes was expected, {len(content)} found"
        )


def cut_blocks(image: ChipImage, size_bytes: int, align: int = 1) -> list[Region]:
    """The image in blocks that cross no multiple of `size_bytes`, filled up with 0xFF to `align` bytes.

    What shares a multiple becomes one block, gaps filled too, so that nothing is written twice.
    """
    assert size_bytes % align == 0, "an aligned unit lies in one block"
    blocks: dict[int, tuple[int, bytearray]] = {}
    for region in image.regions:
        place = region.start
        while place < region.end:
            number = place // size_bytes
            stop = min(region.end, (number + 1) * size_bytes)
            first, block = blocks.setdefault(number, (place - place % align, bytearray()))
            block.extend([ERASED] * (place - first - len(block)))
            block += region.content[place - region.start : stop - region.start]
            place = stop
    for _, block in blocks.values():
        block.extend([ERASED] * (-len(block) % align))
    return [Region(first, bytes(block)) for first, block in blocks.values()]
