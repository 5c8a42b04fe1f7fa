"""`SerialPorts` of a simulated board: its chips, each on a line in virtual time.

What a cut leaves of the chips is what their flash holds. Those on the board's supply go and come back with
it, and a cut of a chip's flash operation takes the whole board with it: to the agent both are the same
moment. A chip with its own supply lives through a cut of the board, and dies alone.
"""

from functools import partial
from typing import Final

from agent.errors import FlashLineError
from agent.flash.entry import GpioPins
from agent.interfaces import Clock, LineSettings, SerialLine
from simulator.chips import BoardChip
from simulator.clock import SimulatedClock
from simulator.power import Power
from simulator.serial_line import SimulatedSerialLine

OFF_S: Final = 3.0
"""How long a chip with its own supply is without it."""


class BoardLine:
    """A line to a chip, with its plug and its supply."""

    def __init__(self, line: SimulatedSerialLine, chip: BoardChip, power: Power) -> None:
        self._line = line
        self._chip = chip
        self._power = power

    def open(self, settings: LineSettings) -> None:
        """Open, unless somebody has pulled the plug."""
        if self._chip.unplugged:
            raise FlashLineError(f"{self._chip.port}: a serial port was expected, it is not there")
        self._line.open(settings)

    def close(self) -> None:
        """Let go of the port."""
        self._line.close()

    def write(self, content: bytes) -> None:
        """Put bytes on the wire; the plug may have been pulled in the middle of them."""
        if self._chip.unplugged_at is not None and self._chip.writes >= self._chip.unplugged_at:
            raise FlashLineError(f"{self._chip.port}: the serial port is gone")
        self._chip.writes += 1
        self._line.write(content)
        self._supply()

    def read(self, length_bytes: int, timeout_s: float) -> bytes:
        """As the line does."""
        content = self._line.read(length_bytes, timeout_s)
        self._supply()
        return content

    def read_until(self, end: bytes, length_max: int, timeout_s: float) -> bytes:
        """As the line does."""
        content = self._line.read_until(end, length_max, timeout_s)
        self._supply()
        return content

    def discard_input(self) -> None:
        """As the line does."""
        self._line.discard_input()

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """As the line does."""
        self._line.set_lines(dtr=dtr, rts=rts)

    def wait(self, duration_s: float) -> None:
        """As the line does."""
        self._line.wait(duration_s)
        self._supply()

    def _supply(self) -> None:
        if not self._chip.power_failed:
            return
        if not self._chip.own_supply:
            self._power.fail()
        self._chip.forget_cut()
        self._line.clock.after(OFF_S, partial(restart, self._line))


def restart(line: SimulatedSerialLine) -> None:
    """The chip starts anew, and what was on its way to it is lost."""
    line.wire.reset(line.clock.now_s)


class SimulatedSerialPorts:
    """All the ports of one board."""

    def __init__(self, chips: tuple[BoardChip, ...], clock: Clock, power: Power) -> None:
        self._power = power
        self._clock = clock if isinstance(clock, SimulatedClock) else SimulatedClock()
        self._chips = {chip.port: chip for chip in chips}
        self._lines = {
            chip.port: SimulatedSerialLine(
                self._clock, chip.chip, faults=chip.line_faults, power=power
            )
            for chip in chips
        }
        for line in self._lines.values():
            line.wire.reset(self._clock.now_s)  # the power comes on

    def restart(self, path: str) -> None:
        """The supply of the chip at this port blinks, or somebody presses its reset."""
        restart(self._lines[path])

    def bytes_to_host(self, path: str) -> int:
        """How much the chip at this port has said."""
        return self._lines[path].wire.bytes_to_host

    def line(self, path: str) -> SerialLine:
        """The port at this path. Raises `FlashLineError` when the board has none there."""
        if path not in self._lines:
            raise FlashLineError(f"{path}: a serial port was expected, the board has none there")
        return BoardLine(self._lines[path], self._chips[path], self._power)

    def pins(self) -> GpioPins | None:
        """None lead to the chips."""
        return None

    def power_back(self) -> None:
        """The supply is back: all chips on it start anew, and what was on the wires is lost."""
        for path, chip in self._chips.items():
            if not chip.own_supply:
                chip.forget_cut()
                restart(self._lines[path])
            self._lines[path].discard_input()
