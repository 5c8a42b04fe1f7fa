"""One visit: a fresh device begins one boot as it was left, and the real agent runs to its end, uncut.

A boot ends at rest or with the reboot that begins the next one. So what follows a reboot is run once for
each way in which it can begin, however many cuts before it lead there.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from agent.errors import FetchError
from agent.interfaces import ByteStream
from agent.report import Outcome
from simulator import invariants
from simulator.board import BrokenImageError
from simulator.broker import Hub
from simulator.clock import SimulatedClock
from simulator.explore.board import CountedBroker, NextBoot, WatchedBoard, make_watched_board
from simulator.explore.crash import Picture
from simulator.explore.scenario import NUMBER, Scenario, Stage
from simulator.explore.start import Start
from simulator.explore.state import DurableState, Stored
from simulator.explore.watch import FleetSide, Violation, Watch
from simulator.faults import Faults, Fetch
from simulator.invariants import Ended
from simulator.power import Operation
from simulator.random import SimulatedRandom
from simulator.repository import MemorySource, SimulatedRepository
from simulator.scratch import SimulatedScratch
from simulator.trace import Trace
from simulator.world import DarkBoardError, DeviceSimulation, RestlessError, Surroundings

BOOTS_MAX: Final = 16
SLICE_S: Final = 3600.0
SLICES_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class Visit:
    """What one run showed. `pictures` has one more than `operations`: how the device was at the end.

    `following` is how the next boot begins, None when there is none. `boots` are the operations before
    which a later boot began, for a run that was not of one boot.
    """

    operations: tuple[Operation, ...]
    pictures: tuple[Picture, ...]
    violations: tuple[Violation, ...]
    rested: bool
    following: Start | None
    boots: tuple[int, ...]
    trials: int
    replaced: int
    fetched_bytes: int
    missing_bytes: int
    ended: tuple[Ended, ...]
    heard: tuple[Ended, ...]
    running: str | None
    trace: Trace = field(repr=False)


@dataclass(slots=True)
class _Mirror(SimulatedRepository):
    """A repository that cannot be reached for a while."""

    back_at_s: float = 0.0

    def open(self, path: str, offset: int, length_max: int) -> ByteStream:
        """As `SimulatedRepository.open`."""
        if self.clock.now_s < self.back_at_s:
            raise FetchError(f"{path}: the simulated network is away; will try again")
        return SimulatedRepository.open(self, path, offset, length_max)


@dataclass(slots=True)
class _Run:
    """The parts of one run."""

    stage: Stage
    start: Start
    clock: SimulatedClock
    board: WatchedBoard
    watch: Watch
    repository: _Mirror
    device: DeviceSimulation
    boots: list[int] = field(default_factory=list)
    rebooted: bool = False

    def again(self) -> None:
        """Another boot begins: what surrounds the device is as in the first."""
        self.boots.append(len(self.watch.operations))
        self.watch.fleet.lost.clear()
        self.repository.faults.clear()
        _break_downloads(self.stage, self.repository.faults)

    def to_the_end(self) -> bool:
        """Run; whether the device came to rest, or to its next boot."""
        rest, boot = invariants.comes_to_rest, invariants.bootable
        violations = self.watch.violations
        try:
            self.device.run_until_quiet(slice_s=SLICE_S, slices_max=SLICES_MAX)
        except RestlessError as error:
            violations.append(Violation(rest.__name__, str(error)))
        except (BrokenImageError, DarkBoardError) as error:
            violations.append(Violation(boot.__name__, str(error)))
        except AssertionError as error:  # the agent would start, stop here again and never get on
            violations.append(Violation(rest.__name__, f"the agent stopped: {error}"))
        except NextBoot:
            self.rebooted = True
        else:
            return True
        return False

    def following(self) -> Start | None:
        """How the next boot begins."""
        if not self.rebooted:
            return None
        picture = self.watch.pictures[-1]
        left_s = max(0.0, self.start.outage_s - self.clock.now_s)
        files = dict(self.board.files.content)  # a reboot keeps what a cut may take
        state = replace(picture.durable, files=files)
        return Start(state, picture.pending, self.board.argument, left_s)


class Visitor:
    """Visits states of one stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def visit(self, start: Start, name: int, *, traced: bool = False, whole: bool = False) -> Visit:
        """Begin so. `name` makes these boots differ from all others; `whole` goes on through reboots."""
        run = self._make(start, name, traced=traced)
        run.board.one_boot = not whole
        run.watch.open()
        rested = run.to_the_end()
        watch = run.watch
        watch.pictures.append(watch.picture())
        slot = run.device.slot
        running = None
        if rested:
            running = self._stage.whole(watch.pictures[-1].devices, "a" if slot == "a" else "b")
        return Visit(
            operations=tuple(watch.operations),
            pictures=tuple(watch.pictures),
            violations=tuple(watch.violations),
            rested=rested,
            following=None if rested else run.following(),
            boots=tuple(run.boots),
            trials=watch.trials,
            replaced=watch.replaced,
            fetched_bytes=run.repository.sent_bytes("blobs/*"),
            missing_bytes=self._missing_bytes(start.state),
            ended=_ended(watch.fleet.memory),
            heard=_ended(tuple(watch.fleet.heard)),
            running=running,
            trace=run.device.trace,
        )

    def _make(self, start: Start, name: int, *, traced: bool) -> _Run:
        stage = self._stage
        clock, faults, hub = SimulatedClock(), Faults(), Hub()
        board = make_watched_board(stage.profile, start, clock, seed=name, faults=faults)
        fleet = FleetSide(hub, {one.id: one for one in start.state.stored})
        hub.listen(f"lockgate/{stage.config.device.fleet}/+/report", fleet.hear)
        hub.publish(stage.notice)
        repository = _Mirror(MemorySource(stage.content), clock, faults)
        broker = CountedBroker(hub, clock, faults, power=board.power)
        _break_downloads(stage, faults)
        if start.outage_s > 0:
            hub.stop()
            clock.at(start.outage_s, hub.start)
            repository.back_at_s = start.outage_s
        device = DeviceSimulation(
            board=board,
            config=stage.config,
            root_of_trust=stage.root_of_trust,
            surroundings=Surroundings(
                clock=clock,
                repository=repository,
                broker=broker,
                random=SimulatedRandom(stage.scale.seed),
                scratch=SimulatedScratch(),
                power_lost=broker.power_lost,
                power_back=clock.boot,
            ),
            faults=faults,
            boots_max=BOOTS_MAX,
            pieces=stage.pieces,
        )
        if traced:
            device.open()
            update = None if device.journal is None else device.journal.update
            device.trace.state = "-" if update is None else update.state.name
            repository.note = broker.note = device.trace.note
        watch = Watch(stage, board, fleet, start.chip_cut)
        run = _Run(stage, start, clock, board, watch, repository, device)
        board.again = run.again
        return run

    def _missing_bytes(self, state: DurableState) -> int:
        """What may be fetched from this state on."""
        stage = self._stage
        parts = stage.profile.slots["b"].parts
        whole = stage.whole(state.devices, "b") == str(NUMBER)
        missing = sum(
            length for name, length in stage.chip_payloads.items() if name not in state.files
        )
        for part, index in stage.indexes.items():
            content = state.devices[parts[part]]
            missing += min(one.record_offset for one in index.entries if one.record_length) + 1
            image = stage.images[str(NUMBER)][part]
            for place, entry in enumerate(index.entries):
                held = content[entry.offset : entry.offset + entry.length_bytes]
                wanted = image[entry.offset : entry.offset + entry.length_bytes]
                if not whole and (place == 0 or held != wanted):
                    missing += entry.record_length
        again = (
            2 if stage.scenario is Scenario.NETWORK_DIES else 1
        )  # the first download is cut short
        return missing * again


def _break_downloads(stage: Stage, faults: Faults) -> None:
    if stage.scenario is Scenario.NETWORK_DIES:
        looks = 2 * len(stage.profile.parts)  # at the index and the end of each payload
        faults.add(Fetch.TRUNCATED, "blobs/*", after=looks)


def _ended(stored: tuple[Stored, ...]) -> tuple[Ended, ...]:
    return tuple(
        Ended(one.id, one.update, one.outcome, one.code)
        for one in stored
        if one.outcome != Outcome.REFUSED
    )
