"""Boot controls, devices and brokers from which one safety rule was taken out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from agent import floor
from agent.board import BoardProfile, SlotName, TrybootSettings, UbootSettings
from agent.boot import BootControl
from agent.boot.environment import encode
from agent.boot.medium import write_state
from agent.boot.select import boot_control
from agent.boot.tryboot import TrybootControl
from agent.boot.uboot import UbootControl
from agent.device import Device
from agent.install import install
from agent.interfaces import Storage, SystemFacts
from agent.journal import Journal
from agent.metadata import MetadataSession
from agent.metadata import session as metadata_session
from agent.pieces import Pieces
from agent.policy import DeviceFacts
from agent.runner import Runner
from tests.seeded_bugs.installations import FLUSH_BYTES

PADDING: Final = b"x" * 600
"""Moves what U-Boot changes into another sector than the checksum's."""


class NoWayBackFlushed(UbootControl):
    """Takes U-Boot's own way back as durable."""

    def disarm(self) -> None:
        return


class InTwoWrites(UbootControl):
    """Names the slot in one write, and that it is a trial in a second one."""

    def try_next(self, slot: SlotName, attempts: int) -> str:
        state = self._read()
        self._write(state, self._changed(state, slot=slot, trial=False))
        state = self._read()
        self._write(state, self._changed(state, slot=slot, trial=True, limit=attempts))
        return ""


class InPlace(UbootControl):
    """Writes over the copy that counts, and lets it cross sectors."""

    def _write(self, state: object, variables: Mapping[bytes, bytes]) -> None:
        del state
        known = self._read()
        longer = {b"a": PADDING} | dict(variables)
        content = encode(longer, flags=known.flags, size_bytes=self._settings.size_bytes)
        place = self._settings.copies[known.active]
        write_state(self._device(place), place.offset, content, "environment")


class ManyBoots(UbootControl):
    """Grants several boots to one attempt: two counts multiply."""

    def try_next(self, slot: SlotName, attempts: int) -> str:
        return super().try_next(slot, attempts * 3)


class BootedFromBootState(UbootControl):
    """Asks the boot state which slot runs, not the running system."""

    def booted(self) -> SlotName:
        return self.default()


class DefaultAtOnce(TrybootControl):
    """Makes the trial slot the default and reboots."""

    def try_next(self, slot: SlotName, attempts: int) -> str:
        del attempts
        current = self._read()
        swapped = replace(current, default=current.trial, trial=current.default)
        self._store(current, swapped)
        return "" if slot else "0 tryboot"


class BootedIsDefault(TrybootControl):
    """Takes the default slot for the one that runs."""

    def booted(self) -> SlotName:
        return self.default()


@dataclass(frozen=True, slots=True)
class FloorForgotten(Device):
    """Keeps verified metadata without raising the floor."""

    @contextmanager
    def session(self) -> Iterator[MetadataSession]:
        with _verified(self) as verified:
            yield verified


@dataclass(frozen=True, slots=True)
class FloorAfterwards(Device):
    """Raises the floor after the metadata was made durable."""

    @contextmanager
    def session(self) -> Iterator[MetadataSession]:
        known = floor.load(self.world.files)
        with _verified(self) as verified:
            seen = verified.seen()
            yield verified
        raised = floor.raise_roles(known, seen.roles, seen.signed_at)
        if raised != known:
            floor.store(self.world.files, raised)


@dataclass(frozen=True, slots=True)
class TriesWhatWasTried(Device):
    """Does not remember what has ended here."""

    def policy_facts(self, journal: Journal, *, hurry: bool) -> DeviceFacts:
        facts = Device.policy_facts(self, journal, hurry=hurry)
        return replace(facts, tried=frozenset())


@dataclass(frozen=True, slots=True)
class InstallsWhatRuns(Device):
    """Takes every notice for something new."""

    def policy_facts(self, journal: Journal, *, hurry: bool) -> DeviceFacts:
        facts = Device.policy_facts(self, journal, hurry=hurry)
        return replace(facts, tried=frozenset(), counter=0)


@contextmanager
def _verified(device: Device) -> Iterator[MetadataSession]:
    known = floor.load(device.world.files)
    with metadata_session(
        repository=device.world.repository,
        scratch=device.world.scratch,
        files=device.world.files,
        root_of_trust=device.root_of_trust,
        fleet=device.config.device.fleet,
        now=partial(floor.now, known, device.world.clock.wall()),
    ) as verified:
        yield verified


def uboot(control: type[UbootControl]) -> Pieces:
    """The agent with this control of U-Boot."""

    def make(profile: BoardProfile, storage: Storage, facts: SystemFacts) -> BootControl:
        if isinstance(profile.boot, UbootSettings):
            return control(profile.boot, storage, facts)
        return boot_control(profile, storage, facts)

    return Pieces(boot_control=make, runner=_RUNNER)


def tryboot(control: type[TrybootControl]) -> Pieces:
    """The agent with this control of the Raspberry Pi firmware."""

    def make(profile: BoardProfile, storage: Storage, facts: SystemFacts) -> BootControl:
        if isinstance(profile.boot, TrybootSettings):
            return control(profile.boot, profile.slots, storage, facts)
        return boot_control(profile, storage, facts)

    return Pieces(boot_control=make, runner=_RUNNER)


def on(device: type[Device]) -> Pieces:
    """The agent on this device."""
    return Pieces(device=device, runner=_RUNNER)


_RUNNER: Final = partial(Runner, install=partial(install, flush_bytes=FLUSH_BYTES))

UBOOT: Final = {
    "does not make U-Boot's way back durable": (
        uboot(NoWayBackFlushed),
        "nothing_unverified_armed",
    ),
    "writes the environment in two steps": (uboot(InTwoWrites), "ends_as_it_must"),
    "writes the environment in place": (uboot(InPlace), "ends_as_it_must"),
    "grants many boots to an attempt": (uboot(ManyBoots), "comes_to_rest"),
    "asks the boot state what runs": (uboot(BootedFromBootState), "reported_is_what_runs"),
}
TRYBOOT: Final = {
    "makes the trial the default": (tryboot(DefaultAtOnce), "comes_to_rest"),
    "takes the default for what runs": (tryboot(BootedIsDefault), "reported_is_what_runs"),
}
DEVICES: Final = {
    "does not raise the floor": (on(FloorForgotten), "trusted_is_on_the_floor"),
    "keeps metadata before the floor": (on(FloorAfterwards), "trusted_is_on_the_floor"),
    "tries what was tried": (on(TriesWhatWasTried), "ended_is_not_begun_again"),
    "installs what runs": (on(InstallsWhatRuns), "ended_is_not_begun_again"),
}
