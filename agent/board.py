"""The board profile: everything that differs between kinds of board, as frozen data. Pure.

One complete TOML file per board, strict, without inheritance: whoever holds a bricked board reads one
file. `docs/boards.md` explains each key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from agent.errors import ProfileError
from agent.release import SLOTS
from agent.strict import NAME, Fields, Refusal, load_toml

if TYPE_CHECKING:
    from agent.flash.select import ChipSettings

SCHEMA: Final = 1
FILE_BYTES_MAX: Final = 64 * 1024
MICROCONTROLLERS_MAX: Final = 16
SlotName = Literal["a", "b"]


def other(slot: SlotName) -> SlotName:
    """The other half of the pair."""
    return "b" if slot == "a" else "a"


@dataclass(frozen=True, slots=True)
class Slot:
    """One half of the A/B pair: its block devices by part, in the order in which they are written.

    `boot_partition` is the number by which the Raspberry Pi firmware knows the slot; other boards
    have none.
    """

    parts: Mapping[str, str]
    boot_partition: int | None


@dataclass(frozen=True, slots=True)
class TrybootSettings:
    """Raspberry Pi firmware: the FAT partition that holds `autoboot.txt` and nothing that changes."""

    config_partition: str


@dataclass(frozen=True, slots=True)
class EnvironmentCopy:
    """Where one copy of the U-Boot environment lies, as in `fw_env.config`."""

    device: str
    offset: int


@dataclass(frozen=True, slots=True)
class UbootSettings:
    """U-Boot: two copies of the environment, and what this board's boot script calls its variables.

    The script puts `slot_argument` followed by the slot's letter on the kernel command line.
    """

    copies: tuple[EnvironmentCopy, EnvironmentCopy]
    size_bytes: int
    slot: str
    trial: str
    boot_count: str
    boot_limit: str
    slot_argument: str


BootSettings = TrybootSettings | UbootSettings


@dataclass(frozen=True, slots=True)
class Check:
    """One health check: a program that exits with 0 within its time when all is well."""

    name: str
    command: tuple[str, ...]
    timeout_s: int


@dataclass(frozen=True, slots=True)
class ConfirmSettings:
    """When a trial may be confirmed, and how often it is tried when nobody knows why it ended.

    `require_broker` makes a session with the broker part of health: a system that nobody can reach
    reverts. `watchdog` is the device that resets a trial which hangs, None when there is none.
    """

    within_s: int
    attempts_max: int
    require_broker: bool
    checks: tuple[Check, ...]
    watchdog: str | None


@dataclass(frozen=True, slots=True)
class Microcontroller:
    """One chip on a serial port: the component of this name takes images for this hardware id.

    `allow_one_way` is the owner's word that an update may replace an image which nobody can bring back:
    that with which the chip came, where its protocol cannot read it and has no second slot.
    """

    name: str
    hardware_id: str
    settings: "ChipSettings"
    allow_one_way: bool = False


@dataclass(frozen=True, slots=True)
class BoardProfile:
    """One kind of board."""

    name: str
    hardware_id: str
    boot: BootSettings
    slots: Mapping[SlotName, Slot]
    confirm: ConfirmSettings
    microcontrollers: tuple[Microcontroller, ...] = ()
    disk_image: Mapping[str, str] = field(default_factory=dict)
    """For the operator: which partition of a whole-disk image is which part, as `label=rootfs`."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of a slot's parts, in the order in which they are written."""
        return tuple(self.slots["a"].parts)


def parse_profile(content: bytes, source: str) -> BoardProfile:
    """The profile in a TOML file; `source` names it in errors. Raises `ProfileError`."""
    refusal = Refusal(ProfileError, source)
    fields = load_toml(content, length_max=FILE_BYTES_MAX, refusal=refusal)
    fields.integer("schema", SCHEMA, SCHEMA)
    boot = _boot(fields.table("boot"))
    slots = fields.table("slots")
    pair: dict[SlotName, Slot] = {
        "a": _slot(slots.table("a"), boot),
        "b": _slot(slots.table("b"), boot),
    }
    slots.done()
    profile = BoardProfile(
        name=fields.name("name"),
        hardware_id=fields.text("hardware_id", length_max=128),
        boot=boot,
        slots=pair,
        confirm=_confirm(fields.table("confirm")),
        microcontrollers=_microcontrollers(fields),
        disk_image=_disk_image(fields),
    )
    fields.done()
    _check_pair(profile, refusal)
    return profile


def _check_pair(profile: BoardProfile, refusal: Refusal) -> None:
    slot_a, slot_b = profile.slots["a"], profile.slots["b"]
    if tuple(slot_a.parts) != tuple(slot_b.parts):
        refusal.raise_it(
            f"{SLOTS}.b.parts",
            f"the parts of slot a ({', '.join(slot_a.parts)}) in the same order were expected, "
            f"{', '.join(slot_b.parts)} found",
        )
    devices = [*slot_a.parts.values(), *slot_b.parts.values(), *_boot_devices(profile.boot)]
    if len(set(devices)) != len(devices):
        refusal.raise_it("slots", "each device may be named once; one stands for two things")
    _check_microcontrollers(profile, refusal)
    if not set(profile.disk_image) <= set(profile.parts):
        refusal.raise_it("disk_image", f"parts of a slot were expected: {', '.join(profile.parts)}")
    if slot_a.boot_partition is not None and slot_a.boot_partition == slot_b.boot_partition:
        refusal.raise_it("slots.b.boot_partition", "another number than slot a's was expected")


def _check_microcontrollers(profile: BoardProfile, refusal: Refusal) -> None:
    chips = profile.microcontrollers
    if len({SLOTS, *(chip.name for chip in chips)}) != 1 + len(chips):
        refusal.raise_it(
            "microcontrollers", f"a name of its own for each was expected, and not {SLOTS}"
        )
    if len({chip.settings.port for chip in chips}) != len(chips):
        refusal.raise_it("microcontrollers", "a port of its own for each was expected")
    if any(chip.hardware_id == profile.hardware_id for chip in chips):
        refusal.raise_it("microcontrollers", "another hardware id than the board's was expected")


def _microcontrollers(fields: Fields) -> tuple[Microcontroller, ...]:
    if "microcontrollers" not in fields:
        return ()
    from agent.flash.select import parse_chip  # noqa: PLC0415  # all flashers, for boards with chips

    rows = fields.tables("microcontrollers", length_max=MICROCONTROLLERS_MAX)
    return tuple(
        Microcontroller(
            name=row.name("name"),
            hardware_id=row.text("hardware_id", length_max=128),
            allow_one_way=row.boolean("allow_one_way", default=False),
            settings=parse_chip(row),  # takes all the other keys
        )
        for row in rows
    )


def _disk_image(fields: Fields) -> dict[str, str]:
    if "disk_image" not in fields:
        return {}
    table = fields.table("disk_image")
    found = {part: table.text(part, length_max=80) for part in table.raw}
    table.done()
    return found


def _boot_devices(boot: BootSettings) -> tuple[str, ...]:
    match boot:
        case TrybootSettings():
            return (boot.config_partition,)
        case UbootSettings():
            return tuple({copy.device for copy in boot.copies})


def _boot(fields: Fields) -> BootSettings:
    settings: BootSettings
    match fields.choice("control", "tryboot", "uboot"):
        case "tryboot":
            settings = TrybootSettings(config_partition=fields.text("config_partition"))
        case _:
            settings = _uboot(fields)
    fields.done()
    return settings


def _uboot(fields: Fields) -> UbootSettings:
    rows = fields.tables("copies")
    if len(rows) != 2:
        fields.refuse("copies", f"two were expected, {len(rows)} found; a lone copy can tear")
    copies = tuple(
        EnvironmentCopy(device=row.text("device"), offset=row.integer("offset", 0)) for row in rows
    )
    for row in rows:
        row.done()
    size_bytes = fields.integer("size_bytes", 512, 1024 * 1024)
    if (
        copies[0].device == copies[1].device
        and abs(copies[0].offset - copies[1].offset) < size_bytes
    ):
        fields.refuse("copies", f"places at least {size_bytes} bytes apart were expected")
    variables = fields.table("variables")
    settings = UbootSettings(
        copies=(copies[0], copies[1]),
        size_bytes=size_bytes,
        slot=variables.name("slot"),
        trial=variables.name("trial"),
        boot_count=variables.name("boot_count"),
        boot_limit=variables.name("boot_limit"),
        slot_argument=fields.text("slot_argument", length_max=64),
    )
    variables.done()
    return settings


def _slot(fields: Fields, boot: BootSettings) -> Slot:
    table = fields.table("parts")
    parts = {key: table.text(key) for key in table.keys()}  # noqa: SIM118  # not a mapping
    if not parts:
        fields.refuse("parts", 'at least one part, as root = "/dev/...", was expected')
    for part in parts:
        if not NAME.fullmatch(part):
            fields.refuse("parts", f"a part's name was expected, {part!r} found")
    number = None
    if isinstance(boot, TrybootSettings):
        number = fields.integer("boot_partition", 1, 63)
    fields.done()
    return Slot(parts=parts, boot_partition=number)


def _confirm(fields: Fields) -> ConfirmSettings:
    settings = ConfirmSettings(
        within_s=fields.integer("within_s", 1, 24 * 3600),
        attempts_max=fields.integer("attempts_max", 1, 10),
        require_broker=fields.boolean("require_broker"),
        checks=tuple(_check(row) for row in fields.tables("checks", length_max=32)),
        watchdog=fields.text("watchdog") if "watchdog" in fields else None,
    )
    fields.done()
    if not settings.checks and not settings.require_broker:
        fields.refuse(
            "checks",
            "at least one check, or require_broker = true, was expected: "
            "reaching the agent is not health",
        )
    return settings


def _check(fields: Fields) -> Check:
    check = Check(
        name=fields.name("name"),
        command=fields.texts("command", length_max=32),
        timeout_s=fields.integer("timeout_s", 1, 3600),
    )
    fields.done()
    if not check.command:
        fields.refuse("command", "a program and its arguments were expected")
    return check
