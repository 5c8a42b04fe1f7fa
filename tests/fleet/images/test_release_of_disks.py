"""`release add` takes what a build leaves, and says what it took."""

import hashlib
import json
from pathlib import Path

import pytest

from agent.errors import ConfigError
from fleet.cli import build_parser
from fleet.disk_image_parts import parse_disk_input
from fleet.initialise import initialise
from fleet.workspace import Workspace
from tests.fleet.images.disks import MBR, Disk, make_disk, pack, run
from tests.fleet.signing.support import NOW, SETTINGS

PROFILE = Path(__file__).parents[3] / "board-profiles" / "rpi4-tryboot.toml"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    made = make_disk(tmp_path_factory.mktemp("disk"), MBR, (2048, 8192))
    run("bmaptool", "create", "--output", made.path.with_name("disk.img.bmap"), made.path)
    return made


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "fleet")
    initialise(made, SETTINGS, NOW)
    return made


def add(workspace: Workspace, *words: str) -> None:
    options = build_parser().parse_args(("release", "add", *words))
    assert options.run(options, workspace) == 0


def test_a_packed_disk_with_a_block_map_fills_every_part_of_a_profile(
    workspace: Workspace, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = pack(disk.path, "xz")

    add(workspace, "r", "--counter", "1", "--security", "--disk", f"{PROFILE}={packed}", "--json")

    told = json.loads(capsys.readouterr().out)
    assert told["release"]["kind"] == "security"
    images = {one["part"]: one["sha256"] for one in told["release"]["images"]}
    assert images == {
        "boot": hashlib.sha256(disk.boot).hexdigest(),
        "root": hashlib.sha256(disk.root).hexdigest(),
    }
    root, boot = told["taken"]
    assert root["packing"] == "xz"
    assert Path(root["block_map"]).name == "disk.img.bmap"
    assert root["partition"] == {
        "number": 2,
        "start_bytes": 8192 * 512,
        "length_bytes": 16384 * 512,
        "type": "83",
        "name": "",
        "file_system": "ext4",
        "label": "rootfs",
    }
    assert boot["partition"]["label"] == "BOOTFS"


def test_a_dry_run_prints_what_would_be_taken_and_leaves_nothing(
    workspace: Workspace, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("r", "--counter", "1", "--kind", "feature", "--dry-run", "--no-bmap")
    add(workspace, *words, "--image", f"board:root={disk.path}#label=rootfs")

    printed = capsys.readouterr().out
    assert f"taken of {disk.path}: partition 2: 8388608 bytes at 4194304, ext4" in printed
    assert "nothing was written" in printed
    assert list((workspace.stage / "blobs").glob("*")) == []


def test_a_profile_may_say_which_partition_is_which_part(tmp_path: Path) -> None:
    profile = tmp_path / "board.toml"
    profile.write_text(PROFILE.read_text() + '\n[disk_image]\nroot = "label=rootfs"\nboot = "1"\n')
    root, boot = parse_disk_input(f"{profile}=disk.img")
    assert (root.part, str(root.choice)) == ("root", "Named(what='label', wanted='rootfs')")
    assert (boot.part, str(boot.choice)) == ("boot", "Number(number=1)")
    assert root.hardware_id == "raspberrypi,4-model-b"


@pytest.mark.parametrize("text", ["disk.img", "=x", "none.toml=disk.img"])
def test_a_disk_argument_that_is_wrong_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--disk"):
        parse_disk_input(text)


def test_a_choice_in_a_profile_that_is_none_is_refused(tmp_path: Path) -> None:
    profile = tmp_path / "board.toml"
    profile.write_text(PROFILE.read_text() + '\n[disk_image]\nroot = "rootfs"\n')
    with pytest.raises(ConfigError, match=r"disk_image\.root: a number, name=NAME"):
        parse_disk_input(f"{profile}=disk.img")
