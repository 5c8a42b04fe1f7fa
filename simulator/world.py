"""One simulated device through all its boots: the real agent above, a simulated board below.

What surrounds the board is given to it as `Surroundings`: simulated ones, or a real broker and a real
repository. Nothing of a boot survives into the next but what the board made durable.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from agent import journal as journals
from agent.basics import DeviceSettings, PathSettings, RepositorySettings, TimingSettings
from agent.config import BrokerSettings, Config, RebootSettings
from agent.errors import StateError, UpdateError
from agent.interfaces import Broker, Clock, Random, Repository, Scratch, World
from agent.journal import Journal
from agent.pieces import PIECES, Pieces
from agent.service import Ending, Service
from simulator.board import Boot, SimulatedBoard
from simulator.faults import Faults
from simulator.image import Behaviour
from simulator.power import PowerCut
from simulator.system import SimulatedSystem, Weather, fair
from simulator.trace import Trace

RESTARTS_MAX: Final = 100
BOOTS_MAX: Final = 40


class DarkBoardError(AssertionError):
    """No slot starts any more: what an update must never lead to."""


class RestlessError(AssertionError):
    """The device does not come to rest within the boots, restarts or time that it may take."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long a board takes to boot, to reset after a panic or a hang, and to be without power.

    `restart_s` is how long the service manager waits before it starts an agent that ended again.
    """

    boot_s: float = 8.0
    panic_s: float = 10.0
    watchdog_s: float = 15.0
    off_s: float = 3.0
    restart_s: float = 10.0


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a board is connected to.

    `power_lost` is what a power cut does to it, `power_back` what the next boot does.
    """

    clock: Clock
    repository: Repository
    broker: Broker
    random: Random
    scratch: Scratch
    power_lost: Callable[[], None] = nothing
    power_back: Callable[[], None] = nothing


@dataclass(slots=True)
class DeviceSimulation:
    """One device. `run` goes on where the last one stopped, in the same boot if nothing ended it."""

    board: SimulatedBoard
    config: Config
    root_of_trust: bytes
    surroundings: Surroundings
    faults: Faults = field(default_factory=Faults)
    trace: Trace = field(default_factory=Trace)
    boots_max: int = BOOTS_MAX
    durations: Durations = Durations()
    pieces: Pieces = PIECES
    weather: Weather = fair
    encryption_key: bytes = field(default=b"", repr=False)
    _boot: Boot | None = None
    _restarts: int = 0

    def open(self) -> None:
        """Connect the trace to what happens below."""
        self.trace.op = lambda: self.board.power.number
        self.trace.time_s = self.surroundings.clock.monotonic_s
        self.board.files.watcher = self._watch

    def run(self, deadline_s: float) -> None:
        """Boot after boot until this moment. Raises `DarkBoardError`, `RestlessError`."""
        clock = self.surroundings.clock
        boots_max = self.board.boots + self.boots_max
        while clock.monotonic_s() < deadline_s:
            if self.board.boots >= boots_max:
                raise RestlessError(f"{self.boots_max} boots and no rest")
            try:
                boot = self._boot or self._start()
                if boot is not None:
                    self._run_agent(boot, deadline_s)
            except PowerCut:
                last = self.board.power.last
                self.trace.note("! power cut", f"at {last.name} {last.detail}" if last else "")
                self.lose_power()

    def run_until_quiet(self, *, slice_s: float = 3600.0, slices_max: int = 24) -> None:
        """Until nothing is under way and no report waits. Raises `RestlessError` after a day of it."""
        for _ in range(slices_max):
            self.run(self.surroundings.clock.monotonic_s() + slice_s)
            if self.quiet:
                return
        raise RestlessError(f"not quiet after {slices_max * slice_s:.0f} s")

    def lose_power(self) -> None:
        """The power goes, and comes back: everything volatile is gone."""
        self._boot = None
        self.surroundings.power_lost()
        self.board.restore_power()
        self.surroundings.clock.sleep(self.durations.off_s)

    @property
    def slot(self) -> str:
        """The slot that runs, `-` while none does."""
        return "-" if self._boot is None or self._boot.slot is None else self._boot.slot

    @property
    def journal(self) -> Journal | None:
        """What the device remembers; None when it cannot be read."""
        content = self.board.files.content.get(journals.FILE)
        try:
            return Journal() if content is None else journals.decode(content)
        except StateError:
            return None

    @property
    def quiet(self) -> bool:
        """Whether no update is under way and no report waits for its receipt."""
        journal = self.journal
        if journal is None or self._boot is None:
            return False
        return (journal.update is None or journal.update.finished) and not journal.reports

    def _start(self) -> Boot | None:
        """Let the bootloader choose; None when what it chose never came to run the agent."""
        self.surroundings.power_back()
        self.trace.boot, self.trace.slot = self.board.boots + 1, "-"
        boot = self.board.boot()
        if boot.slot is None:
            self.trace.note("! dark", "no slot starts")
            raise DarkBoardError(f"no slot starts in boot {self.board.boots}")
        self.trace.slot = boot.slot
        clock = self.surroundings.clock
        match boot.behaviour:
            case Behaviour.NEVER_BOOTS:
                self.trace.note("! panic", "the kernel stops; it resets itself")
                clock.sleep(self.durations.panic_s)
                self.board.reset()
                return None
            case Behaviour.HANGS:
                self.trace.note("! hang", "nothing runs; the watchdog resets it")
                clock.sleep(self.durations.watchdog_s)
                self.board.reset()
                return None
            case Behaviour.HEALTHY | Behaviour.FAILS_CHECKS:
                clock.sleep(self.durations.boot_s)
                self.trace.note("boot", "trial" if boot.facts.tryboot else "")
                self._boot = boot
                return boot

    def _run_agent(self, boot: Boot, deadline_s: float) -> None:
        system = SimulatedSystem(
            boot.facts,
            boot.behaviour,
            self.surroundings.clock,
            self.board.power,
            self.faults,
            self.trace.note,
            self.weather,
        )
        around = self.surroundings
        world = World(
            clock=around.clock,
            files=self.board.files,
            storage=self.board.storage,
            repository=around.repository,
            broker=around.broker,
            system=system,
            random=around.random,
            scratch=around.scratch,
            serial=self.board.ports(around.clock),
        )
        profile = self.board.profile
        service = Service(
            world,
            self.config,
            profile,
            self.root_of_trust,
            self.pieces,
            encryption_key=self.encryption_key,
        )
        try:
            ending = service.run(deadline_s)
        except UpdateError as error:
            self._restart_later(error)
            return
        if ending is Ending.REBOOTING:
            assert system.reboot_argument is not None, "a reboot that nobody asked the system for"
            self.board.reset(system.reboot_argument)
            self._boot = None

    def _restart_later(self, error: UpdateError) -> None:
        """The service manager starts an agent again that ended with an error."""
        self.trace.note("! agent ended", f"{error.code}: {error}")
        self.surroundings.power_lost()
        self._restarts += 1
        if self._restarts > RESTARTS_MAX:
            raise RestlessError(f"the agent ended {self._restarts} times: {error}")
        self.surroundings.clock.sleep(self.durations.restart_s)

    def _watch(self, name: str, content: bytes) -> None:
        """Show each new state of the update in the trace."""
        if name != journals.FILE:
            return
        update = journals.decode(content).update
        state = "-" if update is None else update.state.name
        if update is not None and state != self.trace.state:
            self.trace.state = state
            told = "" if update.code == "ok" else f"{update.code}: {update.detail}"
            self.trace.note(update.state.value, f"{update.release} in slot {update.target} {told}")


def make_config(device: str, fleet: str, profile: str, *, counter: int = 1) -> Config:
    """The settings of a simulated device; addresses and files are those of no real one."""
    return Config(
        device=DeviceSettings(device, fleet, profile, "factory", counter),
        broker=BrokerSettings("simulated", 8883, "", "", "", 60),
        repository=RepositorySettings(("https://simulated",), ""),
        paths=PathSettings("state", "runtime", "process", "root.json"),
        timing=TimingSettings(check_every_s=6 * 3600, refresh_interval_min_s=60, retry_max_s=900),
        reboot=RebootSettings(("reboot", "{argument}")),
    )
