"""The simulated boards of the demonstration: each one's life is a thread of its own."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from simulator.power import Moment
from simulator.trace import Line
from simulator.world import DeviceSimulation

Say = Callable[[str, str], None]
"""How anyone tells the screen: who, and a sentence."""

SLICE_S: Final = 0.5
TOLD: Final = frozenset(
    ("accepted", "installed", "switched", "trial", "confirmed", "unhealthy", "reverted", "failed")
)
"""Events that a person wants to see; of the others only faults, which begin with `!`."""


def told(say: Say, name: str, line: Line) -> None:
    """Say an event of a device's trace if a person wants to see it."""
    if line.event in TOLD or line.event.startswith("!"):
        say(name, f"{line.event}  {line.detail}".strip())


@dataclass(slots=True)
class DemoDevice:
    """One device, from switching it on to switching it off."""

    name: str
    simulation: DeviceSimulation
    say: Say
    error: BaseException | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Switch it on."""
        self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Switch it off at the next moment that it has nothing to do."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Wait until it is off."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def cut_power_in_write(self, occurrence: int) -> None:
        """Let the power fail, and tear the write, at so many writes from now."""
        self.simulation.board.power.cut_at_name("BlockDevice.write", occurrence, Moment.TORN)

    @property
    def cuts(self) -> int:
        """How often its power failed."""
        return self.simulation.board.power.cuts

    def _live(self) -> None:
        clock = self.simulation.surroundings.clock
        try:
            while not self._stop.is_set():  # the life of a device
                self.simulation.run(clock.monotonic_s() + SLICE_S)
        except AssertionError as error:
            self.error = error
            self.say(self.name, f"! died  {error}")
