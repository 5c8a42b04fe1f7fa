"""`lockgate check` foretells what it fetches, where a delta serves, and which chips it flashes."""

import hashlib
import random
from pathlib import Path

import pytest

from agent.firmware import ChipRecord, Firmware
from agent.journal import Installed, Journal, store
from agent.linux.files import LinuxFiles
from agent.release import Hosts
from fleet.chip_images import ChipInput
from fleet.workspace import Workspace
from tests.cli.bench import Bench
from tests.cli.fleets import publish_all, release
from tests.cli.shapes import differences, examples

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


MOTOR = """

[[microcontrollers]]
name = "motor"
hardware_id = "acme,motor-f103"
protocol = "stm32-uart"
port = "/dev/ttyUSB0"
chip = "0410"
flash_start = 0x08000000
pages = [{ count = 64, size_bytes = 1024 }]
image_format = "raw"
entry = { by = "lines", reset = "dtr", boot = "rts" }
"""
FIRMWARE = random.Random(2).randbytes(4096)


def with_motor(fleet: Workspace, bench: Bench, folder: Path, hosts: Hosts) -> None:
    """A board with a chip, and an open release with an image for it."""
    bench.profile_file.write_text(bench.profile_file.read_text() + MOTOR)
    image, firmware = folder / "root.img", folder / "motor.bin"
    image.write_bytes(NEW)
    firmware.write_bytes(FIRMWARE)
    chip = ChipInput("acme,motor-f103", "motor", firmware, hosts)
    release(fleet, image, counter=8, chips=(chip,))
    publish_all(fleet)


def test_the_chips_that_will_be_flashed_are_named(
    fleet: Workspace, enrolled: Bench, tmp_path: Path
) -> None:
    with_motor(fleet, enrolled, tmp_path, Hosts(0, 100))
    answer = enrolled.call("--json", "check").document
    [chip] = answer["chips"]
    assert (chip["chip"], chip["port"], chip["length_bytes"]) == ("motor", "/dev/ttyUSB0", 4096)
    assert (chip["sha256"], chip["holds_it"]) == (hashlib.sha256(FIRMWARE).hexdigest(), False)
    assert not differences(examples()["check"], answer)
    assert "chip motor: 4.0 KiB flashed through /dev/ttyUSB0" in enrolled.call("check").out
    assert "chip motor: 4.0 KiB" in enrolled.call("install", "--dry-run").out


def test_a_chip_that_holds_its_image_is_not_said_to_be_flashed(
    fleet: Workspace, enrolled: Bench, tmp_path: Path
) -> None:
    with_motor(fleet, enrolled, tmp_path, Hosts(0, 100))
    held = Firmware(hashlib.sha256(FIRMWARE).hexdigest(), Hosts(0, 100))
    store(LinuxFiles(str(enrolled.state)), Journal(chips={"motor": ChipRecord(held)}))
    [chip] = enrolled.call("--json", "check").document["chips"]
    assert chip["holds_it"]
    assert "chip motor: /dev/ttyUSB0 holds its image already" in enrolled.call("check").out


def test_a_pair_that_may_not_meet_is_refused_before_anybody_waits_for_it(
    fleet: Workspace, enrolled: Bench, tmp_path: Path
) -> None:
    with_motor(fleet, enrolled, tmp_path, Hosts(8, 100))
    answer = enrolled.call("--json", "check")
    assert answer.error["error"]["code"] == "refused-pair"


def test_a_board_without_chips_has_none_to_name(offered: Bench) -> None:
    runs(offered, OLD)
    assert offered.call("--json", "check").document["chips"] == []
