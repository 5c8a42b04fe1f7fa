"""A whole simulated fleet on one bench: operator, broker, repository and any number of devices.

lab = make_lab(profile, seed=42)
lab.ship(Behaviour.HEALTHY)
lab.device.run_until_quiet()
assert lab.operator.outcomes() == [Outcome.CONFIRMED]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from agent.board import BoardProfile, Microcontroller
from agent.release import Hosts
from agent.report import Outcome
from agent.strict import INTEGER_MAX
from simulator.board import make_board
from simulator.broker import Hub, SimulatedBroker
from simulator.chips import chip_content, image_file
from simulator.clock import SimulatedClock
from simulator.faults import Faults
from simulator.image import Behaviour, make_small_image
from simulator.operator import WINDOW_BYTES, ChipFile, Operator
from simulator.random import SimulatedRandom
from simulator.repository import SimulatedRepository
from simulator.scratch import SimulatedScratch
from simulator.storage import Factory
from simulator.trace import Trace
from simulator.world import DeviceSimulation, Surroundings, make_config

SECTORS: Final = 64
PART_BYTES: Final = 64 * 1024
ALL_HOSTS: Final = Hosts(0, INTEGER_MAX)
EXPECTED: Final[Mapping[Behaviour, Outcome]] = {
    Behaviour.HEALTHY: Outcome.CONFIRMED,
    Behaviour.FAILS_CHECKS: Outcome.REVERTED,
    Behaviour.HANGS: Outcome.REVERTED,
    Behaviour.NEVER_BOOTS: Outcome.REVERTED,
}
"""How an update to an image ends that behaves like this."""


@dataclass(slots=True)
class Lab:
    """The bench. `ship` is what an operator does on a release day."""

    profile: BoardProfile
    seed: int
    clock: SimulatedClock
    hub: Hub
    operator: Operator
    repository: SimulatedRepository
    broker: SimulatedBroker
    faults: Faults
    device: DeviceSimulation
    sectors: int = SECTORS

    def images(self, number: int, behaviour: Behaviour = Behaviour.HEALTHY) -> dict[str, bytes]:
        """The images of release `number`, by part; the first part carries the behaviour."""
        return make_images(self.profile, self.seed, number, behaviour, self.sectors)

    def ship(
        self,
        behaviour: Behaviour = Behaviour.HEALTHY,
        number: int = 2,
        *,
        chips: bool = False,
        hosts: Hosts = ALL_HOSTS,
        kind: str = "feature",
    ) -> None:
        """Release, roll out to everyone, publish and notify; with images for the `chips` or without."""
        name = str(number)
        images = self.images(number, behaviour)
        files = [
            ChipFile(chip.name, chip.hardware_id, self.chip_file(chip, number), hosts)
            for chip in (self.profile.microcontrollers if chips else ())
        ]
        self.operator.release(name, number, self.profile.hardware_id, images, files, kind=kind)
        self.operator.roll_out(f"rollout-{name}", name)
        self.operator.publish()
        self.operator.notify()

    def chip_file(self, chip: Microcontroller, number: int) -> bytes:
        """The image of release `number` for a chip, as its operator has it."""
        return image_file(chip.settings, chip_content(chip.settings, chip.name, self.seed, number))

    def chips_hold(self, number: int) -> bool:
        """Whether every chip holds its image of a release, 0 for the factory's."""
        return all(
            chip.holds(chip_content(chip.settings, chip.name, self.seed, number))
            for chip in self.device.board.chips
        )

    def holds(self, slot: str, number: int, behaviour: Behaviour = Behaviour.HEALTHY) -> bool:
        """Whether a slot's durable bytes begin with the images of a release."""
        content = self.device.board.content("a" if slot == "a" else "b")
        images = self.images(number, behaviour)
        return all(content[part].startswith(image) for part, image in images.items())


def make_images(
    profile: BoardProfile, seed: int, number: int, behaviour: Behaviour, sectors: int
) -> dict[str, bytes]:
    """Small images for each part; they differ from release to release and from seed to seed."""
    behaviours = [behaviour, *[Behaviour.HEALTHY] * len(profile.parts)]
    return {
        part: make_small_image(seed * 1000 + number * 10 + place, sectors, behaviours[place])
        for place, part in enumerate(profile.parts)
    }


def make_lab(
    profile: BoardProfile,
    *,
    seed: int = 0,
    sectors: int = SECTORS,
    part_bytes: int = PART_BYTES,
    window_bytes: int = WINDOW_BYTES,
    clock: SimulatedClock | None = None,
) -> Lab:
    """A fleet of one device with release 1 from the factory, and nothing to install yet.

    Its other slot holds an older image that would start, as on a device that has been updated before.
    """
    clock = clock or SimulatedClock()
    faults, hub, trace = Faults(), Hub(), Trace()
    operator = Operator(clock, hub, seed=seed, window_bytes=window_bytes)
    operator.open()
    repository = SimulatedRepository(operator.source, clock, faults, trace.note)
    broker = SimulatedBroker(hub, clock, faults, trace.note)
    images, older = (
        make_images(profile, seed, number, Behaviour.HEALTHY, sectors) for number in (1, 0)
    )
    factory = Factory(part_bytes, images, standby=older)
    board = make_board(profile, factory, seed=seed, faults=faults)
    board.may_lose_boot_state = True
    device = DeviceSimulation(
        board=board,
        config=make_config("device-1", operator.fleet, profile.name),
        root_of_trust=operator.root_of_trust,
        surroundings=Surroundings(
            clock=clock,
            repository=repository,
            broker=broker,
            random=SimulatedRandom(seed),
            scratch=SimulatedScratch(),
            power_lost=broker.power_lost,
            power_back=clock.boot,
        ),
        faults=faults,
        trace=trace,
    )
    device.open()
    return Lab(
        profile=profile,
        seed=seed,
        clock=clock,
        hub=hub,
        operator=operator,
        repository=repository,
        broker=broker,
        faults=faults,
        device=device,
        sectors=sectors,
    )
