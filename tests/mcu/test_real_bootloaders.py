"""Our flasher against the bootloaders that boards are really sold with, and ours against theirs."""

from typing import Final

import pytest

from agent.errors import FlashError
from agent.flash.session import flash_chip
from agent.interfaces import LineSettings, SerialLine
from simulator.clock import SimulatedClock
from simulator.mcu.optiboot import Optiboot
from simulator.serial_line import SimulatedSerialLine
from tests.flash.chips import avr_image, avr_settings
from tests.mcu.avr_chip import ATMEGABOOT, RealAvr

SIMULATOR_BUFFER_BYTES: Final = 63
"""simavr's receiver keeps so many bytes, a real one three."""
BOOT_S: Final = 0.45
SYNC: Final = b"0 "
PAGE: Final = bytes(range(128))


def program(address: int, content: bytes, length: int | None = None) -> list[tuple[bytes, float]]:
    count = len(content) if length is None else length
    header = b"d" + count.to_bytes(2, "big") + b"F"
    return [
        (b"U" + (address // 2).to_bytes(2, "little") + b" ", 0.02),
        (header + content + b" ", 0.1),
    ]


def read(address: int, length: int) -> list[tuple[bytes, float]]:
    return [
        (b"U" + (address // 2).to_bytes(2, "little") + b" ", 0.02),
        (b"t" + length.to_bytes(2, "big") + b"F ", 0.2),
    ]


Script = list[tuple[bytes, float]]

SCRIPTS: Final[dict[str, Script]] = {
    "sync": [(SYNC, 0.02)],
    "sync while it blinks": [(SYNC, 0.01)],
    "three syncs while it blinks": [(SYNC, 0.01), (SYNC, 0.01), (SYNC, 0.5)],
    "sync in two pieces": [(b"0", 0.3), (b" ", 0.02)],
    "sync too late": [(b"0", 1.3), (b" ", 0.05), (SYNC, 0.05)],
    "sync after a second of silence": [(b"", 1.2), (SYNC, 0.05)],
    "kept awake": [(SYNC, 0.7), (SYNC, 0.7), (SYNC, 0.7)],
    "wrong end": [(b"00", 0.05), (SYNC, 0.05), (SYNC, 0.05)],
    "doubled sync": [(b"0 0 ", 0.05)],
    "doubled bytes": [(b"00  ", 0.05), (SYNC, 0.05)],
    "a space as a command": [(b"  ", 0.05)],
    "five spaces": [(b"     ", 0.05), (b" ", 0.05)],
    "signature": [(b"u ", 0.05)],
    "signature with a wrong end": [(b"ux", 0.05), (b"u ", 0.05)],
    "sign-on": [(b"1 ", 0.05)],
    "enter programming": [(b"P ", 0.05)],
    "erase": [(b"R ", 0.05)],
    "universal": [(b"V\x30\x00\x00\x00 ", 0.05)],
    "universal cut short": [(b"V\x30\x00 ", 0.05), (b"\x00\x00", 0.05), (SYNC, 0.05)],
    "version": [(b"A\x81 ", 0.05), (b"A\x82 ", 0.05), (b"A\x80 ", 0.05), (b"A\x98 ", 0.05)],
    "device": [(b"B" + bytes(20) + b" ", 0.05)],
    "device cut short": [(b"B" + bytes(17) + b" ", 0.05), (SYNC, 0.05), (SYNC, 0.05)],
    "extended device": [(b"E" + bytes(5) + b" ", 0.05)],
    "address": [(b"U\x00\x01 ", 0.05)],
    "address with a byte lost": [(b"U\x00 ", 0.05), (b" ", 0.05), (SYNC, 0.05)],
    "write and read": [*program(0, PAGE), *read(0, 128)],
    "write twice": [*program(0, PAGE), *program(0, PAGE[::-1]), *read(0, 128)],
    "write the command twice": [*program(0, PAGE), program(0, PAGE[::-1])[1], *read(0, 128)],
    "write beyond read-while-write": [*program(0x7000, PAGE), *read(0x7000, 128)],
    "write one byte short": [*program(0, PAGE[:-1], 128), (b" ", 0.1), *read(0, 128)],
    "write two bytes short": [*program(0, PAGE[:-2], 128), (b"  ", 0.1), *read(0, 128)],
    "write one byte long": [*program(0, PAGE + b"\x00", 128), (SYNC, 0.05)],
    "write half a page": [*program(0, PAGE), *program(128, PAGE[:64]), *read(128, 128)],
    "write two pages as one": [*program(0, PAGE + PAGE[::-1]), *read(0, 256)],
    "write in the middle of a page": [*program(64, PAGE), *read(0, 256)],
    "write with a wrong end": [
        (b"U\x00\x00 ", 0.02),
        (b"d\x00\x80F" + PAGE + b"x", 0.05),
        (SYNC, 0.05),
    ],
    "write and fall silent": [
        (b"U\x00\x00 ", 0.02),
        (b"d\x00\x80F" + PAGE[:50], 1.5),
        (SYNC, 0.05),
    ],
    "write and ask at once": [*program(0, PAGE)[:1], (program(0, PAGE)[1][0] + SYNC, 0.1)],
    "address and write in one": [(b"U\x40\x00 d\x00\x80F" + PAGE + b" ", 0.1), *read(128, 128)],
    "address and read in one": [(b"U\x00\x00 t\x01\x00F ", 0.2)],
    "read one byte": [*read(0, 1)],
    "read nothing, which is 256": [*read(0, 0)],
    "read goes on": [*program(0, PAGE), *read(0, 16), (b"t\x00\x10F ", 0.05)],
    "read with a wrong end": [(b"t\x00\x10Fx", 0.05), (SYNC, 0.05)],
    "noise": [(bytes([0xA5, 0x5A, 0xFF]), 0.05), (SYNC, 0.05)],
    "noise that ends well": [(b"\xa5 ", 0.05), (SYNC, 0.05)],
    "leave": [(b"Q ", 0.05), (SYNC, 0.05)],
    "leave and stay by asking on": [(b"Q ", 0.005), (SYNC, 0.005), (SYNC, 0.05), (SYNC, 0.05)],
    "SMP line": [(b"\x06\x09AAsCAAABAAEABb9gZAAA\n", 0.05), (SYNC, 0.05)],
    "0x7F of another protocol": [(b"\x7f", 0.05), (b" ", 0.05)],
}
AT_ONCE: Final = frozenset(("sync while it blinks", "three syncs while it blinks"))


def answers(line: SerialLine, script: Script, *, at_once: bool) -> list[str]:
    line.open(LineSettings(115_200))
    line.set_lines(dtr=False)
    line.set_lines(dtr=True)
    line.wait(0.01 if at_once else BOOT_S)
    found = []
    for content, wait_s in script:
        if content:
            line.write(content)
        line.wait(wait_s)
        found.append(line.read(1024, 0.0).hex())
    line.wait(0.5 if at_once else 0.0)
    return [*found, line.read(1024, 0.0).hex()]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_simulated_optiboot_answers_as_the_real_one(name: str, real_optiboot: RealAvr) -> None:
    simulated = SimulatedSerialLine(SimulatedClock(), Optiboot(buffer_bytes=SIMULATOR_BUFFER_BYTES))
    at_once = name in AT_ONCE
    expected = answers(real_optiboot, SCRIPTS[name], at_once=at_once)
    assert answers(simulated, SCRIPTS[name], at_once=at_once) == expected


def test_a_real_optiboot_takes_the_image(real_optiboot: RealAvr) -> None:
    image = avr_image(3000)
    flashed = flash_chip(avr_settings(), real_optiboot, image, attempts=1)
    assert flashed.identity.chip == "1e950f"
    assert real_optiboot.flash()[:3000] == image.regions[0].content
    again = flash_chip(avr_settings(), real_optiboot, image, attempts=1)
    assert not again.plan.writes, "a chip that holds the image is left alone"


def test_a_real_atmegaboot_takes_the_image(real_atmegaboot: RealAvr) -> None:
    image = avr_image(3000)
    settings = avr_settings(baud=ATMEGABOOT.baud)
    flashed = flash_chip(settings, real_atmegaboot, image, attempts=1)
    assert flashed.identity.chip == "1e950f"
    assert real_atmegaboot.flash()[:3000] == image.regions[0].content
    assert not flash_chip(settings, real_atmegaboot, image, attempts=1).plan.writes


@pytest.mark.parametrize("operation", [1, 5, 13])
def test_a_real_optiboot_is_flashed_again_after_a_cut(
    operation: int, real_optiboot: RealAvr
) -> None:
    old, new = avr_image(1500, seed=1), avr_image(1500, seed=2)
    flash_chip(avr_settings(), real_optiboot, old, attempts=1)
    real_optiboot.cut_power_at(operation)
    with pytest.raises(FlashError):
        flash_chip(avr_settings(), real_optiboot, new, attempts=1)
    flash_chip(avr_settings(), real_optiboot, new, attempts=1)
    assert real_optiboot.flash()[:1500] == new.regions[0].content
