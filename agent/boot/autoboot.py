"""The content of `autoboot.txt`: which partition starts, and which one when a trial is armed. Pure.

At most 512 bytes; the sections `[all]` and `[tryboot]`; later lines win, as in the firmware. Source:
Raspberry Pi documentation, "autoboot.txt".
"""

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from agent.boot.medium import SECTOR_BYTES
from agent.errors import BootControlError

PARTITION: Final = re.compile(r"[1-9][0-9]?")
SECTIONS: Final = ("[all]", "[tryboot]")
KEYS: Final = ("tryboot_a_b", "boot_partition")


@dataclass(frozen=True, slots=True)
class Autoboot:
    """The partition that starts by default, and the one that starts in a trial."""

    default: int
    trial: int


def parse_autoboot(content: bytes) -> Autoboot:
    """What the firmware will do with this file. Raises `BootControlError`.

    Comments, blank lines and any order are taken; an unknown section or key is refused, because
    writing the file would lose it.
    """
    if len(content) > SECTOR_BYTES:
        _refuse(f"at most {SECTOR_BYTES} bytes", str(len(content)))
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError:
        _refuse("plain ASCII", "other bytes")
    usual: dict[str, str] = {}
    trial: dict[str, str] = {}
    section = SECTIONS[0]
    for line in (raw.strip(" \t\r") for raw in text.split("\n")):
        if not line or line.startswith("#"):
            continue
        if line in SECTIONS:
            section = line
            continue
        key, equals, value = line.partition("=")
        if not equals or key not in KEYS:
            _refuse(f"{', '.join((*SECTIONS, *KEYS))} or a comment", repr(line))
        trial[key] = value  # the firmware reads [all] in a trial too, and the last line wins
        if section == SECTIONS[0]:
            usual[key] = value
    if trial.get("tryboot_a_b") != "1":
        _refuse("tryboot_a_b=1", repr(trial.get("tryboot_a_b", "no such line")))
    return Autoboot(default=_partition(usual), trial=_partition(trial))


def render_autoboot(autoboot: Autoboot, length_bytes: int) -> bytes:
    """The file that says this, of exactly this length. Raises `BootControlError`."""
    text = (
        f"[all]\ntryboot_a_b=1\nboot_partition={autoboot.default}\n"
        f"[tryboot]\nboot_partition={autoboot.trial}"
    ).encode("ascii")
    if len(text) > length_bytes:
        _refuse(f"a file of at least {len(text)} bytes to write into", str(length_bytes))
    return text.ljust(length_bytes, b"\n")


def _partition(values: dict[str, str]) -> int:
    value = values.get("boot_partition", "no such line")
    if not PARTITION.fullmatch(value):
        _refuse("boot_partition= and a number from 1 to 99", repr(value))
    return int(value)


def _refuse(expected: str, found: str) -> NoReturn:
    raise BootControlError(
        f"autoboot.txt: {expected} was expected, {found} found; "
        "write it anew as docs/boards.md shows"
    )
