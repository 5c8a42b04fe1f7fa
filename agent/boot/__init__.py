"""The bootloader's choice of slot: `BootControl`, one file per bootloader.

Two families, one interface. One-shot (`tryboot`): the default stays, a single attempt is armed and dies
with any reset. Counters (`uboot`): the default moves at once, and so many attempts later the bootloader
goes back by itself.

An implementation touches the world only through the `BlockDevice`s of its settings and `SystemFacts`.
"""

from typing import Protocol

from agent.board import SlotName


class BootControl(Protocol):
    """Which slot starts. Raises `BootControlError` when the boot state is not as expected.

    Every method that changes something makes one write of one sector or of one environment copy: a cut
    leaves the state before or after. Bootloaders answer a lost boot state with a fixed order of slots,
    which is why an incomplete slot must never be startable. On return the
    state is durable, also when an earlier process or the bootloader itself had brought it about:
    `disarm()` after a revert keeps a power cut from starting the trial once more.
    """

    def booted(self) -> SlotName:
        """The slot that runs, from the running system and never from the boot state."""
        ...

    def default(self) -> SlotName:
        """The slot that starts when nothing is armed: the last confirmed one."""
        ...

    def armed(self) -> bool:
        """Whether the next boots are a trial of the slot that is not the default."""
        ...

    def try_next(self, slot: SlotName, attempts: int) -> str:
        """Arm a trial of this slot; the reboot must carry the argument that is returned.

        `attempts` bounds the boots that a counting bootloader grants; a one-shot one grants one.
        """
        ...

    def confirm(self, slot: SlotName) -> None:
        """Make the running trial slot the default. Doing it again changes nothing."""
        ...

    def disarm(self) -> None:
        """Withdraw a trial: the default slot starts next. Doing it again changes nothing."""
        ...
