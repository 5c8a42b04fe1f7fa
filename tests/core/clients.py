"""The half of a device that reads metadata: the real `Device`, over seams that remember everything."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import pytest

from agent import floor
from agent.basics import DeviceSettings, PathSettings, RepositorySettings, TimingSettings
from agent.board import BoardProfile, Check, ConfirmSettings, SlotName, TrybootSettings
from agent.board import Slot as SlotParts
from agent.boot import BootControl
from agent.config import BrokerSettings, Config, RebootSettings
from agent.device import Device
from agent.errors import UpdateError
from agent.interfaces import Broker, Repository, SystemFacts, World
from agent.release import Release
from agent.rollout import Halts, Rollouts
from simulator.block_device import MemoryStore, SimulatedBlockDevice, SimulatedStorage
from simulator.broker import Hub, SimulatedBroker
from simulator.clock import SimulatedClock
from simulator.files import SimulatedFiles
from simulator.image import Behaviour
from simulator.power import Power
from simulator.random import SimulatedRandom
from simulator.scratch import SimulatedScratch
from simulator.system import SimulatedSystem
from tests.core.samples import NOON, RELEASE
from tests.core.tuf_repository import FLEET, TufRepository

FACTS: Final = SystemFacts("boot-1", ("rpi4",), (), 2, tryboot=False)
PROFILE: Final = BoardProfile(
    name="rpi4",
    hardware_id="rpi4",
    boot=TrybootSettings("/dev/p1"),
    slots={
        "a": SlotParts({"boot": "/dev/p2", "root": "/dev/p5"}, 2),
        "b": SlotParts({"boot": "/dev/p3", "root": "/dev/p6"}, 3),
    },
    confirm=ConfirmSettings(
        60, 3, require_broker=False, checks=(Check("up", ("true",), 5),), watchdog=None
    ),
)
CONFIG: Final = Config(
    device=DeviceSettings("pump-7", FLEET, "rpi4", "factory", 1),
    broker=BrokerSettings("broker.example", 8883, "", "", "", 60),
    repository=RepositorySettings(("https://mirror.example",), ""),
    paths=PathSettings("state", "runtime", "process", "root.json"),
    timing=TimingSettings(check_every_s=3600, refresh_interval_min_s=60, retry_max_s=900),
    reboot=RebootSettings(("reboot",)),
)


@dataclass(slots=True)
class StillBoot:
    """A `BootControl` of a board on which nothing is ever switched."""

    def booted(self) -> SlotName:
        """Slot a."""
        return "a"

    def default(self) -> SlotName:
        """Slot a."""
        return "a"

    def armed(self) -> bool:
        """Never."""
        return False

    def try_next(self, slot: SlotName, attempts: int) -> str:
        """Nobody asks."""
        raise AssertionError(slot, attempts)

    def confirm(self, slot: SlotName) -> None:
        """Nobody asks."""
        raise AssertionError(slot)

    def disarm(self) -> None:
        """Nothing is armed."""


@dataclass(frozen=True, slots=True)
class View:
    """All that one look at the repository gave."""

    rollouts: Rollouts
    halts: Halts
    release: Release
    versions: dict[str, int]


@dataclass(slots=True)
class Client:
    """One device and its durable files; `repository` may be another one at each look."""

    repository: Repository
    root_of_trust: bytes
    clock: SimulatedClock = field(default_factory=lambda: SimulatedClock(start=NOON))
    files: SimulatedFiles = field(default_factory=lambda: SimulatedFiles(Power()))
    boot: BootControl = field(default_factory=StillBoot)
    broker: Broker | None = None

    def device(self) -> Device:
        """The device as it would be made at the next boot."""
        world = World(
            clock=self.clock,
            files=self.files,
            storage=SimulatedStorage(
                {
                    f"/dev/p{n}": SimulatedBlockDevice(MemoryStore(16384), Power())
                    for n in (2, 3, 5, 6)
                }
            ),
            repository=self.repository,
            broker=self.broker or SimulatedBroker(Hub(), self.clock),
            system=SimulatedSystem(FACTS, Behaviour.HEALTHY, self.clock, Power()),
            random=SimulatedRandom(1),
            scratch=SimulatedScratch(),
        )
        return Device(world, CONFIG, PROFILE, self.root_of_trust, self.boot, FACTS)

    def look(self) -> View:
        """One refresh, and every document that a device may ask for."""
        with self.device().session() as session:
            release, _ = session.release(RELEASE.name)
            return View(
                session.rollouts(),
                session.halts(),
                release,
                {role: one.version for role, one in session.seen().roles.items()},
            )

    def refuses(self, kind: type[UpdateError]) -> str:
        """That it refuses with this kind of error, and remembers nothing of what it refused."""
        before = dict(self.files.content)
        with pytest.raises(kind) as caught:
            self.look()
        assert self.files.content == before
        return str(caught.value)

    def refuses_document(self, kind: type[UpdateError]) -> str:
        """The same, where the metadata itself is sound and new: only the floor may have risen."""
        before = dict(self.files.content)
        with pytest.raises(kind) as caught:
            self.look()
        changed = {
            name for name in self.files.content if self.files.content[name] != before.get(name)
        }
        assert changed <= {floor.FILE, floor.SPARE}
        return str(caught.value)

    def lose_cache(self) -> None:
        """What python-tuf remembers is gone; the floor is not."""
        for name in [name for name in self.files.content if "/" in name]:
            self.files.remove(name)

    @property
    def floor(self) -> floor.Floor:
        """What may not go down here."""
        return floor.load(self.files)


def make_client(repository: TufRepository, now: datetime = NOON) -> Client:
    """A new device of the fleet, at this date."""
    return Client(repository, repository.root_of_trust, SimulatedClock(start=now))


def unsynchronised(now: datetime) -> SimulatedClock:
    """A clock that nobody vouches for."""
    return SimulatedClock(start=now, synchronise_after_s=None)
