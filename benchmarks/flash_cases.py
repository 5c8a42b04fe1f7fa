"""Chips and programs for `bench_serial.py`: ours, and those of others, on the same simulated chips."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Final

from agent.flash import ChipImage
from agent.flash.entry import NoEntry
from agent.flash.image_file import ImageFormat, raw_image
from agent.flash.mcuboot_image import load_public_key
from agent.flash.mcumgr import McumgrSettings, Way
from agent.flash.pages import FlashLayout
from agent.flash.select import ChipSettings, ProtocolSettings
from agent.flash.stk500v1 import Stk500Settings
from agent.flash.stm32_commands import Join
from agent.flash.stm32_uart import Stm32Settings
from agent.interfaces import LineSettings, Parity
from simulator.mcu.mcuboot import Layout, Mcuboot
from simulator.mcu.mcuboot_chip import McubootChip, make_chip
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.signed_image import public_line, signed_image
from simulator.mcu.smp_server import SmpServer
from simulator.mcu.stm32_rom import F103, FLASH_START, G071, Stm32Model, Stm32Rom

BAUD: Final = 115_200
STM32_BYTES: Final = 32 * 1024
AVR_BYTES: Final = 30 * 1024
SMP_BYTES: Final = 32 * 1024
SMP_BUFFERS: Final = (384, 1024)
"""Zephyr's default and MCUboot's."""
PROGRAMS: Final = Path(sys.executable).parent

BenchChip = Stm32Rom | Optiboot | McubootChip


@dataclass(frozen=True, slots=True)
class Case:
    """One program on one kind of chip.

    `commands` run one after the other, with `{port}` and `{image}` filled in. `settings` is the name of our
    flasher's, empty for the programs of others; only where answers are `slow` does it differ from another.
    `asked` is an adapter that was asked for low latency, as our flasher does where the kernel can.
    """

    chip: str
    program: str
    make_chip: Callable[[], BenchChip]
    image: bytes
    commands: tuple[tuple[str, ...], ...]
    settings: str = ""
    slow: bool = False
    asked: bool = False


def holds(chip: BenchChip, image: bytes) -> bool:
    """Whether the image is where it belongs: in the second slot of a chip that has two."""
    if isinstance(chip, McubootChip):
        return chip.server.mcuboot.content(1, len(image)) == image
    return chip.flash.read(chip.flash.start, len(image)) == image


def stm32_settings(model: Stm32Model, join: Join = Join.ADDRESSES) -> Stm32Settings:
    """As a pty carries it: without parity."""
    return Stm32Settings(
        chip=model.chip.hex(),
        flash=FlashLayout(FLASH_START, model.pages),
        baud=BAUD,
        parity=Parity.NONE,
        skip_unchanged=True,
        join_steps=join,
    )


def our_settings(name: str, port: str) -> ChipSettings:
    """The table of a board profile by its name here."""
    protocol: ProtocolSettings
    start = 0
    match name:
        case "stm32" | "stm32-blocks":
            join = Join.BLOCKS if name == "stm32-blocks" else Join.ADDRESSES
            protocol, start = stm32_settings(F103, join), FLASH_START
        case "stm32-checksum":
            protocol, start = stm32_settings(G071), FLASH_START
        case "avr":
            protocol = Stk500Settings("1e950f", 128, 0x7E00, BAUD, skip_unchanged=True)
        case _:
            pem = f"-----BEGIN PUBLIC KEY-----\n{public_line()}\n-----END PUBLIC KEY-----\n"
            key = load_public_key(pem.encode(), "the simulator's key")
            under_way = 2 if name == "smp-ahead" else 1
            protocol = McumgrSettings(
                Way.APPLICATION, (key,), LineSettings(BAUD), requests_under_way=under_way
            )
    return ChipSettings(port, protocol, NoEntry(), ImageFormat.RAW, start, allow_fragile=False)


def our_image(settings: ChipSettings, content: bytes) -> ChipImage:
    """The bytes where the settings say that they begin."""
    return raw_image(content, settings.image_start)


def cases() -> list[Case]:
    """All programs, ours below the one it is compared with."""
    noise = Random(7).randbytes
    stm32_image, avr_image = noise(STM32_BYTES), noise(AVR_BYTES)
    stm32flash = (
        *("stm32flash", "-m", "8n1", "-b", str(BAUD), "-w", "{image}", "-v"),
        *("-g", hex(FLASH_START), "{port}"),
    )
    avrdude = (
        *("avrdude", "-q", "-q", "-c", "arduino", "-p", "m328p", "-b", str(BAUD), "-D"),
        *("-P", "{port}", "-U", "flash:w:{image}:r"),
    )
    found = [
        Case("STM32", "stm32flash", _stm32, stm32_image, (stm32flash,)),
        _ours("STM32", "stm32", _stm32, stm32_image),
        replace(_ours("STM32, asked", "stm32", _stm32, stm32_image, slow=True), asked=True),
        _ours("STM32, quick", "stm32", _quick_stm32, stm32_image, slow=True),
        _ours("STM32, blocks", "stm32-blocks", _quick_stm32, stm32_image, slow=True),
        _ours("STM32, checksum", "stm32-checksum", _new_stm32, stm32_image),
        _ours("checksum, quick", "stm32-checksum", _quick_new_stm32, stm32_image, slow=True),
        Case("ATmega328P", "avrdude", _avr, avr_image, (avrdude,)),
        _ours("ATmega328P", "avr", _avr, avr_image),
        replace(_ours("ATmega, asked", "avr", _avr, avr_image, slow=True), asked=True),
    ]
    for buffer_bytes in SMP_BUFFERS:
        found += _smp_cases(buffer_bytes, signed_image(noise(SMP_BYTES), 1))
    return found


def _ours(
    chip: str, settings: str, make: Callable[[], BenchChip], image: bytes, *, slow: bool = False
) -> Case:
    program = str(Path(__file__).with_name("bench_serial.py"))
    command = (sys.executable, program, "--flash", settings, "{port}", "{image}")
    return Case(chip, "lockgate", make, image, (command,), settings, slow)


def _smp_cases(buffer_bytes: int, image: bytes) -> list[Case]:
    def make() -> BenchChip:
        return make_chip(
            SmpServer(Mcuboot(Layout()), buffer_bytes), signed_image(Random(8).randbytes(2000), 0)
        )

    smpmgr = (str(PROGRAMS / "smpmgr"), "--port", "{port}", "--baudrate", str(BAUD), "image")
    others = ((*smpmgr, "upload", "{image}"), (*smpmgr, "state-read"))
    chip = f"MCUboot, {buffer_bytes}"
    return [
        Case(chip, "smpmgr", make, image, others),
        _ours(chip, "smp", make, image),
        _ours(f"{buffer_bytes}, two ahead", "smp-ahead", make, image),
    ]


def _stm32() -> BenchChip:
    """A chip in its ROM, whose flash takes no time."""
    return Stm32Rom(model=F103, parity=None, start_s=0.0, program_is_real=False)


def _quick_stm32() -> BenchChip:
    return Stm32Rom(model=F103, parity=None, start_s=0.0, program_is_real=False, keeps_up=True)


def _new_stm32() -> BenchChip:
    return Stm32Rom(model=G071, parity=None, start_s=0.0, program_is_real=False)


def _quick_new_stm32() -> BenchChip:
    return Stm32Rom(model=G071, parity=None, start_s=0.0, program_is_real=False, keeps_up=True)


def _avr() -> BenchChip:
    return Optiboot(blink_s=0.0, program_is_real=False)
