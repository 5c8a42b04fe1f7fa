"""The Raspberry Pi firmware with `tryboot_a_b`, played from its documentation.

The one-shot flag is a bit in a register: a reboot with its argument sets it, it is cleared before
anything starts, and a power cut loses it. A missing or broken `autoboot.txt` leads to the first
bootable FAT partition. One that names a partition that does not start leaves the board dark: newer
firmware walks on, but nothing may depend on that.
"""

from collections.abc import Mapping
from random import Random as Generator
from typing import Final

from agent.board import Slot, SlotName
from agent.errors import InstallError
from agent.interfaces import BlockDevice
from simulator.fat import FatError, read_root_file
from simulator.firmware import BootChoice, Startable
from simulator.power import Power

LENGTH_MAX: Final = 512


class RaspberryPiFirmware:
    """`Firmware` over the partition that holds `autoboot.txt`."""

    def __init__(
        self,
        config_partition: BlockDevice,
        slots: Mapping[SlotName, Slot],
        power: Power,
        startable: Startable,
    ) -> None:
        self._config_partition = config_partition
        self._slots = {slot.boot_partition: name for name, slot in slots.items()}
        self._startable = startable
        self._flag = False
        power.attach(self)

    def lose_power(self, _chance: Generator) -> None:
        """The register forgets the flag."""
        self._flag = False

    def reset(self, argument: str) -> None:
        """Only the exact words set the flag; any other reboot leaves it clear."""
        self._flag = argument == "0 tryboot"

    def boot(self) -> BootChoice:
        """The partition that starts. A trial that does not start ends in a reset to the default."""
        tryboot, self._flag = self._flag, False
        for trial in (True, False) if tryboot else (False,):
            number = self._partition(trial=trial)
            slot = self._slots.get(number)
            if slot is not None and self._startable(slot):
                return BootChoice(slot=slot, boot_partition=number, tryboot=trial)
        return BootChoice(slot=None)

    def _partition(self, *, trial: bool) -> int:
        lines = self._autoboot()
        if trial and _value(lines, "tryboot_a_b", trial=True) != 1:
            trial = False  # then only tryboot.txt is read instead of config.txt, in the same place
        number = _value(lines, "boot_partition", trial=trial)
        return number or self._first_bootable()

    def _first_bootable(self) -> int:
        numbers = sorted(
            number
            for number, slot in self._slots.items()
            if number is not None and self._startable(slot)
        )
        return numbers[0] if numbers else 0

    def _autoboot(self) -> list[str]:
        try:
            content = read_root_file(self._config_partition.read, "autoboot.txt")
        except (FatError, InstallError):
            return []
        if content is None or len(content) > LENGTH_MAX:
            return []
        return content.decode("latin-1").replace("\r", "").split("\n")


def _value(lines: list[str], key: str, *, trial: bool) -> int:
    """The last value in the sections that count, 0 when there is none."""
    applies = True
    value = 0
    for line in lines:
        text = line.strip()
        if text.startswith("["):
            applies = text == "[all]" or (trial and text == "[tryboot]")
        elif applies and text.startswith(key + "="):
            digits = text[len(key) + 1 :]
            value = int(digits) if digits.isascii() and digits.isdigit() else 0
    return value
