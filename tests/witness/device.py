"""One boot of a real device as a process of its own: `python -m tests.witness.device FOLDER`.

The agent and everything of `agent/linux` that touches its files, devices and facts are the real ones;
only the network is missing: published files are read from a folder, and the fleet is a file. Time is
virtual, so that a run makes the same system calls each time.

Exit status: 0 nothing more to do, 4 a reboot was asked for, 3 an `UpdateError` ended it.
"""

import json
import os
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from agent.basics import PathSettings, TimingSettings
from agent.board import BoardProfile, Check, Slot, TrybootSettings, UbootSettings
from agent.config import Config, RebootSettings
from agent.errors import BrokerError, NotFoundError, UpdateError
from agent.interfaces import Files, Message, World
from agent.linux.files import LinuxFiles
from agent.linux.scratch import LinuxScratch
from agent.linux.storage import LinuxStorage
from agent.linux.system import LinuxSystem
from agent.report import Receipt, encode_receipt, parse_report
from agent.service import Ending, Service
from agent.topics import Topics
from simulator.clock import SimulatedClock
from simulator.profiles import load_profile
from simulator.random import SimulatedRandom
from simulator.world import make_config
from tests.witness.careless import CarelessFiles
from tests.witness.recording import (
    Acknowledgements,
    RecordingFiles,
    RecordingStorage,
    RecordingSystem,
    SeamLog,
)

STOPPED: Final = 0
FAILED: Final = 3
REBOOTING: Final = 4
REPORT: Final = "report"
"""The name under which a stored report is acknowledged."""
DEVICE: Final = "device-1"
FLEET: Final = "simulated"
UP_S: Final = 1500.0
"""How long a boot lasts, in virtual time, when nothing ends it: longer than any retry waits."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the bench wrote for this boot, in `settings.json`.

    `around` is what surrounds the device and survives it; `device` holds `state` and `medium`, all
    that an update may change.
    """

    around: Path
    device: Path
    profile: str
    seed: int
    block_log: str = ""
    careless: bool = False

    @property
    def state(self) -> Path:
        """The agent's small files."""
        return self.device / "state"

    def write(self) -> None:
        """Leave it for the process."""
        rows = {
            "device": str(self.device),
            "profile": self.profile,
            "seed": self.seed,
            "block_log": self.block_log,
            "careless": self.careless,
        }
        (self.around / "settings.json").write_text(json.dumps(rows))


def read_settings(around: Path) -> Settings:
    """What the bench wrote."""
    rows = json.loads((around / "settings.json").read_text())
    return Settings(
        around=around,
        device=Path(rows["device"]),
        profile=str(rows["profile"]),
        seed=int(rows["seed"]),
        block_log=str(rows["block_log"]),
        careless=bool(rows["careless"]),
    )


def medium_file(device: Path, path: str) -> str:
    """The file that stands for a block device of the profile, as `simulator.storage` names it."""
    return str(device / "medium" / path.strip("/").replace("/", "-"))


def placed_profile(settings: Settings) -> BoardProfile:
    """The board's profile with files for its devices, and a health check that the bench decides."""
    profile = load_profile(settings.profile)
    slots = {name: _placed_slot(slot, settings.device) for name, slot in profile.slots.items()}
    check = Check("services", ("test", "-e", str(settings.around / "healthy")), 10)
    confirm = replace(profile.confirm, within_s=10, checks=(check,))
    boot = profile.boot
    match boot:
        case TrybootSettings():
            partition = medium_file(settings.device, boot.config_partition)
            return replace(profile, slots=slots, confirm=confirm, boot=TrybootSettings(partition))
        case UbootSettings():
            first, second = (
                replace(copy, device=medium_file(settings.device, copy.device))
                for copy in boot.copies
            )
            boot = replace(boot, copies=(first, second))
            return replace(profile, slots=slots, confirm=confirm, boot=boot)


def _placed_slot(slot: Slot, device: Path) -> Slot:
    parts = {part: medium_file(device, path) for part, path in slot.parts.items()}
    return replace(slot, parts=parts)


@dataclass(frozen=True, slots=True)
class FolderStream:
    """One published file on its way, whole in memory."""

    content: deque[bytes]

    def read(self, length_max: int) -> bytes:
        """Some bytes; empty at the end."""
        if not self.content:
            return b""
        piece = self.content.popleft()
        if len(piece) > length_max:
            self.content.appendleft(piece[length_max:])
        return piece[:length_max]

    def close(self) -> None:
        """Forget the rest."""
        self.content.clear()


@dataclass(frozen=True, slots=True)
class FolderRepository:
    """`Repository` over a folder of published files."""

    folder: Path

    def open(self, path: str, offset: int, length_max: int) -> FolderStream:
        """The bytes of a file."""
        file = self.folder / path
        if not file.is_file():
            raise NotFoundError(f"{path}: not published")
        return FolderStream(deque([file.read_bytes()[offset : offset + length_max]]))


@dataclass(slots=True)
class FleetFile:
    """`Broker` and collector in one: a report is stored as one synced line, then answered.

    As the fleet's collector does, it stores an id once however often it is said.
    """

    path: Path
    clock: SimulatedClock
    topics: Topics
    acknowledgements: Acknowledgements
    connected: bool = False
    _waiting: deque[Message] = field(default_factory=deque)

    def connect(self, subscriptions: tuple[str, ...], will: Message) -> None:
        """A session is always to be had."""
        del subscriptions, will
        self.connected = True

    def next_message(self, timeout_s: float) -> Message | None:
        """The next receipt; virtual time passes when there is none."""
        if self._waiting:
            return self._waiting.popleft()
        self.clock.sleep(timeout_s)
        return None

    def publish(self, message: Message) -> None:
        """Store a report and answer it; everything else is heard by nobody."""
        if not self.connected:
            raise BrokerError("no session")
        if message.topic != self.topics.report:
            return
        report = parse_report(message.content)
        with self.path.open("ab+") as file:
            file.seek(0)
            if all(json.loads(line)["id"] != report.id for line in file.read().splitlines()):
                file.write(message.content.strip() + b"\n")
                file.flush()
                os.fsync(file.fileno())
                self.acknowledgements.note(REPORT, message.content.strip() + b"\n")
        receipt = encode_receipt(Receipt((report.id,)))
        self._waiting.append(Message(self.topics.receipt, receipt))

    def close(self) -> None:
        """End the session."""
        self.connected = False


def make_settings(settings: Settings, profile: BoardProfile) -> Config:
    """`agent.toml` of this device."""
    around = settings.around
    record = ("sh", "-c", 'echo "$1" > "$0"', str(around / "reboot"), "{argument}")
    return replace(
        make_config(DEVICE, FLEET, profile.name),
        paths=PathSettings(
            state=str(settings.state),
            runtime=str(around / "runtime"),
            process=str(around / "proc"),
            root_of_trust=str(around / "root.json"),
        ),
        timing=TimingSettings(check_every_s=86_400, refresh_interval_min_s=1, retry_max_s=60),
        reboot=RebootSettings(record),
    )


def make_world(settings: Settings, config: Config, log: SeamLog) -> World:
    """The real seams below recorders, and no network."""
    clock = SimulatedClock()
    environment: Mapping[str, str] = {}
    block_log = Path(settings.block_log) if settings.block_log else None
    noted = Acknowledgements(settings.around / "acknowledged.log", block_log)
    files: Files = LinuxFiles(config.paths.state)
    if settings.careless:
        files = CarelessFiles(files, settings.state)
    return World(
        clock=clock,
        files=RecordingFiles(files, log, noted),
        storage=RecordingStorage(LinuxStorage(), log),
        repository=FolderRepository(settings.around / "published"),
        broker=FleetFile(settings.around / "fleet.log", clock, Topics(FLEET, DEVICE), noted),
        system=RecordingSystem(LinuxSystem(config.paths, config.reboot, environment), log),
        random=SimulatedRandom(settings.seed),
        scratch=LinuxScratch(config.paths.runtime),
    )


def main(arguments: list[str]) -> int:
    """Run one boot."""
    settings = read_settings(Path(arguments[0]))
    profile = placed_profile(settings)
    config = make_settings(settings, profile)
    root_of_trust = (settings.around / "root.json").read_bytes()
    with SeamLog(settings.around / "seams.log").opened() as log:
        world = make_world(settings, config, log)
        try:
            ending = Service(world, config, profile, root_of_trust).run(UP_S)
        except UpdateError as error:
            sys.stderr.write(f"{error.code}: {error}\n")
            return FAILED
    return REBOOTING if ending is Ending.REBOOTING else STOPPED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
