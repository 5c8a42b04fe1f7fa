"""A device without microcontrollers, and what of them is a matter of the journal alone.

What speaks to microcontrollers takes long to load, and most devices have none: `make_chips` loads it for
those that do.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from agent.board import BoardProfile, SlotName, other
from agent.chip_memory import beside, new_images
from agent.chip_plan import check_pairs
from agent.device import Device
from agent.errors import RefusedError
from agent.firmware import AS_IT_CAME, FOLDER, Firmware
from agent.journal import Journal
from agent.records import Meter
from agent.update import ChipInstallation, State, Update

LEAVING_ATTEMPTS: Final = 2
"""In a trial that failed; the old system tries again, and has more time."""


class Keeper(Protocol):
    """Whoever keeps the journal."""

    journal: Journal
    meter: Meter

    def record(self, journal: Journal) -> None:
        """Make a journal durable. Raises `StateError`."""
        ...


def wanted(journal: Journal, booted: SlotName) -> Mapping[str, Firmware]:
    """The images that belong beside the system that runs, by chip; one that is not named is as it came."""
    update = journal.update
    if update is None or update.finished:
        return beside(journal, booted)
    beside_old = beside(journal, other(update.target))
    on_trial = update.state in (State.SWITCHED, State.TRIAL) and booted == update.target
    return {**beside_old, **new_images(update)} if on_trial else beside_old


def chips_settled(profile: BoardProfile, journal: Journal, booted: SlotName) -> bool:
    """Whether every chip holds what belongs beside the system that runs."""
    images = wanted(journal, booted)
    return all(
        journal.chips.get(chip.name, AS_IT_CAME).is_settled_on(images.get(chip.name))
        for chip in profile.microcontrollers
    )


class NoChips:
    """One device in one boot. `tell` shows progress and keeps the device alive."""

    def __init__(self, device: Device, keeper: Keeper, tell: Callable[[str], None]) -> None:
        self._device = device
        self._keeper = keeper
        self._tell = tell

    @property
    def settled(self) -> bool:
        """Whether every chip holds what belongs beside the system that runs."""
        return chips_settled(self._device.profile, self._keeper.journal, self._device.boot.booted())

    def going_back(self, target: SlotName) -> tuple[ChipInstallation, ...]:
        """The images that belong beside the other slot's system. Raises `RefusedError`, `PairError`."""
        installed, booted = self._keeper.journal.installed, self._device.boot.booted()
        then, now = installed[target], installed.get(booted)
        planned = []
        for name, held in (now.chips if now else {}).items():
            firmware = then.chips.get(name)
            if firmware is None:
                raise RefusedError(
                    f"chip {name}: the image from before was expected to be kept, it never was known"
                )
            counter = now.counter if now else 0
            check_pairs(name, firmware, (held,), before=counter, after=then.counter)
            planned.append(ChipInstallation(name, firmware, None))
        return tuple(planned)

    def tidy(self) -> None:
        """Forget images that belong to no slot and no chip any more."""
        journal = self._keeper.journal
        beside = [image for one in journal.installed.values() for image in one.chips.values()]
        held = [image for row in journal.chips.values() for image in (row.holds, row.writing)]
        kept = {image.path for image in (*beside, *held) if image is not None}
        for name in self._device.world.files.names(FOLDER):
            if name not in kept:
                self._device.world.files.remove(name)

    def check_ways_back(self, chips: tuple[ChipInstallation, ...]) -> None:
        """Refuse to replace what nobody could bring back. Raises `RefusedError`."""

    def prepare(self, update: Update, breathe: Callable[[], None]) -> None:
        """Have every image whole on the device. Raises `FetchError`, `FlashError`."""

    def bring_forward(self) -> None:
        """To the images of the trial. Raises `FlashError`."""

    def check_trials(self) -> None:
        """See that no chip left its trial. Raises `FlashError`."""

    def settle(self, attempts: int | None = None, replaced: Collection[str] = ()) -> None:
        """To what belongs beside the system that is here to stay. Raises `MixedError` naming the rest."""

    def summary(self) -> str:
        """What each chip holds; empty for a device without chips."""
        return ""


def make_chips(device: Device, keeper: Keeper, tell: Callable[[str], None]) -> NoChips:
    """What sees to the microcontrollers of this device."""
    if not device.profile.microcontrollers:
        return NoChips(device, keeper, tell)
    from agent.chips import Chips  # noqa: PLC0415  # all flashers, for boards with chips

    return Chips(device, keeper, tell)
