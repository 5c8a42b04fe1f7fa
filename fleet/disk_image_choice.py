"""Which partition of a whole disk an image is: by number, name, label or role. Pure.

A role is what a partition is for, as far as the disk says so itself: `boot` is what the firmware reads,
`root` the system. Every answer but exactly one partition is an error that lists those that are there.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import ConfigError
from fleet.disk_image import Partition

NUMBER: Final = re.compile(r"[0-9]{1,3}")
WORDS: Final = re.compile(r"(name|label|role)=(.{1,72})")
WHOLE: Final = "whole"
BOOT_KINDS: Final = frozenset(
    {"01", "04", "06", "0b", "0c", "0e", "ef"}
    | {"c12a7328-f81f-11d2-ba4b-00c04b4f60b8", "bc13c2ff-59e6-4262-a352-b275fd6f7172"}
)
"""FAT and EFI system partitions in an MBR; the EFI system partition and XBOOTLDR in a GPT."""
ROOT_KINDS: Final = frozenset(
    {
        "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
        "44479540-f297-41b2-9af7-d131d5f0458a",
        "69dad710-2ce4-4e3c-b16c-21a1d49abed3",
        "b921b045-1df0-41c3-af44-4c6f280d3fae",
        "72ec70a6-cf74-40e6-bd49-4bda08e8f224",
    }
)
"""The roots of x86-64, x86, 32- and 64-bit ARM and 64-bit RISC-V (Discoverable Partitions Specification)."""
ROOT_FILE_SYSTEMS: Final = frozenset({"ext4", "erofs", "squashfs", "btrfs", "xfs"})


@dataclass(frozen=True, slots=True)
class Number:
    """The partition of this number."""

    number: int

    @property
    def words(self) -> str:
        """As people say it."""
        return f"partition {self.number}"


@dataclass(frozen=True, slots=True)
class Named:
    """The partition of this name (GPT), label (its file system's) or role."""

    what: str
    wanted: str

    @property
    def words(self) -> str:
        """As people say it."""
        return f"the partition with {self.what} {self.wanted!r}"


@dataclass(frozen=True, slots=True)
class Whole:
    """All of the file, even if it looks like a disk."""

    @property
    def words(self) -> str:
        """As people say it."""
        return "all of the file"


Choice = Number | Named | Whole


def parse_choice(text: str) -> Choice | None:
    """`3`, `name=root`, `label=rootfs`, `role=boot` or `whole`; None for anything else."""
    if NUMBER.fullmatch(text):
        return Number(int(text))
    if text == WHOLE:
        return Whole()
    found = WORDS.fullmatch(text)
    return Named(found[1], found[2]) if found else None


def split_choice(text: str) -> tuple[Path, Choice | None]:
    """`FILE` or `FILE#CHOICE`; what stands behind the last `#` and is no choice belongs to the name."""
    path, separator, words = text.rpartition("#")
    choice = parse_choice(words) if separator and path else None
    return (Path(text), None) if choice is None else (Path(path), choice)


def choose(
    partitions: tuple[Partition, ...], choice: Number | Named | None, path: Path
) -> Partition:
    """The one partition that is wanted. Raises `ConfigError`."""
    there = "; ".join(one.words for one in partitions) or "none"
    if choice is None:
        raise ConfigError(
            f"{path}: this is a whole disk, and the image of one part was expected; say which partition: "
            f"{path.name}#NUMBER, #name=NAME, #label=LABEL or #role=ROLE. There are {there}"
        )
    found = [one for one in partitions if _fits(one, choice, partitions)]
    if len(found) != 1:
        told = "it is not there" if not found else f"{len(found)} partitions are that"
        raise ConfigError(f"{path}: {choice.words} was expected, {told}. There are {there}")
    return found[0]


def _fits(one: Partition, choice: Number | Named, among: tuple[Partition, ...]) -> bool:
    if isinstance(choice, Number):
        return one.number == choice.number
    match choice.what:
        case "name":
            return one.name == choice.wanted
        case "label":
            return one.file_system.label == choice.wanted
        case _:
            return one in of_role(among, choice.wanted)


def of_role(partitions: tuple[Partition, ...], role: str) -> tuple[Partition, ...]:
    """The partitions that have a role: by name or label, else by type, else by file system."""
    called = tuple(one for one in partitions if role in (one.name, one.file_system.label))
    if called or role not in ("boot", "root"):
        return called
    kinds = BOOT_KINDS if role == "boot" else ROOT_KINDS
    typed = tuple(one for one in partitions if one.kind in kinds)
    if typed:
        return typed
    systems = frozenset({"vfat"}) if role == "boot" else ROOT_FILE_SYSTEMS
    return tuple(one for one in partitions if one.file_system.kind in systems)
