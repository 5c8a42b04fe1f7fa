"""Safety: looks at a device at every boot and at every record, and notes what must never be."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from agent import floor as floors
from agent import journal as journals
from agent.board import SlotName
from agent.errors import StateError
from agent.floor import Floor
from agent.journal import Journal
from agent.policy import halted
from agent.request import Verb
from agent.rollout import Halt, Halts, bucket
from agent.update import State, Update
from simulator.invariants import (
    Finding,
    bootable,
    confirmed_is_on_the_floor,
    ended_is_not_begun_again,
    floors_only_rise,
    nothing_unverified_armed,
)
from simulator.storm.bench import Bench
from simulator.storm.chips import ChipWatch
from simulator.storm.plan import Cut, Deed
from simulator.trace import Line

STARTS: Final = frozenset({"boot", "! panic", "! hang"})
ARMED: Final = frozenset({State.SWITCHED, State.TRIAL})
NEWS: Final = timedelta(minutes=5)
"""A halt may come while the device looks, and a slow repository takes minutes for one look."""
FILES_MAX: Final = 48
FILES_BYTES_MAX: Final = 256 * 1024
"""Small files of one device in a storm: what is left over must not grow."""


def halted_does_not_switch(update: Update, known: tuple[Halt, ...]) -> Finding:
    """An update that switches is one of which no halt was known."""
    if update.state is State.SWITCHED and halted(update.rollout, update.reissue, Halts("", known)):
        return f"{update.rollout}, issue {update.reissue}, was halted, and switches"
    return None


@dataclass(slots=True)
class Watch:
    """What was seen of one device. `violations` is empty as long as all is well."""

    bench: Bench
    violations: list[str] = field(default_factory=list)
    ran: set[int] = field(default_factory=set)
    standby_boots: dict[str, int] = field(default_factory=dict)
    trial_cuts: list[Cut] = field(default_factory=list)
    _running: tuple[SlotName, dict[str, bytes]] | None = None
    _chips: ChipWatch | None = None
    _journal: Journal = field(default_factory=Journal)
    _floor: Floor = field(default_factory=Floor)

    @property
    def chips(self) -> ChipWatch:
        """What is expected of the microcontrollers."""
        self._chips = self._chips or ChipWatch(self.bench)
        return self._chips

    def attach(self) -> None:
        """See every line of the trace and every small file from now on."""
        device = self.bench.device
        self.trial_cuts = list(self.bench.device_plan.trial_cuts)
        before = device.board.files.watcher

        def seen(name: str, content: bytes) -> None:
            before(name, content)
            self._replaced(name, content)

        device.board.files.watcher = seen
        device.trace.sink = self._line

    def check_rest(self) -> None:
        """What is left when the world is quiet, and the slot that ran last."""
        self._check_running()
        content = self.bench.device.board.files.content
        size_bytes = sum(len(one) for one in content.values())
        if len(content) > FILES_MAX or size_bytes > FILES_BYTES_MAX:
            self._say(f"residue: {len(content)} small files with {size_bytes} bytes are left")

    def _say(self, sentence: str) -> None:
        self.violations.append(f"boot {self.bench.device.board.boots}: {sentence}")

    def _say_all(self, sentences: list[str]) -> None:
        for sentence in sentences:
            self._say(sentence)

    def _hold(self, finding: Finding) -> None:
        if finding is not None:
            self._say(finding)

    def _line(self, line: Line) -> None:
        if line.event in STARTS:
            self._started()
        elif line.event == State.TRIAL and self.trial_cuts:
            cut, power = self.trial_cuts.pop(0), self.bench.device.board.power
            power.cut_at(power.number + cut.operations, cut.moment)

    def _started(self) -> None:
        """A slot was started: it holds a release that enough people signed for this fleet."""
        self._check_running()
        board = self.bench.device.board
        slot = board.started[-1]
        if slot is None:
            return
        self._running = (slot, board.content(slot))
        number = self._newest(slot)
        self._hold(bootable(slot, None if number is None else str(number)))
        if number is not None and number not in {1, *self.bench.rolled_out}:
            self._say(f"slot {slot} runs release {number}, which was never rolled out")
        if number is not None:
            self.ran.add(number)
            self._say_all(self.chips.started(number))
        journal = self.bench.device.journal
        update = None if journal is None else journal.update
        self._hold(nothing_unverified_armed(slot, update))
        if update is not None and not update.finished and slot == update.target:
            self._count_boot(update)

    def _newest(self, slot: SlotName) -> int | None:
        """The release in a slot; of a lying medium that is what it shows, not what it has kept."""
        if not self.bench.device_plan.lies:
            return self.bench.number_in(slot)
        devices = self.bench.device.board.storage.slot(slot)
        return self.bench.number_of(
            {part: device.read(0, device.size_bytes) for part, device in devices.items()}
        )

    def _count_boot(self, update: Update) -> None:
        boots = self.standby_boots.get(update.id, 0) + 1
        self.standby_boots[update.id] = boots
        attempts_max = self.bench.device.board.profile.confirm.attempts_max
        more = self.bench.device.board.power.cuts + _uncounted(self.bench)
        if boots > attempts_max + more and "journal.json" not in self.bench.rotted:
            self._say(f"the standby slot was started {boots} times for one update")

    def _check_running(self) -> None:
        if self._running is None:
            return
        slot, content = self._running
        if self.bench.device.board.content(slot) != content and not self.bench.device_plan.lies:
            self._say(f"slot {slot} changed while it ran")

    def _replaced(self, name: str, content: bytes) -> None:
        if name == floors.FILE:
            self._check_floor()
        if name == journals.FILE:
            self._check_journal(journals.decode(content))

    def _check_floor(self) -> None:
        files = self.bench.device.board.files
        try:
            found = floors.load(files)
        except StateError as error:
            self._say(f"a floor was written that cannot be read: {error}")
            return
        known, self._floor = self._floor, found
        if "floor.json" in self.bench.rotted:
            self.bench.rotted.discard("floor.json")
            return
        if found.time_keys != known.time_keys:  # another key says the date: it may start anew
            known = replace(known, time=min(known.time, found.time))
        self._hold(floors_only_rise(known, found))

    def _check_journal(self, journal: Journal) -> None:
        """The record before this one and this one: what may follow what."""
        before, self._journal = self._journal, journal
        update = journal.update
        if update is None:
            return
        begun = before.update is None or before.update.id != update.id
        if begun and update.rollout:
            self._check_begun(update)
        if before.update is not None and before.update.state is not State.SWITCHED:
            self._check_switch(update)
        if update.rollout:  # whoever goes back by hand may do so as often as they like
            self._hold(ended_is_not_begun_again(before, journal))
        self._hold(confirmed_is_on_the_floor(journal, self._floor))
        self._check_update(update)
        self._say_all(self.chips.recorded(before.update, update))

    def _check_begun(self, update: Update) -> None:
        """What begins was rolled out to this device."""
        asked = any(act.word == Verb.INSTALL for act in self.bench.device_plan.acts)
        place = bucket(update.rollout, self.bench.device_plan.name)
        shares = [
            phase.share
            for one in self.bench.operator.rollouts
            for phase in one.phases
            if one.id == update.rollout
        ]
        if not asked and place >= max(shares, default=0):
            self._say(f"{update.rollout} begins, and this device is in none of its phases")

    def _check_switch(self, update: Update) -> None:
        """With honest news nothing switches that was halted."""
        bench = self.bench
        if update.state is not State.SWITCHED or not bench.honest or bench.jumped:
            return
        old = bench.clock.true_time() - NEWS
        known = tuple(halt for halt in bench.operator.halts if halt.at < old)
        self._hold(halted_does_not_switch(update, known))

    def _check_update(self, update: Update) -> None:
        attempts_max = self.bench.device.board.profile.confirm.attempts_max
        if update.attempts > attempts_max:
            self._say(f"{update.attempts} attempts were made, {attempts_max} are allowed")
        if update.state not in ARMED or self.bench.device_plan.lies:
            return
        if not update.release.isdecimal():
            return
        number = self.bench.number_in(update.target)
        if number != int(update.release):
            self._say(
                f"a trial of release {update.release} is armed, and slot {update.target} holds "
                f"release {number}"
            )


def _uncounted(bench: Bench) -> int:
    """Boots that a bootloader may grant more, because the medium did not take its counter."""
    return sum(act.deed is Deed.BOOT_WRITE_ERROR for act in bench.device_plan.acts)
