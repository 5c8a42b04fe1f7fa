"""`SerialLine` in virtual time: a simulated chip in the same process, and no second is waited for real.

With `power`, each write is an operation that the device's power can fail at, so that the host may die in
mid-flash while the chip lives on.
"""

from dataclasses import dataclass, field
from typing import Final

from agent.errors import FlashLineError
from agent.interfaces import LineSettings
from simulator.clock import SimulatedClock
from simulator.mcu import Chip, Pins
from simulator.mcu.wire import LineFaults, TimedWire
from simulator.power import Power

CLOSED: Final = "an open serial line was expected, it is closed; open it first"
UNPLUGGED: Final = "the serial port is gone: look at its plug and supply"


@dataclass(slots=True)
class SimulatedSerialLine:
    """A host's port with one chip on it; `has_lines` False is a port without DTR and RTS."""

    clock: SimulatedClock
    chip: Chip
    latency_s: float = 0.0
    paced: bool = True
    has_lines: bool = True
    faults: LineFaults = field(default_factory=LineFaults)
    power: Power | None = None
    settings: LineSettings | None = None
    _wire: TimedWire | None = None
    _input: bytearray = field(default_factory=bytearray)
    _pins: Pins = field(default_factory=lambda: Pins(dtr=False, rts=False))

    @property
    def wire(self) -> TimedWire:
        """The wire, for its counters and for a reset by someone else's hand."""
        if self._wire is None:
            self._wire = TimedWire(
                self.chip, paced=self.paced, latency_s=self.latency_s, faults=self.faults
            )
        return self._wire

    def open(self, settings: LineSettings) -> None:
        """Open, or change the settings; nothing happens to the control lines."""
        self._plugged_in()
        self.settings = settings

    def close(self) -> None:
        """Let go of the port."""
        self.settings = None
        self._input.clear()

    def write(self, content: bytes) -> None:
        """Put bytes on the wire, in no time of the host's."""
        self._plugged_in()
        if self.settings is None:
            raise FlashLineError(CLOSED)
        if self.power is not None:
            self.power.operation("SerialLine.write", f"{len(content)} bytes")
        self.wire.from_host(self.clock.now_s, content, self.settings)

    def read(self, length_bytes: int, timeout_s: float) -> bytes:
        """So many bytes, or what had come when the time was up."""
        deadline_s = self.clock.now_s + timeout_s
        length = length_bytes
        if self.faults.short_reads is not None:
            length = min(length, self.faults.short_reads)
        while len(self._input) < length and self._advance(deadline_s):
            pass
        return self._take(length)

    def read_until(self, end: bytes, length_max: int, timeout_s: float) -> bytes:
        """All up to and with `end`, or what there was."""
        deadline_s = self.clock.now_s + timeout_s
        found = self._input.find(end)
        while found < 0 and len(self._input) < length_max and self._advance(deadline_s):
            found = self._input.find(end)
        length = length_max if found < 0 else min(found + len(end), length_max)
        return self._take(length)

    def discard_input(self) -> None:
        """Forget what has arrived up to now."""
        self._input += self.wire.run_until(self.clock.now_s)
        self._input.clear()

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """Move the control lines, if the port has them."""
        self._plugged_in()
        if not self.has_lines:
            return
        self._pins = Pins(
            dtr=self._pins.dtr if dtr is None else dtr, rts=self._pins.rts if rts is None else rts
        )
        self.wire.set_pins(self.clock.now_s, self._pins)

    def wait(self, duration_s: float) -> None:
        """Let virtual time pass."""
        deadline_s = self.clock.now_s + duration_s
        while self._advance(deadline_s):
            pass

    def _advance(self, deadline_s: float) -> bool:
        """Go to the next thing that happens; False when nothing does before the deadline."""
        self._plugged_in()
        moment_s = self.wire.next_s()
        here = moment_s is not None and moment_s <= deadline_s
        until_s = moment_s if moment_s is not None and here else deadline_s
        self.clock.wait_until(max(until_s, self.clock.now_s), lambda: False)
        self._input += self.wire.run_until(self.clock.now_s)
        return here

    def _take(self, length: int) -> bytes:
        taken = bytes(self._input[:length])
        del self._input[:length]
        return taken

    def _plugged_in(self) -> None:
        limit = self.faults.unplugged_after_bytes
        if limit is not None and self.wire.bytes_to_chip >= limit:
            raise FlashLineError(UNPLUGGED)
