"""`Flasher` for AVR bootloaders that speak STK500 version 1: Optiboot and ATmegaBOOT.

There is no checksum anywhere, so only reading back tells. A page is erased and written by one command. A
power cut leaves pages new, old and one torn; the first page, with the vectors, is emptied first and
written last, so that half an image does not start, and the bootloader cannot write itself. It listens for
a second after an external reset. Sources: Optiboot's optiboot.c, ATmegaBOOT_168.c, Atmel AVR061.

Two round trips in three are saved: setting the address travels with the command that uses it, because both
receive buffers and the transmitter of the chip take what that needs; and reads are as long as the
bootloader's one byte for the length allows, 256.
"""

from dataclasses import dataclass
from typing import Final

from agent.errors import FlashIdentityError, FlashImageError, FlashLineError, FlashVerifyError
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
from agent.flash.pages import may_be_noise
from agent.interfaces import LineSettings, SerialLine

END: Final = b" "
SYNC: Final = b"0 "
IN_SYNC: Final = b"\x14"
OK: Final = b"\x10"
ANSWER_S: Final = 0.5
"""Well below the second after which Optiboot starts the firmware: a busy computer must still be in time."""
SYNC_S: Final = 0.5
"""Longer than Optiboot blinks: its receiver keeps one sync meanwhile, and would tear a second."""
SYNC_TRIES: Final = 4
QUIET_S: Final = 0.05
LATE_S: Final = 0.25
"""An answer that came after the next end would leave half a command there: Optiboot starts the firmware."""
ENDS_MAX: Final = 16
"""More bytes than these are not lost together; a bootloader that waits for more is entered anew."""
DRAINS_MAX: Final = 6
TRIES: Final = 3
TROUBLES_MAX: Final = 64
ASK_AGAIN: Final = 3
READ_BYTES: Final = 256
WORD_BYTES: Final = 2
FLASH_MEMORY: Final = b"F"
VERSION_PARAMETERS: Final = (0x81, 0x82)
COMPARES_DIFFERENT_MAX: Final = 4
FLASH_END_MAX: Final = 128 * 1024


@dataclass(frozen=True, slots=True)
class Stk500Settings:
    """One kind of AVR: its signature as six hexadecimal digits, its flash, and its bootloader's baud rate.

    `boot_start` is where the boot section begins, out of reach for images.
    """

    signature: str
    page_bytes: int
    boot_start: int
    baud: int
    skip_unchanged: bool

    @property
    def line(self) -> LineSettings:
        """The characters on the line."""
        return LineSettings(self.baud)


class Stk500v1:
    """One AVR in its bootloader."""

    recovery: Final = Recovery.ROM

    def __init__(self, line: SerialLine, settings: Stk500Settings) -> None:
        self._line = line
        self._settings = settings
        self._troubles = 0
        self._joined = True

    def identify(self) -> Identity:
        """Sync when the bootloader has blinked, then ask for the signature and the version."""
        self._synchronise()
        signature = self._signature()
        major, minor = (self._ask(b"A" + bytes([which]), 1)[0] for which in VERSION_PARAMETERS)
        return Identity(signature, f"{major}.{minor}")

    def plan(self, image: ChipImage, progress: OnProgress) -> FlashPlan:
        """Whole pages; those that the chip holds already are left out."""
        first, last = image.regions[0].start, image.regions[-1].end
        if last > self._settings.boot_start:
            raise FlashImageError(
                f"an image below the boot section at {self._settings.boot_start:#x} was expected, "
                f"{first:#x} to {last:#x} found"
            )
        pages = cut_blocks(image, self._settings.page_bytes, self._settings.page_bytes)
        same = self._unchanged(pages, progress)
        changed = [page for page in pages if page.start not in same]
        unchanged_bytes = sum(len(page.content) for page in pages if page.start in same)
        if not changed:
            return FlashPlan((), (), unchanged_bytes)
        vectors, rest = pages[0], [page for page in changed if page is not pages[0]]
        if not rest:
            return FlashPlan((), (vectors,), unchanged_bytes)
        # A cut after the first and before the last of these leaves a chip that starts nothing.
        empty = Region(vectors.start, bytes([ERASED]) * len(vectors.content))
        return FlashPlan((0,), (empty, *rest, vectors), unchanged_bytes)

    def write(self, plan: FlashPlan, progress: OnProgress) -> None:
        """Page by page, in the plan's order."""
        if not plan.writes:
            return
        self._signature()
        done = 0
        for place, page in enumerate(plan.writes):
            if place and place == len(plan.writes) - 1:
                self._signature()  # the last page makes the image startable
            header = b"d" + len(page.content).to_bytes(2, "big") + FLASH_MEMORY
            self._at(page.start, header + page.content, 0)
            done += len(page.content)
            progress(Progress(Phase.WRITE, done, plan.write_bytes))

    def verify(self, image: ChipImage, progress: OnProgress) -> None:
        """Read all of it back."""
        done = 0
        for block in cut_blocks(image, READ_BYTES, WORD_BYTES):
            if not any(self._read(block) == block.content for _ in range(TRIES)):
                raise FlashVerifyError(
                    f"the image was expected at {block.start:#x}, other bytes were read back: the chip is "
                    "locked or worn out, or says what is not true"
                )
            done += len(block.content)
            progress(Progress(Phase.VERIFY, done, image.length_bytes))

    def read_flash(self, progress: OnProgress) -> bytes:
        """All below the boot section."""
        end = self._settings.boot_start
        content = bytearray()
        for place in range(0, end, READ_BYTES):
            length = min(READ_BYTES, end - place)
            content += self._read(Region(place, bytes(length)))
            progress(Progress(Phase.COMPARE, len(content), end))
        return bytes(content)

    def start(self) -> None:
        """Leave: the bootloader's watchdog starts the image."""
        self._ask(b"Q", 0)

    def _synchronise(self) -> None:
        for attempt in range(SYNC_TRIES):
            self._line.write(SYNC)
            if self._line.read(2, SYNC_S) == IN_SYNC + OK:
                if attempt:
                    self._drain()  # what was sent while it blinked is answered all at once
                return
        raise FlashLineError(
            f"an STK500 bootloader was expected to answer within {SYNC_TRIES * SYNC_S:.0f} s, it did not: "
            "check the reset line, the port and the baud rate"
        )

    def _signature(self) -> str:
        """That which the settings name. No sum guards it, so only the same wrong one twice counts."""
        signature = ""
        for _ in range(1 + ASK_AGAIN):
            before, signature = signature, self._ask(b"u", 3).hex()
            if signature == self._settings.signature:
                return signature
            if signature == before:
                raise FlashIdentityError(
                    f"the AVR with the signature {self._settings.signature} was expected, {signature} "
                    "answers; nothing was written since"
                )
        raise FlashLineError(
            "the same signature twice was expected, another came each time; look at the line"
        )

    def _unchanged(self, pages: list[Region], progress: OnProgress) -> frozenset[int]:
        if not self._settings.skip_unchanged:
            return frozenset()
        same: set[int] = set()
        different = 0
        per_read = max(1, READ_BYTES // self._settings.page_bytes)
        total = sum(len(page.content) for page in pages)
        for place in range(0, len(pages), per_read):
            if different >= COMPARES_DIFFERENT_MAX:
                break
            group = pages[place : place + per_read]
            found = [page.start for page in group if self._holds(page)]
            same.update(found)
            different = 0 if found else different + 1
            progress(Progress(Phase.COMPARE, group[-1].end - pages[0].start, total))
        return frozenset(same)

    def _holds(self, page: Region) -> bool:
        """Whether the chip holds a page; asked again where the answer is another one by a bit or two."""
        found = self._read(page)
        if may_be_noise(found, page.content):
            found = self._read(page)
        return found == page.content

    def _read(self, block: Region) -> bytes:
        length = len(block.content)
        command = b"t" + length.to_bytes(2, "big") + FLASH_MEMORY
        return self._at(block.start, command, length)

    def _at(self, address: int, command: bytes, answer_bytes: int) -> bytes:
        """One command at an address; tried again as long as the bootloader can be found."""
        assert address % WORD_BYTES == 0, "AVR flash is addressed in words"
        assert address < FLASH_END_MAX, "the protocol has 16 bits for words"
        load = b"U" + (address // WORD_BYTES).to_bytes(2, "little")
        for _ in range(TRIES - 1):
            try:
                return self._once(load, command, answer_bytes)
            except FlashLineError:
                self._joined = False  # perhaps this bootloader cannot listen that fast
                self._resync(len(command))
        return self._once(load, command, answer_bytes)

    def _once(self, load: bytes, command: bytes, answer_bytes: int) -> bytes:
        if not self._joined:
            self._exchange(load, 0)
            return self._exchange(command, answer_bytes)
        both = self._exchange(load + END + command, answer_bytes + 2)
        if both[:2] != OK + IN_SYNC:
            raise FlashLineError(f"two answers were expected, {both[:4].hex()} found")
        return both[2:]

    def _ask(self, command: bytes, answer_bytes: int) -> bytes:
        for _ in range(TRIES - 1):
            try:
                return self._exchange(command, answer_bytes)
            except FlashLineError:
                self._resync(len(command))
        return self._exchange(command, answer_bytes)

    def _exchange(self, command: bytes, answer_bytes: int) -> bytes:
        self._line.write(command + END)
        answer = self._line.read(answer_bytes + 2, ANSWER_S)
        whole = len(answer) == answer_bytes + 2
        if not whole or answer[:1] != IN_SYNC or answer[-1:] != OK:
            found = answer[:4].hex() or "nothing"
            raise FlashLineError(
                f"an answer from 14 to 10 of {answer_bytes + 2} bytes was expected, {found} found"
            )
        return answer[1:-1]

    def _resync(self, command_bytes: int) -> None:
        """Feed the bootloader ends of commands until it answers. Raises `FlashLineError`.

        Whatever it still waits for is completed by them; what that programs is a page of this image, which
        is then written again. Anything else would make Optiboot start the firmware.
        """
        self._troubles += 1
        if self._troubles > TROUBLES_MAX:
            raise FlashLineError(
                f"a line that loses bytes at most {TROUBLES_MAX} times in one run was expected; look at "
                "the wiring, its length, and the baud rate"
            )
        self._drain()
        for _ in range(min(command_bytes + 8, ENDS_MAX)):
            self._line.write(END)
            if self._line.read(2, LATE_S) == IN_SYNC + OK:
                self._drain()
                return
        raise FlashLineError(
            "the STK500 bootloader was expected to answer again, it is silent: it has been reset or has "
            "started the firmware; enter it again"
        )

    def _drain(self) -> None:
        self._line.discard_input()
        for _ in range(DRAINS_MAX):
            if not self._line.read(4096, QUIET_S):
                return
