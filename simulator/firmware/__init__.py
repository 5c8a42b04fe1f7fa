"""Bootloaders played from their documents: which slot starts, from what is durable and what is not.

They share no code with `agent/boot`, so that one mistake cannot hide in both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent.board import SlotName
from agent.interfaces import SystemFacts

Startable = Callable[[SlotName], bool]
"""Whether what the slot holds now would start at all; asked at each boot."""


@dataclass(frozen=True, slots=True)
class BootChoice:
    """What a bootloader starts, and what the running system will be told about it.

    `slot` is None when the board stays dark. The other three are the words of `SystemFacts`.
    """

    slot: SlotName | None
    boot_partition: int | None = None
    tryboot: bool | None = None
    command_line: tuple[str, ...] = ()

    def facts(self, boot_id: str, compatible: tuple[str, ...] = ()) -> SystemFacts:
        """What the started system says of itself."""
        return SystemFacts(
            boot_id=boot_id,
            compatible=compatible,
            command_line=self.command_line,
            boot_partition=self.boot_partition,
            tryboot=self.tryboot,
        )


class Firmware(Protocol):
    """What lies below the operating system."""

    def reset(self, argument: str) -> None:
        """The system asked for a reboot with this argument, or was reset without one."""
        ...

    def boot(self) -> BootChoice:
        """Decide, changing what this bootloader changes. A planned power cut is raised from here."""
        ...
