"""What a device remembers of its microcontrollers: which image each holds, and what may be wrong there.

A chip's record is the truth as far as this device can know it, and is written before the chip is: a cut
anywhere leaves a record that says at least as much as may have happened.
"""

from dataclasses import dataclass
from typing import Final

from agent.release import Hosts, hosts_fields
from agent.strict import Fields

FOLDER: Final = "chips"
"""Where `Files` keeps the images, each under its SHA-256."""


@dataclass(frozen=True, slots=True)
class Firmware:
    """One image of a microcontroller, whose bytes are kept.

    `hosts` is None where nobody ever said. What was `read_back` is raw, from the first address of the
    chip's flash on; all else has the format that the board profile names.
    """

    sha256: str
    hosts: Hosts | None
    read_back: bool = False

    @property
    def path(self) -> str:
        """Its name among the device's files."""
        return f"{FOLDER}/{self.sha256}"


@dataclass(frozen=True, slots=True)
class ChipRecord:
    """What one chip holds: `holds` was read back and belongs to it for good, None when it is as it came.

    `writing` was begun and is not known to have ended, or runs on trial.
    """

    holds: Firmware | None = None
    writing: Firmware | None = None

    def is_settled_on(self, wanted: Firmware | None) -> bool:
        """Whether the chip holds this image and nothing else was begun since."""
        held = self.holds.sha256 if self.holds else ""
        return self.writing is None and held == (wanted.sha256 if wanted else "")


AS_IT_CAME: Final = ChipRecord()


def firmware_fields(fields: Fields, key: str) -> Firmware | None:
    """The image in a JSON object, or none."""
    if fields.raw.get(key) is None:
        return None
    table = fields.table(key)
    return Firmware(
        sha256=table.sha256("sha256"),
        hosts=None if table.raw.get("hosts") is None else hosts_fields(table.table("hosts")),
        read_back=table.boolean("read_back"),
    )


def firmwares_fields(fields: Fields, key: str) -> dict[str, Firmware]:
    """Images by the names of their chips; none where an older journal has no such table."""
    if key not in fields:
        return {}
    table = fields.table(key)
    found = {name: firmware_fields(table, name) for name in table.raw}
    return {name: firmware for name, firmware in found.items() if firmware is not None}


def records_fields(fields: Fields, key: str) -> dict[str, ChipRecord]:
    """The records of all chips; none where an older journal has no such table."""
    if key not in fields:
        return {}
    table = fields.table(key)
    rows = {name: table.table(name) for name in table.raw}
    return {
        name: ChipRecord(firmware_fields(row, "holds"), firmware_fields(row, "writing"))
        for name, row in rows.items()
    }
