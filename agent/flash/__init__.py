"""Microcontrollers on serial ports: what every flasher does, whatever its protocol.

`entry` brings a chip into its bootloader, a `Flasher` speaks the bootloader's protocol, `select` makes
both from a board profile's settings, and `session` runs them: identify, plan, write, verify, start.
`docs/microcontrollers.md` has the protocols and what a power cut leaves behind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

ERASED: Final = 0xFF
"""What every byte of erased flash reads as, on the chips that are supported."""


class Recovery(StrEnum):
    """What a chip is after a power cut in the middle of writing.

    `rom`: its bootloader cannot be harmed and is entered by wires: it can always be flashed again.
    `ab`: the old image still runs. `fragile`: only an image that works lets anyone in, so that a cut
    may need hands; such a chip is flashed only where its settings say so.
    """

    ROM = "rom"
    AB = "ab"
    FRAGILE = "fragile"


class Phase(StrEnum):
    """What a flasher is doing, for progress."""

    COMPARE = "compare"
    ERASE = "erase"
    WRITE = "write"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one phase is."""

    phase: Phase
    done_bytes: int
    total_bytes: int


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes that belong at one address."""

    start: int
    content: bytes

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + len(self.content)


@dataclass(frozen=True, slots=True)
class ChipImage:
    """The image of one chip: regions by rising address, none empty, none touching another."""

    regions: tuple[Region, ...]

    @property
    def length_bytes(self) -> int:
        """The bytes in all regions, without the gaps."""
        return sum(len(region.content) for region in self.regions)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answered: the chip's id in lower-case hexadecimal digits, and its bootloader's version."""

    chip: str
    bootloader: str


@dataclass(frozen=True, slots=True)
class FlashPlan:
    """What one run will do to a chip: the pages to erase (by number) and the writes, in order.

    `unchanged_bytes` is how much of the image the chip holds already. Nothing to do: no writes.
    """

    erase: tuple[int, ...]
    writes: tuple[Region, ...]
    unchanged_bytes: int

    @property
    def write_bytes(self) -> int:
        """How much will be written."""
        return sum(len(region.content) for region in self.writes)


class Flasher(Protocol):
    """One chip in its bootloader, behind one protocol. Raises `FlashError` and its kinds.

    The calls come in this order, and again from the first after an error and a new entry. Nothing is
    erased before `identify` has found the chip that the settings name. A power cut in `write`, of the
    chip or of this computer, leaves what `recovery` says.
    """

    @property
    def recovery(self) -> Recovery:
        """What a power cut in the middle leaves."""
        ...

    def identify(self) -> Identity:
        """Find the bootloader's rhythm and ask who it is. Raises `FlashIdentityError`."""
        ...

    def plan(self, image: ChipImage, progress: OnProgress) -> FlashPlan:
        """Compare with what the chip holds, where that saves more than it costs; erases nothing.

        Raises `FlashImageError` for an image that the chip has no room for.
        """
        ...

    def write(self, plan: FlashPlan, progress: OnProgress) -> None:
        """Erase and write; what the chip needs to start the image comes last."""
        ...

    def verify(self, image: ChipImage, progress: OnProgress) -> None:
        """Ask the chip for all of the image by the strongest means it has. Raises `FlashVerifyError`."""
        ...

    def start(self) -> None:
        """Leave the bootloader and start the image, as far as the protocol can; entry does the rest."""
        ...


@runtime_checkable
class FlashReader(Protocol):
    """A flasher whose protocol reads; after `identify`. Raises `FlashError`."""

    def read_flash(self, progress: OnProgress) -> bytes:
        """All flash that images may use, from its first address on."""
        ...


@runtime_checkable
class TrialFlasher(Flasher, Protocol):
    """A flasher that begins trials (`Recovery.AB`); after `plan`. Raises `FlashError`."""

    def confirm(self) -> None:
        """Keep the planned image, which must be running; before this any reset reverts it."""
        ...

    def revert(self) -> None:
        """Go back to the image from before the trial; nothing to do when no trial is on."""
        ...
