"""Many simulated devices that join a real broker and a real repository, each in a thread of its own.

Above the board everything is as on a device: the agent, MQTT over mutual TLS, HTTPS. Each device is a
folder as `lockgate-fleet enrol --out` writes it, with the private key beside it as `device.key`. The
boards are new from the factory whenever the program starts, and keep their slots in a folder.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent.board import BoardProfile
from agent.config import Config, parse_config
from agent.errors import ConfigError
from agent.interfaces import Message, WallTime
from agent.linux.broker import MqttBroker
from agent.linux.clock import LinuxClock
from agent.linux.repository import HttpsRepository
from fleet import files
from fleet.enrol import DevicePaths, issue, new_request, write_folder
from fleet.workspace import Workspace
from simulator.board import make_board
from simulator.image import Behaviour
from simulator.lab import make_images
from simulator.random import SimulatedRandom
from simulator.scratch import SimulatedScratch
from simulator.storage import Factory
from simulator.trace import Line, Trace
from simulator.world import DeviceSimulation, Durations, Surroundings

KEY: Final = "device.key"
SECTORS: Final = 64
QUICK: Final = Durations(boot_s=1.0, panic_s=1.0, watchdog_s=2.0, off_s=0.5, restart_s=5.0)
FOREVER_S: Final = 10 * 365 * 86400.0
POLL_S: Final = 0.2
GOODBYE_S: Final = 10.0

Tell = Callable[[str, Line], None]


@dataclass(frozen=True, slots=True)
class StoppableClock:
    """The real clock, on which every deadline has passed once the program is to end."""

    real: LinuxClock
    stop: threading.Event

    def monotonic_s(self) -> float:
        """Real seconds, and far more of them after the end."""
        return self.real.monotonic_s() + (2 * FOREVER_S if self.stop.is_set() else 0.0)

    def wall(self) -> WallTime:
        """The computer's date; simulated devices trust it."""
        return replace(self.real.wall(), synchronised=True)

    def sleep(self, duration_s: float) -> None:
        """Wait, but not beyond the end."""
        self.stop.wait(duration_s)


@dataclass(frozen=True, slots=True)
class StoppableBroker:
    """A real session that stops waiting when the program is to end."""

    real: MqttBroker
    stop: threading.Event

    @property
    def connected(self) -> bool:
        """Whether the session is believed to be alive."""
        return self.real.connected

    def connect(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """Open a session."""
        self.real.connect(subscriptions, will)

    def next_message(self, timeout_s: float) -> Message | None:
        """The next message; looks every now and then whether the end has come."""
        left_s = timeout_s
        message = self.real.next_message(min(left_s, POLL_S))
        while message is None and left_s > POLL_S and self.connected and not self.stop.is_set():
            left_s -= POLL_S
            message = self.real.next_message(min(left_s, POLL_S))
        return message

    def publish(self, message: Message) -> None:
        """Hand a message to the session."""
        self.real.publish(message)

    def close(self) -> None:
        """Say goodbye."""
        self.real.close()


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """How the devices are made. Addresses replace those in `agent.toml` unless they are empty."""

    profile: BoardProfile
    part_bytes: int
    state: Path
    seed: int = 0
    broker: tuple[str, int] | None = None
    repository: str = ""
    refresh_interval_min_s: int = 5
    images: dict[str, bytes | Path] = field(default_factory=dict)


def enrol_devices(workspace: Workspace, folder: Path, count: int) -> list[Path]:
    """Folders for so many devices, `sim-001` and on; those that are there already are kept."""
    folders = []
    for number in range(1, count + 1):
        name = f"sim-{number:03d}"
        out = folder / name
        folders.append(out)
        if (out / KEY).exists():
            continue
        key, request = new_request(name)
        certificate = issue(workspace, name, request, datetime.now(UTC), renew=True)
        paths = DevicePaths(
            folder=str(out), key=str(out / KEY), profile="board.toml", factory_counter=1
        )
        write_folder(workspace, workspace.settings(), name, certificate, out=out, paths=paths)
        files.replace(out / KEY, key, mode=0o600)
    return folders


def device_folders(folder: Path, count: int) -> list[Path]:
    """The first so many folders of devices. Raises `ConfigError` when there are too few."""
    found = sorted(path.parent for path in folder.glob("*/agent.toml"))
    if len(found) < count:
        raise ConfigError(
            f"{folder}: {count} folders with an agent.toml were expected, {len(found)} found; "
            "enrol more devices, or let --enrol FLEET_DIR do it"
        )
    return found[:count]


def join(
    folder: Path,
    number: int,
    options: FleetOptions,
    tell: Tell,
    stop: threading.Event | None = None,
) -> DeviceSimulation:
    """One device with its real connections; they are opened when it runs. Raises `ConfigError`.

    Once `stop` is set, a device that runs says goodbye and returns.
    """
    stop = stop or threading.Event()
    config, root_of_trust = _settings(folder, options)
    images = options.images or dict(
        make_images(options.profile, options.seed, 1, Behaviour.HEALTHY, SECTORS)
    )
    factory = Factory(options.part_bytes, images, options.state / config.device.id)
    name = config.device.id
    broker = StoppableBroker(MqttBroker(config.broker, name), stop)
    device = DeviceSimulation(
        board=make_board(options.profile, factory, seed=options.seed + number),
        config=config,
        root_of_trust=root_of_trust,
        surroundings=Surroundings(
            clock=StoppableClock(LinuxClock(), stop),
            repository=HttpsRepository(config.repository),
            broker=broker,
            random=SimulatedRandom(options.seed + number),
            scratch=SimulatedScratch(),
            power_lost=broker.close,
        ),
        trace=Trace(sink=lambda line: tell(name, line)),
        durations=QUICK,
    )
    device.open()
    return device


def run_devices(
    devices: list[DeviceSimulation],
    stop: threading.Event,
    *,
    until_release: str,
    for_s: float | None,
) -> bool:
    """Run all of them; whether every one came to run `until_release` in time.

    Without a release it runs for `for_s` seconds and is content, unless a device ended with an error.
    """
    clock = LinuxClock()
    deadline_s = clock.monotonic_s() + (FOREVER_S if for_s is None else for_s)
    failed = threading.Event()

    def work(device: DeviceSimulation) -> None:
        try:
            device.run(deadline_s)
        except AssertionError as error:
            device.trace.note("! failed", str(error))
            failed.set()

    threads = [
        threading.Thread(target=work, args=(device,), name=device.config.device.id, daemon=True)
        for device in devices
    ]
    for thread in threads:
        thread.start()
    there = False
    while clock.monotonic_s() < deadline_s and not failed.is_set() and not there:
        clock.sleep(POLL_S)
        there = bool(until_release) and all(runs(device, until_release) for device in devices)
    stop.set()
    for thread in threads:
        thread.join(GOODBYE_S)
    return not failed.is_set() and (there or not until_release)


def runs(device: DeviceSimulation, release: str) -> bool:
    """Whether a device has confirmed this release and runs it."""
    journal, slot = device.journal, device.slot
    if journal is None or slot == "-":
        return False
    installed = journal.installed.get("a" if slot == "a" else "b")
    return installed is not None and installed.release == release


def _settings(folder: Path, options: FleetOptions) -> tuple[Config, bytes]:
    """What the device was given, with its files where they lie on this computer."""
    source = folder / "agent.toml"
    try:
        config = parse_config(source.read_bytes(), str(source))
        root_of_trust = (folder / "root.json").read_bytes()
    except OSError as error:
        raise ConfigError(f"{folder}: an enrolled device's folder was expected: {error}") from error
    host, port = options.broker or (config.broker.host, config.broker.port)
    authority = str(folder / "authority.pem")
    return (
        replace(
            config,
            broker=replace(
                config.broker,
                host=host,
                port=port,
                authority=authority,
                certificate=str(folder / "certificate.pem"),
                key=str(folder / KEY),
            ),
            repository=config.repository._replace(
                urls=(options.repository,) if options.repository else config.repository.urls,
                authority=authority,
            ),
            timing=config.timing._replace(refresh_interval_min_s=options.refresh_interval_min_s),
        ),
        root_of_trust,
    )
