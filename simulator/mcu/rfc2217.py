"""A simulated chip on a network port that speaks RFC 2217: baud rate, parity, DTR and RTS reach it.

So the ways into a bootloader by control lines can be tried with real programs, which ptys cannot carry. The
chip has power from the first connection on, and keeps it.
"""

import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import serial
from serial.rfc2217 import PortManager

from agent.interfaces import LineSettings, Parity
from simulator.mcu import Pins
from simulator.mcu.pump import IDLE_S, READ_BYTES, Stop
from simulator.mcu.tcp import TcpPort
from simulator.mcu.wire import TimedWire

PARITIES: Final = {
    serial.PARITY_NONE: Parity.NONE,
    serial.PARITY_EVEN: Parity.EVEN,
    serial.PARITY_ODD: Parity.ODD,
}


class _Lines(serial.Serial):
    """What the protocol's server takes for a serial port: it tells of each change of a line."""

    def __init__(self, moved: Callable[[Pins], None]) -> None:
        super().__init__()
        self._moved = moved
        self._pins = Pins(dtr=False, rts=False)

    @property
    def dtr(self) -> bool:
        """Whether DTR is asserted."""
        return self._pins.dtr

    @dtr.setter
    def dtr(self, value: bool) -> None:
        self._pins = Pins(dtr=value, rts=self._pins.rts)
        self._moved(self._pins)

    @property
    def rts(self) -> bool:
        """Whether RTS is asserted."""
        return self._pins.rts

    @rts.setter
    def rts(self, value: bool) -> None:
        self._pins = Pins(dtr=self._pins.dtr, rts=value)
        self._moved(self._pins)

    @property
    def cts(self) -> bool:
        """No chip drives this line, nor the next three."""
        return False

    dsr = ri = cd = cts

    def reset_input_buffer(self) -> None:
        """Nothing is kept here."""

    def reset_output_buffer(self) -> None:
        """Nothing is kept here."""

    @property
    def line_settings(self) -> LineSettings:
        """How characters look now."""
        return LineSettings(self.baudrate, PARITIES.get(self.parity, Parity.NONE))


@dataclass(slots=True)
class _Answers:
    """Where the protocol's server writes what is not data."""

    connection: socket.socket

    def write(self, content: bytes) -> None:
        """Send it."""
        self.connection.sendall(content)


class _Session:
    """One client and its telnet state."""

    def __init__(self, wire: TimedWire, connection: socket.socket) -> None:
        self._wire = wire
        self._connection = connection
        self._data = bytearray()
        self._lines = _Lines(self._move)
        self._manager = PortManager(self._lines, _Answers(connection))  # type: ignore[arg-type]  # it only writes

    def carry(self, stop: Stop) -> None:
        """Go on until the client hangs up or somebody says stop."""
        while not stop():
            answer = self._wire.run_until(time.monotonic())
            if answer:
                self._connection.sendall(b"".join(self._manager.escape(answer)))
            next_s = self._wire.next_s()
            wait_s = IDLE_S if next_s is None else min(IDLE_S, max(0.0, next_s - time.monotonic()))
            if select.select([self._connection], [], [], wait_s)[0]:
                content = self._connection.recv(READ_BYTES)
                if not content:
                    return
                for part in self._manager.filter(content):
                    self._data += part
                self._flush()

    def _move(self, pins: Pins) -> None:
        self._flush()  # what was written before the lines moved comes before
        self._wire.set_pins(time.monotonic(), pins)

    def _flush(self) -> None:
        if self._data:
            content = bytes(self._data)
            self._data.clear()
            self._wire.from_host(time.monotonic(), content, self._lines.line_settings)


@dataclass(slots=True)
class Rfc2217Port(TcpPort):
    """One listening port of this computer, for `rfc2217://` addresses."""

    def carry(self, connection: socket.socket, stop: Stop) -> None:
        """Serve one client to its end."""
        if self.connections == 1:
            self.wire.reset(time.monotonic())
        try:
            _Session(self.wire, connection).carry(stop)
        except OSError:  # the client is gone
            return
