"""A real fleet in a folder: keys, a release, a rollout to everyone, published, and a device enrolled."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from fleet import authority
from fleet.chip_images import ChipInput
from fleet.enrol import DevicePaths, issue, write_folder
from fleet.initialise import Trust, initialise
from fleet.keys import KeyFolders
from fleet.payload import Encoding
from fleet.publish import publish
from fleet.release import ImageInput, ReleaseRequest, add_release
from fleet.rollout import PhaseWish, RolloutRequest, start
from fleet.workspace import FleetSettings, Workspace
from tests.cli.bench import DEVICE, FLEET, HARDWARE, Bench

EVERYONE: Final = 10_000


def make_fleet(
    folder: Path, *, broker_port: int = 8883, url: str = "https://localhost:1"
) -> Workspace:
    """A new fleet that has published nothing but its empty self."""
    workspace = Workspace(folder)
    settings = FleetSettings(FLEET, "localhost", broker_port, url)
    now = datetime.now(UTC)
    initialise(workspace, settings, now, Trust(classical_only=True))
    authority.create(workspace, settings)
    publish_all(workspace)
    return workspace


def publish_all(workspace: Workspace) -> None:
    publish(workspace, keys(workspace), datetime.now(UTC))


def keys(workspace: Workspace) -> KeyFolders:
    return KeyFolders((workspace.keys,))


def release(
    workspace: Workspace,
    image: Path,
    *,
    counter: int = 7,
    begins: timedelta = timedelta(),
    hardware_id: str = HARDWARE,
    window_bytes: int = 64 * 1024,
    bases: tuple[str, ...] = (),
    chips: tuple[ChipInput, ...] = (),
) -> None:
    """Add release os-COUNTER and start a rollout of it to everyone; not published yet."""
    now = datetime.now(UTC)
    images = (ImageInput(hardware_id, "root", image),)
    encoding = Encoding(window_bytes=window_bytes)
    request = ReleaseRequest(
        f"os-{counter}", counter, "feature", images, encoding=encoding, bases=bases, chips=chips
    )
    add_release(workspace, keys(workspace), request, now)
    wish = RolloutRequest(f"to-{counter}", f"os-{counter}", (PhaseWish(EVERYONE, begins),))
    start(workspace, keys(workspace), wish, now)


def enrol(workspace: Workspace, bench: Bench) -> None:
    """Make the device's key with its own command, certify it, and copy what it needs."""
    request = bench.folder / "device.csr"
    made = bench.call("identity", "--new", "--out", str(request))
    assert made.status == 0, made.err
    certificate = issue(workspace, DEVICE, request.read_bytes(), datetime.now(UTC), renew=True)
    out = bench.folder / "enrolment"
    write_folder(workspace, workspace.settings(), DEVICE, certificate, out=out, paths=DevicePaths())
    for name in ("certificate.pem", "authority.pem", "root.json"):
        shutil.copy(out / name, bench.folder / name)
