"""A whole update on a real ext4 whose every write is logged, and every disk that a cut may leave of it.

Each crash image is mounted by the kernel, which recovers its journal, and judged: nothing that was
acknowledged is lost, nothing is a mixture, what a report says is so. Each distinct content that is
found is then given to a device, which must come to rest as if nothing had happened.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from agent import floor
from agent.errors import StateError
from agent.linux.files import UNFINISHED, LinuxFiles
from agent.update import State
from simulator.image import Behaviour
from simulator.lab import EXPECTED
from tests.linux.mounts import run
from tests.witness.bench import Bench, Snapshot, make_bench, read_journal, read_tree
from tests.witness.block_log import CrashImage, dropped, prefixes, read_log
from tests.witness.device import REPORT
from tests.witness.logged_disk import logged_disk
from tests.witness.recording import sha256

DISK_BYTES: Final = 8 * 1024 * 1024
DROPS_MAX: Final = 4
MAKE: Final = ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0")
WHOLE: Final = frozenset((State.INSTALLED, State.SWITCHED, State.TRIAL, State.CONFIRMED))
"""States that say: the standby slot holds the whole image."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A content that was said to be durable when the log had so many entries."""

    name: str
    sha256: str
    entries: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """One update on a logged ext4."""

    bench: Bench
    before: Snapshot
    base: bytes
    log: Path
    acknowledged: tuple[Acknowledged, ...]
    fleet: tuple[bytes, ...]


@dataclass(slots=True)
class Findings:
    """What the crash images showed."""

    entries: int = 0
    flushes: int = 0
    acknowledged: int = 0
    images: int = 0
    distinct_images: int = 0
    contents: int = 0
    recovered: int = 0
    corrupt: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """Everything that must not be."""
        return [*self.corrupt, *self.lost, *self.untrue]


def record(
    folder: Path,
    profile: str,
    seed: int,
    *,
    behaviour: Behaviour = Behaviour.HEALTHY,
    careless: bool = False,
) -> Recorded:
    """Run one update on a new ext4, and log what reaches the disk."""
    folder.mkdir()
    disk, place = folder / "disk", folder / "mounted"
    with disk.open("wb") as file:
        file.truncate(DISK_BYTES)
    run(*MAKE, str(disk))
    with mounted(disk, place):
        bench = make_bench(
            folder / "bench", profile, seed=seed, behaviour=behaviour, device=place / "device"
        )
        before = bench.snapshot()
    base = disk.read_bytes()
    with logged_disk(folder, disk) as logged:
        bench.settings = replace(bench.settings, block_log=str(logged.log), careless=careless)
        bench.settings.write()
        with mounted(Path(logged.device), place):
            bench.run_until_quiet()
            bench.check()
    around = bench.settings.around
    rows = [json.loads(line) for line in (around / "acknowledged.log").read_text().splitlines()]
    acknowledged = tuple(Acknowledged(row["name"], row["sha256"], row["entries"]) for row in rows)
    fleet = tuple((around / "fleet.log").read_bytes().splitlines(keepends=True))
    return Recorded(bench, before, base, folder / "disk.log", acknowledged, fleet)


def crash_images(recorded: Recorded) -> Iterator[CrashImage]:
    """Every prefix of the log, and the windows without one of their writes."""
    entries = read_log(recorded.log)
    yield from prefixes(recorded.base, entries)
    yield from dropped(recorded.base, entries, DROPS_MAX)


def judge(recorded: Recorded, folder: Path, say: Say, *, recover: bool = True) -> Findings:
    """Mount every image and look; then let a device recover from every distinct content."""
    entries = read_log(recorded.log)
    findings = Findings(
        entries=len(entries),
        flushes=sum(entry.flushes for entry in entries),
        acknowledged=len(recorded.acknowledged),
    )
    contents: dict[str, tuple[CrashImage, dict[str, bytes]]] = {}
    seen: dict[str, str] = {}
    disk, place = folder / "image", folder / "image-mounted"
    for image in crash_images(recorded):
        findings.images += 1
        if findings.images % 100 == 0:
            say(f"  {findings.images} images, {len(seen)} distinct, {len(contents)} contents")
        key = f"{hashlib.sha256(image.content).hexdigest()} {image.durable}"
        if key in seen:
            continue
        seen[key] = image.story
        disk.write_bytes(image.content)
        try:
            with mounted(disk, place):
                found = _look(recorded, image, place / "device", findings)
        except AssertionError as error:
            findings.corrupt.append(f"{image.story}: {error}")
            continue
        contents.setdefault(_name(found), (image, found))
    findings.distinct_images = len({key.split()[0] for key in seen})
    findings.contents = len(contents)
    if recover:
        for image, found in contents.values():
            _recover(recorded, image, found, findings)
    return findings


def _look(
    recorded: Recorded, image: CrashImage, device: Path, findings: Findings
) -> dict[str, bytes]:
    """Judge the files of one mounted image."""
    found = read_tree(device)
    for name in {one.name for one in recorded.acknowledged} - {REPORT}:
        told = _state_of(recorded, name, found.get(f"state/{name}"), image.durable)
        if told == "lost":
            findings.lost.append(f"{image.story}: {name} is older than what was acknowledged")
        elif told:
            findings.corrupt.append(f"{image.story}: {name} {told}")
    journal = read_journal(device / "state")
    if journal is None:
        findings.corrupt.append(f"{image.story}: the journal cannot be read")
    try:
        floor.load(LinuxFiles(str(device / "state")))
    except StateError as error:
        findings.corrupt.append(f"{image.story}: {error}")
    update = None if journal is None else journal.update
    state = None if update is None else update.state
    told_fleet = any(one.name == REPORT for one in _durable(recorded, image.durable))
    whole = _holds(recorded.bench, found)
    if state in WHOLE and not whole:
        findings.untrue.append(f"{image.story}: {state}, and slot b is not whole")
    ended = State(EXPECTED[recorded.bench.behaviour].value)
    if told_fleet and state is not ended:
        findings.untrue.append(f"{image.story}: {ended} was reported, found is {state}")
    return found


def _state_of(recorded: Recorded, name: str, content: bytes | None, durable: int) -> str:
    """`lost`, what else is wrong with a file, or nothing."""
    versions = [one for one in recorded.acknowledged if one.name == name]
    newest = max((n for n, one in enumerate(versions) if one.entries <= durable), default=-1)
    if content is None:
        return "lost" if newest >= 0 else ""
    places = [n for n, one in enumerate(versions) if one.sha256 == sha256(content)]
    if not places:
        return "holds bytes that nobody stored"
    return "" if max(places) >= newest else "lost"


def _durable(recorded: Recorded, durable: int) -> list[Acknowledged]:
    return [one for one in recorded.acknowledged if one.entries <= durable]


def _holds(bench: Bench, found: dict[str, bytes]) -> bool:
    """Whether slot b holds the new image, all of it."""
    for part, path in bench.profile.slots["b"].parts.items():
        name = "medium/" + path.strip("/").replace("/", "-")
        if not found.get(name, b"").startswith(bench.images[part]):
            return False
    return True


def _name(found: dict[str, bytes]) -> str:
    """One name for one content; what nobody reads does not count."""
    rows = [
        f"{name} {sha256(data)}"
        for name, data in sorted(found.items())
        if not name.endswith(UNFINISHED)
    ]
    return sha256("\n".join(rows).encode())


def _recover(
    recorded: Recorded, image: CrashImage, found: dict[str, bytes], findings: Findings
) -> None:
    """Start a device from this content, as after the power came back, and judge it at rest."""
    bench = recorded.bench
    reports = sum(one.name == REPORT for one in _durable(recorded, image.durable))
    bench.settings = replace(bench.settings, block_log="", careless=False)
    bench.settings.device.mkdir(parents=True, exist_ok=True)
    bench.settings.write()
    fleet = b"".join(recorded.fleet[:reports])
    bench.restore(replace(recorded.before, device=found, folders=(), fleet=fleet))
    try:
        bench.reset()
        bench.run_until_quiet()
        bench.check()
        findings.recovered += 1
    except AssertionError as error:
        findings.untrue.append(f"{image.story}: recovery: {error}")


@contextmanager
def mounted(source: Path, place: Path) -> Iterator[None]:
    """An ext4 in a file or on a device, mounted; the kernel recovers what a cut left."""
    place.mkdir(exist_ok=True)
    loop = () if source.is_block_device() else ("-o", "loop")
    run("mount", "-t", "ext4", *loop, str(source), str(place))
    try:
        yield
    finally:
        run("umount", str(place))
