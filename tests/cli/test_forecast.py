"""`lockgate check` foretells a delta where one leads from what runs, and the full payload elsewhere."""

import hashlib
import random
from pathlib import Path

import pytest

from agent.journal import Installed, Journal, store
from agent.linux.files import LinuxFiles
from fleet.workspace import Workspace
from tests.cli.bench import Bench
from tests.cli.fleets import publish_all, release

OLD = random.Random(1).randbytes(192 * 1024)
NEW = OLD[:99_999] + b"changed!" + OLD[100_007:]


@pytest.fixture
def offered(fleet: Workspace, enrolled: Bench, tmp_path: Path) -> Bench:
    """A device for which an update is open, with a delta from the release before it."""
    for counter, content, bases in ((7, OLD, ()), (8, NEW, ("os-7",))):
        image = tmp_path / f"{counter}.img"
        image.write_bytes(content)
        release(fleet, image, counter=counter, bases=bases)
    publish_all(fleet)
    return enrolled


def runs(bench: Bench, content: bytes) -> None:
    """Let the device remember what was installed into the slot that runs."""
    images = {"root": hashlib.sha256(content).hexdigest()}
    store(LinuxFiles(str(bench.state)), Journal(installed={"a": Installed("os-7", 7, images)}))


def test_a_delta_from_what_runs_is_foretold(offered: Bench) -> None:
    runs(offered, OLD)
    [image] = offered.call("--json", "check").document["images"]
    assert 0 < image["delta_bytes"] < 0.1 * image["payload_bytes"]
    assert "as a delta from what runs" in offered.call("check").out


def test_no_delta_is_foretold_from_anything_else(offered: Bench) -> None:
    runs(offered, NEW[::-1])
    [image] = offered.call("--json", "check").document["images"]
    assert image["delta_bytes"] == 0
    assert "at most" in offered.call("check").out
