"""Judges an image for a microcontroller before it is released, as far as can be told here.

With the board profile that names the chip it is what the device will judge: the format, addresses that no
record gives twice, the flash's bounds, MCUboot's hash and signature. Without one, its name and its first
bytes say what it claims to be, and it must be that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.board import BoardProfile
from agent.errors import ConfigError, FlashImageError, RollbackError, TrustError
from agent.flash.intel_hex import parse_intel_hex
from agent.flash.mcuboot_image import MAGIC, check_whole
from agent.flash.select import ChipSettings, check_image_fits, parse_image
from agent.flash.srec import parse_srec

HEX_NAMES: Final = frozenset((".hex", ".ihex", ".ihx"))
SREC_NAMES: Final = frozenset((".srec", ".s19", ".s28", ".s37", ".mot"))
HEX_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class ChipOnBoard:
    """A component of a board, and what its profile says of it."""

    hardware_id: str
    component: str
    settings: ChipSettings


def chips_of(profile: BoardProfile) -> tuple[ChipOnBoard, ...]:
    """The microcontrollers that a board profile names."""
    return tuple(
        ChipOnBoard(chip.hardware_id, chip.name, chip.settings) for chip in profile.microcontrollers
    )


def check_chip_file(path: Path, content: bytes, settings: ChipSettings | None) -> None:
    """Refuse what no device would take. Raises `ConfigError`."""
    try:
        if settings is not None:
            check_image_fits(parse_image(content, settings), settings)
        else:
            _claimed(path, content)(content)
    except (FlashImageError, TrustError, RollbackError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _claimed(path: Path, content: bytes) -> Callable[[bytes], object]:
    suffix = path.suffix.lower()
    if suffix in HEX_NAMES or _is_text_record(content, b":"):
        return parse_intel_hex
    if suffix in SREC_NAMES or _is_text_record(content, b"S"):
        return parse_srec
    if content[:4] == MAGIC.to_bytes(4, "little"):
        return check_whole
    return bytes  # a raw binary claims nothing


def _is_text_record(content: bytes, mark: bytes) -> bool:
    """Whether the first line looks like a record, so that a raw binary is not taken for one by chance."""
    line = content[:600].split(b"\n", 1)[0].rstrip(b"\r")
    return line.startswith(mark) and len(line) > 8 and set(line[1:]) <= HEX_DIGITS
