"""A real AVR bootloader from the distribution, run by simavr, as a `SerialLine` in the chip's own time."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.flash.intel_hex import parse_intel_hex
from agent.interfaces import LineSettings

BOOTLOADERS: Final = Path("/usr/share/arduino/hardware/arduino/avr/bootloaders")
SOURCE: Final = Path(__file__).with_name("avr_bootloader.c")
FLASH_BYTES: Final = 0x8200
"""A little more than the chip has: the distribution's Optiboot is 532 bytes long, its section 512."""
VERSION_RECORD: Final = b":027FFE00"
"""Of that length the version word lies on top of an instruction, which is what counts here."""
COMPILE_S: Final = 60


@dataclass(frozen=True)
class Bootloader:
    """One bootloader: its file, the word that the boot fuse makes reset go to, its baud rate."""

    file: str
    start: int
    baud: int


OPTIBOOT: Final = Bootloader("optiboot/optiboot_atmega328.hex", 0x7E00, 115_200)
ATMEGABOOT: Final = Bootloader("atmega/ATmegaBOOT_168_atmega328.hex", 0x7800, 57_600)


def compile_harness(folder: Path) -> Path:
    """The program that runs a bootloader, made here and now."""
    program = folder / "avr_bootloader"
    made = subprocess.run(
        ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(program), str(SOURCE), "-lsimavr"],
        capture_output=True,
        text=True,
        timeout=COMPILE_S,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return program


class RealAvr:
    """A chip behind the program's pipes; asserting DTR resets it."""

    def __init__(self, process: "subprocess.Popen[bytes]", start: int) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._from = process.stdin, process.stdout
        self._start = start
        self._input = bytearray()
        self._dtr = False

    def open(self, settings: LineSettings) -> None:
        del settings

    def close(self) -> None:
        self._input.clear()

    def write(self, content: bytes) -> None:
        self._order(b"W" + len(content).to_bytes(2, "big") + content)

    def read(self, length_bytes: int, timeout_s: float) -> bytes:
        if len(self._input) < length_bytes:
            self._run(length_bytes - len(self._input), timeout_s)
        taken = bytes(self._input[:length_bytes])
        del self._input[:length_bytes]
        return taken

    def read_until(self, end: bytes, length_max: int, timeout_s: float) -> bytes:
        read = self.read(length_max, timeout_s)
        assert end not in read, "these protocols know lengths"
        return read

    def discard_input(self) -> None:
        self._run(0xFFFF, 0.0)
        self._input.clear()

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        del rts
        if dtr and not self._dtr:
            self.reset()
        self._dtr = self._dtr if dtr is None else dtr

    def wait(self, duration_s: float) -> None:
        self._run(0xFFFF, duration_s)

    def reset(self) -> None:
        self._order(b"X")

    def cut_power_at(self, operation: int) -> None:
        self._order(b"P" + operation.to_bytes(4, "big"))

    def flash(self) -> bytes:
        self._order(b"D")
        return self._from.read(self._start)

    def _run(self, length: int, timeout_s: float) -> None:
        self._order(b"R" + length.to_bytes(2, "big") + round(timeout_s * 1e6).to_bytes(4, "big"))
        count = int.from_bytes(self._from.read(2), "big")
        self._input += self._from.read(count)

    def _order(self, order: bytes) -> None:
        self._to.write(order)
        self._to.flush()


@contextmanager
def real_avr(program: Path, bootloader: Bootloader, folder: Path) -> Iterator[RealAvr]:
    """A chip that holds this bootloader and nothing else, with its power on."""
    flash = bytearray([0xFF]) * FLASH_BYTES
    lines = (BOOTLOADERS / bootloader.file).read_bytes().splitlines(keepends=True)
    code = b"".join(line for line in lines if not line.startswith(VERSION_RECORD))
    for region in parse_intel_hex(code).regions:
        flash[region.start : region.end] = region.content
    image = folder / "flash.bin"
    image.write_bytes(flash)
    process = subprocess.Popen(
        [str(program), str(image), str(bootloader.start), str(bootloader.baud)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            yield RealAvr(process, bootloader.start)
        finally:
            process.kill()
