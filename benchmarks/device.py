"""A real device made of files: `lockgate install` with its metadata, its boot state and two slots."""

import compileall
import json
import os
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from agent.release import Image, Release
from benchmarks.idle_device import Place, make_device
from benchmarks.measure import Cost, StepFailedError, run
from benchmarks.web import HOST
from fleet import authority
from fleet.workspace import FleetSettings, Workspace
from simulator.broker import Hub
from simulator.clock import SimulatedClock
from simulator.operator import FLEET, Operator

HARDWARE: Final = "lockgate,files"
NEVER_S: Final = 86_400
REBOOT_DUE: Final = 4
RELEASE: Final = "2"


@dataclass(frozen=True, slots=True)
class Installed:
    """One run of the program: what it cost and what it says itself."""

    cost: Cost
    fetched_bytes: int
    written_bytes: int


def make_fleet(folder: Path) -> Workspace:
    """A fleet with an authority of its own; nothing is published yet."""
    folder.mkdir(parents=True)
    workspace = Workspace(folder)
    settings = FleetSettings(FLEET, HOST, 8883, f"https://{HOST}:8443")
    workspace.write_settings(settings)
    authority.create(workspace, settings)
    return workspace


def publish(workspace: Workspace, image: Image, blobs: Path) -> None:
    """Sign one release with this image for all devices, in place of what was published before."""
    now = datetime.now(UTC)
    operator = Operator(SimulatedClock(start=now), Hub())
    operator.releases[RELEASE] = Release(RELEASE, 2, "feature", now, "", (image,))
    operator.roll_out("everyone", RELEASE)
    operator.open()
    shutil.rmtree(workspace.public, ignore_errors=True)
    for path, content in operator.content.items():
        file = workspace.public / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (workspace.public / "blobs").symlink_to(blobs)


@dataclass(frozen=True, slots=True)
class Device:
    """A device that runs slot a, and its folder."""

    folder: Path
    config: Path

    def install(self) -> Installed:
        """Forget all that it knows, and let it install what is published.

        The measured process is the whole program: settings, metadata with all signatures, the
        installation with its read-back, the journal. It stops before the reboot.
        """
        for name in ("state", "run"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        command = (sys.executable, "-m", "agent", "--config", str(self.config), "--json")
        cost = run((*command, "install", "--reboot", "no"), accepted=(REBOOT_DUE,))
        said = json.loads(cost.printed)
        return Installed(cost, said["fetched_bytes"], said["written_bytes"])


def make(workspace: Workspace, url: str, slots: tuple[Path, Path], folder: Path) -> Device:
    """A new device of this fleet, enrolled, with these slots."""
    agent = Path(__file__).parent.parent / "agent"
    compileall.compile_dir(agent, quiet=1)  # as it is when pip has installed it
    config = make_device(folder, Place(workspace, 8883, url), NEVER_S)
    for name, target in zip(("slot-a", "slot-b"), slots, strict=True):
        (folder / name).unlink()
        (folder / name).symlink_to(target)
    return Device(folder, config)


def same(device: Path, image: Path) -> None:
    """Raises `StepFailedError` unless the device begins with the image."""
    length_bytes = image.stat().st_size
    with device.open("rb") as one, image.open("rb") as other:
        os.posix_fadvise(one.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for start in range(0, length_bytes, 1 << 20):
            if one.read(1 << 20) != other.read(1 << 20)[: length_bytes - start]:
                raise StepFailedError(f"{device} differs from {image} after byte {start}")
