"""One visit of a durable state: a fresh device wakes in it and the real agent runs to rest, uncut."""

from dataclasses import dataclass, field
from typing import Final

from agent.errors import FetchError
from agent.interfaces import ByteStream
from agent.report import Outcome
from simulator import invariants
from simulator.board import BrokenImageError
from simulator.broker import Hub
from simulator.clock import SimulatedClock
from simulator.explore.board import CountedBroker, make_watched_board
from simulator.explore.crash import Picture
from simulator.explore.scenario import NUMBER, Scenario, Stage
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

OUTAGE_S: Final = 60.0
"""How long the network stays away after a power cut that took it too."""
BOOTS_MAX: Final = 16
SLICE_S: Final = 3600.0
SLICES_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class Visit:
    """What one run showed. `pictures` has one more than `operations`: the device at rest."""

    operations: tuple[Operation, ...]
    pictures: tuple[Picture, ...]
    violations: tuple[Violation, ...]
    boots: int
    replaced: int
    fetched_bytes: int
    ended: tuple[Ended, ...]
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


class Visitor:
    """Visits states of one stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def visit(self, state: DurableState, name: int, *, traced: bool = False) -> Visit:
        """Wake in this state. `name` makes the boots of this visit differ from all earlier ones."""
        stage = self._stage
        clock, faults, hub = SimulatedClock(), Faults(), Hub()
        cut = name != 0
        board = make_watched_board(stage.profile, state, seed=name, faults=faults)
        fleet = FleetSide(hub, {one.id: one for one in state.stored})
        hub.listen(f"lockgate/{stage.config.device.fleet}/+/report", fleet.hear)
        hub.publish(stage.notice)
        repository = _Mirror(MemorySource(stage.content), clock, faults)
        broker = CountedBroker(hub, clock, faults, power=board.power)
        if stage.scenario is Scenario.NETWORK_DIES:
            looks = 2 * len(stage.profile.parts)  # at the index and the end of each payload
            faults.add(Fetch.TRUNCATED, "blobs/*", after=looks)
            if cut:
                hub.stop()
                clock.at(OUTAGE_S, hub.start)
                repository.back_at_s = OUTAGE_S
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
            repository.note = broker.note = device.trace.note
        watch = Watch(stage, board, fleet)
        watch.open()
        rested = _run(device, watch)
        watch.pictures.append(watch.picture())
        fetched = repository.sent_bytes("blobs/*")
        if rested:
            self._judge(watch, state, device.slot, fetched)
        return Visit(
            operations=tuple(watch.operations),
            pictures=tuple(watch.pictures),
            violations=tuple(watch.violations),
            boots=board.boots,
            replaced=watch.replaced,
            fetched_bytes=fetched,
            ended=_ended(fleet.memory),
            trace=device.trace,
        )

    def _judge(self, watch: Watch, state: DurableState, slot: str, fetched_bytes: int) -> None:
        """What is to be seen only once the device rests."""
        stage, fleet = self._stage, watch.fleet
        attempts_max = stage.profile.confirm.attempts_max
        ended = _ended(fleet.memory)
        rest = invariants.comes_to_rest
        watch.judge(rest, rest(watch.board.boots, attempts_max))
        bounded = invariants.state_writes_are_bounded
        watch.judge(bounded, bounded(watch.replaced, attempts_max))
        one = invariants.one_result_is_stored
        watch.judge(one, one(ended, _ended(tuple(fleet.heard)), 1))
        content = watch.pictures[-1].devices
        running = stage.whole(content, "a" if slot == "a" else "b")
        runs = invariants.reported_is_what_runs
        watch.judge(runs, runs(ended, running, str(NUMBER)))
        missing = self._missing_bytes(state)
        only = invariants.only_the_missing_is_fetched
        watch.judge(only, only(fetched_bytes, missing))

    def _missing_bytes(self, state: DurableState) -> int:
        """What may be fetched from this state on."""
        stage = self._stage
        parts = stage.profile.slots["b"].parts
        whole = stage.whole(state.devices, "b") == str(NUMBER)
        missing = 0
        for part, index in stage.indexes.items():
            content = state.devices[parts[part]]
            missing += min(one.record_offset for one in index.entries if one.record_length) + 1
            for place, entry in enumerate(index.entries):
                held = content[entry.offset : entry.offset + entry.length_bytes]
                image = stage.images[str(NUMBER)][part]
                wanted = image[entry.offset : entry.offset + entry.length_bytes]
                if not whole and (place == 0 or held != wanted):
                    missing += entry.record_length
        again = (
            2 if stage.scenario is Scenario.NETWORK_DIES else 1
        )  # the first download is cut short
        return missing * again


def _run(device: DeviceSimulation, watch: Watch) -> bool:
    """Run to rest; whether it came to rest."""
    rest, boot = invariants.comes_to_rest, invariants.bootable
    try:
        device.run_until_quiet(slice_s=SLICE_S, slices_max=SLICES_MAX)
    except RestlessError as error:
        watch.violations.append(Violation(rest.__name__, str(error)))
    except (BrokenImageError, DarkBoardError) as error:
        watch.violations.append(Violation(boot.__name__, str(error)))
    except AssertionError as error:  # the agent would start, stop here again and never get on
        watch.violations.append(Violation(rest.__name__, f"the agent stopped: {error}"))
    else:
        return True
    return False


def _ended(stored: tuple[Stored, ...]) -> tuple[Ended, ...]:
    return tuple(
        Ended(one.id, one.update, one.outcome, one.code)
        for one in stored
        if one.outcome != Outcome.REFUSED
    )
