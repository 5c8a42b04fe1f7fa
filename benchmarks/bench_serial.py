"""What flashing over a serial line costs, beside programs of others: time over the wire's own time.

The floor is every byte of both directions at the baud rate, as the simulated wire counts it: nobody who
sends the same bytes one after the other can be faster. Time is that of the line, from a program's first byte
to the last, so that nobody's start counts. Each program writes and verifies on the same simulated chip on a
pty, which paces its bytes; its flash takes no time, so that only protocol and program count. "late" is how
much later than due the simulated line itself delivered; the rest above the floor is waiting for a
processor, by the kernel's own workers for ptys too: measure on a computer with nothing else to do. The rows
"(virtual)" are our flasher in virtual time, where no computer is waited for. "of other" is our time over
that of the program above.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.flash.mcumgr import McumgrSettings
from agent.flash.select import ChipSettings, check_image_fits, make_flasher
from agent.flash.session import flash_chip, no_progress
from agent.interfaces import LineSettings, SerialLine
from agent.linux.serial_line import LinuxSerialLine
from benchmarks.flash_cases import BAUD, Case, cases, holds, our_image, our_settings
from simulator.clock import SimulatedClock
from simulator.mcu.mcuboot_chip import McubootChip
from simulator.mcu.pty import PtyPort
from simulator.mcu.wire import TimedWire, byte_s
from simulator.serial_line import SimulatedSerialLine

DEADLINE_S: Final = 240.0
ADAPTER_S: Final = 0.016
ASKED_S: Final = 0.001
"""What is left of an adapter's latency where it is asked for low latency, as our flasher does."""
RUNNING_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Row:
    """One run: what it took, what the wire took of that, and how often the chip answered."""

    case: Case
    took_s: float
    floor_s: float
    answers: int
    late_s: float = 0.0


@dataclass(slots=True)
class WatchedWire(TimedWire):
    """A wire that notes when it was used first and last."""

    first_s: float | None = None
    last_s: float = 0.0
    late_s: float = 0.0

    def from_host(self, now_s: float, content: bytes, settings: LineSettings | None) -> None:
        """The host writes."""
        self.first_s = now_s if self.first_s is None else self.first_s
        TimedWire.from_host(self, now_s, content, settings)

    def run_until(self, now_s: float) -> bytes:
        """What has arrived at the host."""
        due_s = self.next_s()
        arrived = TimedWire.run_until(self, now_s)
        if arrived and due_s is not None:
            self.last_s = now_s
            self.late_s += now_s - due_s
        return arrived

    def take_used_s(self) -> float:
        """From the first byte to the last, since this was asked before."""
        used_s = self.last_s - self.first_s if self.first_s is not None else 0.0
        self.first_s = None
        return used_s

    def floor_s(self) -> float:
        """All bytes of both directions at the baud rate."""
        return (self.bytes_to_chip + self.bytes_to_host) * byte_s(LineSettings(BAUD))


def measure(case: Case, latency_s: float) -> Row:
    """Run one program against one fresh chip, and see that the flash holds the image."""
    chip = case.make_chip()
    wire = WatchedWire(chip, paced=True, latency_s=latency_s)
    wire.reset(time.monotonic() - RUNNING_S)  # the chip has been on for a while
    wire.run_until(time.monotonic())
    wire.bytes_to_host, wire.answers, wire.late_s = 0, 0, 0.0
    keeps_on = isinstance(chip, McubootChip)
    port = PtyPort(wire, resets_on_open=lambda: not keeps_on)
    where = port.open()
    stop = threading.Event()
    server = threading.Thread(target=port.serve, args=(stop.is_set,))
    server.start()
    took_s = 0.0
    try:
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder, "image.bin")
            image.write_bytes(case.image)
            for command in case.commands:
                run([part.format(port=where, image=image) for part in command])
                took_s += wire.take_used_s()
    finally:
        stop.set()
        server.join()
        port.close()
    assert holds(chip, case.image), f"{case.program} lost bytes"
    return Row(case, took_s, wire.floor_s(), wire.answers, wire.late_s)


def run(command: list[str]) -> None:
    """Run a program to its end, within its deadline."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr!r}"


def in_virtual_time(case: Case, latency_s: float) -> Row:
    """Our flasher without any computer: what the protocol alone costs, on however busy a machine."""
    chip, clock = case.make_chip(), SimulatedClock()
    line = SimulatedSerialLine(clock, chip, latency_s=latency_s)
    line.wire.reset(clock.now_s)
    if isinstance(chip, McubootChip):
        line.wait(RUNNING_S)
    line.wire.bytes_to_host = line.wire.answers = 0
    began_s = clock.now_s
    write_and_verify(our_settings(case.settings, ""), line, case.image)
    took_s = clock.now_s - began_s
    assert holds(chip, case.image), "our flasher lost bytes"
    floor_s = (line.wire.bytes_to_chip + line.wire.bytes_to_host) * byte_s(LineSettings(BAUD))
    return Row(case, took_s, floor_s, line.wire.answers)


def write_and_verify(settings: ChipSettings, line: SerialLine, content: bytes) -> None:
    """As the agent does it; a chip with a second slot is not reset into its image, which takes seconds."""
    image = our_image(settings, content)
    check_image_fits(image, settings)
    if not isinstance(settings.protocol, McumgrSettings):
        flash_chip(settings, line, image, attempts=1)
        return
    flasher = make_flasher(settings, line)
    line.open(settings.line)
    flasher.identify()
    flasher.write(flasher.plan(image, no_progress), no_progress)
    flasher.verify(image, no_progress)
    line.close()


def show(row: Row, latency_s: float, program: str, other: Row | None) -> None:
    """One line of the table."""
    share = f"{row.took_s / other.took_s:>9.2f}" if other is not None else ""
    print(
        f"{row.case.chip:16} {program:11} {latency_s * 1000:>5.0f} ms {row.took_s:>6.2f} s "
        f"{row.floor_s:>6.2f} s {row.took_s / row.floor_s:>6.2f} {row.late_s:>6.2f} s "
        f"{row.answers:>8} {share}",
        flush=True,
    )


def compare(latency_s: float, runs: int) -> None:
    """All programs at one latency."""
    other: Row | None = None
    for case in cases():
        if case.slow and not latency_s:
            continue
        here_s = min(latency_s, ASKED_S) if case.asked else latency_s
        rows = [measure(case, here_s) for _ in range(runs)]
        best = min(rows, key=lambda one: one.took_s)
        if case.settings:
            show(best, here_s, case.program, other)
            show(in_virtual_time(case, here_s), here_s, "(virtual)", other)
        else:
            other = best
            show(best, here_s, case.program, None)


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=int, action="append", help="default: 0 and 16")
    parser.add_argument("--runs", type=int, default=1, help="the best of so many (default: 1)")
    parser.add_argument("--flash", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flash:
        name, port, image = options.flash
        content = Path(image).read_bytes()
        write_and_verify(our_settings(name, port), LinuxSerialLine(port), content)
        return 0
    titles = f"{'time':>8} {'floor':>8} {'ratio':>6} {'late':>8} {'answers':>8} {'of other':>9}"
    print(f"{'chip':16} {'program':11} {'latency':>8} {titles}")
    for latency_ms in options.latency_ms or [0, round(ADAPTER_S * 1000)]:
        compare(latency_ms / 1000, options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
