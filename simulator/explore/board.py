"""A simulated board that tells who watches it of every boot, read, write, flush and operation."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from agent.board import BoardProfile, SlotName
from agent.interfaces import Clock, Message
from simulator.block_device import MemoryStore, PendingWrite, SimulatedBlockDevice
from simulator.board import Boot, SimulatedBoard
from simulator.broker import SimulatedBroker
from simulator.clock import SimulatedClock
from simulator.explore.chips import ExploredChip, open_chip
from simulator.explore.lines import ExploredLine, ExploredPorts
from simulator.explore.start import Start
from simulator.faults import Faults
from simulator.files import SimulatedFiles
from simulator.firmware.select import firmware
from simulator.image import inspect
from simulator.power import Effect, Operation, Power
from simulator.storage import BoardStorage


def _unheard(*_told: object) -> None:
    """Tell nobody."""


class NextBoot(Exception):  # noqa: N818  # nothing went wrong
    """The board starts once more, and this run was to be of one boot."""


@dataclass(slots=True)
class WatchedPower(Power):
    """Announces every operation before any of it happens."""

    announce: Callable[[Operation], None] = _unheard

    def operation(self, name: str, detail: str = "") -> Effect:
        """As `Power.operation`."""
        self.announce(Operation(self.number + 1, name, detail))
        return Power.operation(self, name, detail)


class WatchedDevice(SimulatedBlockDevice):
    """A block device whose reads, writes and flushes are seen."""

    reading: Callable[[str, int, int], None] = staticmethod(_unheard)
    writing: Callable[[str, int, int], None] = staticmethod(_unheard)
    flushed: Callable[[str], None] = staticmethod(_unheard)

    def read(self, offset: int, length_bytes: int) -> bytes:
        """As `SimulatedBlockDevice.read`."""
        content = super().read(offset, length_bytes)
        self.reading(self.name, offset, length_bytes)
        return content

    def write(self, offset: int, content: bytes) -> None:
        """As `SimulatedBlockDevice.write`."""
        self.writing(self.name, offset, len(content))
        super().write(offset, content)

    def flush(self) -> None:
        """As `SimulatedBlockDevice.flush`."""
        super().flush()
        self.flushed(self.name)

    def flush_behind(self) -> None:
        """As `SimulatedBlockDevice.flush_behind`."""
        super().flush_behind()
        self.flushed(self.name)

    def newest(self) -> bytes:
        """All bytes, flushed or not, unseen."""
        return super().read(0, self.size_bytes)

    def go_on_with(self, writes: Iterable[PendingWrite]) -> None:
        """Have these writes pending, as before a reboot."""
        self._take(writes)


@dataclass(slots=True)
class WatchedBoard(SimulatedBoard):
    """A board whose boots are seen; `one_boot` ends a run where the second one would begin.

    `again` is called before every later boot, `argument` is that of the last reboot.
    """

    watched_power: WatchedPower = field(default_factory=WatchedPower)
    watched_devices: Mapping[str, WatchedDevice] = field(default_factory=dict)
    explored_chips: tuple[ExploredChip, ...] = ()
    lines: dict[str, ExploredLine] = field(default_factory=dict)
    booted: Callable[[SlotName | None], None] = _unheard
    again: Callable[[], None] = _unheard
    one_boot: bool = True
    argument: str = ""

    def boot(self) -> Boot:
        """As `SimulatedBoard.boot`. Raises `NextBoot`."""
        if self.boots:
            if self.one_boot:
                raise NextBoot
            self.again()
        else:
            self._power_up()
        boot = SimulatedBoard.boot(self)
        self.booted(boot.slot)
        return boot

    def reset(self, argument: str = "") -> None:
        """As `SimulatedBoard.reset`."""
        self.argument = argument
        SimulatedBoard.reset(self, argument)

    def ports(self, clock: Clock) -> ExploredPorts:
        """As `SimulatedBoard.ports`."""
        return ExploredPorts(self.lines, clock, self.power)

    def _power_up(self) -> None:
        for chip in self.explored_chips:
            if not chip.awake:
                self.lines[chip.port].power_up()


@dataclass(slots=True)
class CountedBroker(SimulatedBroker):
    """A broker on which saying a report is an operation: the fleet may have stored it or not."""

    power: Power = field(default_factory=Power)

    def publish(self, message: Message) -> None:
        """As `SimulatedBroker.publish`."""
        if message.topic.endswith("/report"):
            with self.power.operation("Broker.publish", "report"):
                SimulatedBroker.publish(self, message)
        else:
            SimulatedBroker.publish(self, message)


def make_watched_board(
    profile: BoardProfile, start: Start, clock: SimulatedClock, *, seed: int, faults: Faults
) -> WatchedBoard:
    """A board that begins this boot."""
    state, power = start.state, WatchedPower(seed=seed)
    devices = {
        path: WatchedDevice(MemoryStore(len(content), content), power, path)
        for path, content in state.devices.items()
    }
    for one in start.pending:
        devices[one.path].go_on_with([one.write])
    storage = BoardStorage(profile, devices)
    chips = tuple(open_chip(chip, state.chips[chip.name]) for chip in profile.microcontrollers)

    def startable(slot: SlotName) -> bool:
        return all(
            inspect(device.read, device.size_bytes, deep=False).startable
            for device in storage.slot(slot).values()
        )

    board = WatchedBoard(
        profile=profile,
        power=power,
        storage=storage,
        files=SimulatedFiles(power, faults, content=dict(state.files)),
        firmware=firmware(profile, storage, power, startable),
        may_lose_boot_state=True,
        watched_power=power,
        watched_devices=devices,
        explored_chips=chips,
        lines={chip.port: ExploredLine(clock, chip.chip, power=power) for chip in chips},
    )
    board.firmware.reset(start.argument or "")
    return board
