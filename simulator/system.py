"""The operating system of a simulated board: what it says of itself depends on what was started."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from agent.errors import BootControlError
from agent.interfaces import CheckResult, Clock, Conditions, SystemFacts
from simulator.faults import Faults, Health, Reboot
from simulator.image import Behaviour
from simulator.power import Power
from simulator.trace import Note, silent

KINDS: Final = tuple(Reboot)
FLAPS: Final = tuple(Health)
CHECK_S: Final = 2.0


Weather = Callable[[], Conditions]
"""What surrounds a board at this moment."""


def fair() -> Conditions:
    """Nobody knows of anything that stands against an installation."""
    return Conditions()


@dataclass(slots=True)
class SimulatedSystem:
    """The `System` of one boot. `reboot_argument` is what the agent asked for, None while it did not.

    The board reboots after the agent has stopped, and with the argument that the kernel was given:
    a fault may have lost it on the way.
    """

    system_facts: SystemFacts
    behaviour: Behaviour
    clock: Clock
    power: Power
    faults: Faults = field(default_factory=Faults)
    note: Note = silent
    weather: Weather = fair
    reboot_argument: str | None = None
    statuses: list[str] = field(default_factory=list)

    def facts(self) -> SystemFacts:
        """What the firmware and the kernel said at the start of this boot."""
        return self.system_facts

    def run_check(self, command: tuple[str, ...], timeout_s: float) -> CheckResult:
        """As the image that runs behaves: healthy, or not and late; a fault may let it fail once."""
        flaps = self.faults.strike(FLAPS, command[0]) is not None
        passed = self.behaviour is Behaviour.HEALTHY and not flaps
        self.clock.sleep(min(CHECK_S, timeout_s))
        self.note("check", f"{command[0]}: {'passed' if passed else 'failed'}")
        why = "a unit is still starting" if flaps else "the stamp of this image says so"
        detail = "running" if passed else f"degraded: {why}"
        return CheckResult(passed=passed, detail=detail)

    def reboot(self, argument: str) -> None:
        """Accept, refuse, or accept and lose the argument."""
        fault = self.faults.strike(KINDS, argument or "plain")
        if fault is Reboot.REFUSED:
            self.note("! reboot refused", argument)
            raise BootControlError("the simulated system refused to reboot; will try again")
        with self.power.operation("System.reboot", argument):
            self.note("reboot", argument)
        if fault is Reboot.ARGUMENT_DROPPED:
            self.note("! argument dropped", argument)
            argument = ""
        self.reboot_argument = argument

    def conditions(self, *, ask_link: bool) -> Conditions:
        """As the weather is now."""
        found = self.weather()
        return found if ask_link else replace(found, metered=None)

    def make_way(self, *, low: bool) -> None:
        """Note it."""
        self.note("priority", "low" if low else "as before")

    def progress(self, status: str) -> None:
        """Remember the last things that the agent told its service manager."""
        self.statuses.append(status)
        del self.statuses[:-100]
