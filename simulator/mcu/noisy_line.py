"""Flash image after image over a line that loses or flips one byte in a thousand, both ways, at full speed.

Each image must end right or be reported as failed; a flasher that says "done" over a chip that holds
something else, or that never comes back, is what this looks for. `python -m simulator.mcu.noisy_line` does
it in real time on ptys, one process for each protocol; `one_round` is the same on any line.
"""

import argparse
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing import get_context
from multiprocessing.queues import Queue
from queue import Empty
from random import Random
from typing import Final

from agent.errors import FlashError
from agent.flash import ChipImage
from agent.flash.entry import EntrySettings, NoEntry
from agent.flash.image_file import ImageFormat, raw_image
from agent.flash.keep import confirm_chip
from agent.flash.mcuboot_image import load_public_key
from agent.flash.mcumgr import McumgrSettings, Way
from agent.flash.pages import FlashLayout
from agent.flash.select import ChipSettings, ProtocolSettings
from agent.flash.session import flash_chip
from agent.flash.stk500v1 import Stk500Settings
from agent.flash.stm32_uart import Stm32Settings
from agent.interfaces import LineSettings, Parity, SerialLine
from agent.linux.serial_line import LinuxSerialLine
from simulator.mcu.mcuboot import Layout, Mcuboot
from simulator.mcu.mcuboot_chip import McubootChip, make_chip
from simulator.mcu.optiboot import Optiboot
from simulator.mcu.pty import PtyPort
from simulator.mcu.signed_image import public_line, signed_image
from simulator.mcu.smp_server import SmpServer
from simulator.mcu.stm32_rom import F103, FLASH_START, G071, Stm32Model, Stm32Rom
from simulator.mcu.wire import LineFaults, TimedWire

BAUD: Final = 115_200
BYTES_MIN, BYTES_MAX = 1024, 16 * 1024
NOISE: Final = 0.001
PULSE_S: Final = 0.02
PULSE_S_MAX: Final = 10.0
ROUND_S: Final = 900.0
"""Whatever takes longer than this hangs: four attempts of every deadline and every retry take less."""
NOISY: Final = ("stm32", "stm32-checksum", "avr", "mcumgr")

NoisyTarget = Stm32Rom | Optiboot | McubootChip


class Verdict(StrEnum):
    """How one image ended; `wrong` must never be."""

    RIGHT = "right"
    REPORTED = "reported"
    WRONG = "wrong"


def no_bytes() -> Counter[str]:
    """Nothing counted yet."""
    return Counter()


@dataclass(slots=True)
class Tally:
    """What one protocol came through."""

    kind: str
    ends: Counter[str] = field(default_factory=no_bytes)
    attempts: int = 0
    disturbed: int = 0
    carried: int = 0
    longest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Bench:
    """One kind of chip: how to make one, how to flash it, and what an image for it looks like."""

    kind: str
    settings: ChipSettings
    chip: NoisyTarget

    def content(self, chance: Random) -> bytes:
        """Another image."""
        noise = chance.randbytes(chance.randrange(BYTES_MIN, BYTES_MAX))
        match self.chip:
            case McubootChip():
                return signed_image(noise, chance.randrange(256))
            case Stm32Rom() | Optiboot():
                return noise

    def holds(self, content: bytes) -> bool:
        """Whether the image is in the chip, and runs where it can be asked."""
        if isinstance(self.chip, McubootChip):
            return self.chip.server.mcuboot.content(0, len(content)) == content
        return self.chip.flash.read(self.chip.flash.start, len(content)) == content


def make_bench(kind: str, entry: EntrySettings) -> Bench:
    """A bench with a fresh chip whose flash takes no time."""
    match kind:
        case "stm32":
            return Bench(kind, _settings(entry, _stm32(F103)), _rom(F103))
        case "stm32-checksum":
            return Bench(kind, _settings(entry, _stm32(G071)), _rom(G071))
        case "avr":
            protocol = Stk500Settings("1e950f", 128, 0x7E00, BAUD, skip_unchanged=True)
            chip = Optiboot(blink_s=0.0, program_is_real=False)
            return Bench(kind, _settings(entry, protocol), chip)
        case _:
            pem = f"-----BEGIN PUBLIC KEY-----\n{public_line()}\n-----END PUBLIC KEY-----\n"
            key = load_public_key(pem.encode(), "the simulator's key")
            settings = McumgrSettings(Way.APPLICATION, (key,), LineSettings(BAUD), reboot_s=10.0)
            server = SmpServer(Mcuboot(Layout()))
            return Bench(kind, _settings(entry, settings), make_chip(server, signed_image(b"1", 0)))


def one_round(bench: Bench, line: SerialLine, content: bytes, tally: Tally) -> None:
    """Flash one image and judge how it ended."""
    image = raw_image(content, bench.settings.image_start)
    try:
        tally.attempts += _flash(bench, line, image)
    except FlashError as error:
        tally.ends[f"{Verdict.REPORTED} {error.code}"] += 1
        return
    tally.ends[Verdict.RIGHT if bench.holds(content) else Verdict.WRONG] += 1


def _flash(bench: Bench, line: SerialLine, image: ChipImage) -> int:
    attempts = flash_chip(bench.settings, line, image).attempts
    if isinstance(bench.settings.protocol, McumgrSettings):
        confirm_chip(bench.settings, line, None, image)
    return attempts


def _settings(entry: EntrySettings, protocol: ProtocolSettings) -> ChipSettings:
    start = protocol.flash.start if isinstance(protocol, Stm32Settings) else 0
    return ChipSettings("", protocol, entry, ImageFormat.RAW, start, allow_fragile=False)


def _stm32(model: Stm32Model) -> Stm32Settings:
    layout = FlashLayout(FLASH_START, model.pages)
    return Stm32Settings(model.chip.hex(), layout, BAUD, Parity.NONE, skip_unchanged=True)


def _rom(model: Stm32Model) -> Stm32Rom:
    return Stm32Rom(model=model, parity=None, start_s=0.0, program_is_real=False)


class PulsedLine(LinuxSerialLine):
    """A port whose opening is a reset: it is opened when the chip has seen that nobody is there."""

    def __init__(self, port: PtyPort) -> None:
        super().__init__(port.name)
        self._pty = port

    def open(self, settings: LineSettings) -> None:
        """Open when the server has noticed the hang-up, however busy the computer is."""
        until_s = time.monotonic() + PULSE_S_MAX
        while self._pty.serving and not self.is_open and time.monotonic() < until_s:
            time.sleep(PULSE_S)
        LinuxSerialLine.open(self, settings)


def live(kind: str, seed: int, minutes: float, tell: Callable[[Tally], None]) -> None:
    """Flash on a pty until the time is up; tell the tally after every image."""
    chance = Random(f"{kind}/{seed}")  # noqa: S311  # repeatable
    tally = Tally(kind)
    faults = LineFaults(seed=seed, flip=NOISE / 2, drop=NOISE / 2, both_ways=True)
    bench = make_bench(kind, NoEntry())  # opening the port is the reset
    wire = TimedWire(bench.chip, faults=faults)
    keeps_on = isinstance(bench.chip, McubootChip)
    wire.reset(time.monotonic() - 1.0)
    wire.run_until(time.monotonic())
    port = PtyPort(wire, resets_on_open=lambda: not keeps_on)
    port.open()
    line = PulsedLine(port)
    stop = threading.Event()
    server = threading.Thread(target=port.serve, args=(stop.is_set,), daemon=True)
    server.start()
    until_s = time.monotonic() + 60 * minutes
    try:
        while time.monotonic() < until_s:
            began_s = time.monotonic()
            one_round(bench, line, bench.content(chance), tally)
            tally.longest_s = max(tally.longest_s, time.monotonic() - began_s)
            tally.disturbed = wire.disturbed
            tally.carried = wire.bytes_to_chip + wire.bytes_to_host
            tell(tally)
    finally:
        stop.set()
        server.join()
        port.close()


def _child(kind: str, seed: int, minutes: float, tallies: "Queue[Tally]") -> None:
    live(kind, seed, minutes, tallies.put)


def main() -> int:
    """Run all protocols side by side and print what each came through; 1 when one was wrong or hung."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    context = get_context("spawn")
    tallies: Queue[Tally] = context.Queue()
    last: dict[str, Tally] = {kind: Tally(kind) for kind in NOISY}
    heard_s = dict.fromkeys(NOISY, time.monotonic())
    children = {
        kind: context.Process(target=_child, args=(kind, options.seed, options.minutes, tallies))
        for kind in NOISY
    }
    for child in children.values():
        child.start()
    hung: set[str] = set()
    while any(children[kind].is_alive() for kind in children if kind not in hung):
        try:
            tally = tallies.get(timeout=1.0)
        except Empty:
            hung |= {
                kind
                for kind, child in children.items()
                if child.is_alive() and time.monotonic() - heard_s[kind] > ROUND_S
            }
            continue
        last[tally.kind], heard_s[tally.kind] = tally, time.monotonic()
        sys.stdout.write(f"{_words(tally)}\n")
        sys.stdout.flush()
    for kind in hung:
        children[kind].kill()
    return _judge(last, hung, {kind: child.exitcode for kind, child in children.items()})


def _judge(last: dict[str, Tally], hung: set[str], statuses: dict[str, int | None]) -> int:
    sys.stdout.write(f"\n{os.cpu_count()} processors, noise {NOISE} of the bytes, both ways\n")
    bad = False
    for kind, tally in last.items():
        crashed = kind not in hung and statuses[kind] != 0
        wrong = tally.ends[Verdict.WRONG]
        bad = bad or kind in hung or crashed or wrong > 0
        sys.stdout.write(f"{_words(tally)}, hung {int(kind in hung)}, crashed {int(crashed)}\n")
    return int(bad)


def _words(tally: Tally) -> str:
    reported = ", ".join(
        f"{end} {count}"
        for end, count in sorted(tally.ends.items())
        if end not in (Verdict.RIGHT, Verdict.WRONG)
    )
    return (
        f"{tally.kind}: {tally.ends.total()} images, right {tally.ends[Verdict.RIGHT]}, "
        f"wrong {tally.ends[Verdict.WRONG]}, {reported or 'reported none'}; {tally.attempts} attempts "
        f"for the right ones, {tally.disturbed} of {tally.carried} bytes disturbed, "
        f"longest {tally.longest_s:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
