"""What a boot of the agent is made of, so that it can be made of something else.

The product has one set of pieces. The tests of the closure explorer put in pieces from which one safety
rule was taken out, to see that its loss is noticed; the explorer itself makes data durable more often,
because its images are small.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agent.board import BoardProfile
from agent.boot import BootControl
from agent.boot.select import boot_control
from agent.device import Device
from agent.interfaces import Storage, SystemFacts
from agent.journal import Journal
from agent.runner import Hooks, Runner

MakeBootControl = Callable[[BoardProfile, Storage, SystemFacts], BootControl]
MakeRunner = Callable[[Device, Journal, Hooks], Runner]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Who makes the parts that hold the promises about power cuts."""

    device: type[Device] = Device
    boot_control: MakeBootControl = boot_control
    runner: MakeRunner = Runner


PIECES: Final = Pieces()
"""What every device runs."""
