"""The bench of one device whose boots are real processes: bootloader, operator, judge.

The bench plays the bootloader with the simulator's models over the very files that the device's
processes wrote, boots it again until nothing is under way, and judges what is there then.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent import journal as journals
from agent.board import BoardProfile, SlotName
from agent.errors import StateError
from agent.interfaces import SystemFacts
from agent.journal import Journal
from agent.linux.files import UNFINISHED
from agent.report import Outcome
from simulator.board import Boot, SimulatedBoard, make_board
from simulator.broker import Hub
from simulator.clock import SimulatedClock
from simulator.image import Behaviour
from simulator.lab import EXPECTED, make_images
from simulator.operator import Operator
from simulator.profiles import load_profile
from simulator.storage import Factory
from tests.witness.device import FAILED, FLEET, REBOOTING, STOPPED, Settings, medium_file

ROOT: Final = Path(__file__).resolve().parents[2]
PART_BYTES: Final = 64 * 1024
SECTORS: Final = 64
BOOTS_MAX: Final = 12
PROCESSES_MAX: Final = 40
PROCESS_S: Final = 1800.0
"""For a process that hangs; long, because the whole machine may be stopped meanwhile."""
ELF: Final = b"\x7fELF"


class ViolationError(AssertionError):
    """What a device must never do, seen on real files."""


@dataclass(frozen=True, slots=True)
class Run:
    """How one process ended; a negative status is the signal that killed it."""

    status: int
    errors: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything durable, and the boot that is under way."""

    device: dict[str, bytes]
    folders: tuple[str, ...]
    fleet: bytes
    boot: Boot
    boots: int


@dataclass(slots=True)
class Bench:
    """One device with its surroundings, below a folder."""

    settings: Settings
    behaviour: Behaviour
    board: SimulatedBoard
    images: dict[str, bytes]
    before: dict[str, bytes] = field(default_factory=dict)
    current: Boot | None = None
    processes: int = 0

    @property
    def profile(self) -> BoardProfile:
        """The board's profile as it was written, with the names of real devices."""
        return self.board.profile

    def command(self) -> tuple[str, ...]:
        """What runs one boot. Raises `ViolationError` when that would be no program itself.

        A shell script in its place would be traced, and counted, as well.
        """
        with Path(sys.executable).resolve().open("rb") as file:
            if file.read(len(ELF)) != ELF:
                raise ViolationError(f"{sys.executable}: an interpreter was expected, not a script")
        return (sys.executable, "-m", "tests.witness.device", str(self.settings.around))

    def environment(self) -> dict[str, str]:
        """As little as possible, so that a process does the same each time."""
        search = "/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": search, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}

    def run(self, *tracer: str) -> Run:
        """One process of the boot that is under way, below a tracer or not."""
        self.processes += 1
        done = subprocess.run(
            (*tracer, *self.command()),
            check=False,
            capture_output=True,
            text=True,
            timeout=PROCESS_S,
            env=self.environment(),
            cwd=ROOT,
        )
        return Run(done.returncode, done.stderr)

    def start(self) -> None:
        """Let the bootloader choose and start, as often as that resets itself."""
        for _ in range(BOOTS_MAX):
            boot = self.board.boot()
            for device in self.board.storage.devices.values():
                device.settle(device.pending_writes())  # what U-Boot wrote: nothing is lost here
            if boot.slot is None:
                raise ViolationError("no slot starts")
            if boot.behaviour in (Behaviour.HEALTHY, Behaviour.FAILS_CHECKS):
                self._place(boot)
                return
            self.board.reset()
        raise ViolationError(f"{BOOTS_MAX} boots and no system that runs")

    def reset(self) -> None:
        """Take the power away and give it back; a reboot that was asked for is forgotten."""
        self._asked().unlink(missing_ok=True)
        self.board.reset()
        self.start()

    def went_down(self) -> bool:
        """Whether a reboot was asked for, and if so, carry it out."""
        file = self._asked()
        if not file.exists():
            return False
        argument = file.read_text().strip()
        file.unlink()
        self.board.reset(argument)
        self.start()
        return True

    def run_until_quiet(self, process: Callable[[], Run] | None = None) -> int:
        """Process after process until nothing is under way; returns how many ended with an error.

        `process` runs one of them in a way of its own, such as below a tracer.
        """
        failed = 0
        for _ in range(PROCESSES_MAX):
            self.went_down()
            run = self.run() if process is None else process()
            failed += run.status == FAILED
            check_ending(run)
            if run.status == STOPPED and self.quiet():
                return failed
        raise ViolationError(f"{PROCESSES_MAX} processes and no rest")

    def journal(self) -> Journal | None:
        """What the device remembers; None when it cannot be read."""
        return read_journal(self.settings.state)

    def quiet(self) -> bool:
        """Whether nothing is under way and no report waits."""
        journal = self.journal()
        if journal is None:
            return False
        return (journal.update is None or journal.update.finished) and not journal.reports

    def snapshot(self) -> Snapshot:
        """Everything durable now."""
        assert self.current is not None, "a boot is under way"
        fleet = self._fleet()
        return Snapshot(
            device=read_tree(self.settings.device),
            folders=folders_of(self.settings.device),
            fleet=fleet.read_bytes() if fleet.exists() else b"",
            boot=self.current,
            boots=self.board.boots,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to it, with nothing left of what came after."""
        write_tree(self.settings.device, snapshot.device)
        for name in snapshot.folders:
            (self.settings.device / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fleet().write_bytes(snapshot.fleet)
        self._asked().unlink(missing_ok=True)
        (self.settings.around / "seams.log").unlink(missing_ok=True)
        shutil.rmtree(self.settings.around / "runtime", ignore_errors=True)
        self.board.boots = snapshot.boots
        self.board.reset()
        self._place(snapshot.boot)

    def boot_state(self) -> set[str]:
        """The files that hold what the bootloader goes by."""
        parts = {path for slot in self.profile.slots.values() for path in slot.parts.values()}
        return {
            medium_file(self.settings.device, path)
            for path in self.board.storage.devices.keys() - parts
        }

    def slot(self, slot: SlotName) -> dict[str, bytes]:
        """The bytes of a slot's parts."""
        return self.board.content(slot)

    def reports(self) -> list[dict[str, object]]:
        """What the fleet has stored, each line once."""
        fleet = self._fleet()
        return (
            [json.loads(line) for line in fleet.read_bytes().splitlines()] if fleet.exists() else []
        )

    def check(self, unfinished_max: int = 1) -> None:
        """Judge a device at rest: outcome, report, slots, next boot, remains.

        Raises `ViolationError`.
        """
        outcome = self.check_report()
        _expect(outcome is EXPECTED[self.behaviour], f"{EXPECTED[self.behaviour]}, not {outcome}")
        alarms = [report["code"] for report in self.reports() if not report["update"]]
        _expect(not alarms, f"no report but that of the update, found {alarms}")
        self.check_rest(outcome, unfinished_max)

    def check_report(self) -> Outcome:
        """The outcome that the fleet was told; exactly once, whatever else it was told."""
        told = [str(report["outcome"]) for report in self.reports() if report["update"]]
        _expect(len(told) == 1, f"one report of the update, found {told or 'none'}")
        return Outcome(told[0])

    def check_rest(self, outcome: Outcome, unfinished_max: int = 1) -> None:
        """Whether the slots, the journal and the next boot are as the outcome says."""
        self.check_active()
        confirmed = outcome is Outcome.CONFIRMED
        if confirmed:
            found = self.slot("b")
            whole = all(found[part].startswith(image) for part, image in self.images.items())
            _expect(whole, "the whole image in slot b")
        journal = self.journal()
        ended = journal is not None and journal.update is not None and journal.update.state
        _expect(ended == outcome.value, f"a journal that says {outcome}, found {ended}")
        remains = [name for name in read_tree(self.settings.device) if name.endswith(UNFINISHED)]
        _expect(
            len(remains) <= unfinished_max,
            f"at most {unfinished_max} unfinished files, found {remains}",
        )
        scratch = sorted(read_tree(self.settings.around / "runtime"))
        _expect(not scratch, f"no scratch file, found {scratch}")
        self.reset()
        slot = self.current.slot if self.current else None
        _expect(slot == ("b" if confirmed else "a"), f"the right slot to start, {slot} did")

    def check_active(self) -> None:
        """The slot that ran when the update began was never written."""
        _expect(self.slot("a") == self.before, "slot a untouched")

    def _place(self, boot: Boot) -> None:
        """Write what the system that was started says of itself."""
        self.current = boot
        write_facts(self.settings.around / "proc", boot.facts)
        healthy = self.settings.around / "healthy"
        if boot.behaviour is Behaviour.HEALTHY:
            healthy.touch()
        else:
            healthy.unlink(missing_ok=True)

    def _asked(self) -> Path:
        return self.settings.around / "reboot"

    def _fleet(self) -> Path:
        return self.settings.around / "fleet.log"


def make_bench(
    folder: Path,
    profile_name: str,
    *,
    seed: int = 1,
    behaviour: Behaviour = Behaviour.HEALTHY,
    device: Path | None = None,
) -> Bench:
    """A device new from the factory, with a release published for it; nothing has run yet."""
    around = folder / "around"
    around.mkdir(parents=True)
    settings = Settings(around, device or folder / "device", profile_name, seed)
    settings.device.mkdir(exist_ok=True)
    settings.write()
    profile = load_profile(profile_name)
    older, running = (
        make_images(profile, seed, number, Behaviour.HEALTHY, SECTORS) for number in (0, 1)
    )
    images = make_images(profile, seed, 2, behaviour, SECTORS)
    publish(settings, profile, images)
    factory = Factory(PART_BYTES, running, settings.device / "medium", standby=older)
    board = make_board(profile, factory, seed=seed)
    bench = Bench(settings, behaviour, board, images)
    bench.before = bench.slot("a")
    bench.start()
    return bench


def publish(settings: Settings, profile: BoardProfile, images: dict[str, bytes]) -> None:
    """Put a signed release and its rollout where the device fetches them."""
    operator = Operator(SimulatedClock(), Hub(), fleet=FLEET, seed=settings.seed)
    operator.open()
    operator.release("2", 2, profile.hardware_id, images)
    operator.roll_out("rollout-2", "2")
    operator.publish()
    write_tree(settings.around / "published", operator.content)
    (settings.around / "root.json").write_bytes(operator.root_of_trust)


def write_facts(process: Path, facts: SystemFacts) -> None:
    """A folder like `/proc` that says these facts."""
    shutil.rmtree(process, ignore_errors=True)
    rows = {
        "sys/kernel/random/boot_id": facts.boot_id.encode() + b"\n",
        "cmdline": " ".join(facts.command_line).encode() + b"\n",
        "device-tree/compatible": b"".join(word.encode() + b"\0" for word in facts.compatible),
    }
    if facts.boot_partition is not None:
        words = {"partition": facts.boot_partition, "tryboot": int(bool(facts.tryboot))}
        for name, value in words.items():
            rows[f"device-tree/chosen/bootloader/{name}"] = value.to_bytes(4, "big")
    write_tree(process, rows)


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def folders_of(folder: Path) -> tuple[str, ...]:
    """Every folder below a folder, also those with nothing in them."""
    return tuple(sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_dir()))


def write_tree(folder: Path, content: dict[str, bytes]) -> None:
    """Make the folder hold these files and no others; files that stay keep their place."""
    if folder.exists():
        for file in read_tree(folder).keys() - content.keys():
            (folder / file).unlink()
        for place in sorted((one for one in folder.rglob("*") if one.is_dir()), reverse=True):
            if not any(name.startswith(f"{place.relative_to(folder)}/") for name in content):
                place.rmdir()
    for leaf, data in content.items():
        place = folder / leaf
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def read_journal(state: Path) -> Journal | None:
    """The journal in a state folder, a new one when there is none; None when it cannot be read."""
    file = state / journals.FILE
    try:
        return journals.decode(file.read_bytes()) if file.exists() else Journal()
    except StateError:
        return None


def check_ending(run: Run, *, killed: bool = False) -> None:
    """A process ends in one of its own ways: anything else is a traceback or a stray signal."""
    if killed:
        return
    _expect(
        run.status in (STOPPED, REBOOTING, FAILED) and "Traceback" not in run.errors,
        f"a known ending, found status {run.status}:\n{run.errors[-2000:]}",
    )


def _expect(true: bool, expected: str) -> None:  # noqa: FBT001  # the one fact that is judged
    if not true:
        raise ViolationError(f"expected was {expected}")
