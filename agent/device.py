"""One device in one boot: its world, who it is, what runs, and the verified view of its fleet."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from agent import floor, passed
from agent.board import BoardProfile, SlotName
from agent.boot import BootControl
from agent.config import Config
from agent.errors import ProfileError, StateError
from agent.interfaces import BlockDevice, SystemFacts, World
from agent.journal import Installed, Journal
from agent.metadata import MetadataSession, session
from agent.policy import DeviceFacts
from agent.restraint import Restraint


@dataclass(frozen=True, slots=True)
class Device:
    """Everything that stays the same for one boot."""

    world: World
    config: Config
    profile: BoardProfile
    root_of_trust: bytes
    boot: BootControl
    facts: SystemFacts
    encryption_key: bytes = field(default=b"", repr=False)
    """The private key (PEM) to which payloads may be encrypted; empty without one."""
    restraint: Restraint | None = None
    """Keeps the owner's limits; None where nobody set any."""

    def check_board(self) -> None:
        """Refuse to run with another board's profile. Raises `ProfileError`."""
        compatible = self.facts.compatible
        if compatible and self.profile.hardware_id not in compatible:
            raise ProfileError(
                f"board profile {self.profile.name}: hardware id {self.profile.hardware_id} was "
                f"expected in the device tree, {', '.join(compatible)} found; name the right profile"
            )

    def part(self, slot: SlotName, part: str) -> BlockDevice:
        """The block device of one part of a slot."""
        return self.world.storage.device(self.profile.slots[slot].parts[part])

    def sizes(self, slot: SlotName) -> dict[str, int]:
        """How many bytes each part of a slot can hold."""
        return {part: self.part(slot, part).size_bytes for part in self.profile.parts}

    def now(self) -> datetime:
        """The date for decisions and reports; a floor that cannot be read is said elsewhere.

        A date that somebody vouches for stands as it is. The floor's is the word of an online key, which
        must not be able to begin a phase before its time; it only has to do where there is no better, and
        there the time of this boot that has passed since it was read is added.
        """
        wall, files = self.world.clock.wall(), self.world.files
        if wall.synchronised:
            return wall.utc
        try:
            signed = floor.load(files).time
        except StateError:
            return max(wall.utc, floor.BUILT)
        monotonic_s = self.world.clock.monotonic_s()
        return max(
            wall.utc, passed.date_of(passed.load(files), signed, self.facts.boot_id, monotonic_s)
        )

    def _note_date(self, signed: datetime) -> None:
        """Remember when the floor's date was read; without a place to do so the date stands still."""
        clock, files = self.world.clock, self.world.files
        if clock.wall().synchronised:
            return
        known = passed.load(files)
        found = passed.noted(known, signed, self.facts.boot_id, clock.monotonic_s())
        if found != known:
            with suppress(StateError):
                passed.store(files, found)

    @contextmanager
    def session(self) -> Iterator[MetadataSession]:
        """Refreshed, verified documents that are not below the floor, which rises before they count.

        Raises `TrustError`, `FetchError`, `StateError`.
        """
        known = floor.load(self.world.files)
        with session(
            repository=self.world.repository,
            scratch=self.world.scratch,
            files=self.world.files,
            root_of_trust=self.root_of_trust,
            fleet=self.config.device.fleet,
            now=partial(floor.now, known, self.world.clock.wall()),
        ) as verified:
            seen = verified.seen()
            raised = floor.raise_roles(known, seen.roles, seen.signed_at)
            if raised != known:
                floor.store(self.world.files, raised)
            self._note_date(raised.time)
            yield verified

    def running(self, journal: Journal) -> Installed:
        """What runs, as far as the journal knows; else what the device was made with."""
        made_with = Installed(
            self.config.device.factory_release, self.config.device.factory_counter
        )
        booted, update = self.boot.booted(), journal.update
        if update is not None and update.target == booted and update.attempts > 0:
            return Installed(update.release, update.counter)  # on trial, or never left it
        return journal.installed.get(booted, made_with)

    def policy_facts(self, journal: Journal, *, hurry: bool) -> DeviceFacts:
        """What the decision must know of this device."""
        return DeviceFacts(
            device=self.config.device.id,
            hardware_id=self.profile.hardware_id,
            counter=max(floor.load(self.world.files).counter, self.config.device.factory_counter),
            tried=frozenset((past.rollout, past.reissue) for past in journal.history),
            deferred_until=journal.deferred_until,
            hurry=hurry,
        )
