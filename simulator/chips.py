"""The microcontrollers of a simulated board, made from its profile with an image from the factory."""

from dataclasses import dataclass, field
from random import Random as Generator
from typing import Final, assert_never

from agent.board import BoardProfile, Microcontroller
from agent.flash.image_file import ImageFormat
from agent.flash.select import ChipSettings, flash_start
from agent.flash.stk500v1 import Stk500Settings
from agent.flash.stm32_uart import Stm32Settings
from simulator.mcu import Chip
from simulator.mcu.flash import FlashMemory
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.stm32_rom import Stm32Model, Stm32Rom
from simulator.mcu.wire import LineFaults

IMAGE_BYTES: Final = 700
HEX_ROW_BYTES: Final = 16


@dataclass(slots=True)
class BoardChip:
    """One chip and what may happen to it.

    `unplugged` and `unplugged_at`, a number of writes to its port, are a pulled plug. `flash.cut_at` is a
    power cut of the whole board, in the middle of the chip's work.
    """

    name: str
    port: str
    settings: ChipSettings
    chip: Chip
    flash: FlashMemory
    line_faults: LineFaults = field(default_factory=LineFaults)
    unplugged: bool = False
    unplugged_at: int | None = None
    writes: int = 0

    @property
    def power_failed(self) -> bool:
        """Whether the cut that was planned has come."""
        return self.flash.cut_at is not None and self.flash.operations >= self.flash.cut_at

    def forget_cut(self) -> None:
        """The power is back for good."""
        if self.power_failed:
            self.flash.cut_at = None

    def plug_in(self) -> None:
        """Somebody puts the plug back."""
        self.unplugged, self.unplugged_at = False, None

    def holds(self, content: bytes) -> bool:
        """Whether the flash begins with these bytes."""
        return self.flash.read(self.flash.start, len(content)) == content


def make_chips(profile: BoardProfile, seed: int) -> tuple[BoardChip, ...]:
    """The chips that a profile names, as they leave the factory."""
    return tuple(_make(chip, seed) for chip in profile.microcontrollers)


def chip_program(name: str, seed: int, number: int, length_bytes: int = IMAGE_BYTES) -> bytes:
    """The program of one chip in release `number`; 0 is the factory's."""
    return Generator(f"{name}/{seed}/{number}").randbytes(length_bytes)  # noqa: S311  # repeatable


def image_file(settings: ChipSettings, program: bytes) -> bytes:
    """A program in the format that the profile asks for."""
    start = flash_start(settings)
    match settings.image_format:
        case ImageFormat.RAW:
            return program
        case ImageFormat.INTEL_HEX:
            return intel_hex(program, start)
        case ImageFormat.SREC:
            raise AssertionError("no simulated board takes S-records")
        case never:
            assert_never(never)


def intel_hex(program: bytes, start: int) -> bytes:
    """A program below 64 KiB as Intel HEX."""
    rows = []
    if start >> 16:
        rows.append(_row(2, 0, 4, (start >> 16).to_bytes(2, "big")))
    for place in range(0, len(program), HEX_ROW_BYTES):
        content = program[place : place + HEX_ROW_BYTES]
        rows.append(_row(len(content), (start + place) & 0xFFFF, 0, content))
    return "\n".join([*rows, ":00000001FF", ""]).encode()


def _row(length: int, address: int, kind: int, content: bytes) -> str:
    row = bytes([length, address >> 8, address & 0xFF, kind]) + content
    return f":{row.hex()}{-sum(row) & 0xFF:02x}".upper()


def _make(microcontroller: Microcontroller, seed: int) -> BoardChip:
    settings = microcontroller.settings
    chip: Chip
    match settings.protocol:
        case Stm32Settings() as stm32:
            model = Stm32Model(chip=bytes.fromhex(stm32.chip), pages=stm32.flash.pages)
            rom = Stm32Rom(model=model, boot0=False)
            chip, flash = rom, rom.flash
        case Stk500Settings() as stk500:
            avr = Optiboot(baud=stk500.baud, signature=bytes.fromhex(stk500.signature))
            chip, flash = avr, avr.flash
        case never:
            assert_never(never)
    program = chip_program(microcontroller.name, seed, 0)
    flash.content[: len(program)] = program
    flash.seed = seed
    return BoardChip(microcontroller.name, settings.port, settings, chip, flash)
