"""A simulated chip with MCUboot, its line, and the real flasher on the other end."""

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.flash import ChipImage, Progress, Region
from agent.flash.mcuboot_image import PublicKey
from agent.flash.mcumgr import McumgrFlasher, McumgrSettings, Way
from agent.interfaces import LineSettings
from simulator.clock import SimulatedClock
from simulator.mcu.mcuboot import Layout, Mcuboot
from simulator.mcu.mcuboot_chip import McubootChip, make_chip
from simulator.mcu.smp_server import SmpServer
from simulator.serial_line import SimulatedSerialLine
from tests.flash.mcuboot import make_signer, sign

SMALL: Final = Layout(page_bytes=256, image_pages=8)
LARGE: Final = Layout(page_bytes=4096, image_pages=20)
LINE: Final = LineSettings(115_200)


@dataclass(frozen=True, slots=True)
class Images:
    """Two versions of one program, and the key that signed them."""

    key: PublicKey
    old: bytes
    new: bytes


@functools.cache
def images(program_bytes: int = 700) -> Images:
    """The same two images for every test of a process: imgtool takes a while."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        signer = make_signer(folder)
        program = bytes(place * 7 % 251 for place in range(program_bytes))
        old = sign(folder, program, signer, version="1.0.0", counter=1)
        new = sign(folder, program[::-1], signer, version="1.1.0", counter=2)
        return Images(signer.key, old, new)


def chip_image(content: bytes) -> ChipImage:
    return ChipImage((Region(0, content),))


def ignore(_: Progress) -> None:
    """Progress that nobody looks at."""


class Bench:
    """One chip with the old image, running, and a flasher for the new one."""

    def __init__(
        self,
        layout: Layout = SMALL,
        *,
        way: Way = Way.APPLICATION,
        made: Images | None = None,
        buffer_bytes: int = 384,
        reboot_s: float = 10.0,
    ) -> None:
        self.images = made or images()
        self.server = SmpServer(Mcuboot(layout), buffer_bytes=buffer_bytes)
        self.chip: McubootChip = make_chip(self.server, self.images.old)
        self.clock = SimulatedClock()
        self.line = SimulatedSerialLine(self.clock, self.chip)
        self.settings = McumgrSettings(
            way=way, keys=(self.images.key,), line=LINE, reboot_s=reboot_s
        )
        self.flasher = McumgrFlasher(self.line, self.settings)
        self.new = chip_image(self.images.new)

    def power_on(self) -> None:
        """Reset the chip by its pin, or give it its power back."""
        self.line.wire.reset(self.clock.now_s)
        self.line.wait(1.0)

    def update(self) -> None:
        """All that a session does, up to the trial."""
        self.flasher.identify()
        plan = self.flasher.plan(self.new, ignore)
        self.flasher.write(plan, ignore)
        if plan.writes:
            self.flasher.verify(self.new, ignore)
        self.flasher.start()
