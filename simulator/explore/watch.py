"""Watches one run of one device: keeps a picture before every operation, and judges what it sees."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from agent import floor as floors
from agent import journal as journals
from agent.board import SlotName
from agent.errors import NoticeError, StateError
from agent.floor import Floor
from agent.interfaces import Message
from agent.journal import Journal
from agent.report import Receipt, encode_receipt, parse_report
from agent.topics import Topics
from agent.update import State, Update
from simulator import invariants
from simulator.block_device import SECTOR_BYTES
from simulator.broker import Hub
from simulator.explore.board import WatchedBoard
from simulator.explore.crash import Picture, Unflushed
from simulator.explore.scenario import Stage
from simulator.explore.start import ChipCut
from simulator.explore.state import Stored
from simulator.explore.watch_chips import ChipWatch
from simulator.files import Watcher, unwatched
from simulator.invariants import Finding
from simulator.power import Operation

TRUSTED = ("root", "timestamp", "snapshot", "targets")


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, by the invariant's name, and what was found."""

    invariant: str
    told: str


@dataclass(slots=True)
class FleetSide:
    """The fleet's end: stores the first report of each id and answers. In each boot the broker loses one.

    `loses` is how many publications of a report are acknowledged and never delivered, as a broker does
    whose queue is full.
    """

    hub: Hub
    stored: dict[str, Stored]
    loses: int = 1
    heard: list[Stored] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    def hear(self, message: Message) -> None:
        """A report arrives, or would."""
        try:
            report = parse_report(message.content)
        except NoticeError:
            return
        lost = self.lost.get(report.id, 0)
        if lost < self.loses:
            self.lost[report.id] = lost + 1
            return
        said = Stored(report.id, report.update, report.outcome.value, report.code)
        self.heard.append(said)
        self.stored.setdefault(report.id, said)
        topic = Topics(report.fleet, report.device).receipt
        self.hub.publish(Message(topic, encode_receipt(Receipt((report.id,)))))

    @property
    def memory(self) -> tuple[Stored, ...]:
        """All that is stored, in an order of its own."""
        return tuple(self.stored[name] for name in sorted(self.stored))


@dataclass(slots=True)
class Watch:
    """Sees everything that happens to one board. `pictures[k]` is the moment before operation k."""

    stage: Stage
    board: WatchedBoard
    fleet: FleetSide
    chip_cut: ChipCut | None = None
    operations: list[Operation] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    running: SlotName | None = None
    trials: int = 0
    replaced: int = 0
    _files: Mapping[str, bytes] = field(default_factory=dict)
    _devices: dict[str, bytes] = field(default_factory=dict)
    _read: dict[str, set[int]] = field(default_factory=dict)
    _journal: Journal | None = None
    _floor: Floor = field(default_factory=Floor)
    _places: dict[str, tuple[SlotName, str]] = field(default_factory=dict)
    _chips: ChipWatch = field(init=False)
    _also: Watcher = unwatched

    def open(self) -> None:
        """Begin to watch."""
        board = self.board
        board.watched_power.announce = self.announced
        self._also = board.files.watcher
        board.files.watcher = self.replaced_file
        for device in board.watched_devices.values():
            device.reading, device.writing, device.flushed = self.read, self.writing, self.flushed
        board.booted = self.booted
        self._devices = {name: one.snapshot() for name, one in board.watched_devices.items()}
        self._journal = journal_of(board.files.content.get(journals.FILE))
        self._floor = floor_of(board.files.content) or Floor()
        self._places = {
            path: (name, part)
            for name, slot in self.stage.profile.slots.items()
            for part, path in slot.parts.items()
        }
        self._chips = ChipWatch(self.stage, board, self.judge, lambda: self._journal, self.chip_cut)
        self._chips.open()

    @property
    def update(self) -> Update | None:
        """The update in the journal as it is durable."""
        return None if self._journal is None else self._journal.update

    def judge(self, name: Callable[..., Finding], finding: Finding) -> None:
        """Remember what an invariant found."""
        if finding is not None:
            self.violations.append(Violation(name.__name__, finding))

    def announced(self, operation: Operation) -> None:
        """An operation is about to happen."""
        self.operations.append(operation)
        self.pictures.append(self.picture())
        unflushed = sum(self._record_bytes(one) for one in self.pictures[-1].pending)
        scale = self.stage.scale
        self.judge(
            invariants.little_is_lost,
            invariants.little_is_lost(unflushed, scale.flush_bytes),
        )

    def picture(self) -> Picture:
        """The device now."""
        if self.board.files.content != self._files:
            self._files = dict(self.board.files.content)
        pending = tuple(
            Unflushed(path, write)
            for path, device in self.board.watched_devices.items()
            for write in device.pending_writes()
        )
        survivors = self.stage.survivors(self._files)
        fates = self._chips.fates()
        picture = Picture(survivors, self._devices, self.fleet.memory, pending, fates)
        if self.pictures and picture == self.pictures[-1]:
            return self.pictures[-1]  # the same object says that nothing has changed
        return picture

    def read(self, path: str, offset: int, length_bytes: int) -> None:
        """Bytes were read; those that come from the medium count as read back."""
        pending = self.board.watched_devices[path].pending_writes()
        unsure = {sector for one in pending for sector in _sectors(one.offset, len(one.content))}
        found = set(_sectors(offset, length_bytes))
        self._read.setdefault(path, set()).update(found - unsure)

    def writing(self, path: str, offset: int, length_bytes: int) -> None:
        """A write is about to begin."""
        self._read.setdefault(path, set()).difference_update(_sectors(offset, length_bytes))
        place = self._places.get(path)
        if place is None:
            return
        slot, _ = place
        never = invariants.running_slot_never_written
        self.judge(never, never(self.running, slot))
        only = invariants.written_only_while_installing
        self.judge(only, only(self.update, slot))

    def flushed(self, path: str) -> None:
        """What was written to a device is durable now."""
        snapshot = self.board.watched_devices[path].snapshot()
        if snapshot != self._devices[path]:
            self._devices = self._devices | {path: snapshot}

    def booted(self, started: SlotName | None) -> None:
        """The bootloader has chosen."""
        self._read = {}
        self.running = started
        release = None if started is None else self.stage.whole(self._newest(), started)
        self.judge(invariants.bootable, invariants.bootable(started, release))
        self._chips.booted(started, release)
        if started is None:
            return
        update = self.update
        armed = invariants.nothing_unverified_armed
        self.judge(armed, armed(started, update))
        if update is not None and update.target == started and update.state is State.SWITCHED:
            self.trials += 1
            bounded = invariants.trials_are_bounded
            most = self.stage.profile.confirm.attempts_max
            self.judge(bounded, bounded(update, self.trials, most))

    def replaced_file(self, name: str, content: bytes) -> None:
        """A small file has a new content."""
        self._also(name, content)
        self.replaced += 1
        residue = invariants.residue_is_bounded
        self.judge(residue, residue(self.board.files.content))
        if name == journals.FILE:
            self._journal_replaced(journal_of(content))
        elif name == floors.FILE:
            found = floor_of(self.board.files.content)
            self.judge(invariants.floors_only_rise, invariants.floors_only_rise(self._floor, found))
            self._floor = found or self._floor
        elif name.startswith("metadata/"):
            role = name.removeprefix("metadata/").removesuffix(".json")
            versions = {role: version_of(content)} if role in TRUSTED else {}
            trusted = invariants.trusted_is_on_the_floor
            self.judge(trusted, trusted(versions, self._floor))

    def _journal_replaced(self, journal: Journal | None) -> None:
        before, self._journal = self._journal, journal
        if journal is None:
            return
        again = invariants.ended_is_not_begun_again
        self.judge(again, again(before or Journal(), journal))
        confirmed = invariants.confirmed_is_on_the_floor
        self.judge(confirmed, confirmed(journal, self._floor))
        update, known = journal.update, None if before is None else before.update
        if update is None or update.state is not State.INSTALLED:
            return
        if known is None or known.state is State.PLANNED:
            unread, unflushed = self._not_read_back(update)
            back = invariants.installed_means_read_back
            self.judge(back, back(update, unread, unflushed))

    def _not_read_back(self, update: Update) -> tuple[int, int]:
        parts = self.stage.profile.slots[update.target].parts
        unread = unflushed = 0
        for one in update.installations:
            path = parts[one.part]
            wanted = set(_sectors(0, one.length_bytes))
            unread += SECTOR_BYTES * len(wanted - self._read.get(path, set()))
            unflushed += len(self.board.watched_devices[path].pending_writes())
        return unread, unflushed

    def _record_bytes(self, one: Unflushed) -> int:
        """The bytes that must be fetched again when this write is lost."""
        place = self._places.get(one.path)
        if place is None:
            return 0
        entries = self.stage.indexes[place[1]].entries
        return sum(
            entry.record_length
            for entry in entries
            if one.write.offset <= entry.offset < one.write.offset + len(one.write.content)
            and one.write.content.strip(b"\0")
        )

    def _newest(self) -> dict[str, bytes]:
        return {
            path: device.newest() if device.pending_writes() else self._devices[path]
            for path, device in self.board.watched_devices.items()
        }


@lru_cache(maxsize=4096)
def _decoded(content: bytes) -> Journal | None:
    try:
        return journals.decode(content)
    except StateError:
        return None


def journal_of(content: bytes | None) -> Journal | None:
    """The journal in a file, None when it cannot be read."""
    return Journal() if content is None else _decoded(content)


def floor_of(files: Mapping[str, bytes]) -> Floor | None:
    """The floor as the agent will load it, None when it is gone or cannot be read."""
    if floors.FILE not in files:
        return None
    try:
        return floors.load(_ReadOnly(files))
    except StateError:
        return None


@lru_cache(maxsize=4096)
def version_of(content: bytes) -> int:
    """The version of a metadata file."""
    return int(json.loads(content)["signed"]["version"])


@dataclass(frozen=True, slots=True)
class _ReadOnly:
    """`Files` that only the floor's own reader uses."""

    content: Mapping[str, bytes]

    def read(self, name: str) -> bytes | None:
        """The content."""
        return self.content.get(name)

    def replace(self, name: str, content: bytes) -> None:
        """Never asked for."""
        raise AssertionError(f"{name}: {len(content)} bytes are written by a reader")

    def remove(self, name: str) -> None:
        """Never asked for."""
        raise AssertionError(f"{name} is removed by a reader")

    def names(self, folder: str) -> tuple[str, ...]:
        """Never asked for."""
        raise AssertionError(f"{folder} is listed by a reader")


def _sectors(offset: int, length_bytes: int) -> range:
    return range(offset // SECTOR_BYTES, (offset + length_bytes - 1) // SECTOR_BYTES + 1)
