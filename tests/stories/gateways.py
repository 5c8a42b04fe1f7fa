"""Small gateways for stories: boards whose chips have little flash, so that every operation can be cut."""

from collections.abc import Callable
from typing import Final

from agent.release import Hosts
from simulator.chips import BoardChip, small_profile
from simulator.image import Behaviour
from simulator.lab import ALL_HOSTS, Lab, make_lab
from simulator.profiles import load_profile, profile_names
from simulator.trace import Line

SEED: Final = 11
GATEWAYS: Final = tuple(name for name in profile_names() if load_profile(name).microcontrollers)

MIDDLE: Final = {"gateway-avr": 20, "gateway-mcuboot": 6, "gateway-stm32": 20}
"""So many writes to the port after the trial began, each chip is half written."""


def small_lab(name: str, seed: int = SEED) -> Lab:
    return make_lab(small_profile(load_profile(name)), seed=seed, sectors=12, window_bytes=512)


def updated(
    name: str, behaviour: Behaviour = Behaviour.HEALTHY, *, hosts: Hosts = ALL_HOSTS
) -> Lab:
    """A gateway after an undisturbed update of system and chips to release 2."""
    lab = small_lab(name)
    lab.ship(behaviour, chips=True, hosts=hosts)
    lab.device.run_until_quiet()
    return lab


def only_chip(lab: Lab) -> BoardChip:
    (chip,) = lab.device.board.chips
    return chip


def when(lab: Lab, **deeds: Callable[[], object]) -> None:
    """Do something each time that the device tells of an event: by the event's name what to do."""

    def heard(line: Line) -> None:
        if line.event in deeds:
            deeds[line.event]()

    lab.device.trace.sink = heard


def unplug_in_the_middle(lab: Lab) -> None:
    """The gateway's chip loses its plug when it is half written."""
    chip = only_chip(lab)
    chip.unplugged_at = chip.writes + MIDDLE[lab.profile.name]
