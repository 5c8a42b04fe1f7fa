"""`SerialPorts` on Linux; pyserial is loaded when the first port is asked for."""

from typing import TYPE_CHECKING

from agent.interfaces import SerialLine
from agent.linux.gpio import LinuxGpioPins

if TYPE_CHECKING:  # few boards need it
    from agent.flash.entry import GpioPins


class LinuxSerialPorts:
    """Ports by their path, pins by their chip."""

    def __init__(self) -> None:
        self._pins = LinuxGpioPins()

    def line(self, path: str) -> SerialLine:
        """The port at this path, not opened yet."""
        from agent.linux.serial_line import LinuxSerialLine  # noqa: PLC0415  # few boards need it

        return LinuxSerialLine(path)

    def pins(self) -> "GpioPins":
        """The pins that the kernel offers; their library is loaded when one is used."""
        return self._pins
