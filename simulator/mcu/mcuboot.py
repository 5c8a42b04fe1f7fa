"""MCUboot as a model: two slots, their trailers, and a swap that a power cut may part anywhere.

The swap is MCUboot's "swap using move": the first slot moves up by one page, from its end on, then page
by page the second slot's content comes down and the moved page goes up. Each step is noted in the first
slot's trailer when it is done, and can be done twice. Images are valid by their SHA-256 alone, as for
MCUboot built without a key. Sources: MCUboot `design.md`, `bootutil_public.h`, `swap_move.c`.

Trailer, from the end of a slot back, 8 bytes apart: magic (16), image_ok, copy_done, swap size. MCUboot
relies on a flag being written whole or not at all; here a torn flag counts as written.
"""

import hashlib
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from simulator.mcu.flash import FlashMemory, even_pages

IMAGE_MAGIC: Final = 0x96F3B83D
TLV_MAGIC: Final = 0x6907
PROTECTED_TLV_MAGIC: Final = 0x6908
SHA256_TLV: Final = 0x10
TRAILER_MAGIC: Final = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")
MAGIC_PLACE: Final = 16
IMAGE_OK_PLACE: Final = 24
COPY_DONE_PLACE: Final = 32
SWAP_SIZE_PLACE: Final = 40
UNIT: Final = 8
UNWRITTEN: Final = b"\xff" * UNIT


class SwapKind(StrEnum):
    """What the bootloader will do to the slots at its next start."""

    NONE = "none"
    TEST = "test"
    PERMANENT = "permanent"
    REVERT = "revert"


class Mode(StrEnum):
    """What runs on the chip; `off` also after a power cut, until the reset."""

    APPLICATION = "application"
    RECOVERY = "recovery"
    STUCK = "stuck"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class StoredImage:
    """What the header and the TLVs of a slot say, and whether the content agrees."""

    version: str
    hash: bytes
    length_bytes: int
    valid: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Pages: a slot's data, in the first slot a spare page to move into, and a trailer each."""

    page_bytes: int = 4096
    image_pages: int = 64

    def __post_init__(self) -> None:
        steps = 3 * self.image_pages * UNIT
        assert steps + SWAP_SIZE_PLACE <= self.page_bytes, "the notes of a swap fit the trailer"

    @property
    def pages(self) -> tuple[int, ...]:
        """All pages of both slots."""
        return even_pages(2 * self.image_pages + 3, self.page_bytes)

    @property
    def slot_pages(self) -> tuple[int, int]:
        """The first page of each slot."""
        return 0, self.image_pages + 2

    @property
    def trailer_pages(self) -> tuple[int, int]:
        """The page of each slot's trailer."""
        return self.image_pages + 1, 2 * self.image_pages + 2

    @property
    def capacity_bytes(self) -> int:
        """The longest image."""
        return self.image_pages * self.page_bytes


class Mcuboot:
    """The bootloader and its flash; everything it knows is in the flash."""

    def __init__(self, layout: Layout, flash: FlashMemory | None = None) -> None:
        self.layout = layout
        self.flash = flash or FlashMemory(start=0, pages=layout.pages)

    def start(self) -> Mode:
        """Run the bootloader once: finish or begin a swap, then what to run."""
        if self._interrupted():
            self._go_on()
        else:
            self._begin(self.swap_kind())
        image = self.image(0)
        return Mode.APPLICATION if image is not None and image.valid else Mode.STUCK

    def swap_kind(self) -> SwapKind:
        """What the trailers ask for."""
        if self._magic(1):
            return SwapKind.PERMANENT if self._flag(1, IMAGE_OK_PLACE) else SwapKind.TEST
        if self._magic(0) and self._flag(0, COPY_DONE_PLACE) and not self._flag(0, IMAGE_OK_PLACE):
            return SwapKind.REVERT
        return SwapKind.NONE

    def request_swap(self, *, permanent: bool) -> None:
        """What the application writes to have the second slot started."""
        if permanent:
            self._write_flag(1, IMAGE_OK_PLACE)
        if not self._magic(1):
            self._write_trailer(1, MAGIC_PLACE, TRAILER_MAGIC)

    def confirm(self) -> None:
        """What the application writes to stay."""
        if self._magic(0) and not self._flag(0, IMAGE_OK_PLACE):
            self._write_flag(0, IMAGE_OK_PLACE)

    def erase_trailer(self, slot: int) -> None:
        """Forget all that was asked of a slot."""
        self.flash.erase(self.layout.trailer_pages[slot])

    def erase_page(self, slot: int, number: int) -> None:
        """Empty one page of a slot."""
        self.flash.erase(self.layout.slot_pages[slot] + number)

    def program(self, slot: int, offset: int, content: bytes) -> None:
        """Write bytes into a slot, where it has been emptied."""
        self.flash.program(self._address(slot) + offset, content)

    def image(self, slot: int) -> StoredImage | None:
        """The image in a slot, None where nothing looks like one."""
        return stored_image(self.flash.read(self._address(slot), self.layout.capacity_bytes))

    def content(self, slot: int, length_bytes: int) -> bytes:
        """The first bytes of a slot."""
        return self.flash.read(self._address(slot), length_bytes)

    def _begin(self, kind: SwapKind) -> None:
        if kind is SwapKind.NONE:
            return
        second = self.image(1)
        if second is None or not second.valid:
            if kind is not SwapKind.REVERT:  # never asked for again
                self.erase_page(1, 0)
                self.erase_trailer(1)
            return
        if kind is SwapKind.REVERT:
            # From here on the second slot asks for the revert: the first one's trailer goes next.
            self.erase_trailer(1)
            self._write_flag(1, IMAGE_OK_PLACE)
            self._write_trailer(1, MAGIC_PLACE, TRAILER_MAGIC)
        first = self.image(0)
        length_bytes = max(second.length_bytes, first.length_bytes if first else 0)
        self.erase_trailer(0)
        self._write_trailer(0, SWAP_SIZE_PLACE, length_bytes.to_bytes(UNIT, "little"))
        if kind is not SwapKind.TEST:
            self._write_flag(0, IMAGE_OK_PLACE)
        # Until the magic is whole, the second slot asks for the same swap again.
        self._write_trailer(0, MAGIC_PLACE, TRAILER_MAGIC)
        self._go_on()

    def _interrupted(self) -> bool:
        return self._magic(0) and not self._flag(0, COPY_DONE_PLACE)

    def _go_on(self) -> None:
        size = self._read_trailer(0, SWAP_SIZE_PLACE, UNIT)
        pages = -(-int.from_bytes(size, "little") // self.layout.page_bytes)
        first, second = self.layout.slot_pages
        moves = [(first + page, first + page + 1) for page in reversed(range(pages))]
        swaps = [
            step
            for page in range(pages)
            for step in (
                (second + page, first + page),
                (first + page + 1, second + page),
            )
        ]
        for number, (source, target) in enumerate(moves + swaps):
            self._step(number, source, target)
        # Else the old image, now in the second slot, would be taken for a new one.
        self.erase_trailer(1)
        self._write_flag(0, COPY_DONE_PLACE)

    def _step(self, number: int, source: int, target: int) -> None:
        note = self.flash.page_start(self.layout.trailer_pages[0]) + number * UNIT
        if self.flash.read(note, UNIT) != UNWRITTEN:
            return
        content = self.flash.read(self.flash.page_start(source), self.layout.page_bytes)
        self.flash.erase(target)
        self.flash.program(self.flash.page_start(target), content)
        self.flash.program(note, b"\x01" + UNWRITTEN[1:])

    def _address(self, slot: int) -> int:
        return self.flash.page_start(self.layout.slot_pages[slot])

    def _trailer_address(self, slot: int, place: int) -> int:
        page = self.layout.trailer_pages[slot]
        return self.flash.page_start(page) + self.layout.page_bytes - place

    def _read_trailer(self, slot: int, place: int, length_bytes: int) -> bytes:
        return self.flash.read(self._trailer_address(slot, place), length_bytes)

    def _write_trailer(self, slot: int, place: int, content: bytes) -> None:
        self.flash.program(self._trailer_address(slot, place), content)

    def _magic(self, slot: int) -> bool:
        return self._read_trailer(slot, MAGIC_PLACE, len(TRAILER_MAGIC)) == TRAILER_MAGIC

    def _flag(self, slot: int, place: int) -> bool:
        return self._read_trailer(slot, place, UNIT) != UNWRITTEN

    def _write_flag(self, slot: int, place: int) -> None:
        self._write_trailer(slot, place, b"\x01" + UNWRITTEN[1:])


def stored_image(content: bytes) -> StoredImage | None:
    """Read what stands at the start of a slot as an image."""
    fields = struct.unpack_from("<IIHHIIBBHI", content)
    magic, _, header_bytes, protected_bytes, program_bytes, _, major, minor, revision, build = (
        fields
    )
    hashed_bytes = header_bytes + program_bytes + protected_bytes
    if magic != IMAGE_MAGIC or hashed_bytes + 4 > len(content):
        return None
    area_magic, area_bytes = struct.unpack_from("<HH", content, hashed_bytes)
    end = hashed_bytes + area_bytes
    stored = _sha256_tlv(content[:end], hashed_bytes + 4)
    if area_magic != TLV_MAGIC or end > len(content) or stored is None:
        return None
    version = f"{major}.{minor}.{revision}" + (f".{build}" if build else "")
    computed = hashlib.sha256(content[:hashed_bytes]).digest()
    return StoredImage(version, stored, end, computed == stored)


def _sha256_tlv(content: bytes, place: int) -> bytes | None:
    while place + 4 <= len(content):
        kind, size = struct.unpack_from("<HH", content, place)
        place += 4
        if kind == SHA256_TLV and size == 32 and place + size <= len(content):
            return content[place : place + size]
        place += size
    return None
