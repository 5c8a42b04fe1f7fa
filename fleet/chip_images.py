"""Images for microcontrollers: what the command line says of them, and their entries in a manifest.

The file goes as it is: Intel HEX, S-records, a raw binary or an MCUboot image, as the board profile says.
`chip_check` judges it here; devices do so again before they switch anything.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.board import parse_profile
from agent.errors import ConfigError
from agent.flash.select import ChipSettings
from agent.payload import padded_bytes
from agent.release import CHIP_IMAGE_BYTES_MAX, FIRMWARE, SLOTS, Hosts, Image
from agent.strict import INTEGER_MAX, NAME
from fleet.chip_check import check_chip_file, chips_of
from fleet.payload import EncodedImage, Encoding, encode_full

ANY: Final = "any"
HOSTS_METAVAR: Final = "COMPONENT=MIN-MAX|any"


@dataclass(frozen=True, slots=True)
class ChipInput:
    """An image file, the component that it is for, and the systems that it works with."""

    hardware_id: str
    component: str
    path: Path
    hosts: Hosts
    settings: ChipSettings | None = None


def parse_chip_inputs(
    chips: list[str], hosts: list[str], profiles: list[str] | None = None
) -> tuple[ChipInput, ...]:
    """`HARDWARE_ID:COMPONENT=FILE` and `COMPONENT=MIN-MAX` as the command line takes them.

    Every chip needs its hosts, and nothing else may have any. Of each board profile at least one chip must
    be meant. Raises `ConfigError`, and `ProfileError` for a profile.
    """
    ranges = dict(_hosts(text) for text in hosts)
    found = tuple(_chip(text, ranges) for text in chips)
    unknown = set(ranges) - {chip.component for chip in found}
    if unknown:
        raise ConfigError(f"--hosts: {', '.join(sorted(unknown))} has no --chip in this release")
    places = {(chip.hardware_id, chip.component) for chip in found}
    if len(places) != len(found) or len(ranges) != len(hosts):
        raise ConfigError("--chip, --hosts: each component may be given once")
    for name in profiles or []:
        found = _with_settings(found, name)
    return found


def _with_settings(chips: tuple[ChipInput, ...], name: str) -> tuple[ChipInput, ...]:
    try:
        profile = parse_profile(Path(name).read_bytes(), name)
    except OSError as error:
        raise ConfigError(f"--chip-profile: {name}: cannot be read: {error.strerror}") from error
    known = {(one.hardware_id, one.component): one.settings for one in chips_of(profile)}
    if not known.keys() & {(chip.hardware_id, chip.component) for chip in chips}:
        raise ConfigError(f"--chip-profile: {name}: a board with one of the --chip was expected")
    return tuple(
        replace(chip, settings=known.get((chip.hardware_id, chip.component), chip.settings))
        for chip in chips
    )


def encode_chip(chip: ChipInput, folder: Path, encoding: Encoding) -> tuple[Image, EncodedImage]:
    """The manifest's entry and the payload, which has zeros up to a whole sector behind the file."""
    try:
        content = chip.path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{chip.path}: cannot be read: {error.strerror}") from error
    if not 0 < len(content) <= CHIP_IMAGE_BYTES_MAX:
        raise ConfigError(
            f"{chip.path}: 1 to {CHIP_IMAGE_BYTES_MAX} bytes were expected, {len(content)} found"
        )
    check_chip_file(chip.path, content, chip.settings)
    whole = io.BytesIO(content.ljust(padded_bytes(len(content)), b"\0"))
    encoded = encode_full(whole, folder, encoding, lambda: None)
    image = Image(
        hardware_id=chip.hardware_id,
        component=chip.component,
        part=FIRMWARE,
        length_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        payloads=(encoded.payload,),
        hosts=chip.hosts,
    )
    return image, encoded


def _chip(text: str, ranges: Mapping[str, Hosts]) -> ChipInput:
    place, separator, path = text.partition("=")
    hardware_id, colon, component = place.rpartition(":")
    named = NAME.fullmatch(component) and component not in (".", "..", SLOTS)
    if not (separator and path and colon and hardware_id and named):
        raise ConfigError(
            f"--chip: HARDWARE_ID:COMPONENT=FILE was expected, {text!r} found, "
            "for example acme,motor-f103:motor=motor.hex"
        )
    if component not in ranges:
        raise ConfigError(
            f"--hosts {component}=MIN-MAX: the release counters were expected with whose systems the "
            f"image works, the one before among them; {component}={ANY} when it works with all"
        )
    return ChipInput(hardware_id, component, Path(path), ranges[component])


def _hosts(text: str) -> tuple[str, Hosts]:
    component, separator, words = text.partition("=")
    low, dash, high = words.partition("-")
    if separator and words == ANY:
        return component, Hosts(0, INTEGER_MAX)
    if separator and dash and low.isdecimal() and high.isdecimal():
        hosts = Hosts(int(low), int(high))
        if hosts.counter_min <= hosts.counter_max <= INTEGER_MAX:
            return component, hosts
    raise ConfigError(f"--hosts: {HOSTS_METAVAR} was expected, {text!r} found, such as motor=7-12")
