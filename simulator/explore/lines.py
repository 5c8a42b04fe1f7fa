"""The serial lines of an explored board: a chip may lose its power, or its plug, while the host lives on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.errors import FlashLineError
from agent.interfaces import Clock, LineSettings, SerialLine
from simulator.mcu import Pins
from simulator.power import Power
from simulator.serial_line import SimulatedSerialLine
from simulator.serial_ports import SimulatedSerialPorts

OFF_S: Final = 1.0
"""How long a chip that lost its power alone stays without it."""
AWAY: Final = "the serial port is gone: look at its plug"


def _never() -> bool:
    return False


@dataclass(slots=True)
class ExploredLine(SimulatedSerialLine):
    """A line to a chip with a supply of its own. `away` is a pulled plug.

    `fails` is asked before each write whether the chip's power goes now.
    """

    away: bool = False
    off: bool = False
    fails: Callable[[], bool] = _never

    def power_fails(self) -> None:
        """The chip hears and says nothing for a while, and starts anew then."""
        self.off = True
        self.clock.after(OFF_S, self.power_returns)

    def power_returns(self) -> None:
        """The chip starts; what was on its way to it is lost."""
        self.off = False
        self.wire.reset(self.clock.now_s)

    def power_up(self) -> None:
        """The chip starts here and now, before anyone speaks to it."""
        self.wire.reset(self.clock.now_s)
        self.wire.run_until(self.clock.now_s)

    def open(self, settings: LineSettings) -> None:
        """As `SimulatedSerialLine.open`."""
        self._is_there()
        SimulatedSerialLine.open(self, settings)

    def write(self, content: bytes) -> None:
        """As `SimulatedSerialLine.write`; a chip without power hears nothing."""
        self._is_there()
        if self.fails():
            self.power_fails()
        if not self.off:
            SimulatedSerialLine.write(self, content)
        elif self.power is not None:
            self.power.operation("SerialLine.write", f"{len(content)} bytes")

    def set_lines(self, *, dtr: bool | None = None, rts: bool | None = None) -> None:
        """As `SimulatedSerialLine.set_lines`."""
        self._is_there()
        if not self.off:
            SimulatedSerialLine.set_lines(self, dtr=dtr, rts=rts)
            return
        known = self._pins
        self._pins = Pins(
            dtr=known.dtr if dtr is None else dtr, rts=known.rts if rts is None else rts
        )

    def _is_there(self) -> None:
        if self.away:
            raise FlashLineError(AWAY)


class ExploredPorts(SimulatedSerialPorts):
    """All the ports of one board, whose chips are not on the board's supply."""

    def __init__(self, lines: dict[str, ExploredLine], clock: Clock, power: Power) -> None:
        super().__init__((), clock, power)
        self.explored = lines

    def line(self, path: str) -> SerialLine:
        """The port at this path. Raises `FlashLineError` when the board has none there."""
        if path not in self.explored:
            raise FlashLineError(f"{path}: a serial port was expected, the board has none there")
        return self.explored[path]
