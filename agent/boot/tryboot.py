"""Raspberry Pi firmware: a one-shot trial by the reboot argument, the default in `autoboot.txt`.

The armed flag lies in a register and dies with any reset, so nothing on disk has to be undone. The
default is two numbers in a file of one sector, replaced by one write to the block device: a FAT driver
would write several sectors, and a cut between them loses the file.
"""

from collections.abc import Mapping
from typing import Final

from agent.board import Slot, SlotName, TrybootSettings, other
from agent.boot.autoboot import Autoboot, parse_autoboot, render_autoboot
from agent.boot.fat import FileSector, find_file
from agent.boot.medium import SECTOR_BYTES, flush_state, open_device, read_state, write_state
from agent.errors import BootControlError
from agent.interfaces import Storage, SystemFacts

FILE_NAME: Final = "autoboot.txt"
REBOOT_ARGUMENT: Final = "0 tryboot"


class TrybootControl:
    """`BootControl` for boards whose own firmware chooses the slot by its boot partition."""

    def __init__(
        self,
        settings: TrybootSettings,
        slots: Mapping[SlotName, Slot],
        storage: Storage,
        facts: SystemFacts,
    ) -> None:
        self._settings = settings
        self._slots = slots
        self._storage = storage
        self._facts = facts

    def booted(self) -> SlotName:
        """The slot whose boot partition the firmware says it started."""
        number = self._facts.boot_partition
        if number is None:
            raise BootControlError(
                "chosen/bootloader/partition in the device tree was expected, none found; "
                "update the bootloader's EEPROM, or use another board profile"
            )
        return self._slot(number, "the firmware's boot partition")

    def default(self) -> SlotName:
        """The slot that `[all]` names."""
        return self._slot(self._read().default, FILE_NAME)

    def armed(self) -> bool:
        """Never: the flag is set by the reboot itself, and cleared before anything starts."""
        return False

    def try_next(self, slot: SlotName, attempts: int) -> str:
        """Let `[tryboot]` name this slot; the firmware grants one attempt whatever is asked."""
        if attempts < 1:
            raise BootControlError(f"at least 1 attempt was expected, {attempts} found")
        current = self._read()
        if slot == self.booted() or slot == self._slot(current.default, FILE_NAME):
            raise BootControlError(
                f"the slot that neither runs nor starts by default was expected, {slot} found; "
                "settle the trial that runs before another one"
            )
        wanted = Autoboot(default=current.default, trial=self._number(slot))
        self._store(current, wanted)
        return REBOOT_ARGUMENT

    def confirm(self, slot: SlotName) -> None:
        """Swap the two numbers, so that the running slot starts by default.

        A cut leaves the file before or after: the old default, or this slot.
        """
        if self.booted() != slot:
            raise BootControlError(
                f"slot {slot} was expected to run, {self.booted()} does; only a slot that runs "
                "can be confirmed"
            )
        current = self._read()
        if self._slot(current.default, FILE_NAME) == slot:
            self._store(current, current)
        else:
            swapped = Autoboot(default=self._number(slot), trial=self._number(other(slot)))
            self._store(current, swapped)

    def disarm(self) -> None:
        """Nothing is armed on disk."""

    def _slot(self, number: int, source: str) -> SlotName:
        for name, slot in self._slots.items():
            if slot.boot_partition == number:
                return name
        known = " or ".join(str(slot.boot_partition) for slot in self._slots.values())
        raise BootControlError(
            f"{source}: partition {known} was expected, {number} found; "
            "compare boot_partition in the board profile with this board"
        )

    def _number(self, slot: SlotName) -> int:
        number = self._slots[slot].boot_partition
        assert number is not None, "the board profile's reader demands one"
        return number

    def _sector(self) -> tuple[FileSector, bytes]:
        device = open_device(self._storage, self._settings.config_partition)
        place = find_file(device, FILE_NAME)
        return place, read_state(device, place.offset, SECTOR_BYTES, FILE_NAME)

    def _read(self) -> Autoboot:
        place, sector = self._sector()
        return parse_autoboot(sector[: place.length_bytes])

    def _store(self, current: Autoboot, wanted: Autoboot) -> None:
        device = open_device(self._storage, self._settings.config_partition)
        if current == wanted:  # by a process, perhaps, that ended between its write and its flush
            flush_state(device, FILE_NAME)
            return
        place, sector = self._sector()
        content = render_autoboot(wanted, place.length_bytes)
        write_state(device, place.offset, content + sector[len(content) :], FILE_NAME)
