"""Small gateways for stories: boards whose chips have little flash, so that every operation can be cut."""

from dataclasses import replace
from typing import Final, assert_never

from agent.board import BoardProfile
from agent.flash.mcumgr import McumgrSettings
from agent.flash.pages import FlashLayout
from agent.flash.select import ProtocolSettings
from agent.flash.stk500v1 import Stk500Settings
from agent.flash.stm32_uart import Stm32Settings
from agent.release import Hosts
from simulator.chips import BoardChip
from simulator.image import Behaviour
from simulator.lab import ALL_HOSTS, Lab, make_lab
from simulator.profiles import load_profile, profile_names

SEED: Final = 11
GATEWAYS: Final = tuple(name for name in profile_names() if load_profile(name).microcontrollers)


def small_profile(name: str) -> BoardProfile:
    """The gateway of this name, its chips with a kilobyte of flash."""
    profile = load_profile(name)
    chips = tuple(
        replace(chip, settings=replace(chip.settings, protocol=_small(chip.settings.protocol)))
        for chip in profile.microcontrollers
    )
    return replace(profile, microcontrollers=chips)


def _small(protocol: ProtocolSettings) -> ProtocolSettings:
    match protocol:
        case Stm32Settings():
            return replace(protocol, flash=FlashLayout(protocol.flash.start, (256,) * 4))
        case Stk500Settings():
            return replace(protocol, boot_start=1024)
        case McumgrSettings():
            return protocol  # small already
        case never:
            assert_never(never)


def small_lab(name: str, seed: int = SEED) -> Lab:
    return make_lab(small_profile(name), seed=seed, sectors=12, window_bytes=512)


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
