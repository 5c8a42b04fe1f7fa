import os
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from fleet.workspace import Workspace
from tests.cli.bench import ROOT, Bench
from tests.cli.fleets import publish_all, release
from tests.cli.shapes import differences, examples

IMAGE = random.Random(1).randbytes(200 * 1024)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "root.img"
    path.write_bytes(IMAGE)
    return path


@pytest.fixture
def released(fleet: Workspace, enrolled: Bench, image: Path) -> Bench:
    """A device for which an update is open."""
    release(fleet, image)
    publish_all(fleet)
    return enrolled


def same_shape(name: str, document: object) -> bool:
    told = differences(examples()[name], document)
    assert not told, told
    return True


def test_check_says_that_there_is_nothing(enrolled: Bench) -> None:
    answer = enrolled.call("--json", "check")
    assert answer.status == 3
    assert answer.document["decision"] == "nothing"
    assert same_shape("check", answer.document)


def test_check_says_what_is_open_and_changes_only_what_is_trusted(released: Bench) -> None:
    answer = released.call("--json", "check")
    assert answer.status == 0
    assert answer.document["decision"] == "update"
    assert answer.document["images"][0]["device"] == f"{released.folder}/root-b"
    assert same_shape("check", answer.document)
    names = {path.name for path in released.state.iterdir()}
    assert "floor.json" in names
    assert "journal.json" not in names
    assert (released.folder / "root-b").read_bytes() == bytes(256 * 1024)


def test_check_says_what_comes_later(fleet: Workspace, enrolled: Bench, image: Path) -> None:
    release(fleet, image, begins=timedelta(days=2))
    publish_all(fleet)
    answer = enrolled.call("--json", "check")
    assert answer.status == 3
    assert answer.document["decision"] == "later"
    assert answer.document["until"]


def test_check_says_that_a_release_is_for_other_hardware(
    fleet: Workspace, enrolled: Bench, image: Path
) -> None:
    release(fleet, image, hardware_id="raspberrypi,5-model-b")
    publish_all(fleet)
    answer = enrolled.call("check")
    assert answer.status == 41
    assert answer.err.startswith("lockgate: refused-hardware: ")


def test_explain_and_a_dry_run_leave_no_trace(released: Bench) -> None:
    for words in (("explain",), ("install", "--dry-run")):
        answer = released.call("--json", *words)
        assert answer.status == 0
        assert same_shape("check", answer.document)
    assert not released.state.exists()
    assert (released.folder / "root-b").read_bytes() == bytes(256 * 1024)


def test_an_update_by_hand_from_the_installation_to_the_history(released: Bench) -> None:
    prepared = released.call("--json", "install", "--reboot", "no")
    assert prepared.status == 4
    assert prepared.document["outcome"] == "reboot-needed"
    assert same_shape("install", prepared.document)
    assert (released.folder / "root-b").read_bytes()[: len(IMAGE)] == IMAGE
    assert released.reboots == []
    assert released.call("--json", "status").document["update"]["state"] == "installed"

    switched = released.call("--json", "install")
    assert switched.status == 0
    assert switched.document["outcome"] == "rebooting"
    assert released.reboots == ["0 tryboot"]

    released.boot("b", boot_id="boot-2", tryboot=True)
    assert released.call("install").status == 40, "a trial waits for its verdict"
    confirmed = released.call("--json", "confirm")
    assert confirmed.status == 0
    assert same_shape("confirm", confirmed.document)

    after = released.call("--json", "status").document
    assert (after["slot"], after["default_slot"], after["release"]) == ("b", "b", "os-7")
    assert after["reports_waiting"] == 1
    assert same_shape("status", after)
    past = released.call("--json", "history").document
    assert past["updates"][0]["outcome"] == "confirmed"
    assert same_shape("history", past)
    nothing = released.call("--json", "install")
    assert nothing.status == 3
    assert same_shape("nothing", nothing.document)
    assert released.call("confirm").status == 3


def test_progress_is_drawn_for_someone_who_watches(released: Bench) -> None:
    ours, theirs = os.openpty()
    words = [sys.executable, "-m", "agent", "--config", str(released.settings)]
    ended = subprocess.run(
        [*words, "install", "--reboot", "no"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        check=False,
    )
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert ended.returncode == 4
    assert "installing" in drawn
    assert " of 200.0 KiB" in drawn
    assert drawn.endswith("\r\033[K"), "the line is gone when it is done"
    assert "installing" not in ended.stdout


def test_a_trial_that_someone_refuses_goes_back_and_is_not_tried_again(released: Bench) -> None:
    assert released.call("install").status == 0
    released.boot("b", boot_id="boot-2", tryboot=True)
    answer = released.call("--json", "revert")
    assert answer.document["outcome"] == "rebooting"
    assert same_shape("confirm", answer.document)
    assert released.reboots == ["0 tryboot", ""], "the way back needs no argument for the firmware"
    released.boot("a", boot_id="boot-3", tryboot=False)
    answer = released.call("--json", "install")
    assert answer.status == 3
    assert "re-issue" in answer.document["reasons"][0]["sentence"]
    past = released.call("--json", "history").document["updates"]
    assert [one["outcome"] for one in past] == ["reverted"]


def test_a_confirmed_release_can_be_left_for_the_one_before_it(released: Bench) -> None:
    assert released.call("revert").status == 32, "nothing else ever ran here"
    assert released.call("install").status == 0
    released.boot("b", boot_id="boot-2", tryboot=True)
    assert released.call("confirm").status == 0
    assert released.call("revert", "--reboot", "no").status == 4
    assert released.call("revert").status == 0
    released.boot("a", boot_id="boot-3", tryboot=True)
    assert released.call("confirm").status == 0
    document = released.call("--json", "status").document
    assert (document["default_slot"], document["release"]) == ("a", "factory")


def test_an_image_that_is_too_large_is_refused_before_anything_is_written(
    fleet: Workspace, enrolled: Bench, tmp_path: Path
) -> None:
    large = tmp_path / "large.img"
    large.write_bytes(random.Random(2).randbytes(300 * 1024))
    release(fleet, large)
    publish_all(fleet)
    assert enrolled.call("check").status == 33
    answer = enrolled.call("--json", "install")
    assert answer.status == 33
    assert (answer.document["outcome"], answer.document["code"]) == ("failed", "install-too-large")
    assert (enrolled.folder / "root-b").read_bytes() == bytes(256 * 1024)


def test_a_blob_that_was_tampered_with_is_not_installed(fleet: Workspace, released: Bench) -> None:
    (blob,) = (fleet.public / "blobs").iterdir()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.unlink()
    blob.write_bytes(bytes(content))
    answer = released.call("install")
    assert answer.status == 22, answer.err
    assert released.call("--json", "status").document["update"]["failures"] == 1
    assert (released.folder / "root-b").read_bytes()[:65536] == bytes(65536), "cannot start"


def test_a_deferral_holds_up_the_service_and_not_someone_at_the_device(released: Bench) -> None:
    answer = released.call("--json", "defer", "--for", "2h")
    assert same_shape("defer", answer.document)
    checked = released.call("--json", "check")
    assert (checked.status, checked.document["decision"]) == (3, "later")
    assert released.call("--json", "install", "--dry-run").document["decision"] == "update"
    assert released.call("defer", "--for", "0s").status == 0
    assert released.call("check").status == 0
    assert released.call("defer", "--for", "91d").status == 40
