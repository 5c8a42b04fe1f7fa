"""Chooses the `BootControl` that the board profile asks for."""

from typing import assert_never

from agent.board import BoardProfile, TrybootSettings, UbootSettings
from agent.boot import BootControl
from agent.boot.tryboot import TrybootControl
from agent.boot.uboot import UbootControl
from agent.interfaces import Storage, SystemFacts


def boot_control(profile: BoardProfile, storage: Storage, facts: SystemFacts) -> BootControl:
    """The control of this board's bootloader; nothing is read before it is asked something."""
    match profile.boot:
        case TrybootSettings() as settings:
            return TrybootControl(settings, profile.slots, storage, facts)
        case UbootSettings() as settings:
            return UbootControl(settings, storage, facts)
        case _ as never:
            assert_never(never)
