"""Chips, settings and images that the tests of flashing share; everything runs in virtual time."""

from random import Random
from typing import Final

from agent.flash import ChipImage
from agent.flash.entry import EntrySettings, LinesEntry, Signal, Wire
from agent.flash.image_file import ImageFormat, raw_image
from agent.flash.pages import FlashLayout
from agent.flash.select import ChipSettings, ProtocolSettings
from agent.flash.stk500v1 import Stk500Settings
from agent.flash.stm32_uart import Stm32Settings
from agent.interfaces import Parity
from simulator.clock import SimulatedClock
from simulator.mcu import Chip
from simulator.mcu.flash import even_pages
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.stm32_rom import FLASH_START, Stm32Model, Stm32Rom
from simulator.mcu.wire import LineFaults
from simulator.serial_line import SimulatedSerialLine

BY_LINES: Final = LinesEntry(
    reset=Wire(Signal.DTR, asserted=True),
    boot=Wire(Signal.RTS, asserted=True),
    pulse_s=0.1,
    settle_s=0.05,
    boot_s=0.05,
)
BY_DTR: Final = LinesEntry(
    reset=Wire(Signal.DTR, asserted=True), boot=None, pulse_s=0.1, settle_s=0.05, boot_s=0.05
)
SMALL: Final = Stm32Model(pages=even_pages(8, 1024))
SMALL_WITH_CHECKSUM: Final = Stm32Model(
    chip=b"\x04\x60", pages=even_pages(8, 1024), extended_erase=True, checksum=True
)


def some_bytes(length: int, seed: int = 1) -> bytes:
    """Bytes of which none is the same for long."""
    return Random(seed).randbytes(length)


def stm32_image(length: int = 3000, seed: int = 1) -> ChipImage:
    return raw_image(some_bytes(length, seed), FLASH_START)


def avr_image(length: int = 1000, seed: int = 1) -> ChipImage:
    """Bytes that a real processor can start: they begin with a jump to themselves."""
    return raw_image(b"\xff\xcf" + some_bytes(length - 2, seed), 0)


def settings_of(protocol: ProtocolSettings, entry: EntrySettings, start: int = 0) -> ChipSettings:
    return ChipSettings(
        port="simulated",
        protocol=protocol,
        entry=entry,
        image_format=ImageFormat.RAW,
        image_start=start,
        allow_fragile=False,
    )


def stm32_settings(
    model: Stm32Model = SMALL, *, entry: EntrySettings = BY_LINES, skip_unchanged: bool = True
) -> ChipSettings:
    protocol = Stm32Settings(
        chip=model.chip.hex(),
        flash=FlashLayout(FLASH_START, model.pages),
        baud=115_200,
        parity=Parity.EVEN,
        skip_unchanged=skip_unchanged,
    )
    return settings_of(protocol, entry, FLASH_START)


def avr_settings(
    *, entry: EntrySettings = BY_DTR, skip_unchanged: bool = True, baud: int = 115_200
) -> ChipSettings:
    protocol = Stk500Settings(
        signature="1e950f",
        page_bytes=128,
        boot_start=0x7800,
        baud=baud,
        skip_unchanged=skip_unchanged,
    )
    return settings_of(protocol, entry)


def stm32_chip(model: Stm32Model = SMALL) -> Stm32Rom:
    return Stm32Rom(model=model, boot0=False)


def line_to(
    chip: Chip, faults: LineFaults | None = None, latency_s: float = 0.0
) -> SimulatedSerialLine:
    return SimulatedSerialLine(
        SimulatedClock(), chip, latency_s=latency_s, faults=faults or LineFaults()
    )


def held(chip: Stm32Rom | Optiboot, image: ChipImage) -> bool:
    """Whether the chip's flash holds the image."""
    return all(
        chip.flash.read(region.start, len(region.content)) == region.content
        for region in image.regions
    )
