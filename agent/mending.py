"""What a device does about its own files that cannot be read, and about a trial that nobody remembers."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from agent import floor
from agent import journal as journals
from agent.account import alarm
from agent.chip_memory import recall
from agent.device import Device
from agent.errors import StateError
from agent.interfaces import Files
from agent.journal import Installed, Journal
from agent.update import State

DAMAGED_FILE: Final = "journal.damaged"
DAMAGED_FLOOR_FILE: Final = "floor.damaged"
UNKNOWN_RELEASE: Final = "unknown"


def load_or_none(files: Files) -> Journal | None:
    """The journal for whoever begins with it; None also when the medium does not give it back."""
    try:
        return journals.load(files)
    except StateError:
        return None


def _remains(files: Files, name: str) -> bytes:
    """What can still be read of a damaged file."""
    try:
        return files.read(name) or b""
    except StateError:
        return b""


def journal_anew(device: Device) -> Journal:
    """A journal from what the hardware says, with an alarm; the one that was damaged is set aside.

    A trial that nobody remembers is left at once: what belongs beside the slot behind it must be kept.
    """
    files, boot = device.world.files, device.boot
    files.replace(DAMAGED_FILE, _remains(files, journals.FILE))
    told = "the journal could not be read; it was set aside and the device looks again"
    on_trial = boot.armed() or bool(device.facts.tryboot)
    stays, known = boot.default() if on_trial else boot.booted(), recall(files)
    chips = known.belongs.get(stays, {})
    unknown = Installed(UNKNOWN_RELEASE, floor.load(files).counter, chips=chips)
    journal = Journal(installed={stays: unknown}, chips=known.chips)
    return journal.with_report(alarm(device, journal, "state", told))


def is_foreign_trial(device: Device, journal: Journal) -> bool:
    """Whether what runs is a trial without a record of it, or was one when this boot began."""
    boot, facts = device.boot, device.facts
    if boot.booted() == boot.default():
        return False
    return boot.armed() or bool(facts.tryboot) or journal.withdrawn_in == facts.boot_id


def leave_foreign_trial(
    device: Device, journal: Journal, record: Callable[[Journal], None]
) -> bool:
    """Withdraw a trial that nobody remembers; whether a reboot must follow, also when one was refused.

    It cannot be judged, and the confirmed slot is the safe one. Noted first, because a trial that was
    withdrawn no longer shows; without room for the note it is withdrawn all the same. A slot that runs
    without a trial although it is not the default is left alone: the bootloader had to take it, and
    another reboot would lead here again.
    """
    leaving = is_foreign_trial(device, journal)
    noted = device.facts.boot_id if leaving else ""
    if journal.withdrawn_in != noted:
        with suppress(StateError):
            record(replace(journal, withdrawn_in=noted))
    if device.boot.armed() or device.facts.tryboot:
        device.boot.disarm()
    return leaving


def mend_floor(files: Files) -> str:
    """A floor that cannot be read: start from what else is known; what to tell, empty when it is well.

    The durable metadata still stands against rollback; only both lost at once would open a way.
    """
    try:
        floor.load(files)
    except StateError as error:
        files.replace(DAMAGED_FLOOR_FILE, _remains(files, floor.FILE))
        journal = load_or_none(files) or Journal()
        confirmed = [one.counter for one in journal.installed.values()]
        confirmed += [one.counter for one in journal.history if one.state is State.CONFIRMED]
        counter = max(confirmed, default=0)
        floor.store(files, floor.Floor(counter=counter))
        return f"{error}; it was set aside and made anew"
    return ""
