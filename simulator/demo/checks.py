"""What the demonstration promised, checked on the disks and in the store after everything stopped."""

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet.store import Store, StoredReport
from simulator.demo.devices import DemoDevice
from simulator.demo.images import DemoImage, find_program

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Promise:
    """One thing that must hold, whether it does, and what was seen."""

    words: str
    kept: bool
    seen: str


def reports_of(store: Path, device: str) -> tuple[StoredReport, ...]:
    """What the fleet has stored of one device."""
    opened = Store(store)
    opened.open()
    try:
        return opened.reports(device)
    finally:
        opened.close()


def slot_holds(device: DemoDevice, slot: str, image: DemoImage) -> Promise:
    """Whether the durable bytes of the running slot are those of the image."""
    board = device.simulation.board
    parts = board.storage.slot("a" if slot == "a" else "b")
    files: Mapping[str, Path] = {"root": image.root, "boot": image.boot}
    found = {}
    for part, block_device in parts.items():
        content = files[part].read_bytes()
        wanted = hashlib.sha256(content).hexdigest()
        have = hashlib.sha256(block_device.durable(0, len(content))).hexdigest()
        found[part] = (wanted == have, have[:12])
    seen = ", ".join(f"{part} {digest}" for part, (_, digest) in found.items())
    return Promise(
        f"{device.name}: slot {slot} is release {image.release}, by SHA-256",
        all(same for same, _ in found.values()),
        seen,
    )


def file_system_is_clean(device: DemoDevice, slot: str, folder: Path) -> Promise:
    """Whether `e2fsck -fn` finds nothing to say about the root of the running slot."""
    path = device.simulation.board.profile.slots["a" if slot == "a" else "b"].parts["root"]
    file = folder / "slots" / device.name / path.strip("/").replace("/", "-")
    result = subprocess.run(
        [find_program("e2fsck"), "-fn", str(file)],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    lines = (result.stdout or result.stderr).strip().splitlines() or ["nothing printed"]
    seen = "clean" if result.returncode == 0 else lines[-1]
    return Promise(f"{device.name}: e2fsck -fn {file.name}", result.returncode == 0, seen)


def reported_once(
    reports: tuple[StoredReport, ...], device: str, wanted: Mapping[str, str]
) -> Promise:
    """Whether exactly the terminal reports that are due are stored, each of them once."""
    found = sorted((stored.report.release, stored.report.outcome.value) for stored in reports)
    ids = {stored.report.id for stored in reports}
    return Promise(
        f"{device}: each terminal report is stored exactly once",
        found == sorted(wanted.items()) and len(ids) == len(reports),
        ", ".join(f"{release} {outcome}" for release, outcome in found) or "none",
    )


def never_began(device: DemoDevice, release: str) -> Promise:
    """Whether a device was never told by its signed policy to take this release."""
    begun = [
        line.event
        for line in device.simulation.trace.lines
        if line.event == "accepted" and line.detail.startswith(f"{release} ")
    ]
    return Promise(
        f"{device.name}: the halt came before release {release}", not begun, "never accepted"
    )


def went_on_after_the_cut(
    device: DemoDevice, reports: tuple[StoredReport, ...], image: DemoImage, payload_bytes: int
) -> Promise:
    """Whether the installation that ended did not have to fetch again what was there before the cut."""
    fetched = [one.report.fetched_bytes for one in reports if one.report.release == image.release]
    words = f"{device.name}: lost its power in mid-write and went on where it was"
    if not fetched:
        return Promise(words, kept=False, seen="no report")
    seen = (
        f"{device.cuts} cut, {fetched[0] / MIB:.1f} of {payload_bytes / MIB:.1f} MiB left to fetch"
    )
    return Promise(words, device.cuts == 1 and fetched[0] < payload_bytes, seen)
