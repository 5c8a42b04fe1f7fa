"""`Flasher` for the bootloader in the ROM of STM32 microcontrollers, over its USART.

Writes and erases of protected flash are acknowledged like all others, so only reading back tells. A power
cut leaves pages erased or half written and the first block of vectors missing, so that nothing starts;
the ROM cannot be harmed and is entered by BOOT0 and reset. Source: ST AN3155 rev 14; AN2606 for chips.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from agent.errors import FlashIdentityError, FlashLineError, FlashRefusedError, FlashVerifyError
from agent.flash import (
    ERASED,
    ChipImage,
    FlashPlan,
    Identity,
    OnProgress,
    Phase,
    Progress,
    Recovery,
    Region,
)
from agent.flash.image_file import cut_blocks
from agent.flash.pages import FlashLayout, may_be_noise
from agent.flash.stm32_commands import (
    BLOCK_BYTES,
    CHECKSUM,
    CHECKSUM_SEED,
    ERASE,
    EXTENDED_ERASE,
    POLYNOMIAL,
    READ,
    WRITE,
    Join,
    RefusedCommandError,
    Stm32Commands,
)
from agent.interfaces import LineSettings, Parity, SerialLine

WORD_BYTES: Final = 4
PROBE_BYTES: Final = 16
DIFFERENT_PROBES_MAX: Final = 6
"""After so many pages in a row that differ, a new image is taken to differ everywhere."""
READ_AGAIN: Final = 2
ASK_AGAIN: Final = 3
ERASE_TOGETHER: Final = 16
"""Pages for one command: each saves two answers, and all must be erased within its deadline."""


@dataclass(frozen=True, slots=True)
class Stm32Settings:
    """One kind of STM32: its id as four hexadecimal digits, its flash, and how its ROM is spoken to."""

    chip: str
    flash: FlashLayout
    baud: int
    parity: Parity
    skip_unchanged: bool
    join_steps: Join = Join.ADDRESSES

    @property
    def line(self) -> LineSettings:
        """The characters on the line."""
        return LineSettings(self.baud, self.parity)


class Stm32Uart:
    """One STM32 in its ROM bootloader."""

    recovery: Final = Recovery.ROM

    def __init__(self, line: SerialLine, settings: Stm32Settings) -> None:
        self._settings = settings
        self._commands = Stm32Commands(line, settings.join_steps)

    def identify(self) -> Identity:
        """Sync, then Get and Get ID: nothing may be erased at a baud rate that was measured wrong."""
        self._commands.synchronise()
        version, listed = self._commands.get()
        identity = Identity(self._expected_chip(), f"{version >> 4}.{version & 15}")
        if not {READ, WRITE} <= listed or not {ERASE, EXTENDED_ERASE} & listed:
            raise FlashRefusedError(
                "a ROM that reads, writes and erases was expected, this one lists "
                f"{', '.join(f'{code:#04x}' for code in sorted(listed))}"
            )
        self._commands.probe(self._settings.flash.start, 1 / self._settings.baud)
        return identity

    def plan(self, image: ChipImage, progress: OnProgress) -> FlashPlan:
        """Find the pages that differ; the vectors' page is among them if there are any."""
        self._settings.flash.check_fits(image)
        block_bytes = min(BLOCK_BYTES, *self._settings.flash.pages)  # none crosses a page
        blocks = cut_blocks(image, block_bytes, WORD_BYTES)
        pages: dict[int, list[Region]] = {}
        for number, (start, end) in enumerate(self._settings.flash.spans()):
            inside = [block for block in blocks if start <= block.start < end]
            if inside:
                pages[number] = inside
        same = self._unchanged(pages, image.length_bytes, progress)
        changed = [number for number in pages if number not in same]
        vectors = min(pages)
        if changed and vectors in same:
            changed.insert(0, vectors)
        unchanged_bytes = sum(
            len(block.content)
            for number in pages
            if number not in changed
            for block in pages[number]
        )
        writes = [
            block
            for number in changed
            for block in pages[number]
            if block.content.count(ERASED) != len(block.content)
        ]
        return FlashPlan(
            # Vectors are erased first and written last: a cut in between leaves nothing to start.
            erase=tuple(sorted(changed)),
            writes=tuple(writes[1:] + writes[:1]),
            unchanged_bytes=unchanged_bytes,
        )

    def write(self, plan: FlashPlan, progress: OnProgress) -> None:
        """Erase page by page, then write block by block, and the vectors last."""
        if not plan.erase:
            return
        self._expected_chip()
        extended = EXTENDED_ERASE in self._commands.listed
        spans = self._settings.flash.spans()
        total = sum(spans[page][1] - spans[page][0] for page in plan.erase)
        done = 0
        for place in range(0, len(plan.erase), ERASE_TOGETHER):
            pages = plan.erase[place : place + ERASE_TOGETHER]
            self._commands.erase(pages, extended=extended)
            done += sum(spans[page][1] - spans[page][0] for page in pages)
            progress(Progress(Phase.ERASE, done, total))
        done = 0
        for place, block in enumerate(plan.writes):
            if place == len(plan.writes) - 1:
                self._expected_chip()  # the last block makes it startable
            self._commands.write(block.start, block.content)
            done += len(block.content)
            progress(Progress(Phase.WRITE, done, plan.write_bytes))

    def verify(self, image: ChipImage, progress: OnProgress) -> None:
        """By the chip's checksum where Get lists it and it agrees, else by reading all of it back."""
        done = 0
        for region in image.regions:
            if self._checksum_agrees(region):
                done += len(region.content)
                progress(Progress(Phase.VERIFY, done, image.length_bytes))
                continue
            for block in cut_blocks(ChipImage((region,)), BLOCK_BYTES):
                if not self._holds(block):
                    raise FlashVerifyError(
                        f"the image was expected at {block.start:#x}, other bytes were read back: the page "
                        "is protected or worn out, or the chip says what is not true"
                    )
                done += len(block.content)
                progress(Progress(Phase.VERIFY, done, image.length_bytes))

    def read_flash(self, progress: OnProgress) -> bytes:
        """All pages. Raises `FlashRefusedError` when the chip is protected against reading."""
        start, end = self._settings.flash.start, self._settings.flash.end
        content = bytearray()
        for place in range(start, end, BLOCK_BYTES):
            content += self._commands.read(place, min(BLOCK_BYTES, end - place))
            progress(Progress(Phase.COMPARE, len(content), end - start))
        return bytes(content)

    def start(self) -> None:
        """Go to the flash's first address; where reset follows anyway, a refusal does not matter."""
        try:
            self._commands.go(self._settings.flash.start)
        except RefusedCommandError as error:
            raise FlashRefusedError(
                "the ROM was expected to start the image, it refuses"
            ) from error

    def _expected_chip(self) -> str:
        """The id that the settings name. No sum guards it, so only the same wrong one twice counts."""
        chip = ""
        for _ in range(1 + ASK_AGAIN):
            before, chip = chip, self._commands.get_id().hex()
            if chip == self._settings.chip:
                return chip
            if chip == before:
                raise FlashIdentityError(
                    f"the STM32 with the id {self._settings.chip} was expected, {chip} answers; "
                    "nothing was written since"
                )
        raise FlashLineError(
            "the same id twice was expected, another came each time; look at the line"
        )

    def _unchanged(
        self, pages: dict[int, list[Region]], total_bytes: int, progress: OnProgress
    ) -> frozenset[int]:
        if not self._settings.skip_unchanged:
            return frozenset()
        same: set[int] = set()
        different = done = 0
        for number, blocks in pages.items():
            if different >= DIFFERENT_PROBES_MAX:
                break
            if self._page_is(blocks):
                same.add(number)
                different = 0
            else:
                different += 1
            done += sum(len(block.content) for block in blocks)
            progress(Progress(Phase.COMPARE, min(done, total_bytes), total_bytes))
        return frozenset(same)

    def _page_is(self, blocks: list[Region]) -> bool:
        first = blocks[0]
        probe = first.content[:PROBE_BYTES]
        if not self._reads(Region(first.start, probe)):
            return False
        whole = all(a.end == b.start for a, b in pairwise(blocks))
        if whole:
            region = Region(first.start, b"".join(block.content for block in blocks))
            if self._checksum_agrees(region):
                return True
        return all(self._reads(block) for block in blocks)

    def _reads(self, block: Region) -> bool:
        """Whether the chip holds a block; asked again where the answer is another one by a bit or two."""
        found = self._commands.read(block.start, len(block.content))
        if may_be_noise(found, block.content):
            found = self._commands.read(block.start, len(block.content))
        return found == block.content

    def _checksum_agrees(self, region: Region) -> bool:
        aligned = region.start % WORD_BYTES == 0 and len(region.content) % WORD_BYTES == 0
        if CHECKSUM not in self._commands.listed or not aligned:
            return False
        return self._commands.checksum(region.start, len(region.content)) == stm32_checksum(
            region.content
        )

    def _holds(self, block: Region) -> bool:
        """Whether the chip holds a block; a garbled answer gets another chance, for there is no XOR."""
        return any(
            self._commands.read(block.start, len(block.content)) == block.content
            for _ in range(1 + READ_AGAIN)
        )


def stm32_checksum(content: bytes) -> int:
    """The CRC that the chip's unit makes of words: least significant byte last, no reflection."""
    table = [_shifted(value << 24) for value in range(256)]
    crc = CHECKSUM_SEED
    for place in range(0, len(content), WORD_BYTES):
        for value in reversed(content[place : place + WORD_BYTES]):
            crc = (crc << 8 & 0xFFFFFFFF) ^ table[crc >> 24 ^ value]
    return crc


def _shifted(crc: int) -> int:
    for _ in range(8):
        crc = (crc << 1 ^ POLYNOMIAL if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc
