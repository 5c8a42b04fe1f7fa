"""A chip with MCUboot and a Zephyr application, on one line: `Chip` for processes, ptys and ports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.errors import FlashImageError
from agent.interfaces import LineSettings, Parity
from simulator.mcu import Pins, Wire
from simulator.mcu.flash import ChipPowerCutError, FlashMemory
from simulator.mcu.mcuboot import Mode
from simulator.mcu.smp_queue import FlashTimes, SmpQueue, Work
from simulator.mcu.smp_server import SmpServer
from simulator.mcu.smp_wire import FIRST_MARK, LineBuffer, Request, answer_lines

BANNER: Final = b"*** Booting MCUboot v2.3.0 ***\r\n"
PROMPT: Final = b"\x1b[8D\x1b[J[00:00:00.010] <inf> smp: serving\r\nuart:~$ "
RECOVERY_LINES: Final = 8
"""`BOOT_LINE_BUFS`, unless it was set otherwise."""
CHATTER: Final = b"[00:00:01.000,000] <wrn> sensor: late by 3 ms\r\n"


@dataclass(slots=True)
class ChipFaults:
    """What goes wrong between a request and its answer; requests count from 1.

    `late_s` delays the answers to some requests, `chatter` prints console text before, between and
    behind the lines of every answer, and `babble_lines` answers each request with so many of them.
    """

    lost_requests: frozenset[int] = frozenset()
    lost_answers: frozenset[int] = frozenset()
    late_s: Mapping[int, float] = field(default_factory=dict)
    chatter: bool = False
    babble_lines: int = 0


@dataclass(slots=True)
class McubootChip:
    """The whole chip. `has_recovery` is MCUboot's "no application" way into serial recovery.

    `boot_s` is the time without ears after a reset, `baud` None one that fits any host. `lines_kept` is
    that of `SmpQueue`. A power cut leaves the chip `off` until `power_on`.
    """

    server: SmpServer
    has_recovery: bool = True
    boot_s: float = 0.1
    baud: int | None = None
    times: FlashTimes = field(default_factory=FlashTimes)
    lines_kept: int | None = None
    faults: ChipFaults = field(default_factory=ChipFaults)
    requests: int = 0
    resets: int = 0
    recovery_next: bool = False
    _lines: LineBuffer | None = None
    _queue: SmpQueue | None = None
    _ready_s: float = 0.0

    @property
    def mode(self) -> Mode:
        """What runs now."""
        return self.server.mode

    def is_off(self) -> bool:
        """Whether it has no power: not yet, or not since a power cut."""
        return self.mode is Mode.OFF

    @property
    def flash(self) -> FlashMemory:
        """Its flash."""
        return self.server.mcuboot.flash

    @property
    def running_version(self) -> str | None:
        """The version of the application that runs."""
        image = self.server.mcuboot.image(0)
        return image.version if image and self.mode is Mode.APPLICATION else None

    def receive(self, content: bytes, settings: LineSettings | None, wire: Wire) -> None:
        """Bytes have come; a chip that is off or still starting hears none.

        The last of them came just now, those before it in their time.
        """
        if self._lines is None or wire.now_s() < self._ready_s or not self._understands(settings):
            return
        end_s, character_s = wire.now_s(), wire.character_s()
        end_s -= (len(content) - 1 - content.rfind(b"\n")) * character_s
        lines = self._lines.lines(content)
        ends_s = [
            end_s - character_s * sum(len(line) + 1 for line in lines[number + 1 :])
            for number in range(len(lines))
        ]
        for line, moment_s in zip(lines, ends_s, strict=True):
            begin_s = moment_s - (len(line) + 1) * character_s
            first = line.startswith(FIRST_MARK)
            if self._lines is not None and self.queue.hears(begin_s, moment_s, first=first):
                self._take(line, moment_s, wire)

    @property
    def queue(self) -> SmpQueue:
        """What the program that runs now keeps while it is at work."""
        if self._queue is None:
            lines_kept = RECOVERY_LINES if self.mode is Mode.RECOVERY else self.lines_kept
            self._queue = SmpQueue(self.server.buffers_now, self.times, lines_kept)
        return self._queue

    def _take(self, line: bytes, moment_s: float, wire: Wire) -> None:
        request = self._lines.take(line) if self._lines is not None else None
        if request is None:
            return
        self.requests += 1
        if self.requests not in self.faults.lost_requests:
            self._serve(request, moment_s, wire)

    def pins(self, pins: Pins, wire: Wire) -> None:
        """No line of this board leads to the reset pin."""

    def reset(self, wire: Wire) -> None:
        """The reset pin was pulsed; a chip whose power failed starts with the next power."""
        if self.mode is not Mode.OFF:
            self.power_on(wire)

    def power_on(self, wire: Wire) -> None:
        """The bootloader runs, and after it the application or serial recovery."""
        self.resets += 1
        recovery_asked, self.recovery_next = self.recovery_next, False
        self._lines = self._queue = None
        self.server.begin(Mode.OFF)
        try:
            mode = Mode.RECOVERY if recovery_asked else self.server.mcuboot.start()
        except ChipPowerCutError:
            return
        if mode is Mode.STUCK and self.has_recovery:
            mode = Mode.RECOVERY
        self.server.begin(mode)
        self._ready_s = wire.now_s() + self.boot_s
        wire.send(BANNER)
        if mode is not Mode.STUCK:
            self._lines = LineBuffer(self.server.buffer_bytes)
        if mode is Mode.APPLICATION:
            wire.send(PROMPT, self.boot_s)

    def _understands(self, settings: LineSettings | None) -> bool:
        if settings is None or self.baud is None:
            return True
        return settings.baud == self.baud and settings.parity is Parity.NONE

    def _serve(self, request: Request, moment_s: float, wire: Wire) -> None:
        erased, written = self.flash.erased_pages, self.flash.programmed_bytes
        try:
            body = self.server.answer(request)
        except ChipPowerCutError:
            self._lines = None
            self.server.begin(Mode.OFF)
            return
        work = Work(self.flash.erased_pages - erased, self.flash.programmed_bytes - written)
        ready_s = self.queue.take(moment_s, work)
        lines = answer_lines(request, body)
        if self.faults.chatter:
            lines = [CHATTER, *[part for line in lines for part in (line, CHATTER)]]
        if self.requests not in self.faults.lost_answers:
            babble = CHATTER * self.faults.babble_lines
            after_s = max(0.0, ready_s - wire.now_s())
            after_s += self.faults.late_s.get(self.requests, 0.0)
            self.queue.answered(wire.send(babble + b"".join(lines), after_s))
        if self.server.reset_asked:
            self.recovery_next = self.server.recovery_asked and self.has_recovery
            self.power_on(wire)


def make_chip(server: SmpServer, image: bytes, times: FlashTimes | None = None) -> McubootChip:
    """A chip from the factory: this image in the first slot, and not yet powered."""
    page_bytes = server.mcuboot.layout.page_bytes
    if len(image) > server.mcuboot.layout.capacity_bytes:
        raise FlashImageError(
            f"an image of at most {server.mcuboot.layout.capacity_bytes} bytes was expected for the "
            f"first slot, {len(image)} found"
        )
    for at in range(0, len(image), page_bytes):
        server.mcuboot.program(0, at, image[at : at + page_bytes])
    server.mcuboot.flash.operations = 0
    return McubootChip(server, times=times or FlashTimes())
