"""A simulated chip on a pseudo-terminal, for programs that open a serial port.

The kernel's ptys know the baud rate but have neither parity nor control lines, so each opening of the port
counts as power coming back with the chip strapped to its bootloader, unless `resets_on_open` says no.
"""

import os
import pty
import select
import termios
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.interfaces import LineSettings
from simulator.mcu.pump import Stop, always, pump
from simulator.mcu.wire import TimedWire

LOOK_S: Final = 0.005
BAUDS: Final = {
    getattr(termios, f"B{baud}"): baud
    for baud in (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)
}
OUTPUT_SPEED: Final = 5


@dataclass(slots=True)
class PtyPort:
    """One pty with a chip behind it; `name` is what a program opens, `serving` whether one has it open."""

    wire: TimedWire
    name: str = ""
    connections: int = 0
    serving: bool = False
    resets_on_open: Callable[[], bool] = always
    _master: int = -1

    def open(self) -> str:
        """Make the pty; its name is good until `close`."""
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.name = os.ttyname(slave)
        os.close(slave)
        return self.name

    def close(self) -> None:
        """Take the pty away; a program that has it open sees its port vanish."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def serve(self, stop: Stop) -> None:
        """Serve one program after the other until somebody says stop."""
        while self.serve_one(stop):
            pass

    def serve_one(self, stop: Stop) -> bool:
        """Wait for a program and serve it until it hangs up; False when somebody said stop."""
        while not stop():
            if not self._hung_up():
                self.connections += 1
                if self.resets_on_open():
                    self.wire.reset(time.monotonic())
                self.serving = True
                pump(self.wire, self._master, self._settings, stop)
                self.serving = False
                return not stop()
            time.sleep(LOOK_S)
        return False

    def _hung_up(self) -> bool:
        poller = select.poll()
        poller.register(self._master, select.POLLHUP)
        return any(events & select.POLLHUP for _, events in poller.poll(0))

    def _settings(self) -> LineSettings | None:
        baud = BAUDS.get(termios.tcgetattr(self._master)[OUTPUT_SPEED])
        return None if baud is None else LineSettings(baud)
