"""Chooses the bootloader that plays below a board profile."""

from typing import assert_never

from agent.board import BoardProfile, TrybootSettings, UbootSettings
from agent.interfaces import Storage
from simulator.firmware import Firmware, Startable
from simulator.firmware.raspberry_pi import RaspberryPiFirmware
from simulator.firmware.u_boot import UBootFirmware
from simulator.power import Power


def firmware(
    profile: BoardProfile, storage: Storage, power: Power, startable: Startable
) -> Firmware:
    """The firmware of this board over its devices."""
    match profile.boot:
        case TrybootSettings() as settings:
            partition = storage.device(settings.config_partition)
            return RaspberryPiFirmware(partition, profile.slots, power, startable)
        case UbootSettings() as settings:
            return UBootFirmware(settings, storage, startable)
        case _ as never:
            assert_never(never)
