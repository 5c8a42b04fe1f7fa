"""What a seed means: who ships what when, and all that goes wrong, drawn before anything runs.

The same seed and board give the same plan in every process: nothing here depends on hashes of strings.
"""

from dataclasses import dataclass
from enum import StrEnum
from random import Random as Generator
from typing import Final

from simulator.image import Behaviour
from simulator.power import Moment

HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
FIRST_RELEASE: Final = 2
"""Every device is made with release 1."""


class Family(StrEnum):
    """Kinds of weather; a seed has about half of them, so that each is also seen without the others."""

    POWER = "power"
    NETWORK = "network"
    MIRROR = "mirror"
    BROKER = "broker"
    FORGERY = "forgery"
    FILES = "files"
    ROT = "rot"
    MEDIUM = "medium"
    CLOCK = "clock"
    SYSTEM = "system"
    OPERATOR = "operator"
    OWNER = "owner"
    CHIPS = "chips"


class Deed(StrEnum):
    """What can happen at a moment of a storm."""

    SHIP = "ship"
    PAUSE = "pause"
    RESUME = "resume"
    HALT = "halt"
    REISSUE = "reissue"
    PUBLISH = "publish"
    PUBLISH_LATE = "publish-late"
    ROTATE = "rotate"
    MUTE = "mute"
    ANSWER = "answer"
    FAULT = "fault"
    SERVE_OLD = "serve-old"
    SERVE_PART = "serve-part"
    SERVE_UNAPPROVED = "serve-unapproved"
    SERVE_NEW = "serve-new"
    BROKER_DOWN = "broker-down"
    BROKER_UP = "broker-up"
    FORGE = "forge"
    FLOOD = "flood"
    POWER_OFF = "power-off"
    CUT = "cut"
    ROT = "rot"
    WRITE_ERROR = "write-error"
    BAD_SECTOR = "bad-sector"
    BOOT_WRITE_ERROR = "boot-write-error"
    JUMP = "jump"
    ASK = "ask"
    UNPLUG = "unplug"
    NOISE = "noise"
    SILENCE = "silence"
    CHIP_LIES = "chip-lies"
    CHIP_CUT = "chip-cut"
    CHIP_RESTART = "chip-restart"
    CHIP_WELL = "chip-well"


@dataclass(frozen=True, slots=True)
class Act:
    """One deed at one moment; what the other fields mean depends on the deed."""

    at_s: float
    deed: Deed
    number: int = 0
    word: str = ""
    pattern: str = "*"
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A power cut so many operations after the one before it, or after a trial began."""

    operations: int
    moment: Moment


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device: its clock, and what goes wrong with it alone.

    `trial_cuts` hit the first trials, one each; `lies` is a medium that lies about flushing. Its chips
    have their `own_supply`, or go and come back with the board.
    """

    name: str
    battery: bool
    synchronise_after_s: float | None
    drift: float
    acts: tuple[Act, ...]
    bytes_per_s: float
    trial_cuts: tuple[Cut, ...] = ()
    lies: bool = False
    own_supply: bool = False


@dataclass(frozen=True, slots=True)
class Shipment:
    """One release of the storm: what it does, and the share of devices that may have it at once.

    The others follow `everyone_after_s` later; None means never. `chips` says whether it has images for
    microcontrollers, `fussy` whether those work with no system before it, so that no device may begin it.
    """

    number: int
    behaviour: Behaviour
    share: int
    everyone_after_s: float | None
    chips: bool = False
    fussy: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One world. `storm_s` is when the faults stop."""

    seed: int
    board: str
    storm_s: float
    check_every_s: int
    families: frozenset[Family]
    shipments: tuple[Shipment, ...]
    acts: tuple[Act, ...]
    devices: tuple[DevicePlan, ...]

    @property
    def last_release(self) -> int:
        """The number of the release that is shipped once the faults have stopped."""
        return FIRST_RELEASE + len(self.shipments)

    def shipment(self, number: int) -> Shipment | None:
        """The shipment of this release number, None for the first and the last release."""
        return next((one for one in self.shipments if one.number == number), None)


def chance_of(seed: int, board: str, what: str = "storm") -> Generator:
    """Where everything in a plan comes from."""
    return Generator(f"lockgate {what} {seed} {board}")  # noqa: S311  # repeatable on purpose
