"""Small gateways for stories: boards whose chips have little flash, so that every operation can be cut."""

from typing import Final

from agent.release import Hosts
from simulator.chips import BoardChip, small_profile
from simulator.image import Behaviour
from simulator.lab import ALL_HOSTS, Lab, make_lab
from simulator.profiles import load_profile, profile_names

SEED: Final = 11
GATEWAYS: Final = tuple(name for name in profile_names() if load_profile(name).microcontrollers)


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
