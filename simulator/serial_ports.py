"""`SerialPorts` of a simulated board: its chips, each on a line in virtual time.

The chips are on the board's supply. What a cut leaves of them is what their flash holds, and a cut of a
chip's flash operation takes the whole board with it: to the agent both are the same moment.
"""

from agent.errors import FlashLineError
from agent.flash.entry import GpioPins
from agent.interfaces import Clock, LineSettings, SerialLine
from simulator.chips import BoardChip
from simulator.clock import SimulatedClock
from simulator.power import Power
from simulator.serial_line import SimulatedSerialLine


class BoardLine:
    """A line to a chip on the board's own supply."""

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
        if self._chip.power_failed:
            self._power.fail()


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

    def line(self, path: str) -> SerialLine:
        """The port at this path. Raises `FlashLineError` when the board has none there."""
        if path not in self._lines:
            raise FlashLineError(f"{path}: a serial port was expected, the board has none there")
        return BoardLine(self._lines[path], self._chips[path], self._power)

    def pins(self) -> GpioPins | None:
        """None lead to the chips."""
        return None

    def power_back(self) -> None:
        """The supply is back: all chips start anew, and what was on the wires is lost."""
        for path, chip in self._chips.items():
            chip.forget_cut()
            self._lines[path].wire.reset(self._clock.now_s)
            self._lines[path].discard_input()
