"""One device of a storm on its bench, with the whole fleet's operator, broker and repository around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from types import MappingProxyType
from typing import Final

from agent.board import BoardProfile, Microcontroller, SlotName
from agent.pieces import PIECES, Pieces
from agent.release import Hosts
from agent.rollout import BUCKETS
from agent.strict import INTEGER_MAX
from simulator.board import make_board
from simulator.broker import Hub, SimulatedBroker
from simulator.chips import chip_content, image_file, small_profile
from simulator.clock import SimulatedClock
from simulator.faults import Faults, Fetch
from simulator.image import Behaviour, make_small_image
from simulator.operator import ChipFile, Operator
from simulator.profiles import load_profile
from simulator.random import SimulatedRandom
from simulator.repository import MemorySource, SimulatedRepository
from simulator.scratch import SimulatedScratch
from simulator.storage import Factory
from simulator.storm.plan import DevicePlan, Plan, Shipment
from simulator.trace import Trace
from simulator.world import DeviceSimulation, Durations, Surroundings, make_config

SECTORS: Final = 12
PART_BYTES: Final = 8 * 1024
WINDOW_BYTES: Final = 1024
KEYS_SEED: Final = 1
"""All storms share the operator's keys and images: making them anew for each seed shows nothing."""
RETRY_MAX_S: Final = 3600
SECOND_PARTS: Final = 1000
BOOTS_MAX: Final = 120
"""In a storm, where the power may fail in each; once the faults have stopped far fewer must do."""


@cache
def get_profile(board: str) -> BoardProfile:
    """The profile of this name, its chips with little flash."""
    return small_profile(load_profile(board))


@cache
def make_images(board: str, number: int, behaviour: Behaviour) -> Mapping[str, bytes]:
    """The images of one release, by part; the first part carries the behaviour."""
    images = {}
    for place, part in enumerate(get_profile(board).parts):
        kind = behaviour if place == 0 else Behaviour.HEALTHY
        seed = number + SECOND_PARTS * place
        images[part] = make_small_image(seed, SECTORS, kind)
    return MappingProxyType(images)


@cache
def make_chip_files(board: str, number: int, *, fussy: bool) -> tuple[ChipFile, ...]:
    """The images of one release for the microcontrollers."""
    hosts = Hosts(number if fussy else 0, INTEGER_MAX)
    return tuple(
        ChipFile(
            chip.name,
            chip.hardware_id,
            image_file(chip.settings, program_of(chip, number)),
            hosts,
        )
        for chip in get_profile(board).microcontrollers
    )


def program_of(chip: Microcontroller, number: int) -> bytes:
    """What the flash of a chip begins with in a release."""
    return chip_content(chip.settings, chip.name, KEYS_SEED, number)


def factory_program_of(chip: Microcontroller, plan: Plan) -> bytes:
    """What the flash of a chip began with when the device was made."""
    return chip_content(chip.settings, chip.name, plan.seed, 0)


@dataclass(slots=True)
class Bench:
    """Everything of one device's world. `published` is each state of the repository that was valid."""

    plan: Plan
    device_plan: DevicePlan
    clock: SimulatedClock
    hub: Hub
    operator: Operator
    repository: SimulatedRepository
    broker: SimulatedBroker
    faults: Faults
    device: DeviceSimulation
    published: list[MemorySource] = field(default_factory=list)
    rolled_out: set[int] = field(default_factory=set)
    rotted: set[str] = field(default_factory=set)
    jumped: timedelta = timedelta()
    late: bool = False

    def publish(self) -> None:
        """Sign and serve what the operator has decided."""
        self.operator.publish()
        self.remember()

    def remember(self) -> None:
        """Keep what is published now: a bad mirror may serve it again later."""
        self.late = False
        self.published.append(self.operator.snapshot())

    @property
    def honest(self) -> bool:
        """Whether the repository serves what the operator published last, as it is."""
        source = self.repository.source
        served = isinstance(source, MemorySource) and source.content is self.operator.content
        lies = any(isinstance(fault.kind, Fetch) for fault in self.faults.waiting)
        return served and not lies and not self.late

    def ship(self, shipment: Shipment) -> None:
        """Release and roll out; valid with the next publication."""
        board, number, name = self.plan.board, shipment.number, str(shipment.number)
        images = make_images(board, number, shipment.behaviour)
        chips = make_chip_files(board, number, fussy=shipment.fussy) if shipment.chips else ()
        self.operator.release(name, number, get_profile(board).hardware_id, images, chips)
        self.operator.roll_out(f"rollout-{name}", name, share=shipment.share)
        self.rolled_out.add(number)

    def number_in(self, slot: SlotName) -> int | None:
        """The number of the whole release that a slot holds, None when it holds none that was made."""
        return self.number_of(self.device.board.content(slot))

    def number_of(self, content: Mapping[str, bytes]) -> int | None:
        """The number of the release that these parts begin with."""
        numbers = range(self.plan.last_release + 1)
        return next((number for number in numbers if self._holds(content, number)), None)

    def shipment_of(self, number: int) -> Shipment:
        """What a release is; the first and the last one are healthy, and for everyone."""
        drawn = self.plan.shipment(number)
        return drawn or Shipment(number, Behaviour.HEALTHY, BUCKETS, None, chips=True)

    def behaviour_of(self, number: int) -> Behaviour:
        """What the system of this release does."""
        return self.shipment_of(number).behaviour

    def _holds(self, content: Mapping[str, bytes], number: int) -> bool:
        images = make_images(self.plan.board, number, self.behaviour_of(number))
        return all(content[part].startswith(image) for part, image in images.items())


def make_bench(plan: Plan, device_plan: DevicePlan, pieces: Pieces = PIECES) -> Bench:
    """The world before anything has happened: release 1 runs, nothing is rolled out."""
    clock = SimulatedClock(
        battery=device_plan.battery,
        synchronise_after_s=device_plan.synchronise_after_s,
        drift=device_plan.drift,
    )
    faults, hub, trace = Faults(), Hub(), Trace()
    operator = Operator(clock, hub, seed=KEYS_SEED, window_bytes=WINDOW_BYTES)
    operator.open()
    repository = SimulatedRepository(operator.source, clock, faults, trace.note)
    repository.bytes_per_s = device_plan.bytes_per_s
    broker = SimulatedBroker(hub, clock, faults, trace.note)
    device = _make_device(
        plan,
        device_plan,
        operator,
        Surroundings(
            clock=clock,
            repository=repository,
            broker=broker,
            random=SimulatedRandom(plan.seed),
            scratch=SimulatedScratch(),
            power_lost=broker.power_lost,
            power_back=clock.boot,
        ),
        trace,
    )
    device.faults, device.pieces = faults, pieces
    device.board.files.faults = faults
    for chip in device.board.chips:
        chip.own_supply = device_plan.own_supply
    device.open()
    bench = Bench(plan, device_plan, clock, hub, operator, repository, broker, faults, device)
    bench.remember()
    return bench


def _make_device(
    plan: Plan,
    device_plan: DevicePlan,
    operator: Operator,
    surroundings: Surroundings,
    trace: Trace,
) -> DeviceSimulation:
    profile = get_profile(plan.board)
    images, older = (make_images(plan.board, number, Behaviour.HEALTHY) for number in (1, 0))
    factory = Factory(PART_BYTES, images, standby=older)
    config = make_config(device_plan.name, operator.fleet, profile.name)
    timing = config.timing._replace(check_every_s=plan.check_every_s, retry_max_s=RETRY_MAX_S)
    return DeviceSimulation(
        board=make_board(profile, factory, seed=plan.seed),
        config=replace(config, timing=timing),
        root_of_trust=operator.root_of_trust,
        surroundings=surroundings,
        trace=trace,
        boots_max=BOOTS_MAX,
        durations=Durations(),
    )
