"""Simulated microcontrollers: bootloaders that speak byte for byte what the real ones speak.

A chip is a `Chip`: it takes the bytes of the line and answers through its `Reply`, in the time of the
line. It shares no code with `agent/flash/`, so that a mistake made there cannot be made here again. The
same chip hangs on a `SimulatedSerialLine` in one process, or on a pty (`pty.py`) or a TCP port
(`tcp.py`) for programs.
"""

from dataclasses import dataclass
from typing import Protocol

from agent.interfaces import LineSettings


class Wire(Protocol):
    """What a chip sees of its line: time, and the way back."""

    def now_s(self) -> float:
        """The line's time, virtual or real."""
        ...

    def character_s(self) -> float:
        """How long a character takes here; nothing on a line whose bytes come all at once."""
        ...

    def send(self, content: bytes, after_s: float = 0.0) -> float:
        """Answer, at the earliest so many seconds from now; the moment when the last bit has left."""
        ...


@dataclass(frozen=True, slots=True)
class Pins:
    """The control lines as the host sets them; True is asserted, which is a low voltage."""

    dtr: bool
    rts: bool


class Chip(Protocol):
    """One microcontroller with its bootloader.

    `settings` are those of the host when it sent the bytes: None where the carrier cannot know them.
    A chip whose own settings differ hears noise, and says so by not understanding.
    """

    def receive(self, content: bytes, settings: LineSettings | None, wire: Wire) -> None:
        """Bytes have arrived."""
        ...

    def pins(self, pins: Pins, wire: Wire) -> None:
        """The control lines have changed; a carrier without lines never says so."""
        ...

    def reset(self, wire: Wire) -> None:
        """The reset pin was pulsed: RAM is lost, flash stays. Nothing happens without power."""
        ...

    def power_on(self, wire: Wire) -> None:
        """The power is back, or was never gone; starts as after a reset."""
        ...
