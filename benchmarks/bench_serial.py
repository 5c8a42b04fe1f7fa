"""What flashing over a serial line costs, beside stm32flash and avrdude: time over the wire's own time.

The floor is every byte of both directions at the baud rate, as the simulated wire counts it: nobody who
sends the same bytes can be faster. Each program works on the same simulated chip on a pty, which paces its
bytes; its flash takes no time, so that only protocol and program count. A busy computer adds to every
answer; the rows "(virtual)" are our flasher in virtual time, where no computer is waited for.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from agent.flash.entry import NoEntry
from agent.flash.image_file import ImageFormat, raw_image
from agent.flash.pages import FlashLayout
from agent.flash.select import ChipSettings, ProtocolSettings
from agent.flash.session import flash_chip
from agent.flash.stk500v1 import Stk500Settings
from agent.flash.stm32_uart import Stm32Settings
from agent.interfaces import LineSettings, Parity
from agent.linux.serial_line import LinuxSerialLine
from simulator.clock import SimulatedClock
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.pty import PtyPort
from simulator.mcu.stm32_rom import F103, FLASH_START, G071, Stm32Model, Stm32Rom
from simulator.mcu.wire import TimedWire, byte_s
from simulator.serial_line import SimulatedSerialLine

BAUD: Final = 115_200
DEADLINE_S: Final = 240.0
STM32_BYTES: Final = 64 * 1024
AVR_BYTES: Final = 30 * 1024
ADAPTER_S: Final = 0.016

Run = Callable[[str, Path], float]
"""Flash the image over the port; the seconds that it took."""
READY: Final = "ready\n"


@dataclass(frozen=True, slots=True)
class Row:
    """One run: what it took, and what the wire took of that."""

    chip: str
    program: str
    latency_s: float
    took_s: float
    floor_s: float
    answers: int

    @property
    def ratio(self) -> float:
        """Time over floor."""
        return self.took_s / self.floor_s


@dataclass(frozen=True, slots=True)
class Case:
    """One program on one chip, and how many bytes it is to write."""

    chip: str
    program: str
    make_chip: Callable[[], Stm32Rom | Optiboot]
    run: Run
    length: int
    virtual: str = ""


def measure(case: Case, latency_s: float) -> Row:
    """Run one program against one fresh chip, and see that the flash holds the image."""
    chip = case.make_chip()
    content = Random(7).randbytes(case.length)
    wire = TimedWire(chip, paced=True, latency_s=latency_s)
    port = PtyPort(wire)
    where = port.open()
    stop = threading.Event()
    server = threading.Thread(target=port.serve, args=(stop.is_set,))
    server.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder, "image.bin")
            image.write_bytes(content)
            took_s = case.run(where, image)
    finally:
        stop.set()
        server.join()
        port.close()
    assert chip.flash.read(chip.flash.start, case.length) == content, f"{case.program} lost bytes"
    floor_s = (wire.bytes_to_chip + wire.bytes_to_host) * byte_s(LineSettings(BAUD))
    return Row(case.chip, case.program, latency_s, took_s, floor_s, wire.answers)


def in_virtual_time(case: Case, latency_s: float) -> Row:
    """Our flasher without any computer: what the protocol alone costs, on however busy a machine."""
    chip, clock = case.make_chip(), SimulatedClock()
    settings, start = SETTINGS[case.virtual]
    line = SimulatedSerialLine(clock, chip, latency_s=latency_s)
    line.wire.reset(clock.now_s)
    image = raw_image(Random(7).randbytes(case.length), start)
    chosen = ChipSettings("", settings, NoEntry(), ImageFormat.RAW, start, allow_fragile=False)
    flash_chip(chosen, line, image, attempts=1)
    floor_s = (line.wire.bytes_to_chip + line.wire.bytes_to_host) * byte_s(LineSettings(BAUD))
    return Row(case.chip, "(virtual)", latency_s, clock.now_s, floor_s, line.wire.answers)


def show(row: Row) -> None:
    """One line of the table."""
    print(
        f"{row.chip:16} {row.program:11} {row.latency_s * 1000:>5.0f} ms {row.took_s:>6.2f} s "
        f"{row.floor_s:>6.2f} s {row.ratio:>6.2f} {row.answers:>8}",
        flush=True,
    )


def external(*command: str) -> Run:
    """A program of others, in a process group that is killed when it is late."""

    def run(port: str, image: Path) -> float:
        began_s = time.monotonic()
        arguments = [part.format(port=port, image=image) for part in command]
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert status == 0, f"{arguments[0]} ended with {status}"
        return time.monotonic() - began_s

    return run


def ours(protocol: str) -> Run:
    """Our flasher in a process of its own, which has loaded it already, as the agent has."""

    def run(port: str, image: Path) -> float:
        process = subprocess.Popen(
            [sys.executable, __file__, "--flash", protocol, port, str(image)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == READY
            began_s = time.monotonic()
            process.stdin.write(READY)
            process.stdin.flush()
            assert process.wait(DEADLINE_S) == 0, "lockgate failed"
            return time.monotonic() - began_s

    return run


def flash(protocol: str, port: str, image: Path) -> int:
    """The other process: load everything, say so, and flash when told to."""
    settings, start = SETTINGS[protocol]
    chip = ChipSettings(port, settings, NoEntry(), ImageFormat.RAW, start, allow_fragile=False)
    line, content = LinuxSerialLine(port), raw_image(image.read_bytes(), start)
    print(READY, end="", flush=True)
    sys.stdin.readline()
    flash_chip(chip, line, content, attempts=1)
    return 0


def stm32_settings(model: Stm32Model, *, join_steps: bool = False) -> Stm32Settings:
    """As a pty carries it: without parity."""
    return Stm32Settings(
        chip=model.chip.hex(),
        flash=FlashLayout(FLASH_START, model.pages),
        baud=BAUD,
        parity=Parity.NONE,
        skip_unchanged=True,
        join_steps=join_steps,
    )


SETTINGS: Final[dict[str, tuple[ProtocolSettings, int]]] = {
    "stm32": (stm32_settings(F103), FLASH_START),
    "stm32-checksum": (stm32_settings(G071), FLASH_START),
    "stm32-joined": (stm32_settings(F103, join_steps=True), FLASH_START),
    "avr": (Stk500Settings("1e950f", 128, 0x7E00, BAUD, skip_unchanged=True), 0),
}


def stm32(model: Stm32Model, *, keeps_up: bool = False) -> Stm32Rom:
    """A chip in its ROM, whose flash takes no time."""
    return Stm32Rom(model=model, parity=None, start_s=0.0, program_is_real=False, keeps_up=keeps_up)


def cases() -> list[Case]:
    """All programs."""
    stm32flash = external(
        *("stm32flash", "-m", "8n1", "-b", str(BAUD), "-w", "{image}", "-v"),
        *("-g", hex(FLASH_START), "{port}"),
    )
    avrdude = external(
        *("avrdude", "-q", "-q", "-c", "arduino", "-p", "m328p", "-b", str(BAUD), "-D"),
        *("-P", "{port}", "-U", "flash:w:{image}:r"),
    )
    old, new = partial(stm32, F103), partial(stm32, G071)
    quick = partial(stm32, F103, keeps_up=True)
    avr = partial(Optiboot, blink_s=0.0, program_is_real=False)
    return [
        Case("STM32", "stm32flash", old, stm32flash, STM32_BYTES),
        Case("STM32", "lockgate", old, ours("stm32"), STM32_BYTES, "stm32"),
        Case("STM32, joined", "lockgate", quick, ours("stm32-joined"), STM32_BYTES, "stm32-joined"),
        Case(
            "STM32, checksum",
            "lockgate",
            new,
            ours("stm32-checksum"),
            STM32_BYTES,
            "stm32-checksum",
        ),
        Case("ATmega328P", "avrdude", avr, avrdude, AVR_BYTES),
        Case("ATmega328P", "lockgate", avr, ours("avr"), AVR_BYTES, "avr"),
    ]


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=int, action="append", help="default: 0 and 16")
    parser.add_argument("--runs", type=int, default=1, help="the best of so many (default: 1)")
    parser.add_argument("--flash", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flash:
        return flash(options.flash[0], options.flash[1], Path(options.flash[2]))
    latencies = options.latency_ms or [0, round(ADAPTER_S * 1000)]
    titles = f"{'time':>8} {'floor':>8} {'ratio':>6} {'answers':>8}"
    print(f"{'chip':16} {'program':11} {'latency':>8} {titles}")
    for latency in latencies:
        for case in cases():
            rows = [measure(case, latency / 1000) for _ in range(options.runs)]
            show(min(rows, key=lambda one: one.took_s))
            if case.virtual:
                show(in_virtual_time(case, latency / 1000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
