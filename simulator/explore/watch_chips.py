"""Watches the chips of one board in one run, and takes the power of one of them when it is asked to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from agent.board import Microcontroller, SlotName
from agent.firmware import AS_IT_CAME, FOLDER
from agent.flash.mcumgr import McumgrSettings
from agent.journal import Journal
from simulator import invariants
from simulator.explore.board import WatchedBoard
from simulator.explore.chips import ExploredChip
from simulator.explore.crash import NO_CHIPS, ChipFate
from simulator.explore.scenario import NUMBER, Scenario, Stage
from simulator.explore.start import ChipCut
from simulator.explore.state import ChipState
from simulator.invariants import Finding
from simulator.power import Moment

TARGET: SlotName = "b"
"""The slot into which every explored release goes."""

Judge = Callable[[Callable[..., Finding], Finding], None]


@dataclass(slots=True)
class ChipWatch:
    """All chips of a board; `fates` says what becomes of them when the host's power fails now."""

    stage: Stage
    board: WatchedBoard
    judge: Judge
    journal: Callable[[], Journal | None]
    cut: ChipCut | None
    _running: tuple[SlotName | None, str | None] = (None, None)
    _torn: dict[str, bytes] = field(default_factory=dict)
    _known: Mapping[str, ChipState] = field(default_factory=dict)

    def open(self) -> None:
        """Begin to watch."""
        for chip, one in zip(
            self.stage.profile.microcontrollers, self.board.explored_chips, strict=True
        ):
            one.flash.happens = partial(self._happens, chip, one)
            self.board.lines[one.port].fails = partial(self._fails, one)

    def booted(self, slot: SlotName | None, release: str | None) -> None:
        """A system has started; plugs are where they were at first."""
        self._running = slot, release
        for line in self.board.lines.values():
            line.away = False
        self._judge_pairs()

    def fates(self) -> tuple[ChipFate, ...]:
        """Chips keep their power, or lose it too; one whose flash is at work may be torn."""
        if not self.board.explored_chips:
            return (NO_CHIPS,)
        kept = {one.name: self._state(one) for one in self.board.explored_chips}
        cold = {name: ChipState(state.flash) for name, state in kept.items()}
        if self._torn:
            torn = {
                name: ChipState(self._torn.get(name, state.flash)) for name, state in cold.items()
            }
            return (
                ChipFate("the chip loses its power before it", cold),
                ChipFate("the chip loses its power in the middle of it", torn),
            )
        if kept != self._known:
            self._known = kept
            self._judge_pairs()
        if kept == cold:
            return (ChipFate("", kept),)
        return (
            ChipFate("the chip keeps its power", kept),
            ChipFate("the chip loses its power too", cold),
        )

    def _state(self, chip: ExploredChip) -> ChipState:
        state = chip.state
        return ChipState(state.flash) if self.board.lines[chip.port].off else state

    def _happens(
        self, chip: Microcontroller, one: ExploredChip, name: str, address: int, torn: bytes
    ) -> Moment | None:
        power, line = self.board.watched_power, self.board.lines[one.port]
        number = power.number + 1
        self._judge_record(chip)
        self._torn = {one.name: torn[: one.used_bytes]}
        power.operation(name, f"{one.name} {address:#x}")
        self._torn = {}
        if self._is_due(one, number) and self.cut is not None:
            line.power_fails()
            return self.cut.moment
        if self.stage.scenario is Scenario.CHIP_UNPLUGGED and self._running[0] == TARGET:
            line.away = True
        return None

    def _fails(self, chip: ExploredChip) -> bool:
        return self._is_due(chip, self.board.watched_power.number + 1)

    def _is_due(self, chip: ExploredChip, number: int) -> bool:
        cut = self.cut
        return cut is not None and cut.chip == chip.name and cut.operation == number

    def _judge_record(self, chip: Microcontroller) -> None:
        """Before the flash of a chip changes."""
        journal = self.journal() or Journal()
        record = journal.chips.get(chip.name, AS_IT_CAME)
        begun = invariants.written_on_the_record
        self.judge(begun, begun(chip.name, record))
        has_way_back = isinstance(chip.settings.protocol, McumgrSettings)
        files = self.board.files.content
        kept = [content for name, content in files.items() if name.startswith(f"{FOLDER}/")]
        before = self.stage.chip_images[chip.name]["0"]
        forward = any(name in files for name in self.stage.chip_payloads)
        both = invariants.both_ways_are_kept
        self.judge(both, both(chip.name, back=has_way_back or before in kept, forward=forward))

    def _judge_pairs(self) -> None:
        """Whenever a system or a chip's image starts."""
        _, release = self._running
        if release is None:
            return
        for chip in self.stage.profile.microcontrollers:
            state = self._known.get(chip.name)
            runs = None if state is None else self.stage.chip_runs(chip, state)
            hosts = self.stage.hosts if runs == str(NUMBER) else None
            allowed = invariants.pair_is_allowed
            self.judge(allowed, allowed(chip.name, hosts, int(release)))
