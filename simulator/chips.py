"""The microcontrollers of a simulated board, made from its profile with an image from the factory."""

from dataclasses import dataclass, field, replace
from random import Random as Generator
from typing import Final, assert_never

from agent.board import BoardProfile, Microcontroller
from agent.errors import ProfileError
from agent.flash.esptool import EsptoolSettings
from agent.flash.image_file import ImageFormat
from agent.flash.mcumgr import McumgrSettings
from agent.flash.pages import FlashLayout
from agent.flash.select import ChipSettings, ProtocolSettings, flash_start
from agent.flash.stk500v1 import Stk500Settings
from agent.flash.stm32_uart import Stm32Settings
from simulator.mcu import Chip
from simulator.mcu.flash import FlashMemory
from simulator.mcu.mcuboot import Layout, Mcuboot
from simulator.mcu.mcuboot_chip import make_chip
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.signed_image import signed_image
from simulator.mcu.smp_server import SmpServer
from simulator.mcu.stm32_rom import Stm32Model, Stm32Rom
from simulator.mcu.wire import LineFaults

IMAGE_BYTES: Final = 700
HEX_ROW_BYTES: Final = 16
SLOTS: Final = Layout(page_bytes=256, image_pages=8)
"""The slots of a chip with MCUboot, as small as its images."""


@dataclass(slots=True)
class BoardChip:
    """One chip and what may happen to it.

    `unplugged` and `unplugged_at`, a number of writes to its port, are a pulled plug. `flash.cut_at` is a
    power cut in the middle of the chip's work: of the whole board, or of the chip alone when it has its
    `own_supply`, and then a cut of the board leaves the chip on.
    """

    name: str
    port: str
    settings: ChipSettings
    chip: Chip
    flash: FlashMemory
    line_faults: LineFaults = field(default_factory=LineFaults)
    own_supply: bool = False
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


def small_profile(profile: BoardProfile) -> BoardProfile:
    """The same board, its chips with a kilobyte of flash: a whole one is read and written in no time."""
    chips = tuple(
        replace(chip, settings=replace(chip.settings, protocol=_small(chip.settings.protocol)))
        for chip in profile.microcontrollers
    )
    return replace(profile, microcontrollers=chips)


def _small(protocol: ProtocolSettings) -> ProtocolSettings:
    match protocol:
        case Stm32Settings():
            return replace(protocol, flash=FlashLayout(protocol.flash.start, (256,) * 4))
        case Stk500Settings():
            return replace(protocol, boot_start=1024)
        case McumgrSettings() | EsptoolSettings():
            return protocol  # small already
        case never:
            assert_never(never)


def no_simulation(name: str) -> ProfileError:
    """The refusal of a chip that only another program can flash."""
    return ProfileError(
        f"{name}: a protocol of ours was expected on a simulated board, esptool found, which wants a real "
        "port; see `lockgate-sim mcu esp32`"
    )


def make_chips(profile: BoardProfile, seed: int) -> tuple[BoardChip, ...]:
    """The chips that a profile names, as they leave the factory."""
    return tuple(_make(chip, seed) for chip in profile.microcontrollers)


def chip_content(settings: ChipSettings, name: str, seed: int, number: int) -> bytes:
    """What the flash of one chip begins with in release `number`; 0 is the factory's."""
    words = f"{name}/{seed}/{number}"
    program = Generator(words).randbytes(IMAGE_BYTES)  # noqa: S311  # repeatable
    match settings.protocol:
        case McumgrSettings():
            return signed_image(program, number)
        case Stm32Settings() | Stk500Settings() | EsptoolSettings():
            return program
        case never:
            assert_never(never)


def image_file(settings: ChipSettings, content: bytes) -> bytes:
    """Such content in the format that the profile asks for."""
    match settings.image_format:
        case ImageFormat.RAW:
            return content
        case ImageFormat.INTEL_HEX:
            return intel_hex(content, flash_start(settings))
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
    settings, name = microcontroller.settings, microcontroller.name
    content = chip_content(settings, name, seed, 0)
    chip: Chip
    match settings.protocol:
        case Stm32Settings() as stm32:
            model = Stm32Model(chip=bytes.fromhex(stm32.chip), pages=stm32.flash.pages)
            rom = Stm32Rom(model=model, boot0=False)
            chip, flash = rom, rom.flash
            flash.content[: len(content)] = content
        case Stk500Settings() as stk500:
            avr = Optiboot(baud=stk500.baud, signature=bytes.fromhex(stk500.signature))
            chip, flash = avr, avr.flash
            flash.content[: len(content)] = content
        case McumgrSettings() as mcumgr:
            mcuboot = Mcuboot(SLOTS)
            chip, flash = make_chip(SmpServer(mcuboot), content), mcuboot.flash
            chip.baud = mcumgr.line.baud
        case EsptoolSettings():
            raise no_simulation(name)
        case never:
            assert_never(never)
    flash.seed = seed
    return BoardChip(name, settings.port, settings, chip, flash)
